"""Many series to one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import (
    AGG_FUNC,
    BOOLEAN,
    FLOAT,
    SERIES,
    SERIES_LIST,
    SERIES_LISTS,
    Param,
    function,
    optional,
)
from ingestd.query.functions.special import line
from ingestd.query.functions.together import common_tags, expressions, wrapped, zipped
from ingestd.query.grid import SeriesList, concatenate, single
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import QueryError
from ingestd.query.reduce import WHOLE, across, percentile, reducer


@function("sumSeries", "sum", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def sum_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The sum of all series, point by point."""
    return aggregated(call, concatenate(series_lists), "sum")


@function("averageSeries", "avg", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def average_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The mean of all series, point by point."""
    return aggregated(call, concatenate(series_lists), "average")


@function("maxSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def max_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The largest value of all series at each point."""
    return aggregated(call, concatenate(series_lists), "max")


@function("minSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def min_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The smallest value of all series at each point."""
    return aggregated(call, concatenate(series_lists), "min")


@function("diffSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def diff_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The first series less all others; where it has no value, the next one that has takes its place."""
    return aggregated(call, concatenate(series_lists), "diff")


@function("stddevSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def stddev_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The standard deviation (of the population) of all series at each point."""
    return aggregated(call, concatenate(series_lists), "stddev")


@function("rangeOfSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def range_of_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The largest value less the smallest of all series at each point."""
    return aggregated(call, concatenate(series_lists), "rangeOf")


@function("multiplySeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def multiply_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The product of all series, none where one has no value. A single series stays what it is, its name included."""
    if len(series_lists) == 1 and len(series_lists[0]) == 1:
        return series_lists[0]
    return aggregated(call, concatenate(series_lists), "multiply")


@function("aggregate", group="Combine", params=(SERIES, Param("func", AGG_FUNC), optional("xFilesFactor", FLOAT)))
def aggregate(call: Invocation, series: SeriesList, func: str, x_files_factor: float | None) -> SeriesList:
    """One series whose every point is ``func`` over those of all; none where too few are known."""
    return aggregated(call, series, func, x_files_factor)


@function(
    "countSeries", group="Combine", params=(optional("seriesLists", SERIES_LIST, multiple=True),), aggregator=True
)
def count_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """How many series there are, at each point."""
    context = call.context
    if not series_lists:
        return line(context, 0.0, Label("0", "countSeries()", {"name": "0"}, ints=True))
    series = concatenate(series_lists)
    if not series:
        return SeriesList()
    label = wrapped(context, f"countSeries({expressions(series.labels)})")
    label.ints = True
    start, end, step, matrix = zipped(context, series)
    return single(label, start, end, step, np.full(matrix.shape[1], float(len(series))))


@function(
    "powSeries",
    group="Combine",
    params=(Param("seriesList", SERIES_LIST, multiple=True, keyword="seriesLists"),),
    aggregator=True,
)
def pow_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The first series to the power of the second, that to the power of the third, ...; none where one is none."""
    series = concatenate(series_lists)
    if not series:
        return SeriesList()
    label = wrapped(call.context, f"powSeries({','.join(map(str, series.names))})")
    start, end, step, matrix = zipped(call.context, series)
    values = matrix[0]
    for at, row in enumerate(matrix[1:]):
        values = power(values, row)
        # What is none stays so.
        if at % 16 == 0 and np.isnan(values).all():
            break
    return single(label, start, end, step, values)


def power(base: Values, exponent: Values) -> Values:
    """``base ** exponent``; NaN where one of them is, or where the result is no finite real number but they are."""
    out = np.power(base, exponent)
    lost = np.isnan(base) | np.isnan(exponent) | (np.isinf(out) & np.isfinite(base) & np.isfinite(exponent))
    return np.where(lost, np.nan, out)


@function(
    "percentileOfSeries",
    group="Combine",
    params=(SERIES, Param("n", FLOAT), optional("interpolate", BOOLEAN, False)),
)
def percentile_of_series(call: Invocation, series: SeriesList, n: float, interpolate: bool) -> SeriesList:
    """The n-th percentile of all series at each point: one of their values unless ``interpolate``."""
    if n <= 0:
        raise QueryError("The requested percent is required to be greater than 0")
    if not series:
        return SeriesList()
    label = wrapped(call.context, f"percentileOfSeries({series.labels.path_expressions[0]},{n:g})")
    start, end, step, matrix = zipped(call.context, series)
    return single(label, start, end, step, percentile(matrix.T, n, interpolate))


@function("group", group="Combine", params=(optional("seriesLists", SERIES_LIST, multiple=True),))
def group(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """One list of all series, list after list, for functions that take a single one."""
    return concatenate(series_lists)


def aggregated(call: Invocation, series: SeriesList, func: str, x_files_factor: float | None = None) -> SeriesList:
    """One series whose every point is ``func`` over the points of all; none of no series.

    The result is named after the path expressions, keeps the tags that all have in common and adds ``aggregatedBy``.
    ``func`` may have ``Series`` behind it. Raises :class:`QueryError`.
    """
    func = agg_func(func)
    if not series:
        return SeriesList()
    factor = call.context.x_files_factor if x_files_factor is None else x_files_factor
    start, end, step, matrix = zipped(call.context, series)
    label = aggregated_label(series.labels, func, factor)
    return single(label, start, end, step, across(matrix, func, factor))


def agg_func(name: str) -> str:
    """The aggregation that is meant by ``name``, without ``Series`` behind it. Raises :class:`QueryError`."""
    func = name.removesuffix("Series")
    try:
        reducer(func)
    except QueryError:
        raise QueryError(f"Unsupported aggregation function: {name}") from None
    return func


def aggregated_label(labels: Labels, func: str, factor: float) -> Label:
    """The label of the series that ``func`` makes of series with these labels."""
    name = f"{func}Series({expressions(labels)})"
    ints = func == "count" or (func in WHOLE and all(labels.ints))
    return Label(name, name, aggregated_tags(labels.tags, name, func), x_files_factor=factor, ints=ints)


def aggregated_tags(tags: Iterable[dict[str, str]], name: str, func: str) -> dict[str, str]:
    """The tags of such a series, called ``name``: those that all have in common, and by what they were aggregated."""
    made = common_tags(tags)
    made.setdefault("name", name)
    made["aggregatedBy"] = func
    return made
