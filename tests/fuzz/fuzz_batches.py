"""ingestd's own batches: messages of msgpack, whose checksum is right more often than their fields."""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Hashable
from typing import Any, Final

import msgpack
import numpy as np
from crc32c import crc32c
from fuzz_lines import NOW, check_parsed
from fuzz_mutate import NUMBERS, Mutator
from fuzz_target import Target, dice

from ingestd._speed import Table
from ingestd.wire.batch import BatchLimits, BatchParsed, encode_batch, parse_batch
from ingestd.wire.lines import PathLimits, canonical_path

LIMITS: Final = BatchLimits(message=1_200, paths=PathLimits(length=200))
KNOWN: Final = {b"a.b": 0, b"c.d": 1}
PATHS: Final = (b"a.b", b"c.d", b"a..b", b"a;y=1;x=2", b"\xff", b"", b"*", b"x" * 201, "ä".encode(), b"a.", b"n.ew")
STAMPS: Final = (1_700_000_000, 1_700_000_010, -1, -2, 0, 2**63 - 1, -(2**63))
VALUES: Final = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 5e-324)
BOMBS: Final = (
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x9a" * 40, b"\xdc\xff\xff", b"\x80",
    b"\xc0", b"\xc1", b"\xc2", b"\xc7\xff\x01", b"\xd9\x05", b"\xcb" + bytes(8), b"\xcf" + b"\xff" * 8,
    b"\xd3" + b"\xff" * 8,
    b"\xcc\x01", b"\xcd\x00\x01", b"\xc4\x00", b"\xc4\x04", b"\xc5\x00\x04", b"\x9a\x01", b"\xd6\xff" + bytes(4),
)  # fmt: skip


def sealed(message: bytes) -> bytes:
    """``message`` with the checksum that its bytes have."""
    return message[:-4] + crc32c(message[:-4]).to_bytes(4, "little")


def built(mutator: Mutator) -> bytes:
    """A message of the form, whose columns may be anything."""
    paths = [mutator.pick(PATHS) for _ in range(1 + mutator.below(4))]
    count = len(paths) + mutator.below(4)
    ends, end = [], 0
    for path in paths:
        end += len(path)
        ends.append(end)
    rows = [mutator.below(len(paths)) for _ in range(count)]
    if mutator.chance(0.1):
        mutator.pick((ends, rows))[0] = mutator.number(4)
    columns = [struct.pack(f"<{len(ends)}I", *ends), struct.pack(f"<{count}I", *rows)]
    columns.append(struct.pack(f"<{count}q", *[mutator.pick(STAMPS) for _ in range(count)]))
    columns.append(struct.pack(f"<{count}d", *[mutator.pick(VALUES) for _ in range(count)]))
    if mutator.chance(0.1):
        at = mutator.below(4)
        columns[at] = columns[at][: mutator.below(20)]
    version = 1 if mutator.chance(0.97) else mutator.number(4)
    producer = b"p" * mutator.pick((1, 1, 1, 1, 1, 0, 64, 65))
    partition = mutator.pick((0, 1, 1023)) if mutator.chance(0.95) else mutator.number(4)
    fields = [version, producer, mutator.number(8), partition, b"".join(paths), *columns, bytes(4)]
    message: bytes = msgpack.packb(fields)
    return message


class Batches(Target):
    """:func:`parse_batch`: what a reading row by row gives, or one point refused."""

    name = "batch"
    tokens = (*BOMBS, *(bytes([number & 255]) for number in NUMBERS))
    largest = 1_400

    def seeds(self) -> list[bytes]:
        columns = np.array([0, 1, 0]), np.array([1_700_000_000, 1_700_000_010, -1]), np.array([1.5, math.nan, 2.5])
        one = encode_batch(b"producer", 7, 3, [b"a.b", b"n.ew"], *columns)
        none = encode_batch(b"p", 2**64 - 1, 1023, [], np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return [one, none]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        data = seed if mutator.chance(0.2) else built(mutator)
        if mutator.chance(0.5):
            data = mutator.changed(data, self.largest)
        return sealed(data) if mutator.chance(0.9) else data

    def run(self, data: bytes) -> Hashable:
        known = KNOWN if dice(data) & 1 else {}
        names = known
        if dice(data) & 2:
            names = Table()
            for spelling, series in known.items():
                names[spelling] = series
        parsed = parse_batch(data, names, NOW, LIMITS)
        check_parsed(parsed)
        expected = by_rows(data)
        if isinstance(expected, str):
            assert parsed.rejected == {expected: 1}
            assert not len(parsed.batch)
            assert parsed.producer == b""
        else:
            compare(parsed, known, *expected)
        return (min(len(parsed.batch), 5), min(len(parsed.unknown), 3), *sorted(parsed.rejected))


Points = list[tuple[str, float, int]]


def by_rows(data: bytes) -> str | tuple[Points, Counter[str]]:
    """Points and rejections, a row at a time; or why there is no message."""
    if len(data) > LIMITS.message:
        return "too_long"
    fields = _fields(data)
    if fields is None:
        return "malformed"
    _, _, _, _, blob, ends, rows, stamps, values, _ = fields
    points: Points = []
    rejected: Counter[str] = Counter()
    starts = (0, *ends)
    for row, stamp, value in zip(rows, stamps, values, strict=True):
        path = canonical_path(blob[starts[row] : ends[row]], LIMITS.paths)
        when = NOW if stamp == -1 else stamp
        if when < 0 or not math.isfinite(value) or path is None:
            rejected[_reason(when, value)] += 1
        else:
            points.append((path, value, when))
    return points, rejected


def _reason(stamp: int, value: float) -> str:
    """Why a row is refused; of several reasons the first."""
    if stamp < 0:
        return "malformed"
    return "path" if math.isfinite(value) else "nan" if math.isnan(value) else "infinite"


def _fields(data: bytes) -> list[Any] | None:
    """The ten fields, columns as tuples, if they are those of a message."""
    if len(data) < 4 or crc32c(data[:-4]).to_bytes(4, "little") != data[-4:]:
        return None
    try:
        fields = msgpack.unpackb(data)
    except Exception:
        return None
    kinds = (int, bytes, int, int, bytes, bytes, bytes, bytes, bytes, bytes)
    if not isinstance(fields, list) or tuple(map(type, fields)) != kinds or len(fields[9]) != 4:
        return None
    for at, (form, size) in enumerate((("I", 4), ("I", 4), ("q", 8), ("d", 8)), 5):
        if len(fields[at]) % size:
            return None
        fields[at] = struct.unpack(f"<{len(fields[at]) // size}{form}", fields[at])
    return fields if _agree(fields) else None


def _agree(fields: list[Any]) -> bool:
    """Whether fields are in their ranges and say the same of one another."""
    version, producer, sequence, partition, blob, ends, rows, stamps, values, _ = fields
    return (
        version == 1
        and 1 <= len(producer) <= 64
        and 0 <= sequence < 2**64
        and 0 <= partition < 1024
        and len(rows) == len(stamps) == len(values) >= len(ends)
        and list(ends) == sorted(ends)
        and (ends[-1] if ends else 0) == len(blob)
        and all(row < len(ends) for row in rows)
    )


def compare(parsed: BatchParsed, known: dict[bytes, int], points: Points, rejected: Counter[str]) -> None:
    """The columns say what the rows say."""
    paths = {new.row: new.path for new in parsed.unknown}
    spelt = {series: spelling.decode() for spelling, series in known.items()}
    batch = parsed.batch
    columns = zip(batch.ids.tolist(), batch.values.tolist(), batch.timestamps.tolist(), strict=True)
    found = [(paths.get(row) or spelt[series], value, stamp) for row, (series, value, stamp) in enumerate(columns)]
    assert found == points
    assert parsed.rejected == rejected
    assert 1 <= len(parsed.producer) <= 64
