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
from ingestd.query.functions import moving
from ingestd.query.functions.moving import FOLDS, WINDOWS, moved
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


def test_every_aggregation_moves() -> None:
    assert set(REDUCERS) == {*FOLDS, *WINDOWS}


def test_rows_are_moved_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(60.0).reshape(6, 10)
    factors = np.array([[0.0], [0.0], [1.0], [0.0], [0.0], [1.0]])
    values[2:, 4] = np.nan
    whole = moved(context(), values, 3, factors, "sum")
    monkeypatch.setattr(moving, "CACHED", 20)
    np.testing.assert_array_equal(moved(context(), values, 3, factors, "sum"), whole)
    assert np.isnan(whole).any(axis=1).tolist() == [False, False, True, False, False, True]


def test_medians_are_charged_by_what_they_sort() -> None:
    values = np.zeros((10, 2_000))
    moved(context(100_000), values, 100, 0.0, "max")
    with pytest.raises(LimitError):
        moved(context(100_000), values, 1_000, 0.0, "median")
