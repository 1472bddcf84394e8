"""Totals of replicas: series in groups that the same nodes have, so that what these add up can be compared.

A node that was away may lack points until its queue is empty, and of two that are not, one has the newest a moment
before the other. Each adds up a group by itself; where they counted as many values in every slot, they had the same.
Where they did not, the slots that differ are fetched and merged, point by point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Rows, Totals, Values, Window

_SHARE: Final = 2
"""Slots that differ are fetched by themselves where they are at most one of so many: else all are."""


class Group(NamedTuple):
    """Series that the same nodes have."""

    rows: NDArray[np.intp]
    nodes: tuple[str, ...]


class Compared(NamedTuple):
    """Totals of all groups over one window."""

    window: Window
    totals: list[Totals]
    """Of each group."""
    differing: list[int]
    """The groups of which nodes counted differently."""
    low: int
    high: int
    """The slots in which they did, ``high`` exclusive."""


def grouped(columns: Mapping[str, NDArray[np.bool_]], count: int) -> list[Group]:
    """``count`` series in groups; ``columns``: by node, which of them it is asked for. Nobody's are in none."""
    codes = np.zeros(count, np.int64)
    for column in columns.values():
        # Made small again after each node: with a bit for each there may be more bits than a number has.
        codes = np.unique(2 * codes + column, return_inverse=True)[1]
    found = []
    for code in range(int(codes.max()) + 1 if count else 0):
        rows = np.flatnonzero(codes == code)
        nodes = tuple(name for name, column in columns.items() if column[rows[0]])
        if nodes:
            found.append(Group(rows, nodes))
    return found


def split(window: Window, values: Values, counts: Values, groups: int) -> list[Totals] | None:
    """A node's totals, group by group; None if they do not fill them."""
    if not len(values) == len(counts) == groups * window.slots:
        return None
    rows = values.reshape(groups, window.slots), counts.reshape(groups, window.slots)
    return [Totals(window, each, known) for each, known in zip(*rows, strict=True)]


def compared(groups: Sequence[Group], answers: Mapping[str, Sequence[Totals]]) -> Compared | None:
    """One total of each group; None where one has none, their windows differ, or too many slots do."""
    left = {name: iter(totals) for name, totals in answers.items()}
    found: list[Totals] = []
    differing, slots = [], np.zeros(0, np.bool_)
    for number, group in enumerate(groups):
        several = [next(left[name]) for name in group.nodes if name in left]
        if not several or (found and several[0].window != found[0].window):
            return None
        first = several[0]
        differs = np.zeros(first.window.slots, np.bool_)
        for other in several[1:]:
            if other.window != first.window:
                return None
            differs |= other.counts != first.counts
        slots = differs if not len(slots) else slots | differs
        found.append(first)
        if differs.any():
            differing.append(number)
    if not found:
        return None
    places = np.flatnonzero(slots)
    low, high = (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
    if _SHARE * (high - low) > len(slots):
        return None
    return Compared(found[0].window, found, differing, low, high)


def added(found: Compared, fetched: Sequence[Rows], manner: str) -> Totals:
    """The total of all groups; ``fetched`` are the series of the differing ones over the slots that differ."""
    fold = {"sum": np.add, "max": np.fmax, "min": np.fmin}[manner]
    empty = 0.0 if manner == "sum" else np.nan
    values, counts = np.full(found.window.slots, empty), np.zeros(found.window.slots)
    inside = slice(found.low, found.high)
    for number, total in enumerate(found.totals):
        some, known = total.values, total.counts
        if number in found.differing:
            some, known = some.copy(), known.copy()
            some[inside], known[inside] = empty, 0.0
        fold(values, some, out=values)
        counts += known
    for rows in fetched:
        there = ~np.isnan(rows.values)
        cells = np.where(there, rows.values, empty)
        values[inside] = fold(values[inside], fold.reduce(cells, axis=0, initial=empty))
        counts[inside] += np.count_nonzero(there, axis=0)
    return Totals(found.window, values, counts)
