"""The journal: an append-only log of accepted batches in segments, the truth until a checkpoint has committed.

The layout of the bytes, and when a record is valid, stand in :mod:`ingestd.storage.fileformat`. Segments are allocated
ahead, so their tails are zeros; a record never straddles two. Not thread-safe: the journal thread owns it once it runs.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ingestd.storage.fileformat import (
    JOURNAL_RECORD,
    JOURNAL_RECORD_MAGIC,
    SEGMENT_HEADER,
    JournalKey,
    JournalRecord,
    pack_record,
    pack_segment_header,
    unpack_record,
    unpack_segment_header,
)
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Entry

SEGMENT_BYTES: Final = 64 << 20
WRITE_BYTES: Final = 1 << 20
"""Records are joined up to about this size and written at once."""
READ_BYTES: Final = 1 << 20
"""Read at once at a start; each segment holds one such piece, however long it is."""


class _Segment:
    """A segment file as it is read: one piece at a time is held, and longer where a record is."""

    def __init__(self, files: Files, fd: int, path: Path, first: int) -> None:
        self.size = files.size(fd)
        self._files = files
        self._fd = fd
        self._path = path
        self._base = SEGMENT_HEADER.size - first
        self._at = 0
        self._piece = b""

    def bytes(self, offset: int, size: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        at = self._load(offset, size)
        return self._piece[at : at + size]

    def _load(self, offset: int, size: int) -> int:
        """Hold ``size`` bytes from ``offset`` on, as far as there are; where in the piece they begin."""
        end = min(offset + size, self.size)
        if offset < self._at or end > self._at + len(self._piece):
            try:
                self._piece = self._files.read(self._fd, max(size, READ_BYTES), offset)
            except OSError as e:
                raise OSError(e.errno, e.strerror, str(self._path)) from e
            self._at = offset
        return offset - self._at

    def record(self, lsn: int) -> JournalRecord | None:
        """The record at ``lsn``; None if there is no valid one."""
        offset = self._base + lsn
        head = self.bytes(offset, JOURNAL_RECORD.size)
        if len(head) < JOURNAL_RECORD.size:
            return None
        magic, length, own, *_ = JOURNAL_RECORD.unpack(head)
        if magic != JOURNAL_RECORD_MAGIC or own != lsn or offset + length > self.size:
            return None
        at = self._load(offset, length)
        return unpack_record(memoryview(self._piece), at, lsn)

    def next_valid(self, lsn: int) -> JournalRecord | None:
        """The next valid record after a broken one."""
        offset = self._base + lsn + 1
        while offset < self.size:
            at = self._load(offset, len(JOURNAL_RECORD_MAGIC))
            found = self._piece.find(JOURNAL_RECORD_MAGIC, at)
            if found < 0:
                # The magic may straddle this piece and the next.
                offset = max(offset + 1, self._at + len(self._piece) - len(JOURNAL_RECORD_MAGIC) + 1)
                continue
            offset = self._at + found
            own = offset - self._base
            if own % 8 == 0 and (record := self.record(own)) is not None:
                return record
            offset += 1
        return None

    def is_zero_from(self, lsn: int) -> bool:
        """Whether nothing but zeros follows."""
        offset = self._base + lsn
        while offset < self.size:
            at = self._load(offset, 1)
            if at >= len(self._piece):
                break
            if np.frombuffer(self._piece, np.uint8, offset=at).any():
                return False
            offset = self._at + len(self._piece)
        return True


class Journal:
    """The segments of one directory."""

    def __init__(self, directory: Path, files: Files, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.damage: list[str] = []
        """What replay found broken and skipped."""
        self.end = 0
        """The LSN after the last valid record, once replay has run to its end."""
        self._directory = directory
        self._files = files
        self._segment_bytes = segment_bytes
        self._fd = -1
        self._path = directory
        self._full: list[int] = []
        self._start = 0
        self._next = 0
        self._allocated = 0
        self._ends: dict[Path, int] = {}
        self._litter: list[Path] = []
        files.make_directory(directory)

    def segments(self) -> list[tuple[int, int, Path]]:
        """(start LSN, try, path) of each segment, in the order of replay."""
        found = []
        for name in self._files.names(self._directory):
            start, _, rest = name.partition(".")
            number, _, suffix = rest.partition(".")
            if suffix == "jnl" and len(start) == 16 and len(number) == 4:
                try:
                    found.append((int(start, 16), int(number, 16), self._directory / name))
                except ValueError:
                    continue
        return sorted(found)

    # -- reading -------------------------------------------------------------------------------------------------------

    def replay(self, start: int) -> Iterator[JournalRecord]:
        """Valid records that end above ``start``, in order. Their columns are views that live as long as they are held.

        A torn tail ends a segment; a broken middle is noted in :attr:`damage` and skipped. After a failed write or sync
        segments overlap and any of them may lack pages: they are merged by LSN, so that no older value comes after a
        newer one, and what stands in two of them is given once.
        """
        segments = [self._read_noting_end(path, first) for first, _, path in self.segments()]
        for record in heapq.merge(*segments, key=lambda r: r.lsn):
            end = record.lsn + record.size
            if record.lsn >= self.end and end > start:
                yield record
            self.end = max(self.end, end)

    def _read_noting_end(self, path: Path, first: int) -> Iterator[JournalRecord]:
        self._ends[path] = first
        for record in self.read_segment(path, first):
            self._ends[path] = record.lsn + record.size
            yield record

    def read_segment(self, path: Path, first: int) -> Iterator[JournalRecord]:
        """Valid records of one segment file, which begins at LSN ``first``.

        Read piece by piece and never mapped: a bad sector raises OSError, where a mapping would end the process.
        """
        fd = self._files.open(path, os.O_RDONLY)
        try:
            segment = _Segment(self._files, fd, path, first)
            if segment.size < SEGMENT_HEADER.size:
                if segment.size:
                    # Space is allotted before anything is written: only an empty file is one that was just begun.
                    self.damage.append(f"{path}: the segment is cut short")
                return
            header = segment.bytes(0, SEGMENT_HEADER.size)
            if unpack_segment_header(header) != first and any(header):
                # The name says the same, and every record says where it belongs.
                self.damage.append(f"{path}: the segment header is damaged")
            lsn = first
            while True:
                record = segment.record(lsn)
                if record is None:
                    found = segment.next_valid(lsn)
                    if found is None:
                        if not segment.is_zero_from(lsn):
                            self.damage.append(f"{path}: what stands from LSN {lsn} on is no whole record")
                        return
                    self.damage.append(f"{path}: bytes from LSN {lsn} to {found.lsn} are damaged and were skipped")
                    record = found
                yield record
                lsn = record.lsn + record.size
        finally:
            self._files.close(fd)

    # -- writing -------------------------------------------------------------------------------------------------------

    def start(self, lsn: int) -> int:
        """Begin to write at ``lsn`` or the next multiple of 8, in a new segment; the LSN of the first record.

        What was replayed is synced: a process that was killed may have left it in the page cache alone.
        """
        for _, _, path in self.segments():
            fd = self._files.open(path, os.O_RDWR)
            try:
                self._files.sync(fd)
            finally:
                self._files.close(fd)
        self._files.sync_directory(self._directory)
        self._next = -(-lsn // 8) * 8
        return self._next

    def write_entries(self, entries: Sequence[Entry]) -> None:
        """Write records at their LSNs, which follow one another; after a failure the same ones are given again.

        Where the failed call had gone on to another segment, they begin a segment of their own, as they do after
        :meth:`abandon`.
        """
        pieces: list[bytes | memoryview] = []
        size = 0
        at = entries[0].lsn
        for entry in entries:
            place = entry.lsn - self._start + entry.size + SEGMENT_HEADER.size
            full = place > self._allocated and entry.lsn > self._start
            if self._fd < 0 or full or entry.lsn < self._start:
                self._write_pieces(pieces, at)
                pieces, size, at = [], 0, entry.lsn
                self._open_segment(entry.lsn, entry.size)
            key = None if entry.key is None else JournalKey(*entry.key)
            pieces += pack_record(entry.lsn, entry.clock, key, entry.ids, entry.times, entry.values)
            size += entry.size
            if size >= WRITE_BYTES:
                self._write_pieces(pieces, at)
                pieces, size, at = [], 0, entry.lsn + entry.size
        self._write_pieces(pieces, at)

    def _write_pieces(self, pieces: list[bytes | memoryview], lsn: int) -> None:
        if pieces:
            data = b"".join(pieces)
            self._ends[self._path] = max(self._ends[self._path], lsn + len(data))
            self._files.write(self._fd, data, SEGMENT_HEADER.size + lsn - self._start)

    def _sweep(self) -> None:
        """Remove segments that could not be begun, as soon as that can be."""
        while self._litter:
            try:
                self._files.unlink(self._litter[-1])
            except OSError:
                return
            self._litter.pop()

    def _open_segment(self, lsn: int, size: int) -> None:
        self._sweep()
        tries = [number for start, number, _ in self.segments() if start == lsn]
        path = self._directory / f"{lsn:016x}.{max(tries, default=-1) + 1:04x}.jnl"
        allocated = max(self._segment_bytes, SEGMENT_HEADER.size + size)
        fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self._files.allocate(fd, allocated)
            self._files.write(fd, pack_segment_header(lsn), 0)
            self._files.sync(fd)
            self._files.sync_directory(self._directory)
        except OSError:
            self._files.close(fd)
            self._litter.append(path)
            self._sweep()
            raise
        if self._fd >= 0:
            self._full.append(self._fd)
        self._fd, self._path, self._start, self._allocated = fd, path, lsn, allocated
        self._ends[path] = lsn

    def sync(self) -> None:
        """Make all that was written durable, full segments first."""
        while self._full:
            self._files.sync(self._full[0])
            self._files.close(self._full.pop(0))
        if self._fd >= 0:
            self._files.sync(self._fd)

    def abandon(self) -> None:
        """Leave the segments whose sync failed: the next record begins another one."""
        for fd in [*self._full, *([self._fd] if self._fd >= 0 else [])]:
            self._files.close(fd)
        self._full, self._fd = [], -1

    def cut(self, lsn: int) -> None:
        """Remove the segments that hold nothing from ``lsn`` on, except the last.

        A segment's own end decides and not where the next one starts: after a failure they overlap.
        """
        for _, _, path in self.segments()[:-1]:
            if path != self._path and path in self._ends and self._ends[path] <= lsn:
                self._files.unlink(path)
                del self._ends[path]

    def close(self) -> None:
        """Give up the open segment."""
        self.abandon()
