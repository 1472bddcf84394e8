"""Overlays: points of a block that has no ring in memory, as columns in order of arrival."""

from __future__ import annotations

import numpy as np

from ingestd.points import Ids, Values
from ingestd.storage.view import Fold


def distinct(ids: Ids) -> Ids:
    """Each of ``ids`` (uint32[n]) once, ascending.

    Nearly all come in order, or as a few runs that do: np.unique, which hashes, takes ten times as long.
    """
    if len(ids) and not bool((ids[1:] > ids[:-1]).all()):
        ids = np.sort(ids, kind="stable")
        ids = ids[np.append(True, ids[1:] != ids[:-1])]
    return ids


class Overlay:
    """Append-only columns of one block: ids uint32, slots int32 within the block, values float64.

    Only the event loop appends. Readers on other threads see a prefix: the length is published after its data, and
    growing replaces the arrays, so that a reader keeps those it has.
    """

    def __init__(self, length: int, lsn: int) -> None:
        self.length = length
        self.first_lsn = lsn
        self._columns = (np.empty(64, np.uint32), np.empty(64, np.int32), np.empty(64, np.float64))
        self._n = 0

    def __len__(self) -> int:
        return self._n

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the columns take."""
        return sum(c.nbytes for c in self._columns)

    def put(self, ids: Ids, slots: np.ndarray[tuple[int], np.dtype[np.int64]], values: Values) -> None:
        """Append points; ``slots`` int64[n] in 0..length-1."""
        n, end = self._n, self._n + len(ids)
        if end > len(self._columns[0]):
            capacity = max(end, 2 * len(self._columns[0]))
            grown = (np.empty(capacity, np.uint32), np.empty(capacity, np.int32), np.empty(capacity, np.float64))
            grown[0][:n], grown[1][:n], grown[2][:n] = self.columns()
            self._columns = grown
        held = self._columns
        held[0][n:end], held[1][n:end], held[2][n:end] = ids, slots, values
        self._n = end

    def columns(self) -> tuple[Ids, np.ndarray[tuple[int], np.dtype[np.int32]], Values]:
        """Views of the points so far, in order of arrival."""
        n = self._n
        ids, slots, values = self._columns
        return ids[:n], slots[:n], values[:n]

    def series(self) -> Ids:
        """The series that have a point, ascending, uint32."""
        return distinct(self.columns()[0])

    def lay(self, out: Values, ids: Ids, low: int, high: int) -> None:
        """Lay slots ``low`` to ``high`` of series ``ids`` (ascending uint32[n]) over ``out`` float64[n, high - low]."""
        mine, slots, values = self.columns()
        if not len(mine) or not len(ids):
            return
        rows = np.searchsorted(ids, mine)
        rows[rows == len(ids)] = 0
        wanted = (ids[rows] == mine) & (slots >= low) & (slots < high)
        # A repeated (row, slot) takes the last value: numpy assigns in order.
        out[rows[wanted], slots[wanted] - low] = values[wanted]

    def fold(self, into: Fold, ids: Ids, low: int, high: int) -> bool:
        """Nothing: of points in order of arrival only the last of a slot is to count."""
        return False
