"""A sorted, immutable run of names in which one level of the tree is walked without looking at the levels below it.

Rows are canonical spellings in node order: the order of the lists that ``split(b".")`` gives, so that a path, what
lies below it, and its siblings stand together in this sequence. The rows are the very objects that the name table
holds. For each depth ``d`` the segment keeps the rows at which another node begins there; the children of a range of
rows are then a slice of that column, and no row in between is read.

With one name in memory once, this costs 20 bytes a name; a tree of Python objects took 500 (and 2.1 s for a million
names). A dead row stays until the segment is merged.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DOT: Final = ord(".")
_NODE_ORDER: Final = bytes.maketrans(b".\x00", b"\x00.")
"""Turns dots into the lowest byte; then the order of bytes is the order of nodes."""

_CELLS: Final = 1 << 22
"""Bytes of the matrix in which neighbouring rows are compared: 4 MB is near the cache's size."""

_NONE: Final = array("I")


def node_order(key: bytes) -> bytes:
    """The sort key of node order."""
    return key.translate(_NODE_ORDER)


class Range(NamedTuple):
    """A node of the tree: the rows ``[low, high)``, which share their first ``depth`` nodes; ``length`` bytes of them
    are those nodes, the dot behind them included. The root has depth 0 and length 0."""

    depth: int
    low: int
    high: int
    length: int


class Segment:
    """``rows`` in node order, each once, and their ``ids``."""

    __slots__ = ("_dead", "_depths", "_starts", "ids", "rows")

    def __init__(self, rows: list[bytes], ids: array[int]) -> None:
        self.rows = rows
        self.ids = ids
        common, depths = _shared_nodes(rows)
        self._depths = array("H", depths.tobytes())
        self._starts: list[array[int]] = []
        for depth in range(int(depths.max(initial=0))):
            begins = np.flatnonzero((common <= depth) & (depths > depth)).astype(np.uint32)
            self._starts.append(array("I", begins.tobytes()))
        self._dead: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Rows, the dead ones included."""
        return len(self.rows)

    @property
    def root(self) -> Range:
        return Range(0, 0, len(self.rows), 0)

    @property
    def dead(self) -> int:
        return len(self._dead)

    @property
    def depths(self) -> array[int]:
        """How many nodes each row has, uint16."""
        return self._depths

    def starts(self, depth: int) -> array[int]:
        """The rows at which another node below ``depth`` nodes begins, uint32 ascending."""
        return self._starts[depth] if depth < len(self._starts) else _NONE

    def count(self, of: Range) -> int:
        """How many children there are."""
        if of.depth >= len(self._starts):
            return 0
        starts = self._starts[of.depth]
        return bisect_left(starts, of.high) - bisect_left(starts, of.low)

    def children(self, of: Range, match: Callable[[str], object] | None, prefix: bytes = b"") -> list[Range]:
        """The children whose name begins with ``prefix`` and is taken by ``match`` (all, if None)."""
        depth, low, high, length = of
        if depth >= len(self._starts):
            return []
        starts, rows = self._starts[depth], self.rows
        if prefix:
            first = node_order(rows[high - 1][:length] + prefix)
            # No byte of UTF-8 is 255.
            low, high = (bisect_left(rows, at, low, high, key=node_order) for at in (first, first + b"\xff"))
        begins = starts[bisect_left(starts, low) : bisect_left(starts, high)]
        if not begins:
            return []
        ends = begins[1:]
        ends.append(high)
        found = []
        for begin, end in zip(begins, ends, strict=True):
            row = rows[begin]
            stop = row.find(b".", length)
            if stop < 0:
                stop = len(row)
            if match is None or match(row[length:stop].decode()):
                found.append(Range(depth + 1, begin, end, stop + 1))
        return found

    def child(self, of: Range, name: bytes) -> Range | None:
        """The child of that very name, or None."""
        depth, low, high, length = of
        if depth >= len(self._starts) or low == high:
            return None
        # The first row may be the node itself; the last one has what precedes the children's names, if there are any.
        wanted = self.rows[high - 1][:length] + name
        begin = bisect_left(self.rows, node_order(wanted), low, high, key=node_order)
        if begin == high or self._depths[begin] <= depth:
            return None
        row = self.rows[begin]
        stop = len(wanted)
        if not row.startswith(wanted) or row[stop : stop + 1] not in {b"", b"."}:
            return None
        starts = self._starts[depth]
        after = bisect_right(starts, begin)
        end = min(starts[after], high) if after < len(starts) else high
        return Range(depth + 1, begin, end, stop + 1)

    def path(self, node: Range) -> bytes:
        """The path of a node that is not the root."""
        return self.rows[node.low][: node.length - 1]

    def leaf(self, node: Range) -> int | None:
        """The id of the series at this node, or None."""
        low = node.low
        if self._depths[low] != node.depth or (self._dead and self._is_dead(low)):
            return None
        return self.ids[low]

    def has_children(self, node: Range) -> bool:
        """Whether a living series lies below this node."""
        low = node.low + (self._depths[node.low] == node.depth)
        dead = self._dead
        return node.high - low > (bisect_left(dead, node.high) - bisect_left(dead, low) if dead else 0)

    def _is_dead(self, row: int) -> bool:
        at = bisect_left(self._dead, row)
        return at < len(self._dead) and self._dead[at] == row

    def row_of(self, key: bytes, id_: int) -> int | None:
        """The living row of a name and an id, or None."""
        row = bisect_left(self.rows, node_order(key), key=node_order)
        if row < len(self.rows) and self.rows[row] == key and self.ids[row] == id_ and not self._is_dead(row):
            return row
        return None

    def bury(self, rows: set[int]) -> None:
        """Mark rows as dead."""
        self._dead = tuple(sorted(rows.union(self._dead)))

    def living(self) -> tuple[list[bytes], list[int]]:
        """Rows that are alive and their ids."""
        if not self._dead:
            return self.rows, self.ids.tolist()
        dead = set(self._dead)
        keep = [row for row in range(len(self.rows)) if row not in dead]
        return [self.rows[row] for row in keep], [self.ids[row] for row in keep]


def build(rows: Sequence[bytes], ids: Sequence[int]) -> Segment:
    """The segment of these names, given in any order, each once."""
    order = sorted(range(len(rows)), key=[node_order(row) for row in rows].__getitem__)
    return Segment([rows[i] for i in order], array("I", [ids[i] for i in order]))


def _shared_nodes(rows: list[bytes]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """For each row the number of leading nodes that it shares with the row before, and the number of its nodes."""
    n = len(rows)
    common, depths = np.zeros(n, np.uint16), np.zeros(n, np.uint16)
    done = 0
    while done < n:
        # One long name must not widen the matrix of all: the rows of a piece shrink as its longest row grows.
        guess = min(n, done + max(1, _CELLS // 128))
        width = max(map(len, rows[done:guess])) + 1
        until = min(guess, done + max(1, _CELLS // width))
        first = max(0, done - 1)
        # The matrix is padded with NULs; those within names are given a byte that no UTF-8 has.
        texts = [row.replace(b"\0", b"\xff") if b"\0" in row else row for row in rows[first:until]]
        piece = np.array(texts, dtype=f"S{width}").view(np.uint8).reshape(until - first, width)
        dots = piece == _DOT
        depths[first:until] = dots.sum(axis=1) + 1
        above, below = piece[:-1], piece[1:]
        at = (above != below).argmax(axis=1)
        lines = np.arange(len(at))
        shared = (dots[1:] & (np.arange(width) < at[:, None])).sum(axis=1)
        ends = (above[lines, at] == 0) | (above[lines, at] == _DOT)
        ends &= (below[lines, at] == 0) | (below[lines, at] == _DOT)
        common[first + 1 : until] = shared + ends
        done = until
    return common, depths
