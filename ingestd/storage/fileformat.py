"""Every layout of bytes on disk. docs/format/ draws them; this module packs, unpacks and validates.

All numbers are little-endian, all checksums CRC32C (Castagnoli). Files begin with eight bytes of magic that end in the
version. Times are seconds since the epoch. An LSN is a position in the journal as one stream of bytes.

Journal segment ``journal/<start lsn, 16 hex>.<try, 4 hex>.jnl``::

    offset size  segment header
    0      8     magic "INGDJNL1"
    8      8     start LSN: the record at LSN l begins at byte 24 + l - start
    16     4     CRC of bytes 0 to 15
    20     4     zero

    offset size  record, 8-byte aligned
    0      4     magic "JREC"
    4      4     length of the whole record, a multiple of 8
    8      8     LSN of this record
    16     8     accept clock
    24     2     kind: 1 points, 2 an overlay's points carried over
    26     2     archive  (kind 2, else 0)
    28     4     layout   (kind 2, else 0)
    32     8     block    (kind 2, else 0)
    40     4     n, the number of points
    44     4     CRC of bytes 0 to 43 and of all that follows
    48     4n    series ids uint32, zero-padded to a multiple of 8
    ..     8n    timestamps int64 (kind 2: slots within the block)
    ..     8n    values float64

A record is valid if and only if its magic is right, its length fits the segment and n, its LSN equals its position and
its CRC holds. One point at LSN 0x40 (series 7, 1700000000, 2.5; accepted at 1700000001)::

    4a524543 48000000 4000000000000000 01f1536500000000 0100 0000 00000000 0000000000000000
    01000000 453c82c3 0700000000000000 00f1536500000000 0000000000000440
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import crc32c as _crc
import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, Times, Values

JOURNAL_MAGIC: Final = b"INGDJNL1"
REGISTRY_MAGIC: Final = b"INGDREG1"
MANIFEST_MAGIC: Final = b"INGDMAN1"
BLOCK_MAGIC: Final = b"INGDBLK1"
EVENTS_MAGIC: Final = b"INGDEVT1"
MARKS_MAGIC: Final = b"INGDMRK1"

SEGMENT_HEADER: Final = struct.Struct("<8sQII")
JOURNAL_RECORD: Final = struct.Struct("<4sIQqHHIqII")
JOURNAL_RECORD_MAGIC: Final = b"JREC"
POINTS: Final = 1
CARRIED: Final = 2

LOG_HEADER: Final = struct.Struct("<8sII")
"""Registry, manifest, events and marks: magic, CRC of it, zero."""
LOG_RECORD: Final = struct.Struct("<4sIIIQII")
"""magic "LREC", length, kind, n, number, zero, CRC of the 28 bytes before it and of all that follows."""
LOG_RECORD_MAGIC: Final = b"LREC"

BLOCK_HEADER: Final = struct.Struct("<8sIIIIIIqIIQIII")
"""magic, flags, layout, archive, step, B, n, block, generation, tiles, LSN, CRC of ids, CRC of tile CRCs, CRC."""
COMPLETE: Final = 1
"""Flag of a coarse block computed from closed finer blocks."""
PAGE: Final = 4096
TILE_ROWS: Final = 1024
"""Rows that share a CRC: 480 KB at 60 slots, so that reading one series verifies half a megabyte once."""


def crc32c(data: bytes | memoryview | NDArray[Any], before: int = 0) -> int:
    """CRC32C of ``data``, continuing from ``before``."""
    return int(_crc.crc32c(as_bytes(data) if isinstance(data, np.ndarray) else data, before))


def as_bytes(column: NDArray[Any]) -> memoryview:
    """A view of a contiguous array's bytes."""
    return column.data.cast("B") if column.size else memoryview(b"")


def pad8(size: int) -> int:
    """``size`` rounded up to a multiple of 8."""
    return -(-size // 8) * 8


def page_up(size: int) -> int:
    """``size`` rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def pack_segment_header(start: int) -> bytes:
    head = SEGMENT_HEADER.pack(JOURNAL_MAGIC, start, 0, 0)
    return SEGMENT_HEADER.pack(JOURNAL_MAGIC, start, crc32c(head[:16]), 0)


def unpack_segment_header(data: bytes) -> int | None:
    """The start LSN; None if this is no segment header."""
    if len(data) < SEGMENT_HEADER.size:
        return None
    magic, start, crc, _ = SEGMENT_HEADER.unpack_from(data)
    return int(start) if magic == JOURNAL_MAGIC and crc == crc32c(data[:16]) else None


def record_size(n: int) -> int:
    """Bytes of a journal record of ``n`` points."""
    return JOURNAL_RECORD.size + pad8(4 * n) + 16 * n


class JournalKey(NamedTuple):
    """The block of a carried record."""

    layout: int
    archive: int
    block: int


def pack_record(
    lsn: int, clock: int, key: JournalKey | None, ids: Ids, times: Times, values: Values
) -> list[bytes | memoryview]:
    """A journal record as buffers; the columns are views of the arrays."""
    n = len(ids)
    kind, layout, archive, block = (POINTS, 0, 0, 0) if key is None else (CARRIED, *key)
    fields = (JOURNAL_RECORD_MAGIC, record_size(n), lsn, clock, kind, archive, layout, block, n)
    columns: list[bytes | memoryview] = [
        as_bytes(np.ascontiguousarray(ids, "<u4")),
        bytes(pad8(4 * n) - 4 * n),
        as_bytes(np.ascontiguousarray(times, "<i8")),
        as_bytes(np.ascontiguousarray(values, "<f8")),
    ]
    crc = crc32c(JOURNAL_RECORD.pack(*fields, 0)[:-4])
    for column in columns:
        crc = crc32c(column, crc)
    return [JOURNAL_RECORD.pack(*fields, crc), *columns]


class JournalRecord(NamedTuple):
    """A valid journal record; its columns are views of the segment."""

    lsn: int
    size: int
    clock: int
    key: JournalKey | None
    ids: Ids
    times: Times
    values: Values


def unpack_record(data: memoryview, offset: int, lsn: int) -> JournalRecord | None:
    """The record that begins at ``offset`` and must have ``lsn``; None if there is no valid one."""
    if offset + JOURNAL_RECORD.size > len(data):
        return None
    magic, length, own, clock, kind, archive, layout, block, n, crc = JOURNAL_RECORD.unpack_from(data, offset)
    if magic != JOURNAL_RECORD_MAGIC or own != lsn or kind not in (POINTS, CARRIED):
        return None
    if length != record_size(n) or offset + length > len(data):
        return None
    body = offset + JOURNAL_RECORD.size
    if crc32c(data[body : offset + length], crc32c(data[offset : body - 4])) != crc:
        return None
    times = body + pad8(4 * n)
    return JournalRecord(
        lsn,
        length,
        clock,
        JournalKey(layout, archive, block) if kind == CARRIED else None,
        np.frombuffer(data, "<u4", n, body),
        np.frombuffer(data, "<i8", n, times),
        np.frombuffer(data, "<f8", n, times + 8 * n),
    )


def pack_log_header(magic: bytes) -> bytes:
    return LOG_HEADER.pack(magic, crc32c(magic), 0)


def pack_log_record(kind: int, n: int, number: int, parts: Sequence[bytes]) -> bytes:
    """A record of the registry, the manifest, the events or the marks; each part is zero-padded to a multiple of 8."""
    body = b"".join(part + bytes(pad8(len(part)) - len(part)) for part in parts)
    fields = (LOG_RECORD_MAGIC, LOG_RECORD.size + len(body), kind, n, number, 0)
    crc = crc32c(body, crc32c(LOG_RECORD.pack(*fields, 0)[:-4]))
    return LOG_RECORD.pack(*fields, crc) + body


def record_kind(record: bytes) -> int:
    """The kind of a record that :func:`pack_log_record` made."""
    return int(LOG_RECORD.unpack_from(record)[2])


class LogRecord(NamedTuple):
    """A valid record of a log: ``kind``, ``n`` and ``number`` mean what the log says, ``body`` is a view."""

    offset: int
    size: int
    kind: int
    n: int
    number: int
    body: memoryview


def unpack_log_record(data: memoryview, offset: int) -> LogRecord | None:
    """The record that begins at ``offset``; None if there is no valid one."""
    if offset + LOG_RECORD.size > len(data):
        return None
    magic, length, kind, n, number, _, crc = LOG_RECORD.unpack_from(data, offset)
    if magic != LOG_RECORD_MAGIC or length < LOG_RECORD.size or length % 8 or offset + length > len(data):
        return None
    body = offset + LOG_RECORD.size
    if crc32c(data[body : offset + length], crc32c(data[offset : body - 4])) != crc:
        return None
    return LogRecord(offset, length, kind, n, number, data[body : offset + length])


class BlockHeader(NamedTuple):
    """The header of a block file."""

    flags: int
    layout: int
    archive: int
    step: int
    length: int
    """B: slots of the block."""
    n: int
    """Rows, a series each."""
    block: int
    generation: int
    lsn: int

    @property
    def tiles(self) -> int:
        return -(-self.n // TILE_ROWS)

    @property
    def crcs_at(self) -> int:
        """Offset of the tiles' CRCs: uint32[tiles]; the ids, uint32[n], stand at 4096."""
        return page_up(PAGE + 4 * self.n)

    @property
    def data_at(self) -> int:
        """Offset of the values: float64[n, B]."""
        return self.crcs_at + page_up(4 * self.tiles)

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self.data_at + 8 * self.n * self.length


def pack_block_header(header: BlockHeader, ids_crc: int, crcs_crc: int) -> bytes:
    fields = (
        BLOCK_MAGIC,
        header.flags,
        header.layout,
        header.archive,
        header.step,
        header.length,
        header.n,
        header.block,
        header.generation,
        header.tiles,
        header.lsn,
        ids_crc,
        crcs_crc,
    )
    crc = crc32c(BLOCK_HEADER.pack(*fields, 0)[:-4])
    return BLOCK_HEADER.pack(*fields, crc).ljust(PAGE, b"\0")


def unpack_block_header(data: bytes) -> tuple[BlockHeader, int, int] | None:
    """The header and the CRCs of the ids and of the tiles' CRCs; None if this is no block header."""
    if len(data) < PAGE or any(data[BLOCK_HEADER.size : PAGE]):
        return None
    magic, flags, layout, archive, step, length, n, block, generation, tiles, lsn, ids_crc, crcs_crc, crc = (
        BLOCK_HEADER.unpack_from(data)
    )
    if magic != BLOCK_MAGIC or crc != crc32c(data[: BLOCK_HEADER.size - 4]) or not n or not length:
        return None
    header = BlockHeader(flags, layout, archive, step, length, n, block, generation, lsn)
    return (header, ids_crc, crcs_crc) if tiles == header.tiles else None
