"""Functions that divide time into buckets of their own."""

from __future__ import annotations

from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import AGG_FUNC, BOOLEAN, INTERVAL, SERIES, Param, function, optional
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.reduce import Reducer, enough, known, reducer

INTERVALS: Final = ("10min", "1h", "1d")


@function(
    "summarize",
    group="Transform",
    params=(
        SERIES,
        Param("intervalString", INTERVAL, suggestions=INTERVALS),
        optional("func", AGG_FUNC, "sum"),
        optional("alignToFrom", BOOLEAN, False),
    ),
)
def summarize(call: Invocation, series: SeriesList, interval_string: str, func: str, align: bool) -> SeriesList:
    """Buckets of an interval, aligned to multiples of it or to the beginning of the data.

    Aligned to the interval there is one bucket beyond the end, which mostly is empty.
    """
    interval = parse_offset(interval_string)
    if interval <= 0:
        raise QueryError(f"summarize: the interval {interval_string!r} is not positive")
    for grid in series.grids:
        start, end = grid.start, grid.end
        if not align:
            start, end = start - start % interval, end - end % interval + interval
        buckets = max(-(-(end - start) // interval), 0)
        call.context.charge(len(grid.labels), buckets)
        factors = np.array([[label.x_files_factor] for label in grid.labels])
        grid.values = bucketed(grid, interval, start, buckets, reducer(func), factors)
        grid.start, grid.end, grid.step = start, start + buckets * interval if align else end, interval
        for label in grid.labels:
            label.tags["summarize"] = interval_string
            label.tags["summarizeFunction"] = func
            label.become(f'summarize({label.name}, "{interval_string}", "{func}"{", true" if align else ""})')
            label.ints = func == "count"
    return series


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
