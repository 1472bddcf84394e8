"""Vectorised functions against the same said value by value."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index.names import NameIndexError
from ingestd.query.functions.buckets import bucketed
from ingestd.query.functions.counters import growth
from ingestd.query.functions.gaps import filled
from ingestd.query.functions.registry import FUNCTIONS
from ingestd.query.functions.transform import rounded
from ingestd.query.grid import Grid, Series
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import QueryError
from ingestd.query.reduce import REDUCERS

Render = Callable[..., list[Series]]
NOW = 1_800_000_000
NONE = math.nan
row = st.lists(st.none() | st.integers(0, 9).map(float), min_size=1, max_size=40)


def plain_fill(values: list[float | None], limit: float) -> list[float | None]:
    out, gap, last = list(values), 0, None
    for at, value in enumerate([*values, 0.0]):
        if value is None:
            gap += 1
            continue
        if 0 < gap <= limit and last is not None:
            out[at - gap : at] = [last] * gap
        gap, last = 0, value
    return out


@given(row, st.sampled_from([0, 1, 2, 5, math.inf]))
def test_filled(values: list[float | None], limit: float) -> None:
    array = np.array([values], np.float64)
    before = array.copy()
    np.testing.assert_array_equal(filled(array, limit)[0], np.array(plain_fill(values, limit), np.float64))
    np.testing.assert_array_equal(array, before)


def plain_growth(values: list[float | None], high: float | None, low: float | None) -> list[float]:
    out, previous = [], None
    for value in values:
        if value is None or (high is not None and value > high) or (low is not None and value < low):
            out.append(NONE)
            previous = None
            continue
        if previous is None:
            out.append(NONE)
        elif value >= previous:
            out.append(value - previous)
        elif high is not None:
            out.append(high + 1 + value - previous - (low or 0))
        else:
            out.append(NONE if low is None else value - low)
        previous = value
    return out


@given(row, st.none() | st.integers(5, 9), st.none() | st.integers(0, 4))
def test_growth(values: list[float | None], high: float | None, low: float | None) -> None:
    got = growth(np.array([values], np.float64), high, low)[0]
    np.testing.assert_array_equal(got, plain_growth(values, high, low))


@given(st.floats(-1e8, 1e8) | st.integers(-(10**9), 10**9).map(lambda number: number / 2e6) | st.floats(1e14, 1e300))
def test_rounded(value: float) -> None:
    assert rounded(np.array([[value]]), 6)[0, 0] == round(value, 6)


@given(row, st.integers(0, 30), st.integers(1, 9), st.sampled_from([1, 5, 7, 30]), st.sampled_from([0.0, 0.5, 1.0]))
def test_bucketed(values: list[float | None], start: int, step: int, interval: int, factor: float) -> None:
    end = start + step * len(values)
    first = start - start % interval
    buckets = -(-(end - first) // interval)
    grid = Grid(
        start, end, step, np.array([values], np.float64), Labels.of([Label("a", "a", {})]), np.zeros(1, np.intp)
    )
    got = bucketed(grid, interval, first, buckets, REDUCERS["sum"], np.array([[factor]]))
    expected = []
    for left in range(first, first + buckets * interval, interval):
        times = range(start, end, step)
        known = [v for v, t in zip(values, times, strict=True) if v is not None and left <= t < left + interval]
        expected.append(sum(known) if known and len(known) / (interval / step) >= factor else NONE)
    np.testing.assert_array_equal(got[0], expected)


DATA = {
    "a.x": (10, [float(at) for at in range(100)]),
    "a.y": (10, [1.0] * 95 + [NONE] * 5),
    "b.x": (20, [2.0] * 60),
    "m;dc=eu;host=w1": (10, [3.0] * 100),
    "m;dc=eu;host=w2": (10, [4.0] * 100),
}


def test_steps_are_brought_together(render: Render) -> None:
    (series,) = render(DATA, "sumSeries(a.x,b.x)")
    assert (series.step, series.start, series.end) == (20, NOW - 50, NOW + 20 - 10)
    assert series.values.tolist() == [94.5 + 2, 96.5 + 2, 98.5 + 2]


def test_common_tags_stay(render: Render) -> None:
    (series,) = render(DATA, "sumSeries(m;*)")
    assert series.tags == {"name": "m", "dc": "eu", "aggregatedBy": "sum"}
    assert series.name == "sumSeries(m;*)"
    (series,) = render(DATA, "avg(a.*)")
    assert series.tags == {"name": "averageSeries(a.*)", "aggregatedBy": "average"}


def test_a_factor_of_the_request_holds_for_aggregates(render: Render) -> None:
    (series,) = render(DATA, "sumSeries(a.*)", x_files_factor=0.6)
    assert np.isnan(series.values).tolist() == [False] + [True] * 5


def test_tags_are_nodes_too(render: Render) -> None:
    assert [each.name for each in render(DATA, 'aliasByNode(m;*,0,"host",7)')] == ["m.w1.", "m.w2."]


def test_moving_windows_look_back(render: Render) -> None:
    (series,) = render(DATA, "movingAverage(a.x,3)")
    assert series.values.tolist() == [93.0, 94.0, 95.0, 96.0, 97.0, 98.0]
    assert (series.start, series.name, series.tags["movingAverage"]) == (NOW - 50, "movingAverage(a.x,3)", "3")
    (series,) = render(DATA, 'movingAverage(a.x,"30s")')
    assert series.name == 'movingAverage(a.x,"30s")'


def test_pipes_survive_a_second_evaluation(render: Render) -> None:
    (series,) = render(DATA, "a.x|scale(2)|movingAverage(3)")
    assert series.values.tolist() == [186.0, 188.0, 190.0, 192.0, 194.0, 196.0]


def test_time_shift_takes_the_window_of_the_first_series(render: Render) -> None:
    (series,) = render(DATA, 'timeShift(a.x,"20s")')
    assert (series.start, series.end) == (NOW - 50, NOW + 10)
    assert series.values.tolist() == [92.0, 93.0, 94.0, 95.0, 96.0, 97.0]
    assert series.name == 'timeShift(a.x, "-20s")'
    assert series.path_expression == "a.x"


@pytest.mark.parametrize(
    "target",
    [
        "nosuch(a.x)",
        "scale(a.x)",
        "scale(a.x,2,3)",
        "scale(a.x,'x')",
        "scale(a.x,factor=2,factor2=3)",
        "scale(2,a.x)",
        "scale(a.x,a.x)",
        "sumSeries(5)",
        "alias(a.x,a.x)",
        "aliasSub(a.x,'(','x')",
        "aliasSub(a.x,1,2)",
        "aliasSub(alias(a.x,5),'a','b')",
        "aliasByNode(alias(a.x,5),0)",
        "aliasByNode(alias(a.x,''),0)",
        "aliasByNode(alias(a.x,'()'),0)",
        "aliasByNode(a.x,1.0)",
        "aliasByNode(a.x,none)",
        "summarize(a.x,'bogus')",
        "summarize(a.x,'-1min')",
        "summarize(a.x,'1min','p90')",
        "movingAverage(a.x,inf)",
        "movingAverage(a.x,none)",
        "movingAverage(a.x,1e12)",
        "movingAverage(a.x,-100)",
        "timeShift(a.x,'')",
        "timeShift(a.x,5)",
        "keepLastValue(a.x,'x')",
        "constantLine(a.x)",
        "template(a.$x,b.c)",
    ],
)
def test_errors_are_query_errors_of_one_line(render: Render, target: str) -> None:
    with pytest.raises(QueryError) as caught:
        render(DATA, target)
    assert "\n" not in str(caught.value)


def test_what_is_registered() -> None:
    assert FUNCTIONS["sum"].body is FUNCTIONS["sumSeries"].body
    assert FUNCTIONS["avg"].body is FUNCTIONS["averageSeries"].body
    assert [param.name for param in FUNCTIONS["summarize"].params] == [
        "seriesList",
        "intervalString",
        "func",
        "alignToFrom",
    ]


def test_a_shift_into_summer_keeps_the_time_of_day(render: Render, memory: type) -> None:
    reader = memory(DATA)  # NOW is in January
    render(reader, 'timeShift(a.x,"200d",true,true)', 'timeShift(a.x,"7d",alignDST=true)')
    shifted = [(until - NOW) for _, _, until in reader.fetches]
    assert shifted == [0, -200 * 86400 - 3600, -7 * 86400]


# --- series by their tags -------------------------------------------------------------------------------------------

TAGGED = {
    "cpu;dc=a;host=x": (10, [1.0, 2.0]),
    "cpu;dc=b;host=x": (10, [3.0, 4.0]),
    "disk;dc=a": (10, [5.0, 6.0]),
    "plain": (10, [7.0, 8.0]),
}


def test_series_are_found_by_tags(render):
    series = render(TAGGED, 'seriesByTag("name=cpu", "dc!=c")', "seriesByTag('dc=a','host=')", seconds=20)
    assert [one.name for one in series] == ["cpu;dc=a;host=x", "cpu;dc=b;host=x", "disk;dc=a"]
    assert [one.path_expression for one in series] == ['seriesByTag("name=cpu", "dc!=c")'] * 2 + [
        "seriesByTag('dc=a','host=')"
    ]
    assert series[0].tags == {"name": "cpu", "dc": "a", "host": "x"}
    (total,) = render(TAGGED, 'sumSeries(seriesByTag("dc=~[ab]","name=cpu"))', seconds=20)
    assert total.name == 'sumSeries(seriesByTag("dc=~[ab]","name=cpu"))'
    assert total.values.tolist() == [4.0, 6.0]


def test_a_search_by_tags_is_made_once_and_over_again_for_another_window(render, memory):
    reader = memory(TAGGED)
    render(reader, 'seriesByTag("dc=a")', 'timeShift(seriesByTag("dc=a"),"10s")', 'seriesByTag("dc=a")', seconds=20)
    assert reader.finds == ["dc=a"]


@pytest.mark.parametrize(
    "target", ["seriesByTag()", 'seriesByTag("dc!=a")', 'seriesByTag("nonsense")', "seriesByTag(a.b)"]
)
def test_a_search_by_tags_that_asks_for_nothing_is_refused(render, target):
    with pytest.raises((QueryError, NameIndexError)):
        render(TAGGED, target)
