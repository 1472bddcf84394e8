"""Functions that carbonapi has and graphite-web 1.1.10 has not: objectives, baselines, marks of versions."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.buckets import bucketed, positive
from ingestd.query.functions.registry import (
    FLOAT,
    INTEGER,
    INTERVAL,
    NODE,
    SERIES,
    SERIES_LIST,
    STRING,
    Param,
    function,
    optional,
)
from ingestd.query.functions.together import in_groups, padded
from ingestd.query.functions.windows import SHIFTS
from ingestd.query.grid import Grid, SeriesList, concatenate
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import REDUCERS, known

METHODS: Final[dict[str, Callable[[Values, float], NDArray[Any]]]] = {
    "above": operator.gt,
    "aboveOrEqual": operator.ge,
    "below": operator.lt,
    "belowOrEqual": operator.le,
}
BUCKETS: Final = (
    SERIES,
    Param("interval", INTERVAL, suggestions=("10min", "1h", "1d")),
    Param("method", STRING, default="above", shown=None, options=tuple(METHODS)),
    Param("value", FLOAT, default=0.0, shown=None),
)
SHIFTED: Final = (
    SERIES,
    optional("timeShiftUnit", INTERVAL, "1d", suggestions=SHIFTS),
    optional("timeShiftStart", INTEGER, 0),
    optional("timeShiftEnd", INTEGER, 7),
    optional("maxAbsentPercent", FLOAT),
    optional("minAvg", FLOAT),
)
VERSION: Final = re.compile(r"([0-9]{1,18})_([0-9]{1,18})")


@function("slo", group="Transform", params=BUCKETS, extension=True)
def slo(call: Invocation, series: SeriesList, interval: str, method: Scalar, value: float) -> SeriesList:
    """The part of the values in each interval that are above, or below, ``value``; none where there is no value."""
    made, _ = _met(call, series, interval, method, value)
    return made.named("slo", f", {interval}, {method}, {value:g}", anew=True)


@function(
    "sloErrorBudget",
    group="Transform",
    params=(*BUCKETS, Param("objective", FLOAT, default=0.9999, shown=None)),
    extension=True,
)
def slo_error_budget(
    call: Invocation, series: SeriesList, interval: str, method: Scalar, value: float, objective: float
) -> SeriesList:
    """The seconds of each interval in which values may still miss ``value``; below zero if they missed too often.

    That is what slo gives less ``objective``, times the interval, or as much of the last one as there is.
    """
    made, seconds = _met(call, series, interval, method, value)
    for grid, each in zip(made.grids, seconds, strict=True):
        grid.values = (grid.values - objective) * each
    return made.named("sloErrorBudget", f", {interval}, {method}, {value:g}, {objective:g}", anew=True)


def _met(
    call: Invocation, series: SeriesList, interval_string: str, method: Scalar, value: float
) -> tuple[SeriesList, list[Values]]:
    """The part of the values that meet an objective in each interval from the beginning of each series, and for each
    grid how many seconds the intervals have.

    Where the window of the request is shorter than an interval, the argument is evaluated anew over one.
    """
    meets = METHODS.get(str(method))
    if meets is None:
        raise QueryError(f"{call.name}: unknown method {method!r}; there are {', '.join(METHODS)}")
    interval = positive(call, interval_string)
    context = call.context
    if interval > context.until - context.start:
        series = call.series_again(context.until - interval, context.until)
    seconds = []
    for grid in series.grids:
        buckets = max(-(-(grid.end - grid.start) // interval), 0)
        context.charge(len(grid.labels), grid.values.shape[1] + 2 * buckets)
        grid.values = np.where(np.isnan(grid.values), np.nan, meets(grid.values, value).astype(np.float64))
        grid.values = bucketed(
            grid, interval, grid.start, buckets, REDUCERS["average"], np.zeros((len(grid.labels), 1))
        )
        begins = interval * np.arange(buckets, dtype=np.float64)
        seconds.append(np.minimum(grid.end - grid.start - begins, interval))
        grid.end, grid.step = grid.start + buckets * interval, interval
    return series.floats(), seconds


@function("baseline", group="Calculate", params=SHIFTED, extension=True)
def baseline(
    call: Invocation,
    series: SeriesList,
    unit: str,
    start: int,
    end: int,
    max_absent: float | None,
    min_average: float | None,
) -> SeriesList:
    """The median of each series at the same time ``timeShiftStart``, ... and before ``timeShiftEnd`` units ago.

    A series of which more percent are absent, or whose median is less on average, than the limits is left out.
    """
    return _medians(call, unit, range(start, end), max_absent, min_average).named("baseline", anew=True)


@function("baselineAberration", group="Calculate", params=SHIFTED, extension=True)
def baseline_aberration(
    call: Invocation,
    series: SeriesList,
    unit: str,
    start: int,
    end: int,
    max_absent: float | None,
    min_average: float | None,
) -> SeriesList:
    """Each series over its baseline: 1.1 where it is a tenth above; 0 where the baseline is."""
    made = _medians(call, unit, range(start, end), max_absent, min_average)
    now = {each.name: each.values for each in series.series()}
    made = made.pick(np.array([at for at, name in enumerate(made.names) if name in now], np.intp))
    for grid in made.grids:
        width = grid.values.shape[1]
        present = np.concatenate([padded(now[name][np.newaxis], width)[:, :width] for name in grid.labels.names])
        grid.values = np.where(grid.values == 0, present * 0.0, present / grid.values)
    return made.named("baselineAberration", anew=True)


def _medians(
    call: Invocation, unit: str, shifts: range, max_absent: float | None, min_average: float | None
) -> SeriesList:
    """The medians of the series of one name over all shifts, points meeting by index."""
    context = call.context
    seconds = parse_offset(unit if unit[:1] in ("+", "-") else f"-{unit}")
    copies = []
    for shift in shifts:
        if shift:
            context.source.costs.add_call()
            copies.append(call.series_again(context.start + shift * seconds, context.until + shift * seconds))
            for grid in copies[-1].grids:
                grid.start, grid.end = grid.start - shift * seconds, grid.end - shift * seconds
    every = concatenate(copies)
    rows = [each.values for each in every.series()]
    groups = in_groups(map(str, every.names))
    made = every.pick(np.array([places[0] for places in groups.values()], np.intp))
    keep = np.ones(len(made), np.bool_)
    for grid in made.grids:
        width = grid.values.shape[1]
        members = [groups[str(name)] for name in grid.labels.names]
        deep = max(map(len, members))
        context.charge(len(members) * deep, width)
        cube = np.full((len(members), deep, width), np.nan)
        for row, places in zip(cube, members, strict=True):
            for to, place in zip(row, places, strict=False):
                to[: len(rows[place])] = rows[place][:width]
        grid.values = REDUCERS["median"](cube.transpose(0, 2, 1), deep) if width else grid.values
        there = known(grid.values) if width else np.zeros(len(members), np.intp)
        if max_absent is not None:
            keep[grid.places] &= 100 * (width - there) <= max_absent * width
        if min_average is not None:
            keep[grid.places] &= (there == 0) | (np.nansum(grid.values, axis=1) >= min_average * there)
    return made.pick(np.flatnonzero(keep)).floats()


@function(
    "timeShiftByMetric",
    group="Transform",
    params=(SERIES, Param("markSource", SERIES_LIST), Param("versionRankIndex", NODE)),
    extension=True,
)
def time_shift_by_metric(call: Invocation, series: SeriesList, marks: SeriesList, rank: int) -> SeriesList:
    """Series of several versions, shifted so that what happened to each meets what happened to the newest.

    The last node of a mark is a version, ``MAJOR_MINOR``, and its last value tells when that happened. The highest
    minor version of each major one counts. Of each series the node ``versionRankIndex`` is a version, or the beginning
    of one; those without a mark are left out. All series have one step and one length.
    """
    shapes = {(grid.step, grid.values.shape[1]) for each in (series, marks) for grid in each.grids}
    if len(series) < 2 or len(marks) < 2 or len(shapes) > 1:
        raise QueryError("timeShiftByMetric needs two series and two marks at least, of one step and one length")
    (step, _), *_ = shapes
    offsets = _offsets(marks, step)
    made: dict[int, list[int]] = {}
    for place, (name, tags) in enumerate(zip(series.names, series.labels.tags, strict=True)):
        nodes = tags.get("name", str(name)).split(".")
        version = nodes[rank] if -len(nodes) <= rank < len(nodes) else None
        if version is not None:
            found = offsets.get(version, next((each for key, each in offsets.items() if key.startswith(version)), None))
            if found is not None:
                made.setdefault(found, []).append(place)
    kept = np.array(sorted(place for places in made.values() for place in places), np.intp)
    grids: list[Grid] = []
    for offset, places in made.items():
        some = series.pick(np.array(places, np.intp))
        for grid in some.grids:
            grid.places = np.searchsorted(kept, np.array(places, np.intp)[grid.places])
            grid.start, grid.end = grid.start + offset, grid.end + offset
        grids += some.grids
    return SeriesList(grids).named("timeShiftByMetric", anew=True)


def _offsets(marks: SeriesList, step: int) -> dict[str, int]:
    """Seconds by which series of a version are shifted, the newest version first."""
    versions = []
    for each in marks.series():
        mark = each.tags.get("name", each.name).rpartition(".")[2]
        found = VERSION.search(mark)
        there = np.flatnonzero(~np.isnan(each.values))
        if found and len(there):
            versions.append((int(found[1]), int(found[2]), mark, int(there[-1])))
    newest: dict[int, tuple[str, int]] = {}
    for major, _, mark, position in sorted(versions, key=lambda version: version[:2], reverse=True):
        newest.setdefault(major, (mark, position))
    if len(newest) < 2:
        raise QueryError(f"timeShiftByMetric: 2 marks of versions are needed, {len(newest)} found")
    top = next(iter(newest.values()))[1]
    return {mark: (top - position) * step for mark, position in newest.values()}
