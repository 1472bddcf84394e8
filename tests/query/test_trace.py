"""What a trace tells of an evaluation."""

from itertools import count
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ingestd.query.evaluate import Request, run
from ingestd.query.limits import QueryLimits
from ingestd.query.parse import parse
from ingestd.query.trace import PERCENTILE, Trace, tree_of

NOW = 1_800_000_000


def explained(reader, *targets, seconds=60):
    ticks = count()
    trace = Trace(lambda: float(next(ticks)))
    series = run(Request(targets, NOW - seconds, NOW, NOW, ZoneInfo("UTC")), reader, trace)
    return series, trace.as_dict()


def test_the_tree_of_a_target():
    node = parse('summarize(a.b,"1h",func="max",alignToFrom=true)', QueryLimits())
    assert tree_of(node) == {
        "function": "summarize",
        "args": [{"path": "a.b"}, {"value": "1h"}],
        "kwargs": {"func": {"value": "max"}, "alignToFrom": {"value": True}},
    }


def test_patterns_reads_and_calls_are_told(memory):
    reader = memory({"a.x": (10, [1.0] * 10), "a.y": (10, [2.0] * 10)})
    series, told = explained(reader, "scale(sumSeries(a.*),2)")
    assert series[0].values[0] == 6.0
    (pattern,) = told["patterns"]
    assert (pattern["pattern"], pattern["series"], pattern["paths"]) == ("a.*", 2, ["a.x", "a.y"])
    assert pattern["reads"][0]["points"] == 12
    assert [(call["function"], call["series"], call["points"]) for call in told["calls"]] == [
        ("sumSeries", [2, 1], [12, 6]),
        ("scale", [1, 1], [6, 6]),
    ]
    assert {"parse", "find", "read", "functions"} <= set(told["seconds"])
    assert told["warnings"] == []


def test_a_call_is_not_charged_for_what_is_inside_of_it(memory):
    _, told = explained(memory({"a": (10, [1.0] * 10)}), "scale(scale(a,2),3)")
    inner, outer = told["calls"]
    assert inner["seconds"] > 0
    # A tick before the inner call and one after it: the ticks of the inner call and of its read are not its own.
    assert outer["seconds"] == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("target", "warned"),
    [
        ("averageSeries(web.*.upper_90)", "percentiles (web.a.upper_90)"),
        ("maxSeries(web.*.upper_90)", ""),
        ("sumSeries(mixed.*)", "steps 10, 60 s"),
        ("nothing.*", "no series matches nothing.*"),
        ("web.a.upper_90", ""),
    ],
)
def test_warnings(memory, target, warned):
    data = {name: (10, [1.0] * 10) for name in ("web.a.upper_90", "web.b.upper_90", "mixed.a")}
    reader = memory({**data, "mixed.b": (60, [1.0] * 3)})
    _, told = explained(reader, target)
    assert any(warned in text for text in told["warnings"]) if warned else told["warnings"] == []


def test_what_reading_tells_of_itself_is_shown_and_warned_of(memory):
    class Telling(memory):
        def explain(self, ids, start, until, now):
            assert ids.dtype == np.uint32
            return [{"archives": [{"step": 10, "retention": 600}], "hidden": 3, "xFilesFactors": [0.5], "chosen": 0}]

    _, told = explained(Telling({"a": (10, [1.0] * 10)}), "a", seconds=3600)
    assert told["patterns"][0]["reads"][0]["origins"][0]["hidden"] == 3
    assert [text.split(": ", 1)[1][:30] for text in told["warnings"]] == [
        "only 600 s are kept, less than",
        "3 slots are empty although fin",
    ]


@pytest.mark.parametrize("name", ["a.upper_90", "a.p95", "a.p999", "t.percentile-99", "a.95th_percentile", "x.median"])
def test_names_of_percentiles(name):
    assert PERCENTILE.search(name)


@pytest.mark.parametrize("name", ["a.p1", "group.host", "a.upper", "a.cpu-95", "pages.p12345", "a.pct"])
def test_other_names(name):
    assert not PERCENTILE.search(name)
