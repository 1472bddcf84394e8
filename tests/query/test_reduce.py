"""Aggregations over arrays give what graphite-web's do over lists with None."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.limits import QueryError
from ingestd.query.reduce import CONSOLIDATORS, REDUCERS, SHORT, reduce_buckets, reducer

Plain = Callable[[list[float]], float]

PLAIN: dict[str, Plain] = {
    "average": lambda known: sum(known) / len(known),
    "median": statistics.median,
    "sum": sum,
    "min": min,
    "max": max,
    "diff": lambda known: known[0] - sum(known[1:]),
    "stddev": statistics.pstdev,
    "count": len,
    "range": lambda known: max(known) - min(known),
    "last": lambda known: known[-1],
    "first": lambda known: known[0],
}
"""Of the values that are there, at least one."""

values = st.none() | st.integers(-1000, 1000).map(float)
rows = st.integers(1, SHORT + 3).flatmap(
    lambda width: st.lists(st.lists(values, min_size=width, max_size=width), min_size=1, max_size=4)
)


def plain(name: str, row: list[float | None]) -> float:
    known = [value for value in row if value is not None]
    if name == "avg_zero":
        return sum(known) / len(row)
    if name == "multiply":
        return math.prod(known) if len(known) == len(row) else math.nan
    return PLAIN[name](known) if known else math.nan


@given(rows, st.sampled_from(sorted({*PLAIN, "avg_zero", "multiply"} - {"first", "count"})))
def test_reducers(table: list[list[float | None]], name: str) -> None:
    array = np.array(table, np.float64)
    with np.errstate(all="ignore"):
        got = REDUCERS[name](array, array.shape[1])
        transposed = REDUCERS[name](np.asfortranarray(array), array.shape[1])
    expected = [plain(name, row) for row in table]
    np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9)
    # numpy goes along an axis in the order of memory; these two round here, the others have whole numbers.
    np.testing.assert_allclose(got, transposed, rtol=1e-14 if name in ("stddev", "multiply") else 0, atol=0)


def test_aliases_and_the_unknown() -> None:
    assert reducer("avg") is reducer("average")
    assert reducer("total") is reducer("sum")
    assert reducer("current") is reducer("last")
    assert reducer("rangeOf") is reducer("range")
    for name in ("p90", "first", "", None, 5):
        with pytest.raises(QueryError, match="Unsupported aggregation function"):
            reducer(name)


def plain_buckets(row: list[float | None], size: int, name: str, factor: float) -> list[float]:
    out = []
    for at in range(0, len(row), size):
        bucket = row[at : at + size]
        known = sum(value is not None for value in bucket)
        out.append(plain(name, bucket) if known and known / size >= factor else math.nan)
    return out


@given(rows, st.integers(1, 25), st.sampled_from(sorted(CONSOLIDATORS)), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_buckets(table: list[list[float | None]], size: int, name: str, factor: float) -> None:
    with np.errstate(all="ignore"):
        got = reduce_buckets(np.array(table, np.float64), size, name, factor)
    name = "average" if name == "avg" else name
    expected = [plain_buckets(row, size, name, factor) for row in table]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_an_unknown_consolidation_is_an_error() -> None:
    with pytest.raises(QueryError, match="Invalid consolidation function: 'median'"):
        reduce_buckets(np.zeros((1, 4)), 2, "median", 0.0)


def test_rows_have_factors_of_their_own() -> None:
    table = np.array([[1.0, math.nan], [1.0, math.nan]])
    with np.errstate(all="ignore"):
        got = reduce_buckets(table, 2, "sum", np.array([[0.5], [0.6]]))
    np.testing.assert_array_equal(got, [[1.0], [math.nan]])
