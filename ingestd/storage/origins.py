"""Where the values of a read come from: which archive and why, blocks or memory, and what an xFilesFactor hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, Values, Window
from ingestd.storage.layout import Geometry, Key, Layout, fetch_window
from ingestd.storage.rollup import Profile
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import Blocks, Reading, View

LOOKED_AT: Final = 100
"""Series of a layout whose finer points are read to see what an xFilesFactor hides: a read ``ratio`` times as large."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What one layout's series of a read are made of."""

    archives: tuple[Geometry, ...]
    profiles: tuple[Profile, ...]
    """The aggregation methods and xFilesFactors among the series."""
    series: int
    chosen: int | None
    """The archive read; None: the layout has nothing to say of the window."""
    window: Window | None
    known: int
    """Slots that have a value."""
    blocks: int
    """Points read from block files, those included from which slots were computed."""
    memory: int
    """Points read from ring and overlays."""
    computed: int
    """Slots rolled up from finer points while reading."""
    hidden: int
    """Slots without a value though finer points are known: too few for the xFilesFactor (:data:`LOOKED_AT` series)."""


def origins(
    view: View, blocks: Blocks, series: SeriesTable, ids: Ids, start: int, until: int, now: int
) -> list[Origin]:
    """An origin for each layout among ``ids`` (uint32[n]) over (start, until]; FileNotFoundError if out of date."""
    unique = np.unique(ids)
    layout_of = series.layout_of[unique]
    return [
        _origin(view, blocks, series, series.layouts[number], unique[layout_of == number], start, until, now)
        for number in np.unique(layout_of)
    ]


def _origin(
    view: View, blocks: Blocks, series: SeriesTable, layout: Layout, ids: Ids, start: int, until: int, now: int
) -> Origin:
    profile_of = series.profile_of[ids]
    profiles = tuple(series.profiles[number] for number in np.unique(profile_of))
    found = fetch_window(layout, start, until, now)
    if found is None:
        return Origin(layout.archives, profiles, len(ids), None, None, 0, 0, 0, 0, 0)
    archive, window = found
    reading = _Counted(view, _CountedBlocks(blocks), layout, series.profiles, profile_of)
    first, last = window.start // window.step, window.end // window.step
    values = reading.values(archive, ids, first, last)
    hidden = 0
    if archive and any(profile.x_files_factor > 0 for profile in profiles):
        few = slice(0, LOOKED_AT)
        ratio = window.step // layout.archives[archive - 1].step
        below = Reading(view, blocks, layout, series.profiles, profile_of[few])
        fine = below.values(archive - 1, ids[few], first * ratio, last * ratio)
        there = ~np.isnan(fine.reshape(len(fine), last - first, ratio)).all(axis=2)
        hidden = int(np.count_nonzero(there & np.isnan(values[few])))
    return Origin(
        layout.archives,
        profiles,
        len(ids),
        archive,
        window,
        _known(values),
        reading.files.points,
        reading.memory,
        reading.computed,
        hidden,
    )


def _known(values: Values) -> int:
    return int(np.count_nonzero(~np.isnan(values)))


class _CountedBlocks:
    """Block files that count the points laid from them."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self.points = 0

    def lay(self, out: Values, key: Key, generation: int, ids: Ids, low: int, high: int) -> None:
        before = _known(out)
        self._blocks.lay(out, key, generation, ids, low, high)
        self.points += _known(out) - before


class _Counted(Reading):
    """A read that counts; what is laid over a point that was there already counts once."""

    def __init__(
        self,
        view: View,
        blocks: _CountedBlocks,
        layout: Layout,
        profiles: Sequence[Profile],
        profile_of: NDArray[np.uint16],
    ) -> None:
        super().__init__(view, blocks, layout, profiles, profile_of)
        self.files = blocks
        self.memory = 0
        self.computed = 0

    def lay_own(self, out: Values, key: Key, ids: Ids, low: int, high: int) -> None:
        before = _known(out) - self.files.points
        super().lay_own(out, key, ids, low, high)
        self.memory += _known(out) - self.files.points - before

    def lay_finer(self, out: Values, archive: int, ids: Ids, first: int, last: int) -> None:
        before = _known(out)
        super().lay_finer(out, archive, ids, first, last)
        self.computed += _known(out) - before
