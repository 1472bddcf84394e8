"""Rebuild a block from what there is of it: its own tiles, other generations, the journal, the next finer archive.

A file of LSN l holds all points of its block below l, so files and journal records are laid in the order of their LSNs
and the result is what the store had. Fine values are never made from coarse ones: that would invent points.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from ingestd.points import Ids, Values
from ingestd.storage import manifest
from ingestd.storage.blocks import BlockDirectory
from ingestd.storage.fileformat import TILE_ROWS
from ingestd.storage.files import Files
from ingestd.storage.intake import Part
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Key
from ingestd.storage.salvage import Merged, Remains, parts_of, salvage_block
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import BlockRef, Reading, View


class Past:
    """What the journal still tells."""

    def __init__(self, directory: Path, files: Files, series: SeriesTable) -> None:
        self._directory = directory
        self._files = files
        self._series = series
        self.end = 0
        self.newest = 0
        """The largest timestamp."""
        self.last: dict[Key, int] = {}
        """The LSN of each block's last points."""
        self._points: dict[Key, list[tuple[int, Part]]] = {}
        journal = Journal(directory, files)
        segments = journal.segments()
        self.start = segments[0][0] if segments else 0
        self._unbroken = self.start if segments else -1
        """From this LSN on no record is missing; -1: there is no journal."""
        for record in journal.replay(0):
            if record.lsn > self.end and self.end:
                self._unbroken = record.lsn
            self.end = record.lsn + record.size
            for part in parts_of(record, series):
                self.last[part.key] = record.lsn
            if record.key is None:
                self.newest = max(self.newest, int(record.times.max(initial=0)))

    def collect(self, keys: Collection[Key]) -> None:
        """Read the points of blocks that are to be rebuilt."""
        for record in Journal(self._directory, self._files).replay(0):
            for part in parts_of(record, self._series):
                if part.key in keys:
                    self._points.setdefault(part.key, []).append((record.lsn, part))

    def points(self, key: Key) -> list[tuple[int, Part]]:
        """(LSN, points) of a block that was collected, in order."""
        return self._points.get(key, [])

    def complete_from(self, lsn: int) -> bool:
        """Whether every record from ``lsn`` on is there."""
        return 0 <= self._unbroken <= lsn

    def knows(self, key: Key) -> bool:
        """Whether the block's layout is there and has its archive; one that stands in for a lost layout may not."""
        layouts = self._series.layouts
        return key.layout < len(layouts) and key.archive < len(layouts[key.layout].archives)

    def outlived(self, key: Key, files: Collection[Key], now: int) -> bool:
        """Whether a block is older than its archive keeps, by the newest of the points that ``files`` and this hold."""
        layouts = self._series.layouts
        if not self.knows(key):
            return False
        ends = [layouts[k.layout].span(k)[0] for k in files if self.knows(k)]
        horizon = min(now, max([self.newest, *ends]))
        return layouts[key.layout].span(key)[1] <= horizon - layouts[key.layout].archives[key.archive].retention

    def without_expired(self, state: manifest.State, now: int) -> manifest.State:
        """The state with those blocks as expired that the journal would bring back though they went for good.

        They are older than their archive keeps, and the next one had rolled them up when their last point was there.
        """
        expired = dict(state.expired)
        for key, last in self.last.items():
            if key in state.files or key in expired:
                continue
            if not self.outlived(key, state.files, now):
                continue
            layout = self._series.layouts[key.layout]
            coarser = [] if key.archive + 1 == len(layout.archives) else layout.covering(key, key.archive + 1)
            refs = [state.files.get(Key(key.layout, key.archive + 1, block)) for block in coarser]
            if all(ref is not None and ref.complete and ref.lsn > last for ref in refs):
                expired[key] = BlockRef(0, last, complete=False)
        return state._replace(expired=expired)


class Rebuilder:
    """Rebuilds blocks, finer archives first, into new generations; ``live`` follows."""

    def __init__(
        self,
        blocks: BlockDirectory,
        files: Files,
        series: SeriesTable,
        past: Past,
        live: dict[Key, BlockRef],
        *,
        roll: bool,
    ) -> None:
        """``roll``: whether it is known how series roll up."""
        self.live = live
        self._roll = roll
        self._blocks = blocks
        self._files = files
        self._series = series
        self._past = past
        self._partial: set[Key] = set()
        """Blocks that may lack points."""
        ends = [series.layouts[k.layout].span(k)[1] for k in live if k.archive == 0]
        self._newest = max([past.newest, *ends])

    def rebuild(self, key: Key, generations: Sequence[tuple[Path, int]], done: list[str], lost: list[str]) -> None:
        """Write a new generation of a damaged block from ``generations``, all its files (path, number)."""
        ref = self.live[key]
        geometry = self._series.layouts[key.layout].archives[key.archive]
        merged = Merged(geometry.length)
        found = self._sources(key, ref, generations)
        top = found[-1][1] if found and found[-1][1].generation >= ref.generation else None
        steps: list[tuple[int, int, Remains | Part]] = [(lsn, 0, remains) for lsn, remains in found]
        exact = top is not None and top.whole
        rolled = not exact and key.archive > 0 and self._roll and self._finer_is_whole(key)
        # A rollup wins over points that came to the coarse block itself, and no journal has it.
        since = ref.lsn if key.archive and not rolled else 0
        steps += [(lsn, 1, part) for lsn, part in self._past.points(key) if lsn >= since]
        for _, _, step in sorted(steps, key=lambda s: s[:2]):
            if isinstance(step, Part):
                merged.put(step)
            else:
                merged.lay(step.ids, step.values)
        if rolled:
            self._roll_up(key, merged, np.empty(0, np.uint32) if top is None else top.ids)
        base = max([0, *(lsn for lsn, remains in found if remains.whole)])
        exact = exact or rolled or (key.archive == 0 and self._past.complete_from(base))
        path = self._blocks.path(key, ref.generation)
        if not exact:
            self._partial.add(key)
            lost.append(f"{path}: {self._loss(key, top, merged)}")
        if not len(merged.ids):
            del self.live[key]
            return
        fresh = BlockRef(
            max(ref.generation, *(number for _, number in generations), 0) + 1,
            max(self._past.end, ref.lsn, *(lsn for lsn, _ in found), 0),
            ref.complete if top is None else top.complete or ref.complete,
        )
        self._write(key, fresh, merged)
        self.live[key] = fresh
        done.append(f"{path}: rebuilt as generation {fresh.generation} with {len(merged.ids)} rows")

    def _sources(self, key: Key, ref: BlockRef, generations: Sequence[tuple[Path, int]]) -> list[tuple[int, Remains]]:
        """(LSN, what is left) of each file, older generations first."""
        geometry = self._series.layouts[key.layout].archives[key.archive]
        found = []
        for path, generation in sorted(generations, key=lambda g: g[1]):
            remains = salvage_block(self._files, path, key, generation, geometry)
            if remains is not None:
                known = ref.lsn if generation == ref.generation else 0
                found.append((remains.lsn or known, remains))
        return found

    def _finer_is_whole(self, key: Key) -> bool:
        """Whether the blocks that a coarse one was computed from are all there, and none of them has expired."""
        layout = self._series.layouts[key.layout]
        finer = layout.archives[key.archive - 1]
        if layout.span(key)[0] <= self._newest - finer.retention + layout.archives[key.archive].step:
            return False
        below = {Key(key.layout, key.archive - 1, block) for block in layout.covering(key, key.archive - 1)}
        return bool(below & set(self.live)) and not below & self._partial

    def _roll_up(self, key: Key, merged: Merged, kept: Ids) -> None:
        """Compute the rows that are not among ``kept`` as a checkpoint does."""
        layout = self._series.layouts[key.layout]
        length = layout.archives[key.archive].length
        below = [Key(key.layout, key.archive - 1, block) for block in layout.covering(key, key.archive - 1)]
        members = [self._blocks.series(k, self.live[k].generation) for k in below if k in self.live]
        ids = np.setdiff1d(np.unique(np.concatenate([*members, merged.ids])), kept).astype(np.uint32)
        if not len(ids):
            return
        out = np.full((len(ids), length), np.nan)
        view = View(self._series.layouts, self.live)
        reading = Reading(view, self._blocks, layout, self._series.profiles, self._series.profile_of[ids])
        reading.lay_finer(out, key.archive, ids, key.block * length, (key.block + 1) * length)
        merged.lay(ids, out)

    def _loss(self, key: Key, top: Remains | None, merged: Merged) -> str:
        layout = self._series.layouts[key.layout]
        geometry = layout.archives[key.archive]
        start, end = layout.span(key)
        if top is None:
            known = int((~np.isnan(merged.values)).sum())
            what = f"all rows but {known} points of {len(merged.ids)} series"
        else:
            rows = np.searchsorted(merged.ids, top.lost[np.isin(top.lost, merged.ids)])
            known = int((~np.isnan(merged.values[rows])).sum())
            points = len(top.lost) * geometry.length - known
            what = f"{len(top.lost)} rows of {geometry.length} slots but {known} points: at most {points} points"
        text = f"{what}, times {start} to {end - 1}"
        for archive in range(key.archive + 1, len(layout.archives)):
            refs = [self.live.get(Key(key.layout, archive, block)) for block in layout.covering(key, archive)]
            if all(ref is not None and ref.complete for ref in refs):
                return f"{text}; the archive of {layout.archives[archive].step} s has them rolled up"
        return text

    def _write(self, key: Key, ref: BlockRef, merged: Merged) -> None:
        geometry = self._series.layouts[key.layout].archives[key.archive]
        parts = [slice(i, min(i + TILE_ROWS, len(merged.ids))) for i in range(0, len(merged.ids), TILE_ROWS)]

        def values(ids: Ids) -> Values:
            return np.ascontiguousarray(merged.values[np.searchsorted(merged.ids, ids)])

        self._blocks.write(key, ref, geometry.step, merged.ids, parts, values)
