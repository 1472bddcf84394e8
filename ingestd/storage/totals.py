"""Many series in one, read where they are: rows of mapped blocks and columns of the ring, without an array between.

Where something has to be laid over something, or computed from finer slots, some series at a time are laid into an
array as reads do it, and that is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import rows_compiled
from ingestd.points import Ids, Totals
from ingestd.storage.layout import Key, Layout, fetch_window
from ingestd.storage.rollup import Profile
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import Blocks, Fold, Places, Reading, View

MANNERS: Final = ("sum", "max", "min")
"""How :func:`total` makes one value of many; the kernels know them by their places here."""
FOLDED: Final = 1 << 18
"""Points that are laid into an array at once where they are to be folded: 2 MB, more where coarse ones are computed."""


class FoldableBlocks(Blocks, Protocol):
    """Block files whose values can be folded where they are."""

    def fold(self, into: Fold, key: Key, generation: int, ids: Ids, places: Places, low: int, high: int) -> bool:
        """Fold the same slots of series in any order, whose rows ``places`` guesses; whether it could."""


def total(
    view: View,
    blocks: FoldableBlocks,
    series: SeriesTable,
    ids: Ids,
    asked: tuple[int, int, int],
    manner: str,
    before: Callable[[int], None],
) -> Totals | None:
    """As :meth:`ingestd.storage.store.Store.total`, from one view; FileNotFoundError if it is out of date.

    ``asked``: start, until and now.
    """
    if rows_compiled is None or not len(ids):
        return None
    layout_of = series.layout_of[ids]
    if not bool((layout_of == layout_of[0]).all()):
        return None
    layout = series.layouts[layout_of[0]]
    found = fetch_window(layout, *asked)
    if found is None or (series.history and not series.history.keys().isdisjoint(ids.tolist())):
        return None
    archive, window = found
    values = np.full(window.slots, np.nan) if manner != "sum" else np.zeros(window.slots)
    totals = Totals(window, values, np.zeros(window.slots))
    into = Fold(MANNERS.index(manner), totals.values, totals.counts)
    reading = Folding(view, blocks, layout, series.profiles, series.profile_of[ids])
    reading.fold(into, archive, ids, window.start // window.step, window.end // window.step, before)
    return totals


class Folding(Reading):
    """One read of one layout's series that makes one of them."""

    def __init__(
        self,
        view: View,
        blocks: FoldableBlocks,
        layout: Layout,
        profiles: Sequence[Profile],
        profile_of: NDArray[np.uint16],
    ) -> None:
        super().__init__(view, blocks, layout, profiles, profile_of)
        self._files = blocks

    def fold(self, into: Fold, archive: int, ids: Ids, first: int, last: int, before: Callable[[int], None]) -> None:
        """Fold slots ``first`` to ``last`` of series ``ids`` (uint32[n], each once) into one row, in this order.

        ``before`` is told how many points come next.
        """
        length = self._layout.archives[archive].length
        places = np.full(len(ids), -1, np.intp)
        for block in range(first // length, -(-last // length)):
            key = Key(self._layout.id, archive, block)
            low, high = max(first, block * length), min(last, (block + 1) * length)
            before(len(ids) * (high - low))
            part = Fold(into.manner, into.totals[low - first : high - first], into.counts[low - first : high - first])
            if not self._fold_own(part, key, ids, places, low - block * length, high - block * length):
                self._fold_laid(part, archive, ids, low, high)

    def _fold_own(self, into: Fold, key: Key, ids: Ids, places: Places, low: int, high: int) -> bool:
        """Fold a block where it is, if nothing has to be laid over anything."""
        ref, layers = self._view.files.get(key), self._view.layers.get(key, ())
        if key in self._view.dirty or len(layers) + (ref is not None) > 1:
            return False
        if ref is not None:
            return self._files.fold(into, key, ref.generation, ids, places, low, high)
        return layers[0].fold(into, ids, low, high) if layers else True

    def _fold_laid(self, into: Fold, archive: int, ids: Ids, first: int, last: int) -> None:
        """Fold what is laid into an array before, some series at a time."""
        most = max(FOLDED // (last - first), 1)
        for at in range(0, len(ids), most):
            chunk = ids[at : at + most]
            order = np.argsort(chunk, kind="stable")
            places = np.empty_like(order)
            places[order] = np.arange(len(order))
            part = Reading(
                self._view, self._blocks, self._layout, self._profiles, self._profile_of[at : at + most][order]
            )
            values = part.values(archive, chunk[order], first, last)
            rows_compiled.fold_rows(values, places, 0, last - first, *into)
