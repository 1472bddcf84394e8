"""Figures of each series: lines, percentiles, deviations, regressions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import cast

import numpy as np

from ingestd.points import Values
from ingestd.query.along import running_deviations
from ingestd.query.arrays import by_rows
from ingestd.query.attime import parse_time
from ingestd.query.context import Context, Invocation
from ingestd.query.functions.registry import (
    AGG_FUNC,
    BOOLEAN,
    DATE,
    FLOAT,
    INTEGER,
    SERIES,
    STRING,
    Param,
    function,
    optional,
)
from ingestd.query.functions.special import lines
from ingestd.query.grid import SeriesList, single
from ingestd.query.labels import Label, Tags, name_tags
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import WHOLE, percentile, summaries


@function(
    "aggregateLine",
    group="Calculate",
    params=(SERIES, optional("func", AGG_FUNC, "average"), optional("keepStep", BOOLEAN, False)),
)
def aggregate_line(call: Invocation, series: SeriesList, func: str, keep_step: bool) -> SeriesList:
    """A horizontal line for each series at what ``func`` makes of its values; of three points unless ``keepStep``."""
    values = summaries(series, func)
    whole = func in WHOLE
    for grid in series.grids:
        labels = grid.labels
        if not whole:
            labels.all(ints=False)
        levels = values[grid.places].tolist()
        shown = ["None" if math.isnan(value) else f"{value:g}" for value in levels]
        labels.renew([f"aggregateLine({name}, {text})" for name, text in zip(labels.names, shown, strict=True)])
        if keep_step:
            call.context.charge(*grid.values.shape)
            grid.values = np.repeat(values[grid.places, np.newaxis], grid.values.shape[1], axis=1)
        else:
            labels.tags = Tags([{"name": _text(value, ints)} for value, ints in zip(levels, labels.ints, strict=True)])
            labels.all(consolidation_func="average")
    return series if keep_step else lines(call.context, values, series.labels)


def _text(value: float, whole: bool) -> str:
    if math.isnan(value):
        return "None"
    return str(int(value) if whole and math.isfinite(value) else value)


@function("identity", group="Calculate", params=(Param("name", STRING),))
def identity(call: Invocation, name: Scalar) -> SeriesList:
    """A series whose values are the times of its points, every 60 s from the beginning of the window."""
    context = call.context
    points = max(-(-(context.until - context.start) // 60), 0)
    context.charge(1, points)
    label = Label(cast(str, name), f'identity("{name}")', name_tags(str(name)), ints=True)
    label.x_files_factor = context.x_files_factor
    values = context.start + 60 * np.arange(points, dtype=np.float64)
    return single(label, context.start, context.until, 60, values)


@function("nPercentile", group="Calculate", params=(SERIES, Param("n", FLOAT)))
def n_percentile(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """A horizontal line at the n-th percentile of each series that has values."""
    if not n:
        raise QueryError("The requested percent is required to be greater than 0")
    kept = series.pick(np.flatnonzero(summaries(series, "count") > 0))
    for grid in kept.grids:
        points = (grid.end - grid.start) // grid.step if grid.step > 0 else 0
        call.context.charge(len(grid.labels), points)
        grid.values = np.repeat(by_rows(grid.values, percentile, n)[:, np.newaxis], points, axis=1)
    return kept.named("nPercentile", f", {n:g}", n, anew=True)


@function(
    "stdev", group="Calculate", params=(SERIES, Param("points", INTEGER), optional("windowTolerance", FLOAT, 0.1))
)
def stdev(call: Invocation, series: SeriesList, points: int, tolerance: float) -> SeriesList:
    """The standard deviation of the last ``points`` values at each point; none where fewer than ``windowTolerance`` of
    them are known.
    """
    if points < 1:
        raise QueryError(f"stdev: a window of {points} points")
    for grid in series.grids:
        call.context.charge(len(grid.labels), 4 * grid.values.shape[1])
        grid.values = running_deviations(grid.values, points, tolerance)
    return series.named("stdev", f",{points}", points, anew=True).floats()


@function(
    "linearRegression",
    group="Calculate",
    params=(SERIES, optional("startSourceAt", DATE), optional("endSourceAt", DATE)),
)
def linear_regression(call: Invocation, series: SeriesList, start: Scalar, end: Scalar) -> SeriesList:
    """The straight line of least squares through the points of each series from ``startSourceAt`` to ``endSourceAt``.

    Those are the window of the request if they are not given. A series with fewer than two values has none. Relative
    times are so to the clock of the request; in graphite-web to its own.
    """
    context = call.context
    first = context.start if start is None else parse_time(str(start), context.now, UTC)
    last = context.until if end is None else parse_time(str(end), context.now, UTC)
    source = call.series_again(first, last)
    shown = [_local(each, context, given) for each, given in ((first, start), (last, end))]
    found = np.full((2, len(series)), np.nan)
    for grid in source.grids:
        rows = grid.places < len(series)
        call.context.charge(len(grid.labels), 4 * grid.values.shape[1])
        found[:, grid.places[rows]] = least_squares(grid.values[rows], grid.start, grid.step)
    kept = np.flatnonzero(summaries(source, "count")[: len(series)] >= 2)
    made, (factors, offsets) = series.pick(kept), found[:, kept]
    for grid in made.grids:
        call.context.charge(*grid.values.shape)
        times = grid.start + grid.step * np.arange(grid.values.shape[1])
        grid.values = offsets[grid.places, np.newaxis] + times * factors[grid.places, np.newaxis]
        grid.labels.all(consolidation_func="average", ints=False)
    text = f"{shown[0]}, {shown[1]}"
    return made.named("linearRegression", f", {text}", anew=True).tagged("linearRegressions", text)


def _local(epoch: int, context: Context, given: Scalar) -> int:
    """A time as the name shows it: graphite-web takes the time of day in the zone of the request for one in its own."""
    if given is not None:
        return epoch
    try:
        offset = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=epoch)).astimezone(context.tz).utcoffset()
    except OverflowError as error:
        raise QueryError("linearRegression: the window lies outside of the calendar") from error
    return epoch + int((offset or timedelta(0)).total_seconds())


def least_squares(values: Values, start: int, step: int) -> Values:
    """The lines through rows: slope a second and value at the time 0, float64[2, rows], NaN where there is none.

    The value at 0 is far from the points, so that rounding shows: sums go from left to right as graphite-web's do.
    """
    there = ~np.isnan(values)
    at = np.arange(values.shape[1])
    known = np.where(there, values, 0.0)
    # Whole numbers below 2 ** 63 up to so many points.
    whole = there.astype(np.int64 if len(at) < 60_000 else np.float64)
    n, sum_i, sum_ii = whole.sum(axis=1), whole @ at, whole @ (at * at)
    sum_v, sum_iv = (np.cumsum(each, axis=1)[:, -1:].sum(axis=1) for each in (known, known * at))
    denominator = (n * sum_ii - sum_i * sum_i).astype(np.float64)
    factor = (n * sum_iv - sum_i * sum_v) / denominator / step
    offset = (sum_ii * sum_v - sum_iv * sum_i) / denominator - factor * start
    return np.stack((factor, offset))
