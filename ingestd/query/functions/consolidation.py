"""How later steps consolidate a series."""

from __future__ import annotations

from typing import Final

from ingestd.query.context import Invocation
from ingestd.query.functions.registry import FLOAT, SERIES, STRING, Param, function
from ingestd.query.grid import SeriesList

MANNERS: Final = ("sum", "average", "avg_zero", "max", "min", "first", "last", "avg")


@function("consolidateBy", group="Special", params=(SERIES, Param("consolidationFunc", STRING, options=MANNERS)))
def consolidate_by(call: Invocation, series: SeriesList, consolidation_func: str) -> SeriesList:
    """Says how points are made fewer. An unknown manner is refused only where that happens."""
    for grid in series.grids:
        grid.labels.all(consolidation_func=str(consolidation_func))
    return series.named("consolidateBy", f',"{consolidation_func}"', consolidation_func)


@function("cumulative", group="Special", params=(SERIES,))
def cumulative(call: Invocation, series: SeriesList) -> SeriesList:
    """Lets points be made fewer by summing them: ``consolidateBy(x,"sum")``, whose name it takes, too."""
    return consolidate_by(call, series, "sum")


@function("setXFilesFactor", "xFilesFactor", group="Special", params=(SERIES, Param("xFilesFactor", FLOAT)))
def set_x_files_factor(call: Invocation, series: SeriesList, x_files_factor: float) -> SeriesList:
    """The part of points that must have a value for their summary to have one: here, and in what follows this call.

    As in graphite-web it is the request's from now on, for functions around this one and targets behind it.
    """
    call.context.x_files_factor = x_files_factor
    for grid in series.grids:
        grid.labels.all(x_files_factor=x_files_factor)
    return series.tagged("xFilesFactor", x_files_factor)
