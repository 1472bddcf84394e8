"""One series to one series, point by point."""

from __future__ import annotations

import numpy as np

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, INT_OR_INF, SERIES, Param, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError


@function("scale", group="Transform", params=(SERIES, Param("factor", FLOAT)))
def scale(call: Invocation, series: SeriesList, factor: float) -> SeriesList:
    """Each value times ``factor``."""
    for label in series.labels:
        label.tags["scale"] = str(factor)
        label.become(f"scale({label.name},{factor:g})")
        label.ints = False
    return series.map(lambda values: values * factor)


@function("derivative", group="Transform", params=(SERIES,))
def derivative(call: Invocation, series: SeriesList) -> SeriesList:
    """Each value less the one before it: the growth of a counter in each step."""
    for label in series.labels:
        label.tags["derivative"] = "1"
        label.become(f"derivative({label.name})")
    return series.map(differences)


@function("perSecond", group="Transform", params=(SERIES, optional("maxValue", FLOAT), optional("minValue", FLOAT)))
def per_second(call: Invocation, series: SeriesList, max_value: float | None, min_value: float | None) -> SeriesList:
    """The growth of a counter a second, to 6 digits; nothing where it shrinks, unless the limits tell of a wrap.

    graphite-web 1.1.10 crashes on a null where a limit is given; here a null gives a null, as its later versions do.
    """
    for label in series.labels:
        label.tags["perSecond"] = "1"
        label.become(f"perSecond({label.name})")
        label.ints = False
    for grid in series.grids:
        if grid.step <= 0:
            raise QueryError("perSecond: a series has no step")
        grid.values = rounded(growth(grid.values, max_value, min_value) / grid.step, 6)
    return series


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
        values = np.where(values > max_value, np.nan, values)
    if min_value is not None:
        values = np.where(values < min_value, np.nan, values)
    out = differences(values)
    fallen = out < 0
    if max_value is not None:
        out[fallen] += max_value + 1 - (min_value or 0)
    elif min_value is not None:
        out[fallen] = values[fallen] - min_value
    else:
        out[fallen] = np.nan
    return out


def rounded(values: Values, digits: int) -> Values:
    """Python's ``round(value, digits)``, which rounds the exact binary value; numpy's rounds a product.

    The two differ only beside a tie, so only those values go through Python. Values that have no such digits stay;
    just below those the result may be one unit of the last digit off, 1e-14 of the value.
    """
    power = 10.0**digits
    product = values * power
    whole = np.rint(product)
    size = np.abs(product)
    near = (np.abs(product - whole) + size * 5e-16 >= 0.5) & (size < 1e14)
    out = np.asarray(whole / power)
    if near.any():
        out[near] = [round(value, digits) for value in values[near].tolist()]
    return np.where(size >= 2.0**52, values, out)


@function("keepLastValue", group="Transform", params=(SERIES, optional("limit", INT_OR_INF, float("inf"))))
def keep_last_value(call: Invocation, series: SeriesList, limit: float) -> SeriesList:
    """Fills gaps of up to ``limit`` points with the value before them; longer gaps stay whole."""
    for label in series.labels:
        label.become(f"keepLastValue({label.name})")
    return series.map(lambda values: filled(values, limit))


def filled(values: Values, limit: float) -> Values:
    """``values`` float64[rows, n] with gaps between a value and the next, or the end, of at most ``limit`` filled."""
    empty = np.isnan(values)
    if not empty.any():
        return values
    points = values.shape[1]
    index = np.arange(points, dtype=np.int32)
    last = np.maximum.accumulate(np.where(empty, np.int32(-1), index), axis=1)
    following = np.minimum.accumulate(np.where(empty, np.int32(points), index)[:, ::-1], axis=1)[:, ::-1]
    fill = empty & (last >= 0) & (following - last - 1 <= limit)
    rows, columns = np.nonzero(fill)
    out = values.copy()
    out[rows, columns] = values[rows, last[rows, columns]]
    return out
