"""Replicas in one: rows of the same series from several nodes, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Rows, Values, Window

NOBODY: Final = 255
"""The rank of a node that is not asked for a series; lower ranks win."""


class Part(NamedTuple):
    """What one node gave."""

    rows: Rows
    """Positions are those of the question."""
    ranks: NDArray[np.uint8]
    """The rank of this node for each of the rows."""


class Merged(NamedTuple):
    rows: list[Rows]
    differences: int
    """Points of which two nodes have different values."""


def merged(parts: Sequence[Part], count: int) -> Merged:
    """One row for each of the ``count`` positions that any part has.

    Its window is that of the node of the lowest rank, and so is each of its values; where that has none, it is the
    value of the next. Windows of another step fill nothing: their values mean something else.
    """
    parts = [part for part in parts if len(part.rows.positions)]
    covered = np.zeros(count, np.int64)
    for part in parts:
        covered[part.rows.positions] += 1
    if not (covered > 1).any():
        return Merged([part.rows for part in parts], 0)
    best = np.full(count, NOBODY, np.uint8)
    base = np.full(count, -1, np.intp)
    for number, part in enumerate(parts):
        positions = part.rows.positions
        better = part.ranks < best[positions]
        best[positions[better]] = part.ranks[better]
        base[positions[better]] = number
    found, differences = [], 0
    for window in dict.fromkeys(part.rows.window for part in parts):
        numbers = [number for number, part in enumerate(parts) if part.rows.window == window]
        positions = np.flatnonzero(np.isin(base, numbers))
        if len(positions):
            values, more = _laid(parts, positions, window, best, count)
            found.append(Rows(window, positions, values))
            differences += more
    return Merged(found, differences)


def _laid(
    parts: Sequence[Part], positions: NDArray[np.intp], window: Window, best: NDArray[np.uint8], count: int
) -> tuple[Values, int]:
    """The values at ``positions`` over ``window``, float64[positions, slots], and how many points differ."""
    place = np.full(count, -1, np.intp)
    place[positions] = np.arange(len(positions))
    out = np.full((len(positions), window.slots), np.nan)
    differences = 0
    for rank in np.unique(np.concatenate([part.ranks for part in parts])).tolist():
        for part in parts:
            shared = _shared(window, part.rows.window)
            rows = np.flatnonzero((part.ranks == rank) & (place[part.rows.positions] >= 0))
            if shared is None or not len(rows):
                continue
            to, of = shared
            at = place[part.rows.positions[rows]]
            values = part.rows.values[rows, of] if len(rows) < len(part.ranks) else part.rows.values[:, of]
            if bool((best[positions[at]] == rank).all()):
                out[at, to] = values
                continue
            there = out[at, to]
            empty = np.isnan(there)
            differences += int(np.count_nonzero(~empty & ~np.isnan(values) & (there != values)))
            out[at, to] = np.where(empty, values, there)
    return out, differences


def _shared(to: Window, of: Window) -> tuple[slice, slice] | None:
    """The slots that two windows share, in the one and in the other; None if their steps differ or there are none."""
    start, end = max(to.start, of.start), min(to.end, of.end)
    if to.step != of.step or start >= end:
        return None
    return (
        slice((start - to.start) // to.step, (end - to.start) // to.step),
        slice((start - of.start) // of.step, (end - of.start) // of.step),
    )
