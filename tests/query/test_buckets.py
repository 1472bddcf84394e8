"""Functions that gather points by index against the same said point by point."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import Ids, Rows
from ingestd.query.evaluate import Request, run
from ingestd.query.functions.buckets import beginning, hits
from ingestd.query.functions.counters import restarted
from ingestd.query.functions.gaps import bridged, gap_periods
from ingestd.query.functions.transform import rounded
from ingestd.query.grid import Grid, Series
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import LimitError, QueryError, QueryLimits

Render = Callable[..., list[Series]]
NOW = 1_800_000_000
row = st.lists(st.none() | st.integers(-9, 9).map(float), min_size=1, max_size=40)


def plain_hits(values: list[float | None], start: int, step: int, interval: int, begin: int, count: int) -> list[float]:
    out: list[list[float]] = [[] for _ in range(count)]
    for at, value in enumerate(values):
        for second in range(start + at * step, start + (at + 1) * step):
            bucket = (second - begin) // interval
            if value is not None and 0 <= bucket < count:
                out[bucket].append(value)
    return [sum(each) if each else math.nan for each in out]


@given(row, st.integers(1, 9), st.integers(1, 20), st.integers(0, 3), st.integers(0, 20))
def test_hits(values: list[float | None], step: int, interval: int, more: int, start: int) -> None:
    """Each second of a point counts once, in the bucket that it lies in."""
    end = start + len(values) * step
    count = -(-(end - start) // interval) + more
    begin = end - count * interval
    grid = Grid(
        start, end, step, np.array([values], np.float64), Labels.of([Label("x", "x", {})]), np.zeros(1, np.intp)
    )
    expected = plain_hits(values, start, step, interval, begin, count)
    np.testing.assert_allclose(hits(grid, interval, begin, count)[0], expected, atol=1e-9)


@given(row, st.data())
def test_restarted(values: list[float | None], data: st.DataObject) -> None:
    first = data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    expected, current = [], 0.0
    for value, anew in zip(values, first, strict=True):
        current = (0.0 if anew else current) + (value or 0.0)
        expected.append(current)
    assert restarted(np.array([values], np.float64), np.array(first))[0].tolist() == expected


@given(row, st.sampled_from([0, 1, 2, 5, math.inf]))
def test_bridged(values: list[float | None], limit: float) -> None:
    expected = [math.nan if value is None else value for value in values]
    known = [at for at, value in enumerate(values) if value is not None]
    for left, right in itertools.pairwise(known):
        if right - left - 1 <= limit:
            expected[left : right + 1] = np.linspace(expected[left], expected[right], right - left + 1).tolist()
    np.testing.assert_allclose(bridged(np.array([values], np.float64), limit)[0], expected, atol=1e-12)


@given(st.integers(1, 5), st.integers(2, 6), st.integers(3, 6))
def test_a_period_is_found(first: int, period: int, count: int) -> None:
    values = np.full((2, first + period * count + 1), np.nan)
    values[0, first::period] = 1.0
    values[1] = 1.0
    firsts, periods = gap_periods(values)
    assert (firsts.tolist(), periods.tolist()) == ([first, 0], [period, 0])


@given(st.floats(-1e12, 1e12), st.integers(-12, 12))
def test_rounding_before_the_point(value: float, digits: int) -> None:
    assert rounded(np.array([[value]]), digits)[0, 0] == pytest.approx(round(value, digits), rel=1e-14, abs=0)


def test_rounding_where_there_are_no_such_digits() -> None:
    values = np.array([[1.5, -2.5, np.nan]])
    np.testing.assert_array_equal(rounded(values, 400), values)
    np.testing.assert_array_equal(rounded(values, -400), [[0.0, 0.0, np.nan]])


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("seconds", "2027-07-15T13:14:15"),
        ("minutes", "2027-07-15T13:14:00"),
        ("hours", "2027-07-15T13:00:00"),
        ("days", "2027-07-15T00:00:00"),
        ("weeks", "2027-07-12T00:00:00"),
        ("weeks4", "2027-07-15T00:00:00"),
        ("weeks5", "2027-07-09T00:00:00"),
        ("months", "2027-07-01T00:00:00"),
        ("years", "2027-01-01T00:00:00"),
    ],
)
def test_beginnings(unit: str, expected: str) -> None:
    """In summer the year begins an hour before midnight, by winter's clocks: as the offset stands at the moment."""
    moment = datetime.fromisoformat("2027-07-15T13:14:15+02:00")
    assert beginning(unit, int(moment.timestamp()), ZoneInfo("Europe/Berlin")) == int(
        datetime.fromisoformat(f"{expected}+02:00").timestamp()
    )


def test_cacti_style(render: Render) -> None:
    data: dict[str, tuple[int, list[float]]] = {"a.long": (10, [1500.0] * 6), "b": (10, [math.nan] * 6)}
    names = [each.name for each in render(data, 'cactiStyle(*,"si","b")')]
    assert names == [
        "a.long Current:1.50 kb    Max:1.50 kb    Min:1.50 kb    ",
        "b      Current:nan        Max:nan        Min:nan        ",
    ]


def test_options_of_a_chart(render: Render) -> None:
    data: dict[str, tuple[int, list[float]]] = {"a": (10, [1.0] * 6), "b": (10, [1.0] * 6)}
    (one,) = render(data, 'color(alpha(lineWidth(a,2),0.5),"red")')
    assert dict(one.options) == {"lineWidth": 2.0, "alpha": 0.5, "color": "red"}
    lower, upper = render(data, "areaBetween(*)")
    assert dict(lower.options) == {"stacked": True, "invisible": True}
    assert dict(upper.options) == {"stacked": True}
    assert not render(data, 'derivative(color(a,"red"))')[0].options
    (line,) = render(data, 'verticalLine("-10s",color="red")')
    assert (line.name, dict(line.options)) == (None, {"drawAsInfinite": True, "color": "red"})


class WithEvents:
    """A reader of events at some seconds, all of them with the tags a and b."""

    def __init__(self, times: list[int]) -> None:
        self.times = times

    def find(self, pattern: str) -> list[tuple[str, int]]:
        return []

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        return []

    def events(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        return [time for time in self.times if start <= time <= until and {*tags} <= {"a", "b"}]


@given(st.lists(st.integers(NOW - 12, NOW + 2)))
def test_events_are_counted_by_the_second(times: list[int]) -> None:
    """From the window's beginning to the second before its end; graphite-web crashes of one at the end."""
    request = Request(('events("*")', 'events("a", "b")', 'events("c")'), NOW - 10, NOW, NOW, UTC)
    every, some, none = run(request, WithEvents(sorted(times)))
    expected = [float(times.count(second)) or math.nan for second in range(NOW - 10, NOW)]
    np.testing.assert_array_equal(every.values, expected)
    np.testing.assert_array_equal(some.values, expected)
    assert np.isnan(none.values).all()
    assert (every.start, every.end, every.step, every.consolidation_func, every.ints) == (NOW - 10, NOW, 1, "sum", True)
    assert (every.name, some.name) == ('events("*")', 'events("a", "b")')


def test_a_reader_without_events(render: Render) -> None:
    (one,) = render({}, "events()")
    assert (one.name, len(one.values)) == ('events("")', 60)
    assert np.isnan(one.values).all()


def test_random_walks_can_be_repeated(render: Render) -> None:
    first, again, other = render({}, 'randomWalk("x",1)', 'randomWalk("x",1)', 'randomWalk("y",1)')
    assert first.values.tolist() == again.values.tolist() != other.values.tolist()
    assert first.values[0] == 0
    assert np.all(np.abs(np.diff(first.values)) <= 0.5)


@pytest.mark.parametrize("target", ["time('x',1)", "timeStack(a,'1min',0,1000000000)", "hitcount(a,'1s')"])
def test_what_grows_is_charged(render: Render, target: str) -> None:
    with pytest.raises(LimitError):
        render({"a": (10, [1.0] * 400)}, target, seconds=3_600, limits=QueryLimits(points=1_000, calls=50))


def test_an_unknown_manner_is_refused_where_it_is_used(render: Render) -> None:
    data: dict[str, tuple[int, list[float]]] = {"a": (10, [1.0] * 6), "b": (30, [1.0] * 2)}
    assert render(data, 'consolidateBy(a,"odd")')[0].consolidation_func == "odd"
    with pytest.raises(QueryError, match="Invalid consolidation function: 'odd'"):
        render(data, 'sumSeries(consolidateBy(*,"odd"))')


def test_a_percentile_that_no_value_has_leaves_no_tag(render: Render) -> None:
    data: dict[str, tuple[int, list[float]]] = {"a": (10, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])}
    high, top = render(data, "removeBelowPercentile(a,150)", "removeBelowPercentile(a,100)")
    assert "nPercentile" not in high.tags
    assert high.values.tolist() == data["a"][1]
    assert top.tags["nPercentile"] == "100.0"
