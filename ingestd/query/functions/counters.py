"""Changes from point to point, and their sums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.along import changes
from ingestd.query.arrays import blanked, by_rows, zeroed
from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, SERIES, STRING, Param, function, optional
from ingestd.query.functions.transform import rounded
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError

BOUNDS = (optional("maxValue", FLOAT), optional("minValue", FLOAT))


@function("derivative", group="Transform", params=(SERIES,))
def derivative(call: Invocation, series: SeriesList) -> SeriesList:
    """Each value less the one before it: the growth of a counter in each step."""
    return series.named("derivative", tag=1, anew=True).map(differences)


@function("nonNegativeDerivative", group="Transform", params=(SERIES, *BOUNDS))
def non_negative_derivative(
    call: Invocation, series: SeriesList, max_value: float | None, min_value: float | None
) -> SeriesList:
    """The growth of a counter in each step; nothing where it shrinks, unless the limits tell of a wrap.

    graphite-web 1.1.10 crashes on a null where a limit is given; here a null gives a null, as its later versions do.
    """
    series.named("nonNegativeDerivative", tag=1, anew=True)
    return series.map_rows(lambda values: growth(values, max_value, min_value))


@function("perSecond", group="Transform", params=(SERIES, *BOUNDS))
def per_second(call: Invocation, series: SeriesList, max_value: float | None, min_value: float | None) -> SeriesList:
    """The growth of a counter a second, to 6 digits; nothing where it shrinks, unless the limits tell of a wrap.

    graphite-web 1.1.10 crashes on a null where a limit is given; here a null gives a null, as its later versions do.
    """
    series.named("perSecond", tag=1, anew=True).floats()
    for grid in series.grids:
        if grid.step <= 0:
            raise QueryError("perSecond: a series has no step")
        grid.values = rounded(by_rows(grid.values, growth, max_value, min_value) / grid.step, 6)
    return series


@function("changed", group="Special", params=(SERIES,))
def changed(call: Invocation, series: SeriesList) -> SeriesList:
    """1 where a value differs from the last one before it, else 0."""
    for grid in series.grids:
        grid.labels.all(ints=True)
    return series.named("changed").map(changes)


@function("integral", group="Transform", params=(SERIES,))
def integral(call: Invocation, series: SeriesList) -> SeriesList:
    """The sum of all values up to each; nothing where there is no value."""

    def sums(values: Values) -> Values:
        return blanked(np.cumsum(zeroed(values), axis=1), np.isnan(values))

    return series.named("integral", tag=1, anew=True).floats().map_rows(sums)


@function("integralByInterval", group="Transform", params=(SERIES, Param("intervalUnit", STRING)))
def integral_by_interval(call: Invocation, series: SeriesList, interval_unit: str) -> SeriesList:
    """The sum of the values up to each, begun anew every ``intervalUnit`` from the beginning of the request's window.

    Where there is no value the sum stays.
    """
    interval = abs(parse_offset(str(interval_unit)))
    if interval == 0:
        raise QueryError("integralByInterval: the interval is empty")
    for grid in series.grids:
        width = grid.values.shape[1]
        times = grid.start + grid.step * np.arange(width) - call.context.start
        number = times // interval
        grid.values = by_rows(grid.values, restarted, number != (times - grid.step) // interval)
    text = f",'{interval_unit}'"
    return series.named("integralByInterval", text, interval_unit, anew=True).floats()


def restarted(values: Values, first: NDArray[np.bool_]) -> Values:
    """Sums along each row of float64[rows, n] that begin anew where ``first`` bool[n] is set; NaN counts as 0."""
    rows, width = values.shape
    if width == 0:
        return values
    begins = np.flatnonzero(first | (np.arange(width) == 0))
    lengths = np.diff(np.append(begins, width))
    run = np.repeat(np.arange(len(begins)), lengths)
    within = np.arange(width) - begins[run]
    # A cube with a run in each row: a difference of running sums would cancel, this adds only what is in the run.
    cube = np.zeros((rows, len(begins), int(lengths.max())))
    cube[:, run, within] = zeroed(values)
    return np.asarray(np.cumsum(cube, axis=2)[:, run, within])


def differences(values: Values) -> Values:
    """Each value less the one before it in its row, NaN at the beginning."""
    out = np.empty_like(values)
    out[:, :1] = np.nan
    np.subtract(values[:, 1:], values[:, :-1], out=out[:, 1:])
    return out


def growth(values: Values, max_value: float | None, min_value: float | None) -> Values:
    """What a counter grew by since the point before it.

    Values outside of the limits count as none. After a wrap the growth is what was left to ``max_value``, plus 1, plus
    what the counter holds beyond ``min_value`` (0); with ``min_value`` alone a fall means a reset to it.
    """
    if max_value is not None:
        values = blanked(values, values > max_value)
    if min_value is not None:
        values = blanked(values, values < min_value)
    out = differences(values)
    fallen = out < 0
    if max_value is not None:
        out[fallen] += max_value + 1 - (min_value or 0)
    elif min_value is not None:
        out[fallen] = values[fallen] - min_value
    else:
        out = blanked(out, fallen)
    return out
