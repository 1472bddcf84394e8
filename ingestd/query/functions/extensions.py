"""Functions that carbonapi has and graphite-web 1.1.10 has not: more of the kinds that there are.

They do what carbonapi's documentation says; what is no number there is none here.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.along import recurrence
from ingestd.query.context import Invocation
from ingestd.query.functions.combine import aggregated, power
from ingestd.query.functions.filter_series import HOW_MANY, chosen, highest, lowest
from ingestd.query.functions.gaps import is_non_null
from ingestd.query.functions.ratios import FIRST, SECOND
from ingestd.query.functions.registry import (
    FLOAT,
    NODE,
    SERIES,
    SERIES_LIST,
    SERIES_LISTS,
    Param,
    function,
    optional,
)
from ingestd.query.functions.together import in_pairs, zipped
from ingestd.query.grid import Grid, SeriesList, concatenate
from ingestd.query.labels import Labels, taken
from ingestd.query.limits import QueryError
from ingestd.query.reduce import enough

WEIGHED: Final = 5
"""Points by which heatMap orders its series."""

# --- aggregations by their own names ----------------------------------------------------------------------------------


@function("multiply", group="Combine", params=(SERIES_LISTS,), extension=True)
def multiply(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The product of all series, none where one has no value."""
    return aggregated(call, concatenate(series_lists), "multiply")


@function("diff", group="Combine", params=(SERIES_LISTS,), extension=True)
def diff(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The first series less all others: another name of diffSeries."""
    return aggregated(call, concatenate(series_lists), "diff")


@function("count", group="Combine", params=(SERIES_LISTS,), extension=True)
def count(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """How many series have a value, at each point. Unlike countSeries it does not count those that have none."""
    return aggregated(call, concatenate(series_lists), "count")


@function("stddev", group="Combine", params=(SERIES_LISTS,), extension=True)
def stddev(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The standard deviation (of the population) of all series: another name of stddevSeries."""
    return aggregated(call, concatenate(series_lists), "stddev")


@function("powSeriesLists", group="Combine", params=(FIRST, SECOND), extension=True)
def pow_series_lists(call: Invocation, firsts: SeriesList, seconds: SeriesList) -> SeriesList:
    """The series of the first list, each to the power of the one of the second at its place; of one length."""
    if len(firsts) != len(seconds):
        raise QueryError("powSeriesLists: both lists must have equal length")
    places = np.arange(len(firsts))
    both = concatenate((firsts, seconds))
    called = [f"powSeries({one},{other})" for one, other in zip(firsts.names, seconds.names, strict=True)]
    grids = []
    for pairs in in_pairs(call.context, both, places, places + len(firsts)):
        made = Labels.called(taken(called, pairs.at.tolist()), call.context.x_files_factor)
        grids.append(Grid(pairs.start, pairs.end, pairs.step, power(pairs.first, pairs.second), made, pairs.at))
    return SeriesList(grids)


# --- filters ----------------------------------------------------------------------------------------------------------


@function("highestMin", group="Filter Series", params=(SERIES, HOW_MANY), extension=True)
def highest_min(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the largest minima."""
    return highest(call, series, n, "min")


@function("lowestMin", group="Filter Series", params=(SERIES, HOW_MANY), extension=True)
def lowest_min(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the smallest minima."""
    return lowest(call, series, n, "min")


@function("lowestMax", group="Filter Series", params=(SERIES, HOW_MANY), extension=True)
def lowest_max(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the smallest maxima."""
    return lowest(call, series, n, "max")


@function("removeZeroSeries", group="Filter Series", params=(SERIES, optional("xFilesFactor", FLOAT)), extension=True)
def remove_zero_series(call: Invocation, series: SeriesList, x_files_factor: float | None) -> SeriesList:
    """The series that have a value other than zero at least at one point, and at that part of their points."""
    keep = np.zeros(len(series), np.bool_)
    for grid in series.grids:
        if points := grid.values.shape[1]:
            some = np.count_nonzero((grid.values != 0) & ~np.isnan(grid.values), axis=1)
            keep[grid.places] = enough(some, points, x_files_factor or 0.0)
    return chosen(series, keep)


# --- point by point ---------------------------------------------------------------------------------------------------


@function("isNotNull", group="Transform", params=(SERIES,), extension=True)
def is_not_null(call: Invocation, series: SeriesList) -> SeriesList:
    """1 where there is a value, 0 where there is none: another name of isNonNull."""
    return is_non_null(call, series)


@function(
    "integralWithReset",
    group="Transform",
    params=(SERIES, Param("resettingSeries", SERIES_LIST)),
    extension=True,
)
def integral_with_reset(call: Invocation, series: SeriesList, resetting: SeriesList) -> SeriesList:
    """The sum of all values up to each, 0 and begun anew wherever the resetting series has a value other than zero.

    That is one series, with the times of the others.
    """
    if len(resetting) != 1:
        raise QueryError(f"integralWithReset: the resetting series must be one, not {len(resetting)}")
    (other,) = resetting.grids
    name = other.labels.names[0]
    resets = (other.values[0] != 0) & ~np.isnan(other.values[0])
    for grid in series.grids:
        if (grid.start, grid.step, grid.values.shape[1]) != (other.start, other.step, len(resets)):
            raise QueryError(f"integralWithReset: {grid.labels.names[0]} has other times than {name}")
        call.context.charge(*grid.values.shape)
        empty = np.isnan(grid.values)
        steps = np.where(empty | resets, 0.0, grid.values)
        sums = recurrence(np.broadcast_to(~resets, steps.shape).astype(np.float64), steps, np.zeros(len(steps)))
        grid.values = np.where(empty, np.nan, sums)
    return series.named("integralWithReset", f",{name}", anew=True).floats()


@function(
    "exponentialWeightedMovingAverage",
    "ewma",
    group="Calculate",
    params=(SERIES, Param("alpha", FLOAT)),
    extension=True,
)
def exponential_weighted_moving_average(call: Invocation, series: SeriesList, alpha: float) -> SeriesList:
    """``alpha * value + (1 - alpha) * average before`` at each value; the first value is the first average."""
    for grid in series.grids:
        call.context.charge(len(grid.labels), 2 * grid.values.shape[1])
        there = ~np.isnan(grid.values)
        first = there & (np.cumsum(there, axis=1) == 1)
        factors = np.where(there, np.where(first, 0.0, 1 - alpha), 1.0)
        additions = np.where(there, np.where(first, 1.0, alpha) * grid.values, 0.0)
        averages = recurrence(factors, additions, np.zeros(len(there)))
        grid.values = np.where(there, averages, np.nan)
    return series.named("ewma", f",{alpha:g}", anew=True).floats()


@function("heatMap", group="Transform", params=(SERIES,), extension=True)
def heat_map(call: Invocation, series: SeriesList) -> SeriesList:
    """Each series less the one before it, as heat maps take counters of buckets that include the smaller ones.

    The series, of the same times, are ordered by the sum of their first five points at which all have a value.
    """
    if len(series) < 2:
        return SeriesList()
    if len({(grid.start, grid.end, grid.step, grid.values.shape[1]) for grid in series.grids}) > 1:
        raise QueryError("heatMap: the series have different times")
    start, end, step, values = zipped(call.context, series)
    columns = np.flatnonzero(~np.isnan(values).any(axis=0))[:WEIGHED]
    order = np.argsort(values[:, columns].sum(axis=1), kind="stable")
    call.context.charge(*values.shape)
    names = taken(series.names, order.tolist())
    labels = series.labels.take(order[1:].tolist())
    labels.renew([f"heatMap({name},{before})" for name, before in zip(names[1:], names, strict=False)])
    return SeriesList([Grid(start, end, step, np.diff(values[order], axis=0), labels, np.arange(len(labels)))])


@function("lowPass", "lpf", group="Transform", params=(SERIES, Param("cutPercent", FLOAT)), extension=True)
def low_pass(call: Invocation, series: SeriesList, cut_percent: float) -> SeriesList:
    """Of a spectrum of fft the ``cutPercent`` with the lowest frequencies: those at both ends."""

    def passed(values: Values) -> Values:
        points = values.shape[1]
        low = min(max(int(cut_percent / 200 * points), 0), points)
        at = np.arange(points)
        return np.where((at < low) | (at >= points - low), values, np.nan)

    return series.map(passed).named("lowPass", f",{cut_percent:g}", anew=True)


# --- names ------------------------------------------------------------------------------------------------------------


@function("aliasByBase64", group="Alias", params=(SERIES, optional("nodeNum", NODE)), extension=True)
def alias_by_base64(call: Invocation, series: SeriesList, node: int | None) -> SeriesList:
    """Shows each name as the text that it encodes in base 64, or with this node, counted from 1, as its text.

    What is no base 64 stays as it is.
    """
    if node is None:
        return series.shown([_decoded(str(name)) for name in series.names])
    names = []
    for name, tags in zip(series.names, series.labels.tags, strict=True):
        nodes = tags.get("name", str(name)).split(".")
        text = _decoded(nodes[node - 1]) if 1 <= node <= len(nodes) else ""
        changed = 1 <= node <= len(nodes) and text != nodes[node - 1]
        names.append(".".join([*nodes[: node - 1], text, *nodes[node:]]) if changed else name)
    return series.shown(names)


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text.encode(), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return text
