"""Moving windows against the same said window by window."""

from __future__ import annotations

import math
from datetime import UTC

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import Ids, Rows
from ingestd.query.context import Context, Costs, Source
from ingestd.query.evaluate import evaluate
from ingestd.query.functions.moving import IN_ORDER, WINDOWS, doubled, moved, recurrence, sliding
from ingestd.query.limits import LimitError, QueryLimits
from ingestd.query.reduce import REDUCERS

row = st.lists(st.none() | st.integers(-9, 9).map(float), min_size=1, max_size=60)


class NoReader:
    def find(self, pattern: str) -> list[tuple[str, int]]:
        return []

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        return []


def context(points: int = 10**9) -> Context:
    return Context(Source(NoReader(), 0, Costs(QueryLimits(points=points))), 0, 60, UTC, 0.0, evaluate)


@given(st.lists(st.integers(-9, 9).map(float), min_size=1, max_size=90), st.data())
def test_sliding(values: list[float], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(values)))
    runs = [values[at : at + size] for at in range(len(values) - size + 1)]
    array = np.array([values])
    assert sliding(array, size, np.add)[0].tolist() == [sum(run) for run in runs]
    assert sliding(array, size, np.maximum)[0].tolist() == [max(run) for run in runs]
    assert doubled(array, size, np.add)[0].tolist() == [sum(run) for run in runs]


def test_an_infinity_stays_in_its_windows() -> None:
    for size in (3, IN_ORDER + 3):
        sums = sliding(np.array([[1.0] * 40 + [math.inf] + [1.0] * 40]), size, np.add)[0]
        assert np.flatnonzero(np.isinf(sums)).tolist() == list(range(41 - size, 41))
        assert sums[41:].tolist() == [float(size)] * (81 - 41 - size + 1)


@pytest.mark.parametrize("func", sorted(REDUCERS))
@given(values=row, size=st.integers(0, 40), factor=st.sampled_from([0.0, 0.5, 1.0]))
def test_moved(func: str, values: list[float | None], size: int, factor: float) -> None:
    with np.errstate(all="ignore"):
        got = moved(context(), np.array([values, values], np.float64), size, factor, func)
    expected = []
    for end in range(size + 1, len(values) + 1):
        known = [value for value in values[end - size : end] if value is not None] if size else []
        enough = known and len(known) / size >= factor
        expected.append(REDUCERS[func](np.array(known), len(known)) if enough else math.nan)
    np.testing.assert_allclose(got, [expected] * 2, rtol=1e-9, atol=1e-12)


def test_every_aggregation_but_the_median_moves_without_laying_out_windows() -> None:
    assert set(REDUCERS) - set(WINDOWS) == {"median"}


def test_medians_are_charged_by_what_they_sort() -> None:
    values = np.zeros((10, 2_000))
    moved(context(100_000), values, 100, 0.0, "max")
    with pytest.raises(LimitError):
        moved(context(100_000), values, 1_000, 0.0, "median")


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-9, 9)), max_size=50), st.floats(-9, 9))
def test_recurrence(steps: list[tuple[float, float]], first: float) -> None:
    factors, additions = np.array(steps).reshape(-1, 2).T
    expected, value = [], first
    for factor, addition in steps:
        value = factor * value + addition
        expected.append(value)
    got = recurrence(np.stack((factors, factors)), np.stack((additions, additions)), np.array([first, first]))
    np.testing.assert_allclose(got, [expected] * 2, rtol=1e-9, atol=1e-9)
