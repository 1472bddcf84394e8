"""One series to one series, each value by itself or by what its series holds as a whole."""

from __future__ import annotations

import numpy as np

from ingestd._speed import along_compiled
from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, INTEGER, SERIES, Param, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError

FACTOR = Param("factor", FLOAT)


@function("scale", group="Transform", params=(SERIES, FACTOR))
def scale(call: Invocation, series: SeriesList, factor: float) -> SeriesList:
    """Each value times ``factor``."""
    return series.named("scale", f",{factor:g}", factor).floats().map(lambda values: values * factor)


@function("scaleToSeconds", group="Transform", params=(SERIES, Param("seconds", FLOAT)))
def scale_to_seconds(call: Invocation, series: SeriesList, seconds: float) -> SeriesList:
    """Each value, an amount of its step, as the amount of ``seconds`` seconds, to 6 digits."""
    series.named("scaleToSeconds", f",{whole(call, seconds)}", seconds).floats()
    for grid in series.grids:
        if grid.step <= 0:
            raise QueryError("scaleToSeconds: a series has no step")
        grid.values = rounded(grid.values * (seconds / grid.step), 6)
    return series


@function("add", group="Transform", params=(SERIES, Param("constant", FLOAT)))
def add(call: Invocation, series: SeriesList, constant: float) -> SeriesList:
    """Each value plus ``constant``, of which the name shows the whole part only."""
    return series.named("add", f",{whole(call, constant)}", constant).floats().map(lambda values: values + constant)


@function("offset", group="Transform", params=(SERIES, FACTOR))
def offset(call: Invocation, series: SeriesList, factor: float) -> SeriesList:
    """Each value plus ``factor``."""
    return series.named("offset", f",{factor:g}", factor).floats().map(lambda values: values + factor)


@function("offsetToZero", group="Transform", params=(SERIES,))
def offset_to_zero(call: Invocation, series: SeriesList) -> SeriesList:
    """Each value less the smallest of its series."""
    for grid in series.grids:
        lowest, _ = extremes(grid.values)
        grid.values = grid.values - lowest
        texts = ["None" if value != value else str(value) for value in lowest[:, 0].tolist()]  # noqa: PLR0124  # NaN
        grid.labels.tags = grid.labels.tags.each("offsetToZero", texts)
    return series.named("offsetToZero")


@function("minMax", group="Transform", params=(SERIES,))
def min_max(call: Invocation, series: SeriesList) -> SeriesList:
    """Each value as its place between the smallest, 0, and the largest, 1, of its series; 0 where those are equal."""

    def place(values: Values) -> Values:
        lowest, highest = extremes(values)
        span = highest - lowest
        return np.where(span == 0, values * 0.0, (values - lowest) / span)

    return series.named("minMax").floats().map_rows(place)


@function("absolute", group="Transform", params=(SERIES,))
def absolute(call: Invocation, series: SeriesList) -> SeriesList:
    """Each value without its sign."""
    return series.named("absolute", tag=1).map(np.abs)


@function("round", group="Transform", params=(SERIES, optional("precision", INTEGER, shown=0)))
def round_values(call: Invocation, series: SeriesList, precision: int | None) -> SeriesList:
    """Each value to ``precision`` digits behind the point, or before it if that is negative; ties to the even digit."""
    digits = precision or 0
    arguments = "" if precision is None else f",{float(precision):g}"
    series.named("round", arguments)
    return series.tagged("round", digits).map(lambda values: rounded(values, digits))


@function("delay", group="Transform", params=(SERIES, Param("steps", INTEGER)))
def delay(call: Invocation, series: SeriesList, steps: int) -> SeriesList:
    """Each value ``steps`` points later, or earlier if that is negative. 0 leaves no values, as in graphite-web."""

    def moved(values: Values) -> Values:
        width = values.shape[1]
        out = np.full_like(values, np.nan)
        if steps == 0:
            return out[:, :0]
        if 0 < steps < width:
            out[:, steps:] = values[:, :-steps]
        elif -width < steps < 0:
            out[:, :steps] = values[:, -steps:]
        return out

    return series.named("delay", f",{steps}", steps, anew=True).map(moved)


def extremes(values: Values) -> tuple[Values, Values]:
    """The smallest and the largest value of each row, float64[rows, 1] each, NaN where there is none."""
    if values.shape[1] == 0:
        none = np.full((len(values), 1), np.nan)
        return none, none
    return np.fmin.reduce(values, axis=1, keepdims=True), np.fmax.reduce(values, axis=1, keepdims=True)


def whole(call: Invocation, number: float) -> int:
    """The whole part of a number, for a name."""
    if not np.isfinite(number):
        raise QueryError(f"{call.name}: {number!r} has no whole part")
    return int(number)


def rounded(values: Values, digits: int) -> Values:
    """Python's ``round(value, digits)``, which rounds the exact binary value; numpy's rounds a product.

    The two differ only beside a tie, so only those values go through Python. Values that have no such digits stay;
    just below those the result may be one unit of the last digit off, 1e-14 of the value.
    """
    if digits > 300:
        return values
    if digits < -308:
        return values * 0.0
    power = 10.0 ** abs(digits)
    if along_compiled is not None:
        flat = np.ascontiguousarray(values).reshape(-1)
        done = np.empty(flat.shape)
        ties = along_compiled.rounded(flat, power, digits >= 0, done)
        if ties:
            done[ties] = [round(value, digits) for value in flat[ties].tolist()]
        return done.reshape(values.shape)
    product = values * power if digits >= 0 else values / power
    nearest = np.rint(product)
    size = np.abs(product)
    near = (np.abs(product - nearest) + size * 5e-16 >= 0.5) & (size < 1e14)
    out = np.asarray(nearest / power if digits >= 0 else nearest * power)
    if near.any():
        out[near] = [round(value, digits) for value in values[near].tolist()]
    return np.where(size >= 2.0**52, values, out)
