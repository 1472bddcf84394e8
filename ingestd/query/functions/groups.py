"""Many groups of series, each made one: all at once as far as their sizes and windows agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.combine import agg_func, aggregated, aggregated_tags
from ingestd.query.functions.together import Places, rows_of
from ingestd.query.grid import Grid, SeriesList, concatenate
from ingestd.query.labels import Labels, Same, Tags
from ingestd.query.reduce import ALONE, WHOLE, across, adds_up, enough, known, reducer

Group = Sequence[int]
"""The places of a group's series in a list; at least one."""
PIECE: Final = 1 << 15
"""Points of small groups that are reduced at a time: 256 KB stay in the cache."""
FEW: Final = 4
"""Fewer groups of one size than these are reduced one by one: large ones have kernels of their own."""


def aggregated_groups(
    call: Invocation, series: SeriesList, func: str, groups: Sequence[Group], x_files_factor: float | None = None
) -> SeriesList:
    """What :func:`aggregated` makes of each group, in the order of the groups.

    Groups of one size that lie in one grid are reduced together, as a cube.
    """
    if not groups:
        return SeriesList()
    func = agg_func(func)
    context = call.context
    factor = context.x_files_factor if x_files_factor is None else x_files_factor
    labels = series.labels
    out: list[SeriesList] = []
    order: list[Places] = []
    for grid, chosen in _by_grid(series, groups):
        own = [groups[number] for number in chosen]
        order.append(np.array(chosen, np.intp))
        if grid is None:
            out += [aggregated(call, series.pick(np.array(group, np.intp)), func, factor) for group in own]
            continue
        context.charge(len(own), grid.values.shape[1])
        sizes = np.array([len(group) for group in own], np.intp)
        places = np.fromiter(chain.from_iterable(own), np.intp, int(sizes.sum()))
        values = reduced_groups(grid.values, np.searchsorted(grid.places, places), sizes, func, factor)
        made = aggregated_labels(labels, own, func, factor)
        window = grid.start, grid.end - (grid.end - grid.start) % grid.step, grid.step
        out.append(SeriesList([Grid(*window, values, made, np.arange(len(own)))]))
    return out[0] if len(out) == 1 else concatenate(out).pick(np.argsort(np.concatenate(order)))


def _by_grid(series: SeriesList, groups: Sequence[Group]) -> list[tuple[Grid | None, list[int]]]:
    """The numbers of the groups that lie in one grid by grid, and of those that lie in several."""
    if len(series.grids) == 1 and series.grids[0].step > 0:
        return [(series.grids[0], list(range(len(groups))))]
    number_of = np.empty(len(series), np.intp)
    for number, grid in enumerate(series.grids):
        number_of[grid.places] = number
    found: dict[int, list[int]] = {}
    for at, group in enumerate(groups):
        numbers = number_of[np.array(group, np.intp)]
        whole = bool(np.all(numbers == numbers[0])) and series.grids[numbers[0]].step > 0
        found.setdefault(int(numbers[0]) if whole else -1, []).append(at)
    return [(None if number < 0 else series.grids[number], chosen) for number, chosen in found.items()]


def aggregated_labels(labels: Labels, groups: Sequence[Group], func: str, factor: float) -> Labels:
    """The labels of the series that ``func`` makes of each group of rows, as
    :func:`ingestd.query.functions.combine.aggregated_label` makes one.
    """
    texts, ints = labels.path_expressions, labels.ints
    if isinstance(texts, Same):
        names = [f"{func}Series({texts.item})"] * len(groups)
    else:
        inner = [",".join(dict.fromkeys([texts[row] for row in group])) for group in groups]
        names = [f"{func}Series({each})" for each in inner]
    made = Labels.called(names, factor, Tags(_aggregated_tags(labels.tags, groups, names, func)))
    if func == "count":
        made.all(ints=True)
    elif func in WHOLE and isinstance(ints, Same):
        made.all(ints=ints.item)
    elif func in WHOLE:
        made.ints = [all(ints[row] for row in group) for group in groups]
    return made


def _aggregated_tags(tags: Tags, groups: Sequence[Group], names: list[str], func: str) -> list[dict[str, str]]:
    paths = tags.names()
    if paths is None:
        each = list(tags)
        return [
            aggregated_tags([each[row] for row in group], name, func) for group, name in zip(groups, names, strict=True)
        ]
    # Without tags they have nothing in common but the name, and that only if it is one.
    found = []
    for group, name in zip(groups, names, strict=True):
        first = paths[group[0]]
        one = len(group) == 1 or (first == paths[group[-1]] and all(paths[row] == first for row in group))
        found.append({"name": first if one else name, "aggregatedBy": func})
    return found


def reduced_groups(values: Values, rows: Places, sizes: Places, func: str, x_files_factor: float) -> Values:
    """Groups of rows to one row each: float64[groups, points].

    ``rows`` are those of all groups in turn, ``sizes`` how many each has, none of them 0.
    """
    reduce = reducer(func)
    points = values.shape[1]
    out = np.empty((len(sizes), points))
    firsts = np.cumsum(sizes) - sizes
    for size in np.unique(sizes).tolist():
        groups = np.flatnonzero(sizes == size)
        if size == 1 and func in ALONE and x_files_factor <= 1:
            out[groups] = rows_of(values, rows[firsts[groups]])
            continue
        if len(groups) < FEW or adds_up(func, size, points):
            for number in groups.tolist():
                chosen = rows[firsts[number] : firsts[number] + size]
                out[number] = across(rows_of(values, chosen), func, x_files_factor)
            continue
        piece = max(PIECE // max(size * points, 1), 1)
        for at in range(0, len(groups), piece):
            some = groups[at : at + piece]
            cube = values[rows[firsts[some][:, np.newaxis] + np.arange(size)]].transpose(0, 2, 1)
            out[some] = np.where(enough(known(cube), size, x_files_factor), reduce(cube, size), np.nan)
    return out
