"""Read what is left of damaged files: every value is verified by a checksum, or it is not given."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ingestd.points import Batch, Ids, Values
from ingestd.storage.fileformat import (
    BLOCK_HEADER,
    COMPLETE,
    PAGE,
    TILE_ROWS,
    BlockHeader,
    JournalRecord,
    crc32c,
    pack_block_header,
    unpack_block_header,
)
from ingestd.storage.files import Files
from ingestd.storage.intake import Part, split
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Geometry, Key
from ingestd.storage.series import SeriesTable


@dataclass(frozen=True, slots=True)
class Remains:
    """What a block file still holds: ``values`` float64[n, B] of series ``ids``; ``lost``: its other series."""

    path: Path
    generation: int
    lsn: int
    complete: bool
    ids: Ids
    values: Values
    lost: Ids

    @property
    def whole(self) -> bool:
        return not len(self.lost)


def salvage_block(files: Files, path: Path, key: Key, generation: int, geometry: Geometry) -> Remains | None:
    """The rows of a block file that stand, or None if it cannot be said which rows they are. Raises OSError.

    A header that fails its checksum, which holds again with the magic, name and checksums that belong there, was
    damaged in these alone. Otherwise it is believed where the latter hold, but for the LSN: 0 is given, so that all of
    the journal comes after.
    """
    fd = files.open(path, os.O_RDONLY)
    try:
        head = files.read(fd, PAGE, 0)
        if len(head) < BLOCK_HEADER.size:
            return None
        found = unpack_block_header(head)
        _, flags, layout, archive, _, _, n, block, number, _, lsn, ids_crc, crcs_crc, _ = BLOCK_HEADER.unpack_from(head)
        header = BlockHeader(
            flags, key.layout, key.archive, geometry.step, geometry.length, n, key.block, generation, lsn
        )
        own_name = (layout, archive, block, number) == (*key, generation)
        if found is not None and found[0] != header:
            return None
        if not n or header.crcs_at > files.size(fd):
            return None
        ids = files.read(fd, 4 * n, PAGE)
        table = files.read(fd, 4 * header.tiles, header.crcs_at)
        own_crcs = crc32c(ids), crc32c(table)
        mended = unpack_block_header(
            pack_block_header(header, *own_crcs)[: BLOCK_HEADER.size - 4] + head[64:68] + head[68:]
        )
        sound = found is not None or mended is not None
        believed = mended is not None or (own_name and own_crcs == (ids_crc, crcs_crc))
        if not believed or len(table) != 4 * header.tiles:
            return None
        crcs = np.frombuffer(table, "<u4")
        rows, kept = [np.empty((0, geometry.length))], np.zeros(n, np.bool_)
        for tile in range(header.tiles):
            first, last = tile * TILE_ROWS, min(n, (tile + 1) * TILE_ROWS)
            data = files.read(fd, 8 * (last - first) * geometry.length, header.data_at + 8 * first * geometry.length)
            if len(data) == 8 * (last - first) * geometry.length and crc32c(data) == int(crcs[tile]):
                rows.append(np.frombuffer(data, "<f8").reshape(last - first, geometry.length))
                kept[first:last] = True
    finally:
        files.close(fd)
    own = np.frombuffer(ids, "<u4")
    return Remains(
        path,
        generation,
        lsn if sound else 0,
        sound and bool(flags & COMPLETE),
        own[kept],
        np.concatenate(rows),
        own[~kept],
    )


@dataclass(slots=True)
class Merged:
    """Rows of a block, put together from several sources: a later one wins, NaN says nothing."""

    length: int
    ids: Ids = field(default_factory=lambda: np.empty(0, np.uint32))
    values: Values = field(default_factory=lambda: np.empty((0, 0)))

    def lay(self, ids: Ids, values: Values) -> None:
        """Lay ``values`` float64[n, B] of series ``ids`` (ascending uint32[n]) over what there is."""
        self._make_room(ids)
        rows = np.searchsorted(self.ids, ids)
        self.values[rows] = np.where(np.isnan(values), self.values[rows], values)

    def put(self, part: Part) -> None:
        """Take points in their order."""
        self._make_room(np.unique(part.ids))
        self.values[np.searchsorted(self.ids, part.ids), part.slots] = part.values

    def _make_room(self, ids: Ids) -> None:
        union = np.union1d(self.ids, ids).astype(np.uint32)
        if len(union) == len(self.ids) and self.values.size:
            return
        values = np.full((len(union), self.length), np.nan)
        values[np.searchsorted(union, self.ids)] = self.values.reshape(len(self.ids), self.length)
        self.ids, self.values = union, values


def parts_of(record: JournalRecord, series: SeriesTable) -> list[Part]:
    """The points of a journal record by block, as a replay routes them; those of unknown series are left out."""
    known = record.ids < len(series)
    ids, times, values = record.ids[known], record.times[known], record.values[known]
    if not len(ids):
        return []
    if record.key is not None:
        return [Part(Key(*record.key), ids, times, values)] if record.key.layout < len(series.layouts) else []
    batch, parts = Batch(ids, times, values), []
    of = series.layout_of[ids]
    for number in np.unique(of).tolist():
        mine = of == number
        columns = batch.ids[mine], batch.timestamps[mine], batch.values[mine]
        parts += split(series.layouts[number], *columns, record.clock)[0]
    return parts


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of the journal that are no record."""

    start: int
    end: int


def runs(files: Files, path: Path, first: int) -> tuple[list[tuple[int, bytes]], list[Gap]] | None:
    """The valid records of a segment as (LSN, bytes) of each unbroken run, and what lies between and behind them.

    None if nothing is wrong with the segment.
    """
    journal = Journal(path.parent, files)
    found: list[tuple[int, bytes]] = []
    gaps: list[Gap] = []
    at = begun = first
    fd = files.open(path, os.O_RDONLY)
    try:
        size = files.size(fd)
        base = 24 - first
        for record in journal.read_segment(path, first):
            if record.lsn != at:
                gaps.append(Gap(at, record.lsn))
                found.append((begun, files.read(fd, at - begun, base + begun)))
                begun = record.lsn
            at = record.lsn + record.size
        if not journal.damage:
            return None
        found.append((begun, files.read(fd, at - begun, base + begun)))
        tail = files.read(fd, max(0, size - base - at), base + at)
    finally:
        files.close(fd)
    torn = len(tail.rstrip(b"\0"))
    if torn:
        gaps.append(Gap(at, at + torn))
    return [run for run in found if run[1]], gaps


def top_series(files: Files, paths: Sequence[Path]) -> int:
    """The highest id that any of these block files has a row of, by ids that pass their checksum; -1: none."""
    return max((int(ids.max()) for ids in _all_ids(files, paths) if len(ids)), default=-1)


def _all_ids(files: Files, paths: Sequence[Path]) -> Iterator[Ids]:
    for path in paths:
        fd = files.open(path, os.O_RDONLY)
        try:
            head = files.read(fd, PAGE, 0)
            if len(head) >= BLOCK_HEADER.size:
                n, crc = BLOCK_HEADER.unpack_from(head)[6], BLOCK_HEADER.unpack_from(head)[11]
                ids = files.read(fd, 4 * min(n, files.size(fd) // 4), PAGE)
                if crc32c(ids) == crc:
                    yield np.frombuffer(ids, "<u4")
        finally:
            files.close(fd)
