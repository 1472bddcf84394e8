"""Batch messages: what is encoded is read back; what is no message costs nothing and changes nothing."""

import re
import tracemalloc
from collections import Counter
from pathlib import Path

import msgpack
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from ingestd._speed import Table
from ingestd.points import UNKNOWN
from ingestd.wire.batch import BatchError, BatchLimits, encode_batch, parse_batch
from ingestd.wire.lines import PathLimits, canonical_path

NOW = 1_750_000_000
LIMITS = BatchLimits()
DOC = Path(__file__).parents[2] / "docs" / "format" / "batch.md"


def sealed(message: bytes) -> bytes:
    """The message with a right checksum at its end."""
    return message[:-4] + crc32c(message[:-4]).to_bytes(4, "little")


def packed(*fields) -> bytes:
    return sealed(msgpack.packb(list(fields)))


def u32(*numbers) -> bytes:
    return np.array(numbers, "<u4").tobytes()


def i64(*numbers) -> bytes:
    return np.array(numbers, "<i8").tobytes()


def f64(*numbers) -> bytes:
    return np.array(numbers, "<f8").tobytes()


def good(**changed) -> list:
    fields = {
        "version": 1, "producer": b"p", "sequence": 7, "partition": 3, "paths": b"a.ba.c", "ends": u32(3, 6),
        "index": u32(1, 0, 1), "timestamps": i64(1, 2, 3), "values": f64(1.5, 2.5, 3.5), "crc": bytes(4),
    }  # fmt: skip
    return list({**fields, **changed}.values())


def read(message: bytes, known: dict[bytes, int] | None = None, limits: BatchLimits = LIMITS):
    """Points as (path, value as hex, timestamp), rejections, and the parsed; checks what Parsed promises."""
    known = known or {}
    parsed = parse_batch(message, known, NOW, limits)
    table = Table()
    for spelling, series in known.items():
        table[spelling] = series
    compiled = parse_batch(message, table, NOW, limits)
    assert compiled.batch.ids.tolist() == parsed.batch.ids.tolist()
    assert (compiled.unknown, compiled.rejected) == (parsed.unknown, parsed.rejected)
    columns = parsed.batch
    assert (columns.ids.dtype, columns.timestamps.dtype, columns.values.dtype) == (np.uint32, np.int64, np.float64)
    assert all(c.dtype.isnative and c.flags.c_contiguous for c in (columns.ids, columns.timestamps, columns.values))
    assert len(columns.ids) == len(columns.timestamps) == len(columns.values)
    assert [name.row for name in parsed.unknown] == np.flatnonzero(columns.ids == UNKNOWN).tolist()
    unknown = {name.row: name.path for name in parsed.unknown}
    assert all(canonical_path(name.spelling, limits.paths) == name.path for name in parsed.unknown)
    spellings = {series: spelling for spelling, series in known.items()}
    points = [
        (unknown.get(row) or canonical_path(spellings[series], limits.paths), value.hex(), stamp)
        for row, (series, value, stamp) in enumerate(
            zip(columns.ids.tolist(), columns.values.tolist(), columns.timestamps.tolist(), strict=True)
        )
    ]
    assert parsed.received == len(points) + sum(parsed.rejected.values())
    return points, parsed.rejected, parsed


def refused(message: bytes, reason: str = "malformed") -> bool:
    points, rejected, parsed = read(message)
    return (points, rejected, parsed.producer) == ([], {reason: 1}, b"")


def expected(paths, index, timestamps, values):
    points, rejected = [], Counter()
    for number, stamp, value in zip(index, timestamps, values, strict=True):
        path = canonical_path(paths[number], LIMITS.paths)
        if stamp < -1:
            rejected["malformed"] += 1
        elif np.isnan(value):
            rejected["nan"] += 1
        elif np.isinf(value):
            rejected["infinite"] += 1
        elif path is None:
            rejected["path"] += 1
        else:
            points.append((path, float(value).hex(), NOW if stamp == -1 else stamp))
    return points, dict(rejected)


paths_of = st.lists(
    st.sampled_from([b"a.b", b"a.c", b"a..b", b"", b"*", b"\xff", b"k;t=1", b"x" * 5000]) | st.binary(max_size=6),
    max_size=5,
)
rows_of = st.lists(
    st.tuples(st.integers(0, 4), st.integers(-3, 5) | st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=30
)


@given(paths_of, rows_of, st.binary(min_size=1, max_size=64), st.integers(0, 2**64 - 1), st.integers(0, 1023))
def test_what_is_encoded_is_read_back(paths, rows, producer: bytes, sequence: int, partition: int) -> None:
    rows = [(number % len(paths), stamp, value) for number, stamp, value in rows] if paths else []
    paths = paths[: len(rows)]
    rows = [(number % len(paths), stamp, value) for number, stamp, value in rows]
    index, stamps, values = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    message = encode_batch(
        producer, sequence, partition, paths, np.array(index, int), np.array(stamps, np.int64), np.array(values, float)
    )
    assert packed(*msgpack.unpackb(message)) == message
    wanted = expected(paths, index, stamps, values)
    known = {path: number for number, path in enumerate(dict.fromkeys(paths)) if number % 2 and canonical_path(
        path, LIMITS.paths) is not None}  # fmt: skip
    for names in ({}, known):
        points, rejected, parsed = read(message, names)
        assert (points, rejected) == wanted
        assert (parsed.producer, parsed.sequence, parsed.partition) == (producer, sequence, partition)


def test_known_names_are_looked_up_once_each() -> None:
    asked = []

    class Table:
        def get(self, spelling):
            asked.append(spelling)
            return len(asked)

    message = encode_batch(b"p", 1, 1, [b"a", b"b"], np.array([0, 1] * 500), np.arange(1000), np.ones(1000))
    assert np.unique(parse_batch(message, Table(), NOW, LIMITS).batch.ids).tolist() == [1, 2]
    assert asked == [b"a", b"b"]


def test_the_drawn_message_is_what_is_encoded() -> None:
    drawn = [
        (int(a), int(b), c) for a, b, c in re.findall(r"^\| (\d+) \| (\d+) \| `([0-9a-f ]+)`", DOC.read_text(), re.M)
    ]
    data = b"".join(bytes.fromhex(text) for _, _, text in drawn)
    assert [len(bytes.fromhex(text)) for _, _, text in drawn] == [size for _, size, _ in drawn]
    assert [sum(size for _, size, _ in drawn[:n]) for n in range(len(drawn))] == [offset for offset, _, _ in drawn]
    assert encode_batch(b"p", 7, 3, [b"a.b"], np.array([0]), np.array([1]), np.array([2.5])) == data
    assert read(data)[0] == [("a.b", (2.5).hex(), 1)]


def test_the_good_message_is_good() -> None:
    points, rejected, _ = read(packed(*good()))
    assert (points, rejected) == ([("a.c", (1.5).hex(), 1), ("a.b", (2.5).hex(), 2), ("a.c", (3.5).hex(), 3)], {})
    assert read(packed(*good(paths=b"", ends=b"", index=b"", timestamps=b"", values=b"")))[:2] == ([], {})


@pytest.mark.parametrize(
    "changed",
    [
        {"version": 0}, {"version": 2}, {"version": -1}, {"version": 1.0}, {"version": b"\1"}, {"version": None},
        {"producer": b""}, {"producer": b"x" * 65}, {"producer": "p"}, {"producer": 1}, {"producer": [b"p"]},
        {"sequence": -1}, {"sequence": 1.5}, {"sequence": None}, {"sequence": True}, {"sequence": b"7"},
        {"partition": 1024}, {"partition": -1}, {"partition": 2**64 - 1}, {"partition": [3]},
        {"paths": "a.ba.c"}, {"paths": [b"a.b", b"a.c"]}, {"paths": b"a.ba.cd"}, {"paths": b"a.ba."}, {"paths": {}},
        {"ends": u32(6, 3)}, {"ends": u32(3)}, {"ends": u32(3, 7)}, {"ends": u32(3, 3, 3, 6)}, {"ends": b""},
        {"ends": u32(3, 6)[:-1]}, {"ends": u32(2**32 - 1, 6)}, {"ends": [3, 6]},
        {"index": u32(1, 0, 2)}, {"index": u32(1, 0, 2**32 - 1)}, {"index": u32(1, 0)}, {"index": u32(1, 0, 1)[:-1]},
        {"index": [1, 0, 1]}, {"timestamps": i64(1, 2)}, {"timestamps": i64(1, 2, 3, 4)},
        {"timestamps": i64(1, 2, 3)[1:]},
        {"timestamps": msgpack.Timestamp(1)}, {"values": f64(1, 2)}, {"values": f64(1, 2, 3, 4)}, {"values": None},
        {"values": msgpack.ExtType(1, f64(1, 2, 3))}, {"crc": b""}, {"crc": bytes(3)}, {"crc": bytes(5)}, {"crc": 0},
    ],
    ids=repr,
)  # fmt: skip
def test_a_field_that_cannot_be_refuses_the_message(changed) -> None:
    assert refused(packed(*good(**changed)))


def test_other_shapes_are_refused() -> None:
    fields = good()
    assert refused(packed(*fields[:-1]))
    assert refused(packed(*fields[:-1], b"x", bytes(4)))
    assert refused(sealed(msgpack.packb(dict(enumerate(fields)))))
    assert refused(sealed(msgpack.packb(fields) + bytes(6)))
    assert refused(sealed(b"\x00" + msgpack.packb(fields)))
    for message in (b"", b"\x9a", bytes(4), b"garbage", sealed(bytes(100)), sealed(b"\xc1" * 9)):
        assert refused(message)


def test_every_flipped_bit_and_every_cut_is_found() -> None:
    message = packed(*good())
    for position in range(len(message)):
        assert refused(message[:position])
        for bit in range(8):
            flipped = bytearray(message)
            flipped[position] ^= 1 << bit
            assert refused(bytes(flipped))


@given(st.binary(max_size=80), st.booleans())
def test_arbitrary_bytes_raise_nothing(data: bytes, right: bool) -> None:
    read(sealed(data) if right and len(data) >= 4 else data)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_messages_with_a_right_checksum_raise_nothing(changes) -> None:
    message = bytearray(packed(*good()))
    for position, byte in changes:
        message[position % (len(message) - 4)] = byte
    read(sealed(bytes(message)))


def bombs(size: int) -> dict[str, bytes]:
    """Messages of ``size`` bytes with a right checksum."""
    count = size // 30
    ends = np.arange(1, count + 1, dtype="<u4")
    many = encode_batch(b"p", 1, 1, [b"%06d" % n for n in range(count)], ends - 1, np.arange(count), np.ones(count))
    empty = packed(*good(paths=b"", ends=bytes(4 * count), index=bytes(4 * count), timestamps=bytes(8 * count),
                         values=bytes(8 * count)))  # fmt: skip
    head = msgpack.packb(good()[:4])[1:]
    return {
        "empty maps": sealed(b"\x9a" + b"\x80" * size),
        "empty arrays": sealed(b"\x9a" + b"\x90" * size),
        "arrays of ten": sealed(b"\x9a" * size),
        "deep arrays": sealed(b"\x9a" + b"\x91" * size),
        "arrays in a field": sealed(b"\x9a" + head + b"\xdd" + size.to_bytes(4, "big") + b"\x90" * size),
        "an array of 4 G": sealed(b"\xdd\xff\xff\xff\xff" + bytes(4)),
        "a map of 4 G": sealed(b"\xdf\xff\xff\xff\xff" + bytes(4)),
        "bytes of 4 GiB": sealed(b"\x9a" + head + b"\xc6\xff\xff\xff\xff" + bytes(size)),
        "a text of 4 GiB": sealed(b"\x9a" + head + b"\xdb\xff\xff\xff\xff" + bytes(size)),
        "numbers": sealed(b"\x9a" + b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff" * (size // 9)),
        "paths that are empty": empty,
        "new names alone": many,
        "one long path": encode_batch(b"p", 1, 1, [b"a" * size], np.zeros(9, int), np.arange(9), np.ones(9)),
    }


@pytest.mark.parametrize("name", bombs(1024))
def test_bombs_take_a_bounded_multiple_of_their_bytes(name: str, effort) -> None:
    """At most 24 bytes for each of the message: what honest new names take, a path and a number for 30 bytes."""
    size = effort(1 << 17, 1 << 20)
    message = bombs(size)[name]
    limits = BatchLimits(message=2 * size + 1024)
    tracemalloc.start()
    try:
        parsed = parse_batch(message, {}, NOW, limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * len(message) + (1 << 17)
    assert name == "new names alone" or not len(parsed.batch)


def test_the_limit_on_a_message_is_inclusive() -> None:
    message = packed(*good())
    assert read(message, limits=BatchLimits(message=len(message)))[1] == {}
    assert read(message, limits=BatchLimits(message=len(message) - 1))[:2] == ([], {"too_long": 1})


def test_limits_on_paths_hold() -> None:
    limits = BatchLimits(paths=PathLimits(length=2))
    assert read(packed(*good()), limits=limits)[:2] == ([], {"path": 3})


@pytest.mark.parametrize(
    "changed",
    [
        {"producer": b""}, {"producer": b"x" * 65}, {"sequence": -1}, {"sequence": 2**64}, {"partition": 1024},
        {"partition": -1}, {"index": [0, 2]}, {"index": [0, -1]}, {"index": [0]}, {"timestamps": [1]},
        {"values": [1.0]},
        {"paths": [b"a", b"b", b"c"]}, {"paths": []},
    ],
    ids=repr,
)  # fmt: skip
def test_what_cannot_be_encoded_is_refused(changed) -> None:
    fields = {"producer": b"p", "sequence": 1, "partition": 1, "paths": [b"a", b"b"], "index": [0, 1],
              "timestamps": [1, 2], "values": [1.0, 2.0]} | changed  # fmt: skip
    columns = [np.array(fields[name]) for name in ("index", "timestamps", "values")]
    with pytest.raises(BatchError):
        encode_batch(fields["producer"], fields["sequence"], fields["partition"], fields["paths"], *columns)


@pytest.mark.parametrize(
    ("sequence", "good"),
    [(b"\xd0\x7e", 126), (b"\xd1\x01\x00", 256), (b"\xd3" + bytes(7) + b"\x09", 9), (b"\xd0\xff", None)],
)
def test_numbers_may_be_written_as_signed_ones(sequence, good):
    message = encode_batch(b"p", 7, 3, [b"a.b"], np.array([0]), np.array([NOW]), np.array([1.5]))
    at = message.index(b"\xc4\x01p\x07\x03") + 3
    changed = message[:at] + sequence + message[at + 1 : -4]
    parsed = parse_batch(changed + crc32c(changed).to_bytes(4, "little"), {}, NOW, BatchLimits())
    if good is None:
        assert parsed.rejected == {"malformed": 1}
    else:
        assert (parsed.sequence, len(parsed.batch)) == (good, 1)
