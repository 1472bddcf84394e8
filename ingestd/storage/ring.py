"""The ring in memory: the open blocks of a layout, each a dense array [slots, series]."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import lay_compiled, rows_compiled, scatter_compiled, survey_compiled
from ingestd.points import Ids, Times, Values
from ingestd.storage.overlay import distinct
from ingestd.storage.view import Fold

SPARE: Final = 64
"""Columns allotted beyond those in use, at least; an eighth more where there are many."""


def survey(ids: Ids, times: Times, layout_of: NDArray[np.uint16]) -> tuple[int, int, int]:
    """The layout of n > 0 points' series, -1 if there are several, and the least and greatest of ``times`` int64[n]."""
    if survey_compiled is not None:
        return survey_compiled(ids, times, layout_of)
    of = layout_of[ids]
    first = int(of[0])
    return first if bool((of == first).all()) else -1, int(times.min()), int(times.max())


class Buffer:
    """An open block: ``data`` float64[B, capacity], a column per series, a row per slot, NaN = no point.

    A row is filled with NaN at its first point: rows not yet reached are untouched memory and cost nothing. Columns are
    never moved or reused within a block. Only the event loop writes. A reader on another thread copies its columns and
    the touched rows before it takes ``_data``; the writer replaces ``_data`` before it adds to either, so that what the
    reader knows of exists in the array that it holds.
    """

    def __init__(self, length: int, lsn: int, seed: Ids, *, window: bool = False) -> None:
        """``seed`` uint32[n], ascending: the series that get a column at once, neighbours beside neighbours.

        ``window``: the block is within the accept clock's window, and to be written as soon as it leaves that.
        """
        self.window = window
        self.length = length
        self.first_lsn = lsn
        self.points = 0
        self._n = len(seed)
        capacity = self._n + max(SPARE, self._n // 8)
        self._ids: Ids = np.zeros(capacity, np.uint32)
        self._ids[: self._n] = seed
        self._data: Values = np.empty((length, capacity))
        self._col: NDArray[np.int32] = np.full(int(seed[-1]) + 1 if len(seed) else 0, -1, np.int32)
        self._col[seed] = np.arange(self._n, dtype=np.int32)
        self._touched = np.zeros(length, np.bool_)

    def __len__(self) -> int:
        return self.points

    @property
    def nbytes(self) -> int:
        """Bytes of memory that the touched rows take."""
        return int(self._touched.sum()) * int(self._data.strides[0]) + self._col.nbytes + self._ids.nbytes

    def put(self, ids: Ids, times: Times, values: Values, step: int = 1, first: int = 0) -> None:
        """Assign ``values`` at (slot, series); the last of a repeated pair stays.

        ``times`` int64[n]: a slot is ``time // step - first``, in 0..B-1.
        """
        if scatter_compiled is None:
            self._put(ids, times // step - first, values)
        else:
            done = 0
            while True:
                place = (self._col, self._data, self._touched.view(np.uint8))
                done = scatter_compiled(ids, times, values, step, first, *place, done)
                if done == len(ids):
                    break
                self._columns_of(ids[done:])
        self.points += len(ids)

    def _put(self, ids: Ids, slots: Times, values: Values) -> None:
        columns = self._columns_of(ids)
        first, last = int(slots.min()), int(slots.max())
        if first == last:
            self._touch(first)
            self._data[first][columns] = values
        else:
            if not self._touched[first : last + 1].all():
                for slot in np.unique(slots):
                    self._touch(int(slot))
            self._data[slots, columns] = values

    def _touch(self, slot: int) -> None:
        if not self._touched[slot]:
            self._data[slot] = np.nan
            self._touched[slot] = True

    def _columns_of(self, ids: Ids) -> NDArray[np.int32]:
        top = int(ids.max())
        if top >= len(self._col):
            grown = np.full(max(top + 1, len(self._col) * 5 // 4), -1, np.int32)
            grown[: len(self._col)] = self._col
            self._col = grown
        columns = self._col[ids]
        if int(columns.min()) < 0:
            self._allot(distinct(ids[columns < 0]))
            columns = self._col[ids]
        return columns

    def _allot(self, ids: Ids) -> None:
        end = self._n + len(ids)
        if end > self._data.shape[1]:
            capacity = end + max(SPARE, end // 2)
            data = np.empty((self.length, capacity))
            for slot in np.flatnonzero(self._touched):
                data[slot, : self._n] = self._data[slot, : self._n]
                data[slot, self._n :] = np.nan
            self._data = data
            kept = self._ids
            self._ids = np.zeros(capacity, np.uint32)
            self._ids[: self._n] = kept[: self._n]
        self._ids[self._n : end] = ids
        self._col[ids] = np.arange(self._n, end, dtype=np.int32)
        self._n = end

    def members(self) -> Ids:
        """The series that have a column, ascending, uint32."""
        return np.sort(self._ids[: self._n])

    def series(self) -> Ids:
        """The series that have a point, ascending, uint32."""
        held = np.zeros(self._n, np.bool_)
        for slot in np.flatnonzero(self._touched):
            held |= ~np.isnan(self._data[slot, : self._n])
        return np.sort(self._ids[: self._n][held])

    def lay(self, out: Values, ids: Ids, low: int, high: int) -> None:
        """Lay slots ``low`` to ``high`` of series ``ids`` (ascending uint32[n]) over ``out`` float64[n, high - low]."""
        col = self._col
        columns = col[ids[: int(np.searchsorted(ids, len(col)))]]
        if lay_compiled is not None:
            touched = self._touched.view(np.uint8).copy()
            lay_compiled(self._data, touched, columns, low, out[: len(columns)])
        else:
            self._lay(out, ids, columns, low, high)

    def _lay(self, out: Values, ids: Ids, columns: NDArray[np.int32], low: int, high: int) -> None:
        slots = low + np.flatnonzero(self._touched[low:high])
        data = self._data
        rows = np.flatnonzero(columns >= 0)
        if not len(rows) or not len(slots):
            return
        columns = columns[rows]
        first = int(columns[0])
        packed = len(columns) == int(columns[-1]) - first + 1 and bool((np.diff(columns) == 1).all())
        everything = len(rows) == len(ids)
        for slot in slots:
            line = data[slot, first : first + len(columns)] if packed else data[slot][columns]
            if everything:
                np.copyto(out[:, slot - low], line, where=~np.isnan(line))
            else:
                present = ~np.isnan(line)
                out[rows[present], slot - low] = line[present]

    def fold(self, into: Fold, ids: Ids, low: int, high: int) -> bool:
        """Fold slots ``low`` to ``high`` of series ``ids`` (uint32[n]) into one row, in this order. False: not here."""
        if rows_compiled is None:
            return False
        col = self._col
        columns = np.full(len(ids), -1, np.int32)
        known = ids < len(col)
        columns[known] = col[ids[known]]
        touched = self._touched.copy()
        rows_compiled.fold_columns(self._data, columns, touched.view(np.uint8), low, high, *into)
        return True
