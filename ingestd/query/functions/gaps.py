"""What becomes of points without a value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.along import bridged, filled
from ingestd.query.context import Invocation
from ingestd.query.functions.buckets import bucketed
from ingestd.query.functions.registry import FLOAT, INT_OR_INF, SERIES, SERIES_LIST, function, optional
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import NO_OPTIONS, Same
from ingestd.query.reduce import reducer

LIMIT = optional("limit", INT_OR_INF, float("inf"))


@function("keepLastValue", group="Transform", params=(SERIES, LIMIT))
def keep_last_value(call: Invocation, series: SeriesList, limit: float) -> SeriesList:
    """Fills gaps of up to ``limit`` points with the value before them; longer gaps stay whole."""
    return series.named("keepLastValue").map(lambda values: filled(values, limit))


@function("interpolate", group="Transform", params=(SERIES, LIMIT))
def interpolate(call: Invocation, series: SeriesList, limit: float) -> SeriesList:
    """Fills gaps of up to ``limit`` points between two values with a straight line; longer gaps stay whole."""
    return series.named("interpolate").floats().map(lambda values: bridged(values, limit))


@function("isNonNull", group="Transform", params=(SERIES,))
def is_non_null(call: Invocation, series: SeriesList) -> SeriesList:
    """1 where there is a value, 0 where there is none."""
    for grid in series.grids:
        grid.labels.all(ints=True)
    return series.named("isNonNull", tag=1).map(lambda values: (~np.isnan(values)).astype(np.float64))


@function(
    "transformNull",
    group="Transform",
    params=(SERIES, optional("default", FLOAT, 0), optional("referenceSeries", SERIES_LIST)),
)
def transform_null(call: Invocation, series: SeriesList, default: float, reference: SeriesList | None) -> SeriesList:
    """``default`` where there is no value; if there is a reference, only where one of its series has one.

    The reference is compared by index, not by time.
    """
    arguments = f",{default:g}"
    known = None
    if reference:
        arguments += ",referenceSeries"
        known = anywhere(reference)
        series.tagged("referenceSeries", 1)
    series.named("transformNull", arguments, default)
    return series.map(lambda values: replaced(values, default, known))


def anywhere(series: SeriesList) -> NDArray[np.bool_]:
    """Where at least one of the series has a value: bool[points of the longest]."""
    out = np.zeros(max(grid.values.shape[1] for grid in series.grids), np.bool_)
    for grid in series.grids:
        out[: grid.values.shape[1]] |= np.any(~np.isnan(grid.values), axis=0)
    return out


def replaced(values: Values, default: float, known: NDArray[np.bool_] | None) -> Values:
    """``values`` float64[rows, n] with ``default`` for NaN where ``known`` is set, everywhere if it is None or empty.

    A reference of m > n points moves the values: graphite-web appends m and takes m from the front, and n are left.
    """
    if known is None or not len(known):
        return np.where(np.isnan(values), default, values)
    rows, points = values.shape
    width = max(points, len(known))
    wide = np.full((rows, width), np.nan)
    wide[:, :points] = values
    some = np.zeros(width, np.bool_)
    some[: len(known)] = known
    return np.where(np.isnan(wide) & some, default, wide)[:, width - points :]


@function("compressPeriodicGaps", group="Transform", params=(SERIES,))
def compress_periodic_gaps(call: Invocation, series: SeriesList) -> SeriesList:
    """Of series that have a value every k-th point, and none between those, series of a k times longer step.

    The period is told by their first three values that are neither null nor zero, the first point set aside.
    """
    series.named("compressPeriodicGaps")
    grids: list[Grid] = []
    for grid in series.grids:
        firsts, periods = gap_periods(grid.values)
        if not periods.any():
            grids.append(grid)
            continue
        kinds, kind_of = np.unique(np.stack((firsts, periods)), axis=1, return_inverse=True)
        for kind, (first, period) in enumerate(kinds.T.tolist()):
            rows = np.flatnonzero(kind_of == kind)
            part = grid.part(rows, grid.places[rows])
            grids.append(_compressed(part, first, period) if period else part)
    return SeriesList(grids)


def _compressed(grid: Grid, first: int, period: int) -> Grid:
    interval = period * grid.step
    start = grid.start + first * grid.step
    buckets = max(-(-(grid.end - start) // interval), 0)
    values = bucketed(grid, interval, start, buckets, reducer("last"), grid.labels.factors)
    grid.labels.options = Same(NO_OPTIONS, len(grid.labels))
    return Grid(start, start + interval * (buckets - 1), interval, values, grid.labels, grid.places)


def gap_periods(values: Values) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first point of each row that counts and its period in points, both 0 where there is none: intp[rows] each."""
    rows, width = values.shape
    none = np.zeros(rows, np.intp)
    if width < 4:
        return none, none
    there = ~np.isnan(values)
    telling = there & (values != 0)
    telling[:, 0] = False
    first = np.argmax(telling, axis=1)
    each = np.arange(rows)
    telling[each, first] = False
    second = np.argmax(telling, axis=1)
    period = second - first
    third = second + period
    fits = (first > 0) & (second > 0) & (period > 1) & (third <= width - 2)
    at = np.where(fits, third, 1)
    fits &= there[each, at] & (values[each, at] != 0) & ~there[each, at - 1] & ~there[each, at + 1]
    return np.where(fits, first, 0), np.where(fits, period, 0)
