"""Powers, exponentials and logarithms of each value: nothing where they are undefined or too large for a float."""

from __future__ import annotations

import math

import numpy as np

from ingestd.points import Values
from ingestd.query.arrays import blanked
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, NUMBER, SERIES, Param, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError


@function("pow", group="Transform", params=(SERIES, Param("factor", FLOAT)))
def power(call: Invocation, series: SeriesList, factor: float) -> SeriesList:
    """Each value to the power of ``factor``."""
    return series.named("pow", f",{factor:g}", factor).floats().map_rows(lambda values: powered(values, factor))


@function("squareRoot", group="Transform", params=(SERIES,))
def square_root(call: Invocation, series: SeriesList) -> SeriesList:
    """The square root of each value."""
    return series.named("squareRoot", tag=1).floats().map_rows(lambda values: powered(values, 0.5))


@function("invert", group="Transform", params=(SERIES,))
def invert(call: Invocation, series: SeriesList) -> SeriesList:
    """1 divided by each value."""
    return series.named("invert", tag=1).floats().map_rows(lambda values: powered(values, -1.0))


@function("exp", group="Transform", params=(SERIES,))
def exponential(call: Invocation, series: SeriesList) -> SeriesList:
    """e to the power of each value."""
    return series.named("exp", tag="e").floats().map_rows(lambda values: defined(np.exp(values), values))


@function("log", group="Transform", params=(SERIES, optional("base", NUMBER, 10)))
def logarithm(call: Invocation, series: SeriesList, base: float) -> SeriesList:
    """The logarithm of each value to ``base``; none of values that are not positive."""
    if not 0 < base < math.inf or base == 1:
        raise QueryError(f"log: there is no logarithm to the base {base}")
    series.named("log", f", {base}", base, anew=True).floats()
    return series.map_rows(lambda values: np.log(blanked(values, ~(values > 0))) / math.log(base))


@function("logit", group="Transform", params=(SERIES,))
def logit(call: Invocation, series: SeriesList) -> SeriesList:
    """log(x / (1 - x)) of each value x between 0 and 1."""

    def change(values: Values) -> Values:
        return np.log(blanked(values / (1 - values), ~((values > 0) & (values < 1))))

    return series.named("logit", tag="logit").floats().map_rows(change)


@function("sigmoid", group="Transform", params=(SERIES,))
def sigmoid(call: Invocation, series: SeriesList) -> SeriesList:
    """1 / (1 + exp(-x)) of each value x."""
    return series.named("sigmoid", tag="sigmoid").floats().map_rows(lambda values: 1 / (1 + np.exp(-values)))


def powered(values: Values, exponent: float) -> Values:
    """``values`` to the power of ``exponent`` as C's pow has them."""
    return defined(blanked(np.power(values, exponent), np.isnan(values)), values)


def defined(results: Values, values: Values) -> Values:
    """``results`` without the infinities that finite ``values`` led to."""
    return blanked(results, np.isinf(results) & np.isfinite(values))
