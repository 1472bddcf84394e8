"""Statistics of rows against the same said one by one."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from ingestd.query.functions.statistics import correlations, fitted, kolmogorov, same_distribution

number = st.none() | st.integers(-9, 9).map(float)
pairs = st.lists(st.tuples(number, number), min_size=1, max_size=40)


@given(pairs, st.integers(1, 40))
def test_correlations(values: list[tuple[float | None, float | None]], size: int) -> None:
    assume(size <= len(values))
    x, y = np.array(values, np.float64).T
    with np.errstate(all="ignore"):
        got = correlations(np.stack((x, x)), np.stack((y, y)), size)
        for at in range(len(values) - size + 1):
            there = ~(np.isnan(x) | np.isnan(y))[at : at + size]
            one, other = x[at : at + size][there], y[at : at + size][there]
            flat = len(one) < 2 or not one.std() or not other.std()
            expected = math.nan if flat else np.corrcoef(one, other)[0, 1]
            np.testing.assert_allclose(got[:, at], expected, rtol=1e-9, atol=1e-9)


@given(st.lists(number, min_size=2, max_size=60), st.integers(1, 5), st.integers(0, 9))
def test_fits(values: list[float | None], degree: int, more: int) -> None:
    row = np.array(values, np.float64)
    at = np.flatnonzero(~np.isnan(row))
    got = fitted(np.stack((row, row)), degree, len(row) + more)[1]
    if len(at) < 2:
        assert np.isnan(got).all()
    elif len(at) <= degree:
        np.testing.assert_allclose(got[at], row[at], rtol=1e-6, atol=1e-6)
    else:
        expected = np.polynomial.Polynomial.fit(at, row[at], degree)(np.arange(len(row) + more))
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6 * max(1.0, np.abs(expected).max()))


def distance(one: list[float], other: list[float]) -> float:
    """How far the distributions of two samples are apart at most."""
    shares = [[sum(value <= at for value in each) / len(each) for at in one + other] for each in (one, other)]
    return max(abs(a - b) for a, b in zip(*shares, strict=True))


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.tuples(number, number), min_size=n, max_size=n)))
def test_same_distribution(values: list[tuple[float | None, float | None]]) -> None:
    one, other = (list(each) for each in zip(*values, strict=True))
    with np.errstate(all="ignore"):
        got = same_distribution(np.array([one], np.float64), np.array([other], np.float64))[0]
    known = [[value for value in each if value is not None] for each in (one, other)]
    if not all(known):
        assert math.isnan(got)
        return
    n, m = map(len, known)
    z = math.sqrt(n * m / (n + m)) * distance(*known)
    np.testing.assert_allclose(got, kolmogorov(np.array([z]))[0], rtol=1e-9, atol=1e-12)


def test_kolmogorovs_distribution_is_its_series() -> None:
    for z in (0.3, 0.5, 1.0, 1.17, 1.18, 1.5, 2.0):
        series = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * z * z) for k in range(1, 60))
        assert math.isclose(kolmogorov(np.array([z]))[0], series, rel_tol=1e-6)
    assert kolmogorov(np.zeros(1))[0] == 1.0
