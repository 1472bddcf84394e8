"""Layouts: archives cut into blocks, and the arithmetic of slots, blocks and ages.

A layout is a schema's list of archives (step, slots), finest first, as whisper orders them: each step divides the next
and each archive reaches further back. Every archive is cut into blocks of B consecutive slots; a block is the unit
that is written to disk.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ingestd.points import Times, Window

FINEST_SPAN: Final = 600
"""Seconds that a block of the finest archive spans, about: ten minutes of a fleet are one sequential write."""
FINEST_SLOTS: Final = (60, 256)
COARSE_SLOTS: Final = (60, 512)
BLOCKS_AN_ARCHIVE: Final = 128
"""Coarse archives are cut into about this many files: few to open for a year, small ones to compute on the fly."""
LARGEST_RATIO: Final = 512
"""Up to this ratio to the next archive a block holds whole coarse slots; beyond it a coarse slot spans blocks."""


class Key(NamedTuple):
    """A block: layout id, archive (0 = finest), block number = slot // B."""

    layout: int
    archive: int
    block: int


class Geometry(NamedTuple):
    """One archive of a layout: ``step`` seconds, ``slots`` of retention, ``length`` slots a block (B)."""

    step: int
    slots: int
    length: int

    @property
    def retention(self) -> int:
        """Seconds."""
        return self.step * self.slots

    @property
    def span(self) -> int:
        """Seconds that a block spans."""
        return self.step * self.length


class Layout(NamedTuple):
    """The archives of a layout, finest first, and its id."""

    id: int
    archives: tuple[Geometry, ...]

    @property
    def retention(self) -> int:
        """Seconds until a point is older than the last archive."""
        return self.archives[-1].retention

    def span(self, key: Key) -> tuple[int, int]:
        """First second of a block and the first second after it."""
        span = self.archives[key.archive].span
        return key.block * span, (key.block + 1) * span

    def covering(self, key: Key, archive: int) -> range:
        """Numbers of the blocks of another archive that overlap the block ``key``."""
        start, end = self.span(key)
        span = self.archives[archive].span
        return range(start // span, -(-end // span))

    def choose(self, age: int) -> int | None:
        """The archive that a read from ``age`` seconds ago uses: the first that reaches it; None: none does."""
        for number, archive in enumerate(self.archives):
            if archive.retention >= age:
                return number
        return None

    def route(self, ages: Times) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """The archive of each point by its age in seconds (int64[n]), whisper's rule; ``len(archives)`` = too old."""
        bounds = np.array([a.retention for a in self.archives], np.int64)
        chosen = np.searchsorted(bounds, ages, side="left")
        chosen[ages >= bounds[-1]] = len(bounds)
        return chosen


def make_layout(number: int, archives: tuple[tuple[int, int], ...]) -> Layout:
    """Cut ``archives`` ((step, slots), …), valid by whisper's rules, into blocks."""
    cut: list[Geometry] = []
    for i, (step, slots) in enumerate(archives):
        ratio = archives[i + 1][0] // step if i + 1 < len(archives) else 1
        if i == 0:
            low, high = FINEST_SLOTS
            want = min(max(FINEST_SPAN // step, low), high)
        else:
            low, high = COARSE_SLOTS
            want = min(max(-(-slots // BLOCKS_AN_ARCHIVE), low), high)
            want = min(want, max(1, cut[-1].retention // 2 // step))
        cut.append(Geometry(step, slots, _fit(want, ratio, limited=i > 0)))
    return Layout(number, tuple(cut))


def _fit(want: int, ratio: int, *, limited: bool) -> int:
    """The block length near ``want`` that is a multiple of ``ratio``, or a divisor of it where no multiple fits."""
    if ratio > LARGEST_RATIO or (limited and ratio > want):
        return max(d for d in range(1, want + 1) if ratio % d == 0)
    if limited:
        return want // ratio * ratio
    return max(1, round(want / ratio)) * ratio if want >= ratio else ratio


def fetch_window(layout: Layout, start: int, until: int, now: int) -> tuple[int, Window] | None:
    """The archive and window of a read, by whisper's ``fetch`` (whisper 1.1.10, ``file_fetch``): (start, until].

    None where the layout has nothing to say: ``start`` in the future, or ``until`` older than the last archive.
    """
    oldest = now - layout.retention
    if start > now or until < oldest:
        return None
    start = max(start, oldest)
    until = min(until, now)
    chosen = layout.choose(now - start)
    if chosen is None:
        return None
    step = layout.archives[chosen].step
    first = start - start % step + step
    last = until - until % step + step
    if first == last:
        last += step
    if first > last:
        return None
    return chosen, Window(first, last, step)
