"""The kernels' way through a segment: whole levels of nodes at once, as rows (low, high, length) of uint32[n, 3].

It gives what :mod:`ingestd.index.globs` finds node by node, for the patterns of dashboards: those in which every part
means nodes of one depth, and in one of the three ways. For others, and without kernels, it gives nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import tree_compiled as kernel
from ingestd.index.segment import Segment

Match = tuple[str, str, bool]
"""A line of an answer: the last node's name, the path, whether it is a leaf."""


class Level(Protocol):
    """What one part of a pattern takes, of which the reference makes more."""

    @property
    def literals(self) -> tuple[bytes, ...]: ...
    @property
    def match(self) -> Callable[[str], object] | None: ...
    @property
    def prefix(self) -> bytes: ...
    @property
    def everything(self) -> bool: ...
    @property
    def any_depth(self) -> bool: ...


def is_plain(segments: Sequence[Segment], levels: Sequence[Level]) -> bool:
    """Whether this way can be taken."""
    return (
        kernel is not None
        and not any(segment.dead for segment in segments)
        and all(not level.any_depth and b"" not in level.literals and _ways(level) <= 1 for level in levels)
    )


def _ways(level: Level) -> int:
    return int(level.everything or level.match is not None) + bool(level.literals)


def matches(
    segments: Sequence[Segment],
    levels: Sequence[Level],
    spend: Callable[[int], None],
    bound: Callable[[Sized], None],
    hidden: bytes,
    leaves_only: bool,
) -> list[Match]:
    """The lines of an answer, sorted, without paths that begin with ``hidden``, if that is not empty.

    ``spend`` is told how many nodes are visited, before they are, ``bound`` what is found, leaves and branches; both
    may raise.
    """
    found: list[Match] = []
    for segment in segments:
        nodes = _nodes(segment, levels, spend)
        found += kernel.matches(segment.rows, segment.depths, nodes, len(levels), leaves_only, hidden)
    if len(segments) > 1:
        found = list(dict.fromkeys(found))
    found.sort()
    series = [line[2] for line in found].count(True)
    bound(range(series))
    bound(range(len(found) - series))
    return found


def leaves(
    segments: Sequence[Segment],
    levels: Sequence[Level],
    rest: Sequence[Level],
    spend: Callable[[int], None],
    bound: Callable[[Sized], None],
    hidden: bytes,
) -> list[tuple[str, int]]:
    """The series as (path, id), sorted, that ``levels`` and then ``rest`` mean; otherwise as :func:`matches`.

    For ``rest`` nothing is spent: it is names alone, which the reference looks up in the table.
    """
    found: list[tuple[str, int]] = []
    depth = len(levels) + len(rest)
    for segment in segments:
        nodes = _below(segment, _nodes(segment, levels, spend), len(levels), rest, _free)
        found += kernel.leaves(segment.rows, segment.depths, segment.ids, nodes, depth, hidden)
        bound(found)
    if len(segments) > 1:
        found = list(dict(found).items())
    found.sort()
    return found


def series(
    segments: Sequence[Segment],
    levels: Sequence[Level],
    rest: Sequence[Level],
    spend: Callable[[int], None],
    bound: Callable[[Sized], None],
    hidden: bytes,
) -> NDArray[np.uint32] | None:
    """The ids alone of what :func:`leaves` gives, uint32[n]; None where one of them has tags, or paths would have to be
    compared: those of one segment mostly ascend, those of several do not."""
    found: NDArray[np.uint32] = np.empty(0, np.uint32)
    depth = len(levels) + len(rest)
    for segment in segments:
        nodes = _below(segment, _nodes(segment, levels, spend), len(levels), rest, _free)
        more = kernel.series(segment.rows, segment.depths, segment.ids, nodes, depth, hidden)
        if more is None or (len(more) and len(found)):
            return None
        if len(more):
            found = more
    bound(found)
    return found


def lines(nodes: Iterable[tuple[str, bool, bool]], leaves_only: bool) -> list[Match]:
    """The lines of an answer, of nodes as (path, whether it is a leaf, whether it is a branch)."""
    found = []
    for path, is_leaf, is_branch in nodes:
        name = path.rsplit(".", 1)[-1]
        if is_branch and not leaves_only:
            found.append((name, path, False))
        if is_leaf:
            found.append((name, path, True))
    return found


def _free(_: int) -> None:
    """Spend nothing."""


def _nodes(segment: Segment, levels: Sequence[Level], spend: Callable[[int], None]) -> NDArray[np.uint32]:
    return _below(segment, np.array([segment.root[1:]], np.uint32), 0, levels, spend)


def _below(
    segment: Segment, nodes: NDArray[np.uint32], depth: int, levels: Sequence[Level], spend: Callable[[int], None]
) -> NDArray[np.uint32]:
    for level in levels:
        starts = segment.starts(depth)
        if level.everything or level.match is not None:
            spend(kernel.count(starts, nodes))
            nodes = kernel.below(segment.rows, starts, nodes, level.prefix)
            if level.match is not None:
                nodes = nodes[kernel.taken(segment.rows, nodes, level.match).view(np.bool_)]
        elif level.literals:
            spend(len(nodes) * len(level.literals))
            named = [kernel.named(segment.rows, starts, nodes, name) for name in level.literals]
            nodes = named[0] if len(named) == 1 else np.concatenate(named)
        else:
            nodes = nodes[:0]
        depth += 1
    return nodes
