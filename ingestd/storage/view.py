"""Reading: one immutable view of the store, and values laid over one another from it.

A reader takes one view by one attribute read. It holds the block files and, above each, the layers in memory (buffers
and overlays, oldest first). Values are laid in the order file, layers; a later point wins. So a block that is being
written while it is read may show a point twice and never loses one.

A coarse slot is read from its block file if that was computed from closed finer blocks and nothing arrived in it or
below it since; else it is computed here, from the next finer archive, by the function that writes it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, Values
from ingestd.storage.layout import Key, Layout
from ingestd.storage.rollup import Profile, roll_up

Places: TypeAlias = NDArray[np.intp]


class Fold(NamedTuple):
    """Where series are folded into one row: ``manner`` is 0 for their sum, 1 for the largest, 2 for the smallest value;
    ``totals`` and ``counts``, float64[slots] each, go on from what they hold."""

    manner: int
    totals: Values
    counts: Values


class Layer(Protocol):
    """Points of one block in memory: a buffer or an overlay."""

    first_lsn: int

    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def series(self) -> Ids: ...
    def lay(self, out: Values, ids: Ids, low: int, high: int) -> None: ...
    def fold(self, into: Fold, ids: Ids, low: int, high: int) -> bool:
        """Fold slots ``low`` to ``high`` of series ``ids`` (uint32[n]) into one row, in this order. False: not here."""
        ...


class BlockRef(NamedTuple):
    """A block file that counts."""

    generation: int
    lsn: int
    """Points of the block that the journal holds below this are in the file."""
    complete: bool
    """Coarse: computed from closed finer blocks."""


class Blocks(Protocol):
    """The block files' values."""

    def lay(self, out: Values, key: Key, generation: int, ids: Ids, low: int, high: int) -> None:
        """Lay the file's slots ``low`` to ``high`` of series ``ids`` over ``out``; FileNotFoundError if it is gone."""


@dataclass(frozen=True)
class View:
    """What readers see: ``files`` and ``layers`` by block; ``dirty``: coarse blocks to compute at reading."""

    layouts: Sequence[Layout] = ()
    files: Mapping[Key, BlockRef] = field(default_factory=dict)
    layers: Mapping[Key, tuple[Layer, ...]] = field(default_factory=dict)
    dirty: frozenset[Key] = frozenset()

    def changed(self, files: Mapping[Key, BlockRef], layers: Mapping[Key, tuple[Layer, ...]]) -> View:
        """The view after a structural change."""
        return View(self.layouts, files, layers, _dirty(self.layouts, files, layers))

    def with_layer(self, key: Key, layers: tuple[Layer, ...]) -> View:
        """The view after ``key`` got its first layer or another one: the frequent change, at a small price."""
        layout = self.layouts[key.layout]
        coarser = {
            Key(key.layout, archive, block)
            for archive in range(max(key.archive, 1), len(layout.archives))
            for block in layout.covering(key, archive)
        }
        return View(self.layouts, self.files, {**self.layers, key: layers}, self.dirty | coarser)


def _dirty(
    layouts: Sequence[Layout], files: Mapping[Key, BlockRef], layers: Mapping[Key, tuple[Layer, ...]]
) -> frozenset[Key]:
    dirty: set[Key] = set()
    for held, changes in ((files, False), (layers, True)):
        for key in held:
            layout = layouts[key.layout]
            if changes and key.archive:
                dirty.add(key)
            for archive in range(key.archive + 1, len(layout.archives)):
                for block in layout.covering(key, archive):
                    coarse = Key(key.layout, archive, block)
                    ref = files.get(coarse)
                    if changes or ref is None or not ref.complete:
                        dirty.add(coarse)
    return frozenset(dirty)


class Reading:
    """One read of one layout's series from a view."""

    def __init__(
        self, view: View, blocks: Blocks, layout: Layout, profiles: Sequence[Profile], profile_of: NDArray[np.uint16]
    ) -> None:
        """``profile_of`` uint16[n]: the profile of each series that :meth:`values` is asked for."""
        self._view = view
        self._blocks = blocks
        self._layout = layout
        self._profiles = profiles
        self._profile_of = profile_of

    def values(self, archive: int, ids: Ids, first: int, last: int) -> Values:
        """Values float64[n, last - first] of series ``ids`` (ascending uint32[n]), slots ``first`` to ``last``."""
        out = np.full((len(ids), last - first), np.nan)
        length, view = self._layout.archives[archive].length, self._view
        for block in range(first // length, -(-last // length)):
            key = Key(self._layout.id, archive, block)
            coarse = key in view.dirty
            if not coarse and key not in view.files and key not in view.layers:
                continue
            low, high = max(first, block * length), min(last, (block + 1) * length)
            part = out[:, low - first : high - first]
            self.lay_own(part, key, ids, low - block * length, high - block * length)
            if coarse:
                self.lay_finer(part, archive, ids, low, high)
        return out

    def lay_own(self, out: Values, key: Key, ids: Ids, low: int, high: int) -> None:
        """Lay what was written to this very block: its file, then its layers."""
        ref = self._view.files.get(key)
        if ref is not None:
            self._blocks.lay(out, key, ref.generation, ids, low, high)
        for layer in self._view.layers.get(key, ()):
            layer.lay(out, ids, low, high)

    def lay_finer(self, out: Values, archive: int, ids: Ids, first: int, last: int) -> None:
        """Lay what the next finer archive makes of slots ``first`` to ``last``: where both exist, the rollup wins."""
        ratio = self._layout.archives[archive].step // self._layout.archives[archive - 1].step
        fine = self.values(archive - 1, ids, first * ratio, last * ratio)
        coarse = roll_up(fine, ratio, self._profiles, self._profile_of)
        np.copyto(out, coarse, where=~np.isnan(coarse))
