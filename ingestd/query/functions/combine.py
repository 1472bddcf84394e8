"""Many series to one."""

from __future__ import annotations

import math

import numpy as np

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import SERIES_LIST, SERIES_LISTS, function, optional
from ingestd.query.grid import Grid, Label, SeriesList, concatenate, single
from ingestd.query.reduce import across, reduce_buckets, reducer


@function("sumSeries", "sum", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def sum_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The sum of all series, point by point."""
    return aggregate(call, concatenate(series_lists), "sum")


@function("averageSeries", "avg", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def average_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The mean of all series, point by point."""
    return aggregate(call, concatenate(series_lists), "average")


@function("maxSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def max_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The largest value of all series at each point."""
    return aggregate(call, concatenate(series_lists), "max")


@function("minSeries", group="Combine", params=(SERIES_LISTS,), aggregator=True)
def min_series(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The smallest value of all series at each point."""
    return aggregate(call, concatenate(series_lists), "min")


@function("group", group="Combine", params=(optional("seriesLists", SERIES_LIST, multiple=True),))
def group(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """One list of all series, list after list, for functions that take a single one."""
    return concatenate(series_lists)


def aggregate(call: Invocation, series: SeriesList, func: str, x_files_factor: float | None = None) -> SeriesList:
    """One series whose every point is ``func`` over the points of all; none of no series.

    The result is named after the path expressions, keeps the tags that all have in common and adds ``aggregatedBy``.
    """
    func = func.removesuffix("Series")
    reducer(func)
    if not series:
        return SeriesList()
    start, end, step, matrix = zipped(call, series)
    factor = call.context.x_files_factor if x_files_factor is None else x_files_factor
    values = across(matrix, func, factor)
    labels = series.labels
    name = f"{func}Series({','.join(dict.fromkeys(label.path_expression for label in labels))})"
    tags = common_tags(labels)
    tags.setdefault("name", name)
    tags["aggregatedBy"] = func
    ints = func == "count" or (func not in ("average", "avg", "multiply") and all(label.ints for label in labels))
    return single(Label(name, name, tags, x_files_factor=factor, ints=ints), start, end, step, values)


def common_tags(labels: list[Label]) -> dict[str, str]:
    """The tags that have one value in all labels."""
    shared = dict(labels[0].tags)
    for label in labels:
        if not shared:
            break
        tags = label.tags
        for tag in [tag for tag, value in shared.items() if tags.get(tag) != value]:
            del shared[tag]
    return shared


def zipped(call: Invocation, series: SeriesList) -> tuple[int, int, int, Values]:
    """All series in rows of one step: start, end, step, and float64[n, points] padded with NaN.

    The step is the least common multiple, to which each series is consolidated in its own manner. Rows are then laid
    together by index, not by time, as graphite-web does: a series that starts later is shifted to the left.
    """
    grids = series.grids
    step = math.lcm(*(grid.step for grid in grids))
    start = min(grid.start for grid in grids)
    end = max(grid.end for grid in grids)
    end -= (end - start) % step
    if len(grids) == 1:
        return start, end, step, grids[0].values
    shaped = [stepped(grid, step) for grid in grids]
    width = max(values.shape[1] for values in shaped)
    call.context.charge(len(series), width)
    matrix = np.full((len(series), width), np.nan)
    for grid, values in zip(grids, shaped, strict=True):
        matrix[grid.places, : values.shape[1]] = values
    return start, end, step, matrix


def stepped(grid: Grid, step: int) -> Values:
    """The grid's values consolidated to ``step``, a multiple of its own."""
    size = step // grid.step
    if size == 1:
        return grid.values
    out = np.empty((len(grid.labels), -(-grid.values.shape[1] // size)))
    manners = [label.consolidation_func for label in grid.labels]
    factors = np.array([[label.x_files_factor] for label in grid.labels])
    for manner in set(manners):
        rows = np.array([each == manner for each in manners])
        out[rows] = reduce_buckets(grid.values[rows], size, manner, factors[rows])
    return out
