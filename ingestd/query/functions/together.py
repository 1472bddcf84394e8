"""Series brought together: to one step, into rows, in groups and in pairs. What Combine's functions are built on."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.context import Context
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import QueryError
from ingestd.query.reduce import reduce_buckets

Places = NDArray[np.intp]


def wrapped(context: Context, name: str) -> Label:
    """The label of a new series that is named after a call, ``f(...)``: no tags but its name."""
    return Label(name, name, {"name": name}, x_files_factor=context.x_files_factor)


def expressions(labels: Labels) -> str:
    """The path expressions, each once, as an enclosing function prints them."""
    return ",".join(dict.fromkeys(labels.path_expressions))


def common_tags(tags_of_each: Iterable[dict[str, str]]) -> dict[str, str]:
    """The tags that have one value in all of at least one series."""
    each = iter(tags_of_each)
    shared = dict(next(each))
    for tags in each:
        if not shared:
            break
        for tag in [tag for tag, value in shared.items() if tags.get(tag) != value]:
            del shared[tag]
    return shared


def in_groups(keys: Iterable[str]) -> dict[str, list[int]]:
    """The places of the series by their keys, in order of first appearance."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for at, key in enumerate(keys):
        places[key].append(at)
    return dict(places)


def zipped(context: Context, series: SeriesList) -> tuple[int, int, int, Values]:
    """All series in rows of one step: start, end, step, and float64[n, points] padded with NaN.

    The step is the least common multiple, to which each series is consolidated in its own manner. Rows are then laid
    together by index, not by time, as graphite-web does: a series that starts later is shifted to the left. The list is
    not empty.
    """
    grids = series.grids
    start, end, step = common_window(grids)
    if len(grids) == 1:
        return start, end, step, grids[0].values
    shaped = [stepped(grid, step) for grid in grids]
    width = max(values.shape[1] for values in shaped)
    context.charge(len(series), width)
    matrix = np.full((len(series), width), np.nan)
    for grid, values in zip(grids, shaped, strict=True):
        matrix[grid.places, : values.shape[1]] = values
    return start, end, step, matrix


def common_window(grids: list[Grid]) -> tuple[int, int, int]:
    """Start, end and step of series that are brought together: whole steps of the least common multiple."""
    if any(grid.step <= 0 for grid in grids):
        raise QueryError("a series without a step cannot be combined with others")
    step = math.lcm(*(grid.step for grid in grids))
    start = min(grid.start for grid in grids)
    end = max(grid.end for grid in grids)
    return start, end - (end - start) % step, step


def stepped(grid: Grid, step: int) -> Values:
    """The grid's values consolidated to ``step``, a multiple of its own."""
    size = step // grid.step
    if size == 1:
        return grid.values
    out = np.empty((len(grid.labels), -(-grid.values.shape[1] // size)))
    manners = grid.labels.consolidation_funcs
    factors = grid.labels.factors
    for manner in set(manners):
        rows = np.array([each == manner for each in manners])
        out[rows] = reduce_buckets(grid.values[rows], size, manner, factors[rows])
    return out


class Pairs(NamedTuple):
    """Pairs that share their windows: ``first`` and ``second`` are float64[k, points], padded with NaN."""

    at: Places
    """Which of the pairs asked for these are."""
    start: int
    end: int
    step: int
    first: Values
    second: Values


def in_pairs(context: Context, series: SeriesList, firsts: Places, seconds: Places) -> Iterator[Pairs]:
    """The pairs ``series[firsts[i]], series[seconds[i]]``, each brought to its own step as :func:`zipped` does."""
    which = np.empty((2, len(series)), np.intp)
    for number, grid in enumerate(series.grids):
        which[0, grid.places] = number
        which[1, grid.places] = np.arange(len(grid.places))
    combination = which[0, firsts] * len(series.grids) + which[0, seconds]
    for each in np.unique(combination).tolist():
        at = np.flatnonzero(combination == each)
        sides = []
        for number, places in zip(divmod(each, len(series.grids)), (firsts, seconds), strict=True):
            sides.append(_rows(series.grids[number], which[1, places[at]]))
        start, end, step = common_window(sides)
        one, other = (stepped(side, step) for side in sides)
        width = max(one.shape[1], other.shape[1])
        context.charge(len(at), width)
        yield Pairs(at, start, end, step, padded(one, width), padded(other, width))


def _rows(grid: Grid, rows: Places) -> Grid:
    labels = grid.labels.take(rows.tolist())
    return Grid(grid.start, grid.end, grid.step, rows_of(grid.values, rows), labels, np.arange(len(rows)))


def rows_of(values: Values, rows: Places) -> Values:
    """``values[rows]``, a view where the rows follow one another. ``rows`` is not empty."""
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and bool(np.all(rows[1:] == rows[:-1] + 1)):
        return values[first : last + 1]
    return values[rows]


def padded(values: Values, width: int) -> Values:
    """``values`` float64[rows, n] with NaN behind them up to ``width``."""
    missing = width - values.shape[1]
    return values if missing <= 0 else np.pad(values, ((0, 0), (0, missing)), constant_values=np.nan)
