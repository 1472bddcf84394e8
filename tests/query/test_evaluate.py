"""Requests: order of series, what is fetched how often, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ingestd.query.context import PROBE
from ingestd.query.grid import Series
from ingestd.query.limits import LimitError, QueryError, QueryLimits

Render = Callable[..., list[Series]]
NOW = 1_800_000_000
DATA = {
    "a.c": (10, [1.0] * 100),
    "a.b": (60, [2.0] * 100),
    "a.a": (10, [3.0] * 100),
    "x.y": (10, [float(at) for at in range(100)]),
}
LIMITS = QueryLimits()


def names(series: list[Series]) -> list[str]:
    return [each.name for each in series]


def test_series_keep_the_order_of_paths_across_windows(render: Render) -> None:
    series = render(DATA, "a.*")
    assert names(series) == ["a.a", "a.b", "a.c"]
    assert [each.values[0] for each in series] == [3.0, 2.0, 1.0]
    assert [each.step for each in series] == [10, 60, 10]
    assert [each.path_expression for each in series] == ["a.*"] * 3


def test_targets_follow_one_another(render: Render) -> None:
    series = render(DATA, "x.y", "", "  ", "nothing", "alias(a.*,'z')", "x.y")
    assert names(series) == ["x.y", "z", "z", "z", "x.y"]


def test_a_window_of_a_pattern_is_fetched_once(render: Render, memory: Any) -> None:
    reader = memory(DATA)
    render(reader, "scale(x.y,2)", "sumSeries(x.y,x.y)", "movingAverage(x.y,2)", "movingAverage(scale(x.y,2),2)")
    assert reader.finds == ["x.y"]
    assert [(start, until) for _, start, until in reader.fetches] == [(NOW - 60, NOW), (NOW - 80, NOW)]


def test_functions_do_not_touch_what_is_cached(render: Render) -> None:
    series = render(DATA, "x.y", "scale(x.y,2)", "keepLastValue(derivative(x.y))", "alias(x.y,'z')", "x.y")
    assert series[0].values.tolist() == series[-1].values.tolist() == [94.0, 95.0, 96.0, 97.0, 98.0, 99.0]
    assert series[0].tags == series[-1].tags == {"name": "x.y"}
    assert series[-1].name == "x.y"


def test_tagged_names_become_tags(render: Render) -> None:
    data = {name: (10, [1.0] * 9) for name in ("m;b=2;c=x=y", "m;b", "~m", "m;b=~2")}
    tags = [each.tags for each in render(data, "*")]
    assert tags == [{"name": "m;b"}, {"name": "m", "b": "2", "c": "x=y"}, {"name": "m;b=~2"}, {"name": "m"}]


def test_a_large_pattern_is_probed_and_stays_whole(render: Render, memory: Any) -> None:
    reader = memory({f"n.{at:04}": (10, [float(at)] * 9) for at in range(3 * PROBE)})
    series = render(reader, "n.*")
    assert [each.values[0] for each in series] == list(range(3 * PROBE))
    assert [len(ids) for ids, _, _ in reader.fetches] == [PROBE, 3 * PROBE]


@pytest.mark.parametrize(
    ("limits", "target", "message"),
    [
        (replace(LIMITS, series=2), "a.*", r"needs 3 series; the limit is 2 \(limits.query_series\)"),
        (replace(LIMITS, series=3), "sumSeries(a.*,x.y)", "needs 4 series"),
        (replace(LIMITS, points=11), "sumSeries(x.y,a.a)", "needs 12 points; the limit is 11 .limits.query_points"),
        (replace(LIMITS, points=50), "summarize(x.y,'1s')", "limits.query_points"),
        (replace(LIMITS, patterns=1), "sumSeries(x.y,a.a)", "needs 2 path expressions"),
        (replace(LIMITS, calls=2), "scale(scale(scale(x.y,1),1),1)", "needs 3 function calls"),
        (replace(LIMITS, series=2), "sumSeries(x.y,x.y,x.y)", "needs 3 series"),
        (replace(LIMITS, points=12), "sumSeries(x.y,x.y,x.y)", "needs 18 points"),
        (replace(LIMITS, depth=2), "scale(scale(scale(x.y,1),1),1)", "limits.query_depth"),
        (replace(LIMITS, target_length=9), "x.y       ", "limits.query_target_length"),
        (replace(LIMITS, targets=0), "x.y", "limits.query_targets"),
        (LIMITS, "movingAverage(x.y,'1000y')", r"31536000000 s .*; the limit is 630720000 \(limits.query_window\)"),
        (LIMITS, "timeShift(x.y,'-1000y')", r"31536000000 s .*query_window"),
    ],
)
def test_limits_name_the_number_and_the_setting(render: Render, limits: QueryLimits, target: str, message: str) -> None:
    with pytest.raises(LimitError, match=message):
        render(DATA, target, limits=limits)


def test_a_query_beyond_the_points_ends_before_it_reads_them_all(render: Render, memory: Any) -> None:
    reader = memory({f"n.{at:04}": (10, [1.0] * 9) for at in range(1_000)})
    with pytest.raises(LimitError, match="points"):
        render(reader, "n.*", limits=replace(LIMITS, points=600))
    assert sum(len(ids) for ids, _, _ in reader.fetches) <= 101


def test_functions_that_evaluate_twice_end_in_one_another(render: Render) -> None:
    with pytest.raises(LimitError, match=r"limits\.query_calls"):
        render(DATA, "timeShift(" * 60 + "constantLine(1)" + ",'1s')" * 60, limits=replace(LIMITS, calls=500))


def test_an_empty_range_is_an_error(render: Render) -> None:
    with pytest.raises(QueryError, match="empty time range"):
        render(DATA, "x.y", seconds=0)


def test_calls_as_deep_as_allowed_are_evaluated(render: Render) -> None:
    target = "scale(" * LIMITS.depth + "x.y" + ",1)" * LIMITS.depth
    assert len(render(DATA, target)) == 1
    assert len(render(DATA, "x.y" + "|scale(1)" * LIMITS.depth)) == 1
