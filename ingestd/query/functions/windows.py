"""Functions that look at another window than the request's, and evaluate their argument anew for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.attime import MAX_OFFSET, parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import (
    BOOLEAN,
    FLOAT,
    INT_OR_INTERVAL,
    INTERVAL,
    SERIES,
    Param,
    function,
    optional,
)
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import enough

IN_ORDER = 16
"""Points of a window up to which there is a pass for each: 60 ms for 10,000 series x 384 points, as many as for 180."""


WINDOW_SIZE: Final = Param(
    "windowSize", INT_OR_INTERVAL, suggestions=(5, 7, 10, "1min", "5min", "10min", "30min", "1hour")
)
SHIFTS: Final = ("1h", "6h", "12h", "1d", "2d", "7d", "14d", "30d")


@function(
    "movingAverage",
    group="Calculate",
    params=(SERIES, WINDOW_SIZE, optional("xFilesFactor", FLOAT)),
)
def moving_average(call: Invocation, series: SeriesList, window: Scalar, x_files_factor: float | None) -> SeriesList:
    """The mean of the values in the window that ends at each point."""
    return moving(call, series, window, "movingAverage", x_files_factor, lambda sums, counts: sums / counts)


def moving(
    call: Invocation,
    series: SeriesList,
    window: Scalar,
    name: str,
    x_files_factor: float | None,
    finish: Callable[[Values, NDArray[np.intp]], Values],
) -> SeriesList:
    """A function of the values in a window that ends at each point.

    The argument is evaluated again with a preview as long as the window, possibly from a coarser archive; a window
    given in points stays that many points of it. The first window ends at the second point of the preview's end, as in
    graphite-web. ``finish(sums, counts)`` gives the results of all windows, float64[rows, windows].
    """
    if not series:
        return SeriesList()
    seconds, points = _window(window, max(grid.step for grid in series.grids))
    again = call.series_again(call.context.start - seconds, call.context.until)
    for grid in again.grids:
        size = seconds // grid.step if points is None else points
        factors = np.array([[label.x_files_factor] for label in grid.labels])
        grid.values = _moved(grid.values, size, factors if x_files_factor is None else x_files_factor, finish)
        grid.start += seconds
        for label in grid.labels:
            label.tags[name] = str(window)
            label.become(f'{name}({label.name},"{window}")' if points is None else f"{name}({label.name},{window})")
            label.ints = False
    return again


def _window(window: Scalar, step: int) -> tuple[int, int | None]:
    """Seconds of preview, and the window's points if it was given in points."""
    if isinstance(window, str):
        return abs(parse_offset(window)), None
    try:
        points = int(window)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise QueryError(f"a moving window of {window!r} points") from error
    if abs(points * step) > MAX_OFFSET:
        raise QueryError(f"a moving window of {points} points is too long")
    return points * step, points


def _moved(
    values: Values, size: int, x_files_factor: float | Values, finish: Callable[[Values, NDArray[np.intp]], Values]
) -> Values:
    rows, points = values.shape
    windows = max(points - size, 0)
    if size <= 0 or windows == 0:
        return np.full((rows, windows), np.nan)
    there = ~np.isnan(values)
    counts = sliding(there.astype(np.int32), size, np.add)[:, 1:]
    sums = sliding(np.where(there, values, 0.0), size, np.add)[:, 1:]
    return np.where(enough(counts, size, x_files_factor), finish(sums, counts), np.nan)


def sliding(values: NDArray[Any], size: int, operation: np.ufunc) -> NDArray[Any]:
    """``operation`` over every run of ``size`` columns: [rows, n] to [rows, n - size + 1], 0 < size <= n.

    Short runs are folded in order, so that sums round as graphite-web's do. For longer ones runs of 1, 2, 4, ...
    columns are made of two of the length before, and the run wanted of those in the binary form of ``size``: some
    2 log(size) passes. Unlike a difference of running sums this adds only what is in the run, so nothing cancels and
    an infinity stays where it is. ``operation`` is an associative ufunc.
    """
    runs = values.shape[1] - size + 1
    if size <= IN_ORDER:
        folded = values[:, :runs].copy()
        for at in range(1, size):
            operation(folded, values[:, at : at + runs], out=folded)
        return folded
    power, width, offset = values, 1, 0
    out: NDArray[Any] | None = None
    while True:
        if size & width:
            part = power[:, offset : offset + runs]
            out = part if out is None else operation(out, part)
            offset += width
        if out is not None and offset == size:
            return out
        power = operation(power[:, :-width], power[:, width:])
        width *= 2


@function(
    "timeShift",
    group="Transform",
    params=(
        SERIES,
        Param("timeShift", INTERVAL, suggestions=SHIFTS),
        optional("resetEnd", BOOLEAN, True),
        optional("alignDst", BOOLEAN, False, keyword="alignDST"),
    ),
)
def time_shift(call: Invocation, series: SeriesList, shift: str, reset_end: bool, align_dst: bool) -> SeriesList:
    """The argument over a window in the past (no sign means minus), drawn at the present times.

    Start and end become those of the first unshifted series, so the number of points may not fit between them.
    ``align_dst`` keeps the time of day across a change of clocks in the zone of the request.
    """
    if not shift:
        raise QueryError("timeShift: an empty interval")
    if shift[0].isdigit():
        shift = f"-{shift}"
    context = call.context
    offset = parse_offset(shift)
    if align_dst:
        offset += _clock_change(call, offset)
    if not series:
        return SeriesList()
    anchor = series.first
    again = call.series_again(context.start + offset, context.until + offset)
    for grid in again.grids:
        grid.end = anchor.end if reset_end else grid.end - grid.start + anchor.start
        grid.start = anchor.start
        for label in grid.labels:
            label.tags["timeShift"] = shift
            label.name = f'timeShift({label.name}, "{shift}")'
    return again


def _clock_change(call: Invocation, offset: int) -> int:
    """An hour more if only the request's window lies in summer time, an hour less if only the shifted one does."""

    def summer(epoch: int) -> bool:
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch)
            return bool(moment.astimezone(call.context.tz).dst())
        except OverflowError as error:
            raise QueryError("timeShift: the window lies outside of the calendar") from error

    request = [summer(call.context.start), summer(call.context.until)]
    shifted = [summer(call.context.start + offset), summer(call.context.until + offset)]
    if all(request) and not any(shifted):
        return 3_600
    if not any(request) and all(shifted):
        return -3_600
    return 0
