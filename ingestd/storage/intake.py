"""Routing: which block each accepted point belongs to, and the layers in memory that take it.

Only the event loop works here. The window follows the accept clock and never the timestamps: the finest archive's
current block, the next, and the previous one until its end + lateness have buffers; every other block has an overlay,
which turns into a buffer when it grows past a sixteenth of the block (so an ascending backfill runs at ring speed).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, Times, Values
from ingestd.storage.layout import Key, Layout
from ingestd.storage.overlay import Overlay, distinct
from ingestd.storage.ring import Buffer
from ingestd.storage.view import Layer

DENSE: Final = 16
"""An overlay that holds more than 1/16 of its block's values becomes a buffer."""
SMALL_OVERLAY: Final = 4096
"""Points up to which an overlay stays one, however few series its layout has."""
IDLE: Final = 3600
"""Seconds without a point after which a series gets no column when a block opens."""


class Part(NamedTuple):
    """Points of one batch that belong to one block; ``times`` int64[n] in seconds, a slot every ``step`` of them."""

    key: Key
    ids: Ids
    times: Times
    values: Values
    step: int = 1
    first: int = 0
    """Number of the block's first slot."""

    @property
    def slots(self) -> Times:
        """Slots within the block, int64[n]."""
        return self.times // self.step - self.first


def one_block(
    layout: Layout, ids: Ids, times: Times, values: Values, within: tuple[int, int], clock: int
) -> Part | None:
    """The batch of one layout as a part, if it is all for one block of the finest archive, as nearly every batch is.

    ``within``: the least and the greatest of ``times``.
    """
    finest = layout.archives[0]
    oldest = clock - within[0]
    if oldest > finest.retention or oldest >= layout.retention:
        return None
    block = within[0] // finest.span
    if within[1] // finest.span != block:
        return None
    return Part(Key(layout.id, 0, block), ids, times, values, finest.step, block * finest.length)


@dataclass(slots=True)
class Pending:
    """What a block holds above its file: layers, oldest first, of which ``frozen`` are being written."""

    layers: list[Layer] = field(default_factory=list)
    frozen: int = 0
    last_put: int = 0
    """Accept clock of the last point."""

    @property
    def nbytes(self) -> int:
        return sum(layer.nbytes for layer in self.layers)

    @property
    def points(self) -> int:
        return sum(len(layer) for layer in self.layers)


def split(
    layout: Layout, ids: Ids, times: Times, values: Values, clock: int
) -> tuple[list[Part], NDArray[np.bool_] | None]:
    """The parts of a batch of one layout, and a mask of the points that are too old (None: there is none)."""
    ages = clock - times
    finest = layout.archives[0]
    oldest = int(ages.max())
    if oldest <= finest.retention and oldest < layout.retention:
        return _by_block(layout.id, 0, finest.step, finest.length, ids, times, values), None
    chosen = layout.route(ages)
    parts: list[Part] = []
    for number, archive in enumerate(layout.archives):
        mine = chosen == number
        if mine.any():
            columns = ids[mine], times[mine], values[mine]
            parts += _by_block(layout.id, number, archive.step, archive.length, *columns)
    old = chosen == len(layout.archives)
    return parts, old if old.any() else None


def _by_block(layout: int, archive: int, step: int, length: int, ids: Ids, times: Times, values: Values) -> list[Part]:
    blocks = times // (step * length)
    parts = []
    for block in np.unique(blocks):
        mine = blocks == block
        key = Key(layout, archive, int(block))
        parts.append(Part(key, ids[mine], times[mine], values[mine], step, key.block * length))
    return parts


class Intake:
    """The layers above the block files, by block."""

    def __init__(self, layouts: list[Layout], lateness: int, budget: int) -> None:
        """``lateness`` seconds; ``budget`` bytes for the buffers of blocks outside the window."""
        self.layouts = layouts
        self.pending: dict[Key, Pending] = {}
        self._lateness = lateness
        self._budget = budget
        self._seen: dict[int, Ids] = {}
        self._members: dict[int, int] = {}

    def in_window(self, key: Key, clock: int) -> bool:
        """Whether the block has a buffer from its first point on."""
        if key.archive:
            return False
        start, end = self.layouts[key.layout].span(key)
        return start - (end - start) <= clock < end + self._lateness

    def put(self, part: Part, lsn: int, clock: int) -> bool:
        """Take points that the journal holds at ``lsn``; True if the block got another layer."""
        pending = self.pending.get(part.key)
        if pending is None:
            pending = self.pending[part.key] = Pending()
        pending.last_put = max(pending.last_put, clock)
        layers = pending.layers
        fresh = pending.frozen == len(layers)
        if fresh:
            layers.append(self._open(part.key, lsn, clock))
        top = layers[-1]
        assert isinstance(top, (Buffer, Overlay))
        if isinstance(top, Buffer):
            top.put(part.ids, part.times, part.values, part.step, part.first)
        else:
            top.put(part.ids, part.slots, part.values)
        if isinstance(top, Overlay) and self._dense(part.key, top):
            layers[-1] = self._to_buffer(top)
            return True
        return fresh

    def _open(self, key: Key, lsn: int, clock: int) -> Layer:
        length = self.layouts[key.layout].archives[key.archive].length
        if self.in_window(key, clock):
            return Buffer(length, lsn, self._seed(key), window=True)
        return Overlay(length, lsn)

    def _seed(self, key: Key) -> Ids:
        """The series that get a column when a block opens: those of the block before, if it had any lately."""
        before = self.pending.get(key._replace(block=key.block - 1))
        for layer in reversed(before.layers if before else ()):
            if isinstance(layer, Buffer):
                return self._lately(key, layer.members())
        return self._lately(key, np.empty(0, np.uint32))

    def _lately(self, key: Key, members: Ids) -> Ids:
        stamps = self._seen.get(key.layout)
        if stamps is None or not len(members):
            return members
        known = members[members < len(stamps)]
        span = self.layouts[key.layout].archives[0].span
        silent = known[(stamps[known] > 0) & ((key.block - stamps[known].astype(np.int64)) * span > IDLE)]
        return np.setdiff1d(members, silent, assume_unique=True)

    def closed(self, key: Key, layer: Layer) -> None:
        """Remember which series had a point in a block of the finest archive that is written now."""
        if key.archive or not isinstance(layer, Buffer):
            return
        ids = layer.series()
        if not len(ids):
            return
        stamps = self._seen.get(key.layout, np.empty(0, np.uint32))
        top = int(ids[-1]) + 1
        if top > len(stamps):
            grown = np.zeros(top, np.uint32)
            grown[: len(stamps)] = stamps
            stamps = grown
        stamps[ids] = np.maximum(stamps[ids], key.block)
        self._seen[key.layout] = stamps

    def _dense(self, key: Key, overlay: Overlay) -> bool:
        if len(overlay) <= SMALL_OVERLAY:
            return False
        return len(overlay) > self._members.get(key.layout, 0) * overlay.length // DENSE

    def count_members(self, layout_of: NDArray[np.uint16]) -> None:
        """Recount the series of each layout (``layout_of`` uint16[n]), which say how large a whole block is."""
        self._members = dict(enumerate(np.bincount(layout_of).tolist()))

    def add_members(self, layout_of: NDArray[np.uint16]) -> None:
        """Count new series, uint16[n], as well."""
        for number, members in enumerate(np.bincount(layout_of).tolist()):
            self._members[number] = self._members.get(number, 0) + members

    @staticmethod
    def _to_buffer(overlay: Overlay) -> Buffer:
        ids, slots, values = overlay.columns()
        buffer = Buffer(overlay.length, overlay.first_lsn, distinct(ids))
        buffer.put(ids, slots.astype(np.int64), values)
        return buffer

    def over_budget(self, clock: int) -> list[Key]:
        """Blocks outside the window whose buffers take more than the budget, least recently used first."""
        outside = [(p.last_put, k, p.nbytes) for k, p in self.pending.items() if not self.in_window(k, clock)]
        excess = sum(size for _, _, size in outside) - self._budget
        chosen = []
        for _, key, size in sorted(outside):
            if excess <= 0:
                break
            chosen.append(key)
            excess -= size
        return chosen

    def freeze(self, key: Key) -> tuple[Layer, ...]:
        """Freeze all layers of a block: its next point opens another."""
        pending = self.pending[key]
        pending.frozen = len(pending.layers)
        return tuple(pending.layers)

    def thaw(self, key: Key) -> None:
        """A checkpoint failed: the layers wait for the next one."""
        if key in self.pending:
            self.pending[key].frozen = 0

    def forget(self, key: Key, written: tuple[Layer, ...]) -> None:
        """Drop the layers that a committed checkpoint wrote."""
        pending = self.pending[key]
        for layer in written:
            self.closed(key, layer)
        del pending.layers[: len(written)]
        pending.frozen = 0
        if not pending.layers:
            del self.pending[key]
