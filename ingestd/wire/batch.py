"""ingestd's own batches: points as columns in one message of msgpack, which ``docs/format/batch.md`` draws.

A message is read in a time that depends on its bytes and on its paths, not on its points: the columns are raw, and
each path is looked up once. The outer array alone is msgpack's to build: every field must begin as the number or the
bytes that it is, so nothing nests, and the paths are one blob, not an object each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgpack  # type: ignore[import-untyped]
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ingestd._speed import Table
from ingestd.points import UNKNOWN, Batch, Ids, NameTable, NewName, Parsed, Times, Values, empty_batch
from ingestd.wire.framing import LINE_LIMIT, WireError
from ingestd.wire.lines import PathLimits, canonical_path

VERSION: Final = 1
PARTITIONS: Final = 1024
PRODUCER_MAX: Final = 64
"""Bytes of a producer's name: a UUID as text has 36."""
_FIELDS: Final = 10
_CRC_SIZE: Final = 4
_UINT32: Final = np.dtype("<u4")
_INT64: Final = np.dtype("<i8")
_FLOAT64: Final = np.dtype("<f8")
# The first bytes of a value (the msgpack specification, formats): fixint and uint 8 to 64, bin 8 to 32.
_NUMBERS: Final = frozenset([*range(0x80), *range(0xCC, 0xD4)])
"""Signed ones as well: encoders of typed languages write what is not negative as their type is."""
_BYTES: Final = frozenset([0xC4, 0xC5, 0xC6])
_KINDS: Final = (_NUMBERS, _BYTES, _NUMBERS, _NUMBERS, _BYTES, _BYTES, _BYTES, _BYTES, _BYTES, _BYTES)


class BatchError(WireError):
    """Columns that cannot be a message, or bytes that are none."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How large a message may be."""

    message: int = 1 << 20
    """Bytes: 50,000 points. Of new names alone it holds 40,000: what takes longest of all that fits."""
    paths: PathLimits = field(default_factory=PathLimits)


@dataclass(slots=True)
class BatchParsed(Parsed):
    """Points of one message, and who made it. ``producer`` is empty if the message was refused as a whole."""

    producer: bytes = b""
    sequence: int = 0
    partition: int = 0


class _Message(NamedTuple):
    producer: bytes
    sequence: int
    partition: int
    blob: bytes
    """The paths, one after the other."""
    ends: Ids
    """Where each of them ends."""
    rows: Ids
    """The path of each point, as its number."""
    timestamps: Times
    values: Values


def encode_batch(
    producer: bytes,
    sequence: int,
    partition: int,
    paths: Sequence[bytes],
    index: NDArray[np.integer],
    timestamps: NDArray[np.integer],
    values: NDArray[np.floating],
) -> bytes:
    """A message of n points: point ``i`` is of ``paths[index[i]]``, at ``timestamps[i]`` seconds, ``values[i]``.

    ``sequence`` is below 2**64 and counts a producer's messages. Raises :class:`BatchError`.
    """
    if not 0 < len(producer) <= PRODUCER_MAX or not 0 <= sequence < 1 << 64 or not 0 <= partition < PARTITIONS:
        raise BatchError("producer, sequence or partition out of range")
    if not len(index) == len(timestamps) == len(values) or len(paths) > len(index):
        raise BatchError("columns of unequal length, or more paths than points")
    if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(paths):
        raise BatchError("a point without a path")
    ends = np.cumsum([len(path) for path in paths], dtype=np.int64).astype(_UINT32)
    columns = (ends, index.astype(_UINT32), timestamps.astype(_INT64), values.astype(_FLOAT64))
    return pack_batch(producer, sequence, partition, b"".join(paths), *(column.tobytes() for column in columns))


def pack_batch(
    producer: bytes, sequence: int, partition: int, paths: bytes, ends: bytes, index: bytes, times: bytes, values: bytes
) -> bytes:
    """A message of fields that are known to be right: the paths joined, where each of them ends, and columns, all as
    they stand in the message (little-endian uint32, uint32, int64, float64).
    """
    fields = [VERSION, producer, sequence, partition, paths, ends, index, times, values, bytes(_CRC_SIZE)]
    message: bytes = msgpack.packb(fields)
    return message[:-_CRC_SIZE] + crc32c(memoryview(message)[:-_CRC_SIZE]).to_bytes(_CRC_SIZE, "little")


def parse_batch(message: bytes, names: NameTable, now: int, limits: BatchLimits) -> BatchParsed:
    """All points of one message as one batch in their order.

    A message that is none counts as one point received and refused: ``too_long`` over its limit, else ``malformed``.
    Of the others, rows are refused one by one: ``malformed`` (a negative timestamp), ``nan``, ``infinite``, ``path``.
    ``now`` in seconds stands in for the timestamp -1. The columns may be views of bytes that nobody else has.
    """
    if len(message) > limits.message:
        return BatchParsed(empty_batch(), [], {"too_long": 1})
    try:
        read = _read(message)
    except BatchError:
        return BatchParsed(empty_batch(), [], {"malformed": 1})
    return _resolve(read, names, now, limits.paths)


def _read(message: bytes) -> _Message:
    """The fields of a message, checked against one another. Raises :class:`BatchError`."""
    if crc32c(memoryview(message)[:-_CRC_SIZE]).to_bytes(_CRC_SIZE, "little") != message[-_CRC_SIZE:]:
        raise BatchError("wrong checksum")
    version, producer, sequence, partition, blob, *columns, crc = _unpack(message)
    if version != VERSION or not 0 < len(producer) <= PRODUCER_MAX or len(crc) != _CRC_SIZE:
        raise BatchError("a field out of range")
    if sequence < 0 or not 0 <= partition < PARTITIONS:
        raise BatchError("a number out of range")
    ends, rows = _column(columns[0], _UINT32), _column(columns[1], _UINT32)
    timestamps, values = _column(columns[2], _INT64), _column(columns[3], _FLOAT64)
    if not len(rows) == len(timestamps) == len(values) or len(ends) > len(rows):
        raise BatchError("columns of unequal length, or more paths than points")
    if (ends[1:] < ends[:-1]).any() or (int(ends[-1]) if len(ends) else 0) != len(blob):
        raise BatchError("paths that do not fill their blob")
    if len(rows) and int(rows.max()) >= len(ends):
        raise BatchError("a point without a path")
    return _Message(producer, sequence, partition, blob, ends, rows, timestamps, values)


def _unpack(message: bytes) -> list[Any]:
    """The ten fields: numbers and bytes, as they must be. Raises :class:`BatchError`."""
    size = len(message)
    unpacker = msgpack.Unpacker(
        max_buffer_size=size,
        max_array_len=_FIELDS,
        max_map_len=0,
        max_str_len=0,
        max_ext_len=0,
        max_bin_len=size,
    )
    fields: list[Any] = []
    try:
        unpacker.feed(message)
        if unpacker.read_array_header() != _FIELDS:
            raise BatchError("not a message")
        for kind in _KINDS:
            # Before anything is built: an array of arrays would cost many times its bytes.
            if message[unpacker.tell()] not in kind:
                raise BatchError("a field of another type")
            fields.append(unpacker.unpack())
    except (msgpack.UnpackException, ValueError, IndexError) as error:
        raise BatchError("not a message") from error
    if unpacker.tell() != size:
        raise BatchError("bytes after the message")
    return fields


def _column(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(data) % dtype.itemsize:
        raise BatchError("part of a number")
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)


def _look_up(read: _Message, names: NameTable) -> Ids:
    """The series of each path, uint32[n]; UNKNOWN for those that are none."""
    if isinstance(names, Table):
        return names.look_up_spans(read.blob, read.ends)
    bounds = [0, *read.ends.tolist()]
    found = (names.get(read.blob[start:end]) for start, end in pairwise(bounds))
    return np.fromiter((UNKNOWN if series is None else series for series in found), np.uint32, len(read.ends))


def _resolve(read: _Message, names: NameTable, now: int, limits: PathLimits) -> BatchParsed:
    known = _look_up(read, names)
    canonical: dict[int, tuple[bytes, str]] = {}
    refused: list[int] = []
    for number in np.flatnonzero(known == UNKNOWN).tolist():
        spelling = read.blob[int(read.ends[number - 1]) if number else 0 : int(read.ends[number])]
        path = canonical_path(spelling, limits) if len(spelling) <= LINE_LIMIT else None
        if path is None:
            refused.append(number)
        else:
            canonical[number] = spelling, path
    rows, timestamps, values, rejected = _sound(read, refused, now)
    ids = known[rows]
    unknown: list[NewName] = []
    if canonical:
        new = np.flatnonzero(ids == UNKNOWN)
        for row, number in zip(new.tolist(), rows[new].tolist(), strict=True):
            unknown.append(NewName(row, *canonical[number]))
    batch = Batch(ids, timestamps, values)
    return BatchParsed(batch, unknown, rejected, read.producer, read.sequence, read.partition)


def _sound(read: _Message, refused: list[int], now: int) -> tuple[Ids, Times, Values, dict[str, int]]:
    """The columns without the rows that cannot be stored, and how many these are, by reason."""
    rows, timestamps, values = read.rows, read.timestamps, read.values
    early = len(rows) > 0 and int(timestamps.min()) < 0
    if not (early or refused) and np.isfinite(values).all():
        return rows, timestamps, values, {}
    if early:
        timestamps = np.where(timestamps == -1, now, timestamps)
    bad_path = np.zeros(len(read.ends), np.bool_)
    bad_path[refused] = True
    kept = np.ones(len(rows), np.bool_)
    rejected: dict[str, int] = {}
    for reason, bad in (
        ("malformed", timestamps < 0),
        ("nan", np.isnan(values)),
        ("infinite", np.isinf(values)),
        ("path", bad_path[rows]),
    ):
        count = int(np.count_nonzero(bad & kept))
        if count:
            rejected[reason] = count
            kept &= ~bad
    return rows[kept], timestamps[kept], values[kept], rejected
