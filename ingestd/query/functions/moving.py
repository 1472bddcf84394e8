"""Functions of the values in a window that ends at each point. Their argument is evaluated anew, with a preview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.along import averages, deviations, medians, sliding, windows
from ingestd.query.arrays import CACHED
from ingestd.query.attime import MAX_OFFSET, parse_offset
from ingestd.query.context import Context, Invocation
from ingestd.query.functions.registry import (
    AGG_FUNC,
    FLOAT,
    INT_OR_INTERVAL,
    SERIES,
    Param,
    function,
    optional,
)
from ingestd.query.functions.transform import rounded
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import enough, reducer

SORTED: Final = 64
"""Values that are sorted in the time in which other functions make a point: what medians are charged by."""
WINDOW_SIZE: Final = Param(
    "windowSize", INT_OR_INTERVAL, suggestions=(5, 7, 10, "1min", "5min", "10min", "30min", "1hour")
)
FACTOR: Final = optional("xFilesFactor", FLOAT)


@function("movingAverage", group="Calculate", params=(SERIES, WINDOW_SIZE, FACTOR))
def moving_average(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The mean of the values in the window that ends at each point."""
    return moving(call, series, window, "average", x_files_factor)


@function("movingSum", group="Calculate", params=(SERIES, WINDOW_SIZE, FACTOR))
def moving_sum(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The sum of the values in the window that ends at each point."""
    return moving(call, series, window, "sum", x_files_factor)


@function("movingMin", group="Calculate", params=(SERIES, WINDOW_SIZE, FACTOR))
def moving_min(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The smallest of the values in the window that ends at each point."""
    return moving(call, series, window, "min", x_files_factor)


@function("movingMax", group="Calculate", params=(SERIES, WINDOW_SIZE, FACTOR))
def moving_max(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The largest of the values in the window that ends at each point."""
    return moving(call, series, window, "max", x_files_factor)


@function("movingMedian", group="Calculate", params=(SERIES, WINDOW_SIZE, FACTOR))
def moving_median(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The median of the values in the window that ends at each point."""
    return moving(call, series, window, "median", x_files_factor)


@function(
    "movingWindow", group="Calculate", params=(SERIES, WINDOW_SIZE, optional("func", AGG_FUNC, "average"), FACTOR)
)
def moving_window(
    call: Invocation, series: SeriesList, window: Scalar, func: str, x_files_factor: float | None
) -> SeriesList:
    """``func`` of the values in the window that ends at each point: movingAverage and its kin by another name."""
    return moving(call, series, window, func, x_files_factor)


class Window(NamedTuple):
    """The size of a window."""

    seconds: int
    points: int | None
    """If it was given in points."""
    text: str
    """As a name shows it."""

    def of(self, step: int) -> int:
        """Its points at this step."""
        return self.seconds // step if self.points is None else self.points


def window_of(size: Scalar, series: SeriesList) -> Window:
    """The window that ``size`` means over ``series``: a text is a time, a number points of the coarsest."""
    if isinstance(size, str):
        return Window(abs(parse_offset(size)), None, f'"{size}"')
    try:
        points = int(size)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(f"a moving window of {size!r} points") from error
    step = max(grid.step for grid in series.grids)
    if abs(points * step) > MAX_OFFSET:
        raise QueryError(f"a moving window of {points} points is too long")
    return Window(points * step, points, str(size))


def moving(call: Invocation, series: SeriesList, size: Scalar, func: str, x_files_factor: float | None) -> SeriesList:
    """``func`` of the known values in the window that ends at each point.

    The argument is evaluated again with a preview as long as the window, possibly from a coarser archive; a window
    given in points stays that many points of it. The first window ends at the second point of the preview's end, as in
    graphite-web.
    """
    if not series:
        return SeriesList()
    window = window_of(size, series)
    name = f"moving{func.capitalize()}"
    again = call.series_again(call.context.start - window.seconds, call.context.until)
    reducer(func)
    for grid in again.grids:
        factor = grid.labels.factors if x_files_factor is None else x_files_factor
        grid.values = moved(call.context, grid.values, window.of(grid.step), factor, func)
        grid.start += window.seconds
    return again.named(name, f",{window.text}", size, anew=True).floats()


def moved(context: Context, values: Values, size: int, x_files_factor: float | Values, func: str) -> Values:
    """``func`` of every run of ``size`` columns but the first: float64[rows, n] to [rows, n - size]."""
    rows, points = values.shape
    width = max(points - size, 0)
    if size <= 0 or width == 0:
        return np.full((rows, width), np.nan)
    context.charge(rows, width)
    factors = np.broadcast_to(x_files_factor, (rows, 1))
    out = np.empty((rows, width))
    few = max(CACHED // points, 1)
    for at in range(0, rows, few):
        some = slice(at, at + few)
        if func in FOLDS:
            out[some] = windows(values[some], size, FOLDS[func], factors[some])
        else:
            out[some] = _moved(context, values[some], size, factors[some], func)
    return out


def _moved(context: Context, values: Values, size: int, factors: Values, func: str) -> Values:
    there = ~np.isnan(values)
    runs = Runs(context, values, there, sliding(there.astype(np.int32), size, np.add)[:, 1:], size)
    return np.where(enough(runs.counts, size, factors), WINDOWS[func](runs), np.nan)


class Runs(NamedTuple):
    """The windows of rows float64[rows, n]. Results are float64[rows, windows], anything where ``counts`` is 0."""

    context: Context
    values: Values
    there: NDArray[np.bool_]
    counts: NDArray[np.int32]
    size: int

    def slid(self, operation: np.ufunc, neutral: float) -> Values:
        """``operation`` over the known values of each window."""
        return np.asarray(sliding(np.where(self.there, self.values, neutral), self.size, operation)[:, 1:])

    def ranges(self) -> Values:
        return self.slid(np.maximum, -np.inf) - self.slid(np.minimum, np.inf)

    def lasts(self) -> Values:
        return _filled(self.values, self.there)[:, self.size :]

    def firsts(self) -> Values:
        filled = _filled(self.values[:, ::-1], self.there[:, ::-1])[:, ::-1]
        return filled[:, 1 : filled.shape[1] - self.size + 1]

    def differences(self) -> Values:
        """The first value of each window less all others."""
        first = self.firsts()
        return first - (self.slid(np.add, 0.0) - first)

    def deviations(self) -> Values:
        return deviations(self.values, self.size)

    def medians(self) -> Values:
        self.context.charge(1, self.counts.size * self.size // SORTED)
        return medians(self.values, self.size)


def _filled(values: Values, there: NDArray[np.bool_]) -> Values:
    """``values`` with the last known one in the place of each that is not."""
    last = np.maximum.accumulate(np.where(there, np.arange(values.shape[1]), 0), axis=1)
    return np.asarray(np.take_along_axis(values, last, axis=1))


FOLDS: Final = {
    "sum": "sum",
    "total": "sum",
    "average": "average",
    "avg": "average",
    "avg_zero": "average",
    "min": "min",
    "max": "max",
}
"""Aggregations that are made in one walk along the rows."""
WINDOWS: Final[dict[str, Callable[[Runs], Values]]] = {
    "range": Runs.ranges,
    "rangeOf": Runs.ranges,
    "count": lambda runs: runs.counts.astype(np.float64),
    "multiply": lambda runs: runs.slid(np.multiply, 1.0),
    "last": Runs.lasts,
    "current": Runs.lasts,
    "diff": Runs.differences,
    "stddev": Runs.deviations,
    "median": Runs.medians,
}
"""The others. Only what is known counts: none is missing in a product."""


@function("exponentialMovingAverage", group="Calculate", params=(SERIES, WINDOW_SIZE))
def exponential_moving_average(call: Invocation, series: SeriesList, size: Scalar) -> SeriesList:
    """``c * value + (1 - c) * average before``, to 6 digits, with ``c = 2 / (window + 1)``.

    The window is that many points or seconds. The first point is the mean of the preview, 0 if that is empty; a missing
    value leaves the average as it is and gives none.
    """
    if not series:
        return SeriesList()
    window = window_of(size, series)
    constant = _constant(window.seconds if window.points is None else window.points)
    again = call.series_again(call.context.start - window.seconds, call.context.until)
    for grid in again.grids:
        points = window.of(grid.step)
        before, values = grid.values[:, :points], grid.values[:, points:]
        call.context.charge(len(grid.labels), 2 * values.shape[1] + 1)
        known = np.count_nonzero(~np.isnan(before), axis=1)
        seeds = np.nansum(before, axis=1) / np.maximum(known, 1)
        made = np.concatenate((seeds[:, np.newaxis], averages(values, constant, seeds)), axis=1)
        grid.values = rounded(made, 6)
        grid.start += window.seconds
    return again.named("exponentialMovingAverage", f",{window.text}", size, anew=True).floats()


def _constant(window: int) -> float:
    if window < 0:
        raise QueryError(f"exponentialMovingAverage: a window of {window} points")
    return 2.0 / (window + 1)
