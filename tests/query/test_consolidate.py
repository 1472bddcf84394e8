"""maxDataPoints, against graphite-web's rule spelled out for one list."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.consolidate import consolidate
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError


def series(start: int, step: int, values: list[float], **more: object) -> Series:
    data = np.array(values, np.float64)
    return Series("a", "a", {"name": "a"}, start, start + step * len(values), step, data, **more)  # type: ignore[arg-type]


def plain(each: Series, span: int, points: int) -> tuple[int, int, list[float]]:
    """Start, bucket size and sums, one value after the other."""
    values = each.values.tolist()
    if points == 1:
        size, start = len(values), each.start
    elif points < span / each.step:
        size = math.ceil(span / each.step / points)
        seconds = size * each.step
        nudge = seconds + each.start % each.step - each.start % seconds
        start = each.start + nudge
        for _ in range(1, nudge // each.step):
            del values[:1]
    else:
        return each.start, 1, values
    if size == 1:
        return start, size, values
    return start, size, [math.fsum(values[at : at + size]) for at in range(0, len(values), size)]


shapes = st.tuples(st.integers(0, 1000), st.sampled_from([1, 7, 10, 60]), st.integers(1, 80))


@given(st.lists(shapes, min_size=1, max_size=3), st.integers(1, 100))
def test_as_spelled_out(all_shapes: list[tuple[int, int, int]], points: int) -> None:
    given_series = [
        series(start * step, step, [float(at) for at in range(count)], consolidation_func="sum")
        for start, step, count in all_shapes
    ]
    span = max(each.end for each in given_series) - min(each.start for each in given_series)
    for before, after in zip(given_series, consolidate(given_series, points), strict=True):
        start, size, values = plain(before, span, points)
        assert (after.start, after.values_per_point) == (start, size)
        assert after.values.tolist() == values


def test_buckets_begin_at_multiples_and_one_point_is_lost() -> None:
    (got,) = consolidate([series(1000, 10, [float(at) for at in range(12)])], 4)
    assert (got.start, got.values_per_point, got.step) == (1020, 3, 10)
    assert got.values.tolist() == [2.0, 5.0, 8.0, 10.5]
    assert list(got.timestamps()) == [1020, 1050, 1080, 1110]
    (aligned,) = consolidate([series(990, 10, [float(at) for at in range(12)])], 4)
    assert (aligned.start, aligned.values.tolist()) == (1020, [3.0, 6.0, 9.0, 11.0])


def test_what_is_given_stays_as_it_is() -> None:
    before = series(1000, 10, [1.0] * 12)
    consolidate([before], 2)
    assert (before.start, before.values_per_point, len(before.values)) == (1000, 1, 12)
    assert consolidate([before], None) == [before]


def test_nothing_comes_of_series_without_points() -> None:
    assert consolidate([], 10) == []
    assert consolidate([series(0, 10, [])], None) == []
    assert len(consolidate([series(0, 10, []), series(0, 10, [1.0] * 5)], 2)) == 2


def test_no_points_are_an_error() -> None:
    with pytest.raises(QueryError, match="maxDataPoints"):
        consolidate([series(0, 10, [1.0])], 0)


def test_an_unknown_function_matters_only_when_buckets_are_made() -> None:
    odd = series(0, 10, [1.0] * 12, consolidation_func="median")
    assert consolidate([odd], 100)[0].values.tolist() == [1.0] * 12
    with pytest.raises(QueryError, match="Invalid consolidation function"):
        consolidate([odd], 3)


def test_a_bucket_longer_than_a_series_costs_no_more_than_its_points() -> None:
    long = series(0, 10**12, [1.0, 2.0, 3.0, 4.0])
    sparse = series(0, 1, [9.0, 3.0, 5.0], x_files_factor=0.5)
    got = consolidate([long, sparse, series(0, 1, [9.0, 3.0, 5.0])], 2)
    assert [each.values_per_point for each in got] == [2, 2 * 10**12, 2 * 10**12]
    assert all(len(each.values) <= 4 for each in got)
