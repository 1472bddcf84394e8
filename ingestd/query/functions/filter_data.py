"""Values that are taken out of their series."""

from __future__ import annotations

from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.arrays import blanked, by_rows
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, SERIES, Param, function
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.reduce import known, percentile

N: Final = Param("n", FLOAT)


@function("removeAboveValue", group="Filter Data", params=(SERIES, N))
def remove_above_value(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """Takes out values above ``n``."""
    return series.named("removeAboveValue", f", {n:g}").map(lambda values: blanked(values, values > n))


@function("removeBelowValue", group="Filter Data", params=(SERIES, N))
def remove_below_value(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """Takes out values below ``n``."""
    return series.named("removeBelowValue", f", {n:g}").map(lambda values: blanked(values, values < n))


@function("removeAbovePercentile", group="Filter Data", params=(SERIES, N))
def remove_above_percentile(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """Takes out values above the n-th percentile of their series."""
    series.named("removeAbovePercentile", f", {n:g}")
    for grid in series.grids:
        grid.values = blanked(grid.values, grid.values > own_percentile(call, grid, n))
    return series


@function("removeBelowPercentile", group="Filter Data", params=(SERIES, N))
def remove_below_percentile(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """Takes out values below the n-th percentile of their series."""
    series.named("removeBelowPercentile", f", {n:g}")
    for grid in series.grids:
        grid.values = blanked(grid.values, grid.values < own_percentile(call, grid, n))
    return series


def own_percentile(call: Invocation, grid: Grid, n: float) -> Values:
    """The n-th percentile of each row, float64[rows, 1]; NaN where that has no value, or none of so high a rank.

    Series that have one get the tag that nPercentile, which graphite-web asks here, sets on them.
    """
    values = grid.values
    if not n > 0:
        raise QueryError(f"{call.name}: the requested percent is required to be greater than 0")
    if values.shape[1] == 0:
        return np.full((len(values), 1), np.nan)
    count = known(values)
    beyond = np.ceil(n / 100 * (count + 1)) > count + 1
    some = (count > 0) & ~beyond
    labels, text = grid.labels, str(n)
    labels.tags = (
        labels.tags.also("nPercentile", text)
        if some.all()
        else labels.tags.each("nPercentile", [text if each else None for each in some.tolist()])
    )
    return np.where(beyond, np.nan, by_rows(values, percentile, n))[:, np.newaxis]
