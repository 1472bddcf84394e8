"""Functions that divide time into buckets of their own."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone, tzinfo
from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import (
    AGG_FUNC,
    ANY,
    BOOLEAN,
    INTERVAL,
    SERIES,
    Param,
    ParamType,
    function,
    optional,
)
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import Reducer, enough, known, reducer, total

INTERVAL_STRING: Final = Param("intervalString", INTERVAL, suggestions=("10min", "1h", "1d"))
UNITS: Final = ("s", "min", "h", "d", "w", "mon", "y")
"""Beginnings of the units that smartSummarize aligns to."""
ALIGN_TO: Final = optional(
    "alignTo",
    ParamType("string", ANY.convert),
    options=(None, True, False, "years", "months", "weeks", "days", "hours", "minutes", "seconds"),
)


@function(
    "summarize",
    group="Transform",
    params=(
        SERIES,
        INTERVAL_STRING,
        optional("func", AGG_FUNC, "sum"),
        optional("alignToFrom", BOOLEAN, False),
    ),
)
def summarize(call: Invocation, series: SeriesList, interval_string: str, func: str, align: bool) -> SeriesList:
    """Buckets of an interval, aligned to multiples of it or to the beginning of the data.

    Aligned to the interval there is one bucket beyond the end, which mostly is empty.
    """
    interval = positive(call, interval_string)
    for grid in series.grids:
        start, end = grid.start, grid.end
        if not align:
            start, end = start - start % interval, end - end % interval + interval
        buckets = max(-(-(end - start) // interval), 0)
        call.context.charge(len(grid.labels), buckets)
        grid.values = bucketed(grid, interval, start, buckets, reducer(func), grid.labels.factors)
        grid.start, grid.end, grid.step = start, start + buckets * interval if align else end, interval
        grid.labels.all(ints=func == "count")
    text = f', "{interval_string}", "{func}"{", true" if align else ""}'
    return series.named("summarize", text, interval_string, anew=True).tagged("summarizeFunction", func)


def positive(call: Invocation, interval_string: str) -> int:
    """The seconds of an interval. Raises :class:`QueryError`, of none and of negative ones too."""
    interval = parse_offset(interval_string)
    if interval <= 0:
        raise QueryError(f"{call.name}: the interval {interval_string!r} is not positive")
    return interval


@function(
    "smartSummarize",
    group="Transform",
    params=(SERIES, INTERVAL_STRING, optional("func", AGG_FUNC, "sum"), ALIGN_TO),
)
def smart_summarize(
    call: Invocation, series: SeriesList, interval_string: str, func: str, align_to: Scalar
) -> SeriesList:
    """Buckets of an interval that begin with the request's window, or with the day, month, ... in which that begins.

    ``alignTo`` is a unit; ``weeks3`` begins on Wednesdays. The argument is then evaluated again from there on. A truth
    value, which once meant something else, is ignored.
    """
    interval = positive(call, interval_string)
    context = call.context
    if align_to is not None and not isinstance(align_to, bool):
        series = call.series_again(beginning(str(align_to), context.start, context.tz), context.until)
    for grid in series.grids:
        buckets = max(-(-(grid.end - grid.start) // interval), 0)
        context.charge(len(grid.labels), buckets)
        grid.values = bucketed(grid, interval, grid.start, buckets, reducer(func), grid.labels.factors)
        grid.end, grid.step = grid.start + buckets * interval, interval
        grid.labels.all(ints=func == "count")
    series.tagged("smartSummarizeFunction", func)
    return series.named("smartSummarize", f', "{interval_string}", "{func}"', interval_string, anew=True)


def beginning(unit: str, epoch: int, tz: tzinfo) -> int:
    """When the unit of time that ``epoch`` lies in began, by the clocks of ``tz`` as they stand at ``epoch``.

    Raises :class:`QueryError`.
    """
    kind = next((prefix for prefix in UNITS if unit.startswith(prefix)), None)
    if kind is None:
        raise QueryError(f"Invalid offset unit '{unit}'")
    moment = datetime.fromtimestamp(epoch, tz)
    moment = moment.replace(tzinfo=timezone(moment.utcoffset() or timedelta()), microsecond=0)
    if kind != "s":
        moment = moment.replace(second=0)
    if kind not in ("s", "min"):
        moment = moment.replace(minute=0)
    if kind not in ("s", "min", "h"):
        moment = moment.replace(hour=0)
    if kind == "w":
        first = int(unit[-1]) if unit[-1].isdigit() else 1
        moment -= timedelta(days=(moment.isoweekday() - first) % 7)
    elif kind in ("mon", "y"):
        moment = moment.replace(day=1, month=1 if kind == "y" else moment.month)
    return int(moment.timestamp())


@function(
    "hitcount",
    group="Transform",
    params=(SERIES, INTERVAL_STRING, optional("alignToInterval", BOOLEAN, False)),
)
def hitcount(call: Invocation, series: SeriesList, interval_string: str, align: bool) -> SeriesList:
    """Values a second as amounts in each interval; the intervals end with the window.

    ``alignToInterval`` lets them begin with the day, hour or minute in which the window begins, whichever is the
    longest unit that is not longer than the interval; the argument is then evaluated again from there on.
    """
    interval = positive(call, interval_string)
    context = call.context
    if align:
        unit = "d" if interval >= 86_400 else "h" if interval >= 3_600 else "min" if interval >= 60 else "s"
        series = call.series_again(beginning(unit, context.start, context.tz), context.until)
        for grid in series.grids:
            grid.end = grid.start + (grid.end - grid.start) // interval * interval + interval
    for grid in series.grids:
        buckets = max(-(-(grid.end - grid.start) // interval), 0)
        start = grid.end - buckets * interval
        context.charge(len(grid.labels), buckets + grid.values.shape[1])
        grid.values = hits(grid, interval, start, buckets)
        grid.start, grid.step = start, interval
    text = f', "{interval_string}"{", true" if align else ""}'
    return series.named("hitcount", text, interval_string, anew=True).floats()


def hits(grid: Grid, interval: int, start: int, buckets: int) -> Values:
    """Values times the seconds that each lasts within [start + k * interval, + interval): float64[rows, buckets].

    Each point counts once for every bucket that it overlaps; those parts are gathered by bucket and summed.
    """
    rows, points = grid.values.shape
    begins = grid.start + grid.step * np.arange(points) - start
    first = np.maximum(begins // interval, 0)
    last = np.minimum((begins + grid.step - 1) // interval, buckets - 1)
    counts = np.maximum(last - first + 1, 0)
    if rows == 0 or counts.sum() == 0:
        return np.full((rows, buckets), np.nan)
    point = np.repeat(np.arange(points), counts)
    bucket = np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts, counts) + first[point]
    lasted = np.minimum(begins[point] + grid.step, (bucket + 1) * interval) - np.maximum(
        begins[point], bucket * interval
    )
    sizes = np.bincount(bucket, minlength=buckets)
    within = np.arange(len(point)) - (np.cumsum(sizes) - sizes)[bucket]
    cube = np.full((rows, buckets, int(sizes.max())), np.nan)
    cube[:, bucket, within] = grid.values[:, point] * lasted
    return np.where(known(cube) > 0, total(cube), np.nan)


def bucketed(grid: Grid, interval: int, start: int, buckets: int, reduce: Reducer, factors: Values) -> Values:
    """The points of each [start + k * interval, + interval) made one: float64[rows, buckets].

    ``start`` is not after the grid's. Buckets hold different numbers of points where the interval is no multiple of
    the step, so their points are gathered by index into a cube padded with NaN. ``factors`` float64[rows, 1] is held
    against interval / step.
    """
    rows = len(grid.labels)
    points = min(grid.values.shape[1], max(-(-(grid.end - grid.start) // grid.step), 0)) if grid.step > 0 else 0
    if points == 0 or buckets == 0:
        return np.full((rows, buckets), np.nan)
    edges = start + interval * np.arange(buckets + 1) - grid.start
    firsts = np.clip(-(-edges // grid.step), 0, points)
    sizes = np.diff(firsts)
    width = int(sizes.max())
    if width == 0:
        return np.full((rows, buckets), np.nan)
    values = grid.values[:, :points]
    if np.all(sizes == width):
        cube = values[:, firsts[0] : firsts[-1]].reshape(rows, buckets, width)
    else:
        index = firsts[:-1, np.newaxis] + np.arange(width)
        index = np.where(np.arange(width) < sizes[:, np.newaxis], index, points)
        cube = np.concatenate((values, np.full((rows, 1), np.nan)), axis=1)[:, index]
    filled = enough(known(cube), interval / grid.step, factors)
    return np.where(filled, reduce(cube, sizes), np.nan)
