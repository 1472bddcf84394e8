"""Functions of the values in a window that ends at each point. Their argument is evaluated anew, with a preview."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ingestd.points import Values
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
from ingestd.query.reduce import REDUCERS, enough, reducer

IN_ORDER: Final = 16
"""Points of a window up to which there is a pass for each: 60 ms for 10,000 series x 384 points, as many as for 180."""
PIECE: Final = 1 << 18
"""Values of windows that are laid out and sorted at a time: 2 MB stay in the cache."""
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
    windows = max(points - size, 0)
    if size <= 0 or windows == 0:
        return np.full((rows, windows), np.nan)
    context.charge(rows, windows)
    there = ~np.isnan(values)
    runs = Runs(context, values, there, sliding(there.astype(np.int32), size, np.add)[:, 1:], size)
    out = WINDOWS[func](runs) if func in WINDOWS else _by_piece(context, values, size, func)
    return np.where(enough(runs.counts, size, x_files_factor), out, np.nan)


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

    def sums(self) -> Values:
        return self.slid(np.add, 0.0)

    def averages(self) -> Values:
        return self.sums() / self.counts

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
        return first - (self.sums() - first)

    def deviations(self) -> Values:
        """The standard deviation of the population: runs keep a count, a mean and a sum of squared distances, which
        merge without cancellation."""

        def merged(one: Values, other: Values) -> Values:
            count = one[0] + other[0]
            weight = other[0] / np.where(count == 0, 1.0, count)
            distance = other[1] - one[1]
            mean = np.where(one[0] == 0, other[1], one[1] + distance * weight)
            return np.stack((count, mean, one[2] + other[2] + distance * distance * weight * one[0]))

        single = (self.there.astype(np.float64), np.where(self.there, self.values, 0.0), np.zeros(self.values.shape))
        count, _, squares = doubled(np.stack(single), self.size, merged)
        return np.asarray(np.sqrt(squares / count)[:, 1:])


def _filled(values: Values, there: NDArray[np.bool_]) -> Values:
    """``values`` with the last known one in the place of each that is not."""
    last = np.maximum.accumulate(np.where(there, np.arange(values.shape[1]), 0), axis=1)
    return np.asarray(np.take_along_axis(values, last, axis=1))


WINDOWS: Final[dict[str, Callable[[Runs], Values]]] = {
    "sum": Runs.sums,
    "total": Runs.sums,
    "average": Runs.averages,
    "avg": Runs.averages,
    "avg_zero": Runs.averages,
    "min": lambda runs: runs.slid(np.minimum, np.inf),
    "max": lambda runs: runs.slid(np.maximum, -np.inf),
    "range": Runs.ranges,
    "rangeOf": Runs.ranges,
    "count": lambda runs: runs.counts.astype(np.float64),
    "multiply": lambda runs: runs.slid(np.multiply, 1.0),
    "last": Runs.lasts,
    "current": Runs.lasts,
    "diff": Runs.differences,
    "stddev": Runs.deviations,
}
"""Aggregations that need not lay out every window. Only what is known counts: none is missing in a product."""


def _by_piece(context: Context, values: Values, size: int, func: str) -> Values:
    """A reducer over every window, laid out in pieces."""
    reduce = REDUCERS[func]
    views = sliding_window_view(values, size, axis=1)[:, 1:]
    out = np.empty(views.shape[:2])
    for piece in _pieces(*views.shape):
        context.charge(1, views[piece].size // SORTED)
        out[piece] = reduce(views[piece], size)
    return out


def _pieces(rows: int, windows: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and windows of about :data:`PIECE` values each."""
    width = min(max(PIECE // size, 1), windows)
    height = max(PIECE // (size * width), 1)
    for row in range(0, rows, height):
        for column in range(0, windows, width):
            yield slice(row, row + height), slice(column, column + width)


def sliding(values: NDArray[Any], size: int, operation: np.ufunc) -> NDArray[Any]:
    """``operation`` over every run of ``size`` columns: [rows, n] to [rows, n - size + 1], 0 < size <= n.

    Short runs are folded in order, so that sums round as graphite-web's do; longer ones are :func:`doubled`.
    ``operation`` is an associative ufunc.
    """
    if size > IN_ORDER:
        return doubled(values, size, operation)
    runs = values.shape[1] - size + 1
    folded = values[:, :runs].copy()
    for at in range(1, size):
        operation(folded, values[:, at : at + runs], out=folded)
    return folded


def doubled(
    values: NDArray[Any], size: int, operation: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """``operation`` over every run of ``size`` on the last axis: [..., n] to [..., n - size + 1], 0 < size <= n.

    Runs of 1, 2, 4, ... are made of two of the length before, and the run wanted of those in the binary form of
    ``size``: some 2 log(size) passes. Unlike a difference of running sums this adds only what is in the run, so nothing
    cancels and an infinity stays where it is.
    """
    runs = values.shape[-1] - size + 1
    power, width, offset = values, 1, 0
    out: NDArray[Any] | None = None
    while True:
        if size & width:
            part = power[..., offset : offset + runs]
            out = part if out is None else operation(out, part)
            offset += width
        if out is not None and offset == size:
            return out
        power = operation(power[..., :-width], power[..., width:])
        width *= 2


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
        there = ~np.isnan(values)
        averages = recurrence(np.where(there, 1 - constant, 1.0), np.where(there, constant * values, 0.0), seeds)
        averages[~there] = np.nan
        grid.values = rounded(np.concatenate((seeds[:, np.newaxis], averages), axis=1), 6)
        grid.start += window.seconds
    return again.named("exponentialMovingAverage", f",{window.text}", size, anew=True).floats()


def _constant(window: int) -> float:
    if window < 0:
        raise QueryError(f"exponentialMovingAverage: a window of {window} points")
    return 2.0 / (window + 1)


def recurrence(factors: Values, additions: Values, first: Values) -> Values:
    """``y[i] = factors[i] * y[i - 1] + additions[i]`` along rows: float64[rows, n], ``first`` float64[rows] before all.

    Rows are cut into about sqrt(n) blocks of which all are run through at once, each as if nothing came before it; then
    each block is given what did. That takes 2 sqrt(n) steps instead of n.
    """
    rows, points = additions.shape
    size = max(math.isqrt(points), 1)
    blocks = -(-points // size)
    # Steps lie beside each other in memory, so that each works on runs of rows.
    scale, out = np.zeros((2, blocks * size, rows))
    scale[:points], out[:points] = factors.T, additions.T
    scale, out = scale.reshape(blocks, size, rows), out.reshape(blocks, size, rows)
    for at in range(1, size):
        out[:, at] += scale[:, at] * out[:, at - 1]
        scale[:, at] *= scale[:, at - 1]
    before = np.empty((blocks, 1, rows))
    carried = first
    for block in range(blocks):
        before[block] = carried
        carried = scale[block, -1] * carried + out[block, -1]
    scale *= before
    out += scale
    return np.asarray(out.reshape(-1, rows)[:points].T)
