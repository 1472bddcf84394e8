"""The relay's queue on disk: messages that the broker has not taken, in segments, until it has.

The framing is the journal's (lengths, checksums, positions; a torn tail is cut), which ``docs/format/spool.md`` draws.
A segment goes when the broker has confirmed all of its messages; one that was confirmed and stands in a segment that is
still there is sent again after a start, under the same producer and sequence number, by which stores know it. Nothing
here knows of partitions' order: whoever reads sorts by sequence number. Not thread-safe: one thread owns it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from crc32c import crc32c

SEGMENT_BYTES: Final = 16 << 20
"""A segment goes as a whole, so one message that cannot be delivered holds this much; it is allotted ahead."""
SUFFIX: Final = ".spl"
SEGMENT_HEADER: Final = struct.Struct("<8sQII")
"""magic, start position, CRC of bytes 0 to 15, zero."""
SEGMENT_MAGIC: Final = b"INGDSPL1"
RECORD: Final = struct.Struct("<4sIQQIIHHI")
"""magic, length, position, sequence, points, bytes of the message, partition, zero, CRC of the 36 bytes before it and
of all that follows."""
RECORD_MAGIC: Final = b"SREC"
_ALIGNMENT: Final = 8
_WRITE_BYTES: Final = 1 << 20


class SpoolError(Exception):
    """What was spooled cannot be read back."""


class Files(Protocol):
    """The operations on files: :class:`ingestd.storage.files.Files`; all raise OSError."""

    def open(self, path: Path, flags: int) -> int: ...
    def close(self, fd: int) -> None: ...
    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None: ...
    def read(self, fd: int, size: int, offset: int) -> bytes: ...
    def allocate(self, fd: int, size: int) -> None: ...
    def sync(self, fd: int) -> None: ...
    def size(self, fd: int) -> int: ...
    def rename(self, source: Path, target: Path) -> None: ...
    def unlink(self, path: Path) -> None: ...
    def make_directory(self, path: Path) -> None: ...
    def sync_directory(self, path: Path) -> None: ...
    def names(self, path: Path) -> list[str]: ...


class Held(NamedTuple):
    """A message that stands in the spool."""

    partition: int
    sequence: int
    position: int
    points: int


class Loaded(NamedTuple):
    """A message as it was read back."""

    held: Held
    body: bytes


class Given(NamedTuple):
    """A message to hold."""

    partition: int
    sequence: int
    points: int
    body: bytes


@dataclass(slots=True, eq=False)
class _Segment:
    start: int
    path: Path
    allotted: int
    """Bytes on disk."""
    live: int = 0
    """Messages that the broker has not confirmed."""
    fd: int = -1


def record_size(size: int) -> int:
    """Bytes of the record of a message of ``size`` bytes."""
    return -(-(RECORD.size + size) // _ALIGNMENT) * _ALIGNMENT


def pack_record(position: int, given: Given) -> bytes:
    """The record of a message at ``position``."""
    size = len(given.body)
    length = record_size(size)
    head = (RECORD_MAGIC, length, position, given.sequence, given.points, size, given.partition, 0)
    tail = given.body + bytes(length - RECORD.size - size)
    return RECORD.pack(*head, crc32c(tail, crc32c(RECORD.pack(*head, 0)[:-4]))) + tail


def unpack_record(data: memoryview, position: int) -> Loaded | None:
    """The record that ``data`` begins with and that must stand at ``position``; None if there is no valid one."""
    if len(data) < RECORD.size:
        return None
    magic, length, own, sequence, points, size, partition, _, crc = RECORD.unpack_from(data)
    if magic != RECORD_MAGIC or own != position or length != record_size(size) or length > len(data):
        return None
    if crc32c(data[RECORD.size : length], crc32c(data[: RECORD.size - 4])) != crc:
        return None
    return Loaded(Held(partition, sequence, position, points), bytes(data[RECORD.size : RECORD.size + size]))


class Spool:
    """The segments of one directory."""

    def __init__(self, directory: Path, files: Files, limit: int, segment_bytes: int = SEGMENT_BYTES) -> None:
        """``limit``: bytes on disk."""
        self.limit = limit
        self.damage: list[str] = []
        """What was found broken and skipped."""
        self.bytes = 0
        """Bytes on disk."""
        self._directory = directory
        self._files = files
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._current: _Segment | None = None
        self._next = 0

    # -- at a start ----------------------------------------------------------------------------------------------------

    def open(self) -> list[Held]:
        """Make the directory, or find what it holds: each message once, in the order of positions. Raises OSError."""
        self._files.make_directory(self._directory)
        self._files.sync_directory(self._directory.parent)
        found: dict[tuple[int, int], Held] = {}
        for name in self._files.names(self._directory):
            stem = name.removesuffix(SUFFIX)
            if stem == name or len(stem) != 16:
                continue
            with contextlib.suppress(ValueError):
                self._find(_Segment(int(stem, 16), self._directory / name, 0), found)
        for held in found.values():
            self._of(held.position).live += 1
        for segment in [segment for segment in self._segments if not segment.live]:
            self._remove(segment)
        return sorted(found.values(), key=lambda held: held.position)

    def _find(self, segment: _Segment, found: dict[tuple[int, int], Held]) -> None:
        segment.fd = self._files.open(segment.path, os.O_RDWR)
        segment.allotted = self._files.size(segment.fd)
        self._segments.append(segment)
        self.bytes += segment.allotted
        # A process that was killed may have left it in the page cache alone.
        self._files.sync(segment.fd)
        data = memoryview(self._files.read(segment.fd, segment.allotted, 0))
        end = segment.start
        for loaded in self._records(segment, data):
            held = loaded.held
            # A write that failed half way was made again, in a later segment.
            found[held.partition, held.sequence] = held
            end = held.position + record_size(len(loaded.body))
        self._next = max(self._next, end, segment.start + _ALIGNMENT)

    def _records(self, segment: _Segment, data: memoryview) -> Iterator[Loaded]:
        """Valid records; what is broken between them is noted."""
        at = SEGMENT_HEADER.size
        while True:
            loaded = unpack_record(data[at:], segment.start + at - SEGMENT_HEADER.size)
            if loaded is not None:
                yield loaded
                at += record_size(len(loaded.body))
                continue
            rest = bytes(data[at:])
            if not rest.strip(b"\0"):
                return
            found = self._next_valid(segment, data, at + 1)
            if found is None:
                self.damage.append(f"{segment.path}: what stands from byte {at} on is no whole record")
                return
            self.damage.append(f"{segment.path}: bytes {at} to {found} are damaged and were skipped")
            at = found

    def _next_valid(self, segment: _Segment, data: memoryview, at: int) -> int | None:
        raw = bytes(data)
        while (at := raw.find(RECORD_MAGIC, at)) >= 0:
            if unpack_record(data[at:], segment.start + at - SEGMENT_HEADER.size) is not None:
                return at
            at += 1
        return None

    # -- while it runs -------------------------------------------------------------------------------------------------

    def append(self, messages: Sequence[Given]) -> list[int]:
        """Hold ``messages`` durably, as many of the first as there is room for; the positions of these.

        After an OSError none is held, and they may be given again.
        """
        positions: list[int] = []
        written: list[tuple[_Segment, int]] = []
        pieces: list[bytes] = []
        size = at = 0
        try:
            for given in messages:
                length = record_size(len(given.body))
                segment = self._current
                if segment is None or self._next - segment.start + SEGMENT_HEADER.size + length > segment.allotted:
                    self._write(pieces, at)
                    pieces, size = [], 0
                    if self.bytes + self._allotment(length) > self.limit:
                        break
                    segment = self._begin(length)
                if not pieces:
                    at = self._next
                positions.append(self._next)
                written.append((segment, self._next))
                pieces.append(pack_record(self._next, given))
                self._next += length
                size += length
                if size >= _WRITE_BYTES:
                    self._write(pieces, at)
                    pieces, size = [], 0
            self._write(pieces, at)
            for segment in dict.fromkeys(segment for segment, _ in written):
                self._files.sync(segment.fd)
        except OSError:
            # After a sync that failed nobody knows what is on disk: nothing more is written there.
            self._next += _ALIGNMENT
            self._current = None
            self._drop_dead()
            raise
        for segment, _ in written:
            segment.live += 1
        self._drop_dead()
        return positions

    def _write(self, pieces: list[bytes], at: int) -> None:
        if pieces:
            segment = self._current
            assert segment is not None
            self._files.write(segment.fd, b"".join(pieces), SEGMENT_HEADER.size + at - segment.start)

    def _begin(self, size: int) -> _Segment:
        """Begin a segment at the next position, for a first record of ``size`` bytes."""
        start = self._next
        path = self._directory / f"{start:016x}{SUFFIX}"
        allotted = self._allotment(size)
        segment = _Segment(start, path, allotted)
        segment.fd = self._files.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        self._segments.append(segment)
        self.bytes += allotted
        self._current = segment
        self._files.allocate(segment.fd, allotted)
        head = SEGMENT_HEADER.pack(SEGMENT_MAGIC, start, 0, 0)
        self._files.write(segment.fd, SEGMENT_HEADER.pack(SEGMENT_MAGIC, start, crc32c(head[:16]), 0), 0)
        self._files.sync(segment.fd)
        self._files.sync_directory(self._directory)
        return segment

    def _allotment(self, size: int) -> int:
        """Bytes of a segment whose first record has ``size``."""
        return max(self._segment_bytes, SEGMENT_HEADER.size + size)

    def read(self, positions: Sequence[int]) -> list[Loaded | None]:
        """The messages at ``positions``; None where one cannot be read back, which is noted in :attr:`damage`."""
        return [self._read(position) for position in positions]

    def _read(self, position: int) -> Loaded | None:
        segment = self._of(position)
        offset = SEGMENT_HEADER.size + position - segment.start
        try:
            head = self._files.read(segment.fd, RECORD.size, offset)
            length = RECORD.unpack(head)[1] if len(head) == RECORD.size else 0
            data = self._files.read(segment.fd, min(length, segment.allotted), offset)
        except OSError as error:
            self.damage.append(f"{segment.path}: {error.strerror}")
            return None
        loaded = unpack_record(memoryview(data), position)
        if loaded is None:
            self.damage.append(f"{segment.path}: the record at byte {offset} is damaged")
        return loaded

    def done(self, positions: Sequence[int]) -> None:
        """Forget the messages at ``positions``: the broker has them, or nobody ever will."""
        for position in positions:
            self._of(position).live -= 1
        self._drop_dead()

    def close(self) -> None:
        """Give up the files."""
        for segment in self._segments:
            self._files.close(segment.fd)
        self._segments, self._current = [], None

    def _of(self, position: int) -> _Segment:
        at = bisect_right(self._segments, position, key=lambda segment: segment.start) - 1
        if at < 0:
            raise SpoolError(f"nothing stands at {position}")
        return self._segments[at]

    def _drop_dead(self) -> None:
        """Remove segments without messages; the one that is written as well, so that a start finds nothing to send."""
        dead = [segment for segment in self._segments if not segment.live]
        for segment in dead:
            with contextlib.suppress(OSError):
                self._remove(segment)

    def _remove(self, segment: _Segment) -> None:
        self._files.unlink(segment.path)
        self._files.close(segment.fd)
        self._segments.remove(segment)
        self.bytes -= segment.allotted
        if segment is self._current:
            self._current = None
