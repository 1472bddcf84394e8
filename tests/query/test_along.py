"""Walks along series: the kernels do what numpy does, and both what is said point by point."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import Values
from ingestd.query import along
from ingestd.query.functions import transform

numbers = st.floats(allow_nan=False, width=32) | st.integers(-3, 3).map(float)
tables = st.tuples(st.integers(0, 3), st.integers(0, 40)).flatmap(
    lambda shape: st.lists(
        st.lists(st.just(math.nan) | numbers, min_size=shape[1], max_size=shape[1]),
        min_size=shape[0],
        max_size=shape[0],
    ).map(lambda rows: np.array(rows, np.float64).reshape(shape))
)
row = st.lists(st.none() | st.integers(-9, 9).map(float), max_size=40)


def same(walk: Callable[[], Values], module: Any = along, name: str = "along_compiled") -> None:
    """A walk with the kernels gives every bit of one without."""
    kernels = getattr(module, name)
    if kernels is None:
        pytest.skip("no kernels")
    with np.errstate(all="ignore"):
        found = walk()
        try:
            setattr(module, name, None)
            expected = walk()
        finally:
            setattr(module, name, kernels)
    assert found.dtype == expected.dtype == np.float64
    np.testing.assert_array_equal(found, expected)


@given(tables, st.sampled_from([0.0, 1.0, 2.5, 3.0, math.inf, math.nan]))
def test_kernels_of_gaps(values: Values, limit: float) -> None:
    same(lambda: along.filled(values, limit))
    same(lambda: along.bridged(values, limit))
    same(lambda: along.filled(values[:, ::-1], limit))
    same(lambda: along.changes(values))


@given(tables, st.integers(1, 45), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_kernel_of_running_deviations(values: Values, points: int, tolerance: float) -> None:
    same(lambda: along.running_deviations(values, points, tolerance))


@given(tables, st.floats(0, 2), st.floats(-9, 9))
def test_kernels_of_recurrences(values: Values, weight: float, first: float) -> None:
    firsts = np.arange(len(values)) + first
    same(lambda: along.averages(values, weight, firsts))
    same(lambda: along.recurrence(values, values[:, ::-1], firsts))


@given(tables, st.data())
def test_kernels_of_windows(values: Values, data: st.DataObject) -> None:
    if values.shape[1]:
        size = data.draw(st.integers(1, values.shape[1]))
        same(lambda: along.medians(values, size), name="windows_compiled")
        same(lambda: along.deviations(values, size), name="windows_compiled")
        factors = np.array([[0.0], [0.3], [1.0]])[: len(values)]
        for manner in along.MANNERS:
            same(lambda manner=manner: along.windows(values, size, manner, factors), name="windows_compiled")


@given(tables, st.integers(-320, 310))
def test_kernel_of_rounding(values: Values, digits: int) -> None:
    for few in (digits, digits % 9, -(digits % 5)):
        same(lambda few=few: transform.rounded(values, few), transform)


@given(row, st.integers(0, 4))
def test_gaps(values: list[float | None], limit: int) -> None:
    filled, bridged, changed = values.copy(), values.copy(), [0.0] * len(values)
    known = [at for at, value in enumerate(values) if value is not None]
    for left, right in zip(known, [*known[1:], len(values)], strict=False):
        begin = values[left]
        end = values[right] if right < len(values) else None
        if right < len(values):
            changed[right] = float(end != begin)
        for at in range(left + 1, right if right - left - 1 <= limit else 0):
            filled[at] = begin
            if begin is not None and end is not None:
                bridged[at] = begin + (at - left) * (end - begin) / (right - left)
    array = np.array([values, values], np.float64)
    np.testing.assert_array_equal(along.filled(array, limit), np.array([filled] * 2, np.float64))
    np.testing.assert_array_equal(along.bridged(array, limit), np.array([bridged] * 2, np.float64))
    np.testing.assert_array_equal(along.changes(array), np.array([changed] * 2, np.float64))


@given(st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=90), st.data())
def test_sliding(values: list[float], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(values)))
    runs = [values[at : at + size] for at in range(len(values) - size + 1)]
    array = np.array([values])
    assert along.sliding(array, size, np.add)[0].tolist() == [sum(run) for run in runs]
    assert along.sliding(array, size, np.maximum)[0].tolist() == [max(run) for run in runs]
    assert along.doubled(array, size, np.add)[0].tolist() == [sum(run) for run in runs]


def test_an_infinity_stays_in_its_windows() -> None:
    for size in (3, along.IN_ORDER + 3):
        sums = along.sliding(np.array([[1.0] * 40 + [math.inf] + [1.0] * 40]), size, np.add)[0]
        assert np.flatnonzero(np.isinf(sums)).tolist() == list(range(41 - size, 41))
        assert sums[41:].tolist() == [float(size)] * (81 - 41 - size + 1)


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-9, 9)), max_size=50), st.floats(-9, 9))
def test_recurrence(steps: list[tuple[float, float]], first: float) -> None:
    factors, additions = np.array(steps).reshape(-1, 2).T
    expected, value = [], first
    for factor, addition in steps:
        value = factor * value + addition
        expected.append(value)
    got = along.recurrence(np.stack((factors, factors)), np.stack((additions, additions)), np.array([first, first]))
    np.testing.assert_allclose(got, [expected] * 2, rtol=1e-9, atol=1e-9)


def test_medians_are_laid_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=(5, 40))
    monkeypatch.setattr(along, "PIECE", 30)
    same(lambda: along.medians(values, 7), name="windows_compiled")
    same(lambda: along.medians(values, 31), name="windows_compiled")


def test_shapes_are_checked() -> None:
    kernels, windows = along.along_compiled, along.windows_compiled
    if kernels is None or windows is None:
        pytest.skip("no kernels")
    two, three, row = np.zeros((2, 2)), np.zeros((2, 3)), np.zeros(2)
    for call in (
        lambda: kernels.fill(two, 1.0, three),
        lambda: kernels.bridge(two, 1.0, three),
        lambda: kernels.changes(two, three),
        lambda: kernels.spreads(two, 1, 0.0, three),
        lambda: kernels.spreads(two, 0, 0.0, two),
        lambda: kernels.averages(two, 1.0, row[:1], 1, two),
        lambda: kernels.averages(two, 1.0, row, 0, two),
        lambda: kernels.recur(two, three, row, 1, two),
        lambda: kernels.recur(two, two, row[:1], 1, two),
        lambda: windows.medians(three, 4, two),
        lambda: windows.medians(three, 2, two),
        lambda: windows.windows(three, 4, 0, 16, row, two),
        lambda: windows.windows(three, 1, 4, 16, row, two),
        lambda: windows.windows(three, 1, 0, 16, row[:1], two),
        lambda: kernels.rounded(row, 10.0, True, row[:1]),
        lambda: windows.deviations(three, 0, three),
        lambda: windows.deviations(three, 2, two),
    ):
        with pytest.raises(ValueError, match=r"rows|columns|window|into"):
            call()
