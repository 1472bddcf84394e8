"""Pickled points without unpickling: the standard library makes the input here, and nothing else uses it."""

import ast
import datetime
import gc
import math
import os
import pickle
import pickletools
import struct
import sys
import tracemalloc
from collections import Counter, OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import UNKNOWN
from ingestd.wire import opcodes
from ingestd.wire import pickle as wire
from ingestd.wire.framing import WireError
from ingestd.wire.lines import PathLimits, canonical_path, parse_line
from ingestd.wire.pickle import FrameRoom, FrameSplitter, parse_pickle

NOW = 1_750_000_000
LIMITS = PathLimits()
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
MALFORMED = {"malformed": 1}


def read(frame: bytes, known: dict[bytes, int] | None = None, limits: PathLimits = LIMITS):
    """Points as (path, value as hex, timestamp) and rejections; checks what Parsed promises."""
    known = known or {}
    parsed = parse_pickle(frame, known, NOW, limits)
    batch = parsed.batch
    assert (batch.ids.dtype, batch.timestamps.dtype, batch.values.dtype) == (np.uint32, np.int64, np.float64)
    assert len(batch.ids) == len(batch.timestamps) == len(batch.values)
    assert [name.row for name in parsed.unknown] == np.flatnonzero(batch.ids == UNKNOWN).tolist()
    spellings = {series: spelling for spelling, series in known.items()}
    unknown = {name.row: name.path for name in parsed.unknown}
    points = [
        (unknown.get(row) or canonical_path(spellings[series], limits), value.hex(), stamp)
        for row, (series, value, stamp) in enumerate(
            zip(batch.ids.tolist(), batch.values.tolist(), batch.timestamps.tolist(), strict=True)
        )
    ]
    assert parsed.received == len(points) + sum(parsed.rejected.values())
    return points, parsed.rejected


def as_bytes(path) -> bytes:
    return path if isinstance(path, bytes) else path.encode("utf-8", "surrogatepass")


def expected(items):
    """What plaintext would make of the same numbers, item by item."""
    points, rejected = [], Counter()
    for path, (stamp, value) in items:
        texts = [n if isinstance(n, bytes) else f"{n:d}".encode() if isinstance(n, int) else repr(n).encode()
                 for n in (value, stamp)]  # fmt: skip
        line = parse_line(b"- %b %b" % tuple(texts), NOW)
        if isinstance(line, str):
            rejected[line] += 1
        elif (made := canonical_path(as_bytes(path), LIMITS)) is None:
            rejected["path"] += 1
        else:
            points.append((made, line.value.hex(), line.timestamp))
    return points, dict(rejected)


paths = st.one_of(
    st.sampled_from(
        ["a.b", "servers.web1.cpu", "a..b", ".x", "", "a b", "a.é", "k;t=1;s=2", "bad*", "x" * 300, "\udc80"]
    ),
    st.text(max_size=12),
)
stamps = st.one_of(
    st.sampled_from(
        [-1, -1.0, 0, NOW, float(NOW), NOW + 0.75, -5, 2**31, 2**63 - 1024, 2**63, 2**70, math.nan, math.inf]
    ),
    st.integers(0, 2**40),
    st.floats(0, 1e12),
)
values = st.one_of(
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.sampled_from([10**308, -(10**309), 10**330, 0, 255, 65535]),
)
plain = st.tuples(
    st.text("ab.é", min_size=1, max_size=6), st.tuples(st.integers(0, 2**31 - 1), st.floats(allow_nan=False))
)
points_of = st.one_of(
    st.lists(st.tuples(paths, st.tuples(stamps, values)), max_size=12), st.lists(plain, max_size=12)
)  # fmt: skip


def listed(items, shape: int):
    """The same items in the shapes that clients write: tuples or lists at each level."""
    make = [list, tuple][shape & 1]
    inner = [list, tuple][shape >> 1 & 1]
    outer = [list, tuple][shape >> 2 & 1]
    return outer(make([path, inner(pair)]) for path, pair in items)


@given(points_of, st.sampled_from(PROTOCOLS), st.integers(0, 7))
def test_what_python_pickles_is_read_back(items, protocol: int, shape: int) -> None:
    frame = pickle.dumps(listed(items, shape), protocol)
    assert read(frame) == expected(items)
    known = {as_bytes(path): number for number, path in enumerate(dict.fromkeys(path for path, _ in items))
             if canonical_path(as_bytes(path), LIMITS) is not None}  # fmt: skip
    assert read(frame, known) == expected(items)
    assert read(pickletools.optimize(frame)) == expected(items)


@given(st.lists(st.tuples(st.text("ab.", min_size=1, max_size=3), st.tuples(stamps, values)), min_size=1, max_size=6))
def test_shared_objects_come_back_from_the_memo(items) -> None:
    first, last = items[0], items[-1]
    shared = [*items, first, last, (first[0], last[1]), first]
    for protocol in PROTOCOLS:
        assert read(pickle.dumps(shared, protocol)) == expected(shared)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 4000])
def test_large_frames(protocol: int, count: int) -> None:
    items = [(f"servers.web{n}.cpu", (NOW + n, n / 7)) for n in range(count)]
    assert read(pickle.dumps(items, protocol)) == expected(items)


def test_texts_of_python_2() -> None:
    """What cPickle of Python 2.7 wrote for ``[('a.b', (1, 2.5)), ("it's.\\xe9", (2L, True))]``, protocols 0 to 2."""
    frames = [
        b"(lp1\n(S'a.b'\np2\n(I1\nF2.5\ntp3\ntp4\na(S\"it's.\\xc3\\xa9\"\np5\n(L2L\nI01\ntp6\ntp7\na.",
        b"]q\x01((U\x03a.bq\x02(K\x01G@\x04\x00\x00\x00\x00\x00\x00tq\x03tq\x04(U\x07it's.\xc3\xa9q\x05(L2L\nI01\ntq\x06tq\x07e.",
        b"\x80\x02]q\x01(U\x03a.bq\x02K\x01G@\x04\x00\x00\x00\x00\x00\x00\x86q\x03\x86q\x04"
        b"T\x07\0\0\0it's.\xc3\xa9q\x05\x8a\x01\x02\x88\x86q\x06\x86q\x07e.",
    ]
    for frame in frames:
        assert pickle.loads(frame, encoding="utf-8") == [("a.b", (1, 2.5)), ("it's.é", (2, True))]
        assert read(frame) == ([("a.b", (2.5).hex(), 1), ("it's.é", (1.0).hex(), 2)], {})


def test_paths_may_be_bytes() -> None:
    for protocol in (3, 4, 5):  # below, pickle writes a call for bytes
        assert read(pickle.dumps([(b"a.b", (1, 2))], protocol)) == ([("a.b", (2.0).hex(), 1)], {})
        assert read(pickle.dumps([(b"a" * 300, (1, 2))], protocol))[0] == [("a" * 300, (2.0).hex(), 1)]


@pytest.mark.parametrize(
    ("pair", "point"),
    [
        ((b"1700000000", b"2.5"), (2.5, 1700000000)),
        (("1700000000.9", "1e3"), (1000.0, 1700000000)),
        (("-1", "5"), (5.0, NOW)),
        ((1, "nan"), "nan"),
        ((1, "inf"), "infinite"),
        ((1, "1e999"), "infinite"),
        (("99999999999999999999", 1), "too_new"),
        ((1, ""), "malformed"),
        (("", 1), "malformed"),
        ((1, "1 2"), "malformed"),
        (("1 2", 1), "malformed"),
        ((1, "1\n"), "malformed"),
        ((1, "1_0"), "malformed"),
        ((1, "0" * 129), "malformed"),
        (("0" * 129, 1), "malformed"),
        (("nan", 1), "malformed"),
        ((1, "x"), "malformed"),
    ],
)
def test_numbers_as_texts(pair, point) -> None:
    wanted = ([("a", point[0].hex(), point[1])], {}) if isinstance(point, tuple) else ([], {point: 1})
    assert read(pickle.dumps([("a", pair)], 4)) == wanted


@pytest.mark.parametrize(
    "item",
    [
        None, 1, 1.5, "ab", (), [], ("a",), ("a", 1), ("a", "12"), ("a", (1,)), ("a", (1, 2, 3)),
        ("a", (1, 2), 3), ((1, 2), "a"), (1, (1, 2)), (None, (1, 2)), (("a", "b"), (1, 2)), ("a", (None, 1)),
        ("a", (1, None)), ("a", (1, ())), ("a", ([], 1)), ("a", (math.nan, 1)), ("a", (-math.inf, 1)), ("a", (-2, 1)),
        ("a", (2**5000, 2)), ("a", (2, -(2**5000))),
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_bad_item_costs_itself_alone(item, protocol: int) -> None:
    good = [("a.b", (5, 1.5)), ("a.c", (6, 2.5))]
    points, rejected = read(pickle.dumps([good[0], item, good[1]], protocol))
    assert (points, rejected) == (expected(good)[0], MALFORMED)


def test_two_bytes_are_no_pair() -> None:
    assert read(pickle.dumps([b"ab", ("a", b"12"), ("a", (1, b"12")), ("a.b", (1, 2))], 4)) == (
        [("a", (12.0).hex(), 1), ("a.b", (2.0).hex(), 1)],
        {"malformed": 2},
    )


@pytest.mark.parametrize("thing", [None, 1, "ab", b"ab", 2.5, True])
def test_what_is_no_list_is_one_refusal(thing) -> None:
    assert read(pickle.dumps(thing, 4)) == ([], MALFORMED)


def test_an_empty_list_is_no_point() -> None:
    for protocol in PROTOCOLS:
        assert read(pickle.dumps([], protocol)) == ([], {})
        assert read(pickle.dumps((), protocol)) == ([], {})


# -- what must not be -------------------------------------------------------------------------------------------------


class Exploit:
    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_exploit_is_refused_and_does_nothing(tmp_path, protocol: int) -> None:
    bad = Exploit()
    bad.target = tmp_path / "owned"
    for thing in (bad, [bad], [("a", (1, bad))], [("a.b", (1, 2)), bad]):
        assert read(pickle.dumps(thing, protocol)) == ([], MALFORMED)
    assert not bad.target.exists()
    pickle.loads(pickle.dumps([bad], protocol))
    assert bad.target.exists()  # it would have worked


@pytest.mark.parametrize(
    "thing",
    [{}, {"a": 1}, set(), {1}, frozenset({1}), OrderedDict(), datetime.date(2000, 1, 1), 1j, bytearray(b"a"), os.mkdir,
     range(3), Exploit, Ellipsis],
)  # fmt: skip
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_things_than_lists_texts_and_numbers_are_refused(thing, protocol: int) -> None:
    assert read(pickle.dumps([("a.b", (1, 2)), thing], protocol)) == ([], MALFORMED)


def test_all_other_opcodes_are_refused() -> None:
    """Every opcode of CPython's table that is not one of data, and every byte that is no opcode."""
    data = """
        PROTO FRAME MARK STOP EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 NONE NEWTRUE
        NEWFALSE BINUNICODE SHORT_BINUNICODE BINUNICODE8 UNICODE BINSTRING SHORT_BINSTRING STRING SHORT_BINBYTES
        BINBYTES BINBYTES8 INT LONG LONG1 LONG4 BININT BININT1 BININT2 BINFLOAT FLOAT PUT BINPUT LONG_BINPUT GET
        BINGET LONG_BINGET MEMOIZE
    """.split()  # noqa: SIM905 - a list would take a line for each
    taken = {opcode.code for opcode in pickletools.opcodes if opcode.name in data}
    assert len(taken) == len(data)
    assert taken > {chr(code) for code in opcodes._RARE}
    others = [bytes([code]) for code in range(256) if chr(code) not in taken]
    assert len(others) == 256 - len(data)
    for opcode in others:
        for argument in (b"", bytes(20), b"os\nmkdir\n", b"1\n"):
            assert read(b"\x80\x04](\x8c\x02os\x8c\x05mkdir" + opcode + argument + b"e.") == ([], MALFORMED)


@given(st.one_of(st.binary(max_size=60), st.lists(st.sampled_from([bytes([c]) for c in opcodes._RARE] + [
    b"(", b"X\x01\0\0\0a", b"\x8c\x01a", b"J\1\0\0\0", b"G" + bytes(8), b"\x86", b"q\0", b"h\0", b"\x94", b".", b"I1\n",
    b"K\1", b"p0\n", b"g0\n"]), max_size=40).map(b"".join)))  # fmt: skip
def test_arbitrary_bytes_raise_nothing(frame: bytes) -> None:
    modules = set(sys.modules)
    read(frame)
    assert set(sys.modules) == modules


@given(
    st.lists(plain, min_size=1, max_size=5),
    st.sampled_from(PROTOCOLS),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 255), st.sampled_from(["set", "cut", "insert"])), max_size=4
    ),
)
def test_mutated_frames_raise_nothing(items, protocol: int, changes) -> None:
    frame = bytearray(pickle.dumps(items, protocol))
    for position, byte, how in changes:
        where = position % (len(frame) + 1)
        if how == "i":
            frame.insert(where, byte)
        elif how == "c":
            del frame[where:]
        else:
            frame[where : where + 1] = bytes([byte])
    read(bytes(frame))


@given(st.lists(plain, min_size=1, max_size=3), st.sampled_from(PROTOCOLS))
def test_every_frame_that_is_cut_short_is_refused(items, protocol: int) -> None:
    frame = pickle.dumps(items, protocol)
    for end in range(len(frame)):
        assert read(frame[:end]) == ([], MALFORMED)


def filled(head: bytes, unit: bytes, tail: bytes = b""):
    """Frames of any size."""
    return lambda size: head + unit * ((size - len(head) - len(tail)) // len(unit)) + tail


def long_text(size: int) -> bytes:
    return b"X" + struct.pack("<I", size) + b"9" * size + b"\x94"


BOMBS = {
    "marks": filled(b"\x80\x04", b"("),
    "marks that close": filled(b"\x80\x04", b"(t"),
    "lists": filled(b"\x80\x04", b"]"),
    "lists in lists": filled(b"\x80\x04]", b"]a", b"."),
    "deep lists": lambda _: b"\x80\x04" + b"]" * 60_000 + b"a" * 59_999 + b".",
    "deep tuples": filled(b"\x80\x04)", b"\x85", b"."),
    "deep pairs": filled(b"\x80\x04N", b"N\x86", b"."),
    "nothing": filled(b"\x80\x04", b"N"),
    "memo": filled(b"\x80\x04N", b"\x94"),
    "high memo": filled(b"\x80\x04N", b"r\xff\xff\xff\xff"),
    "a list in itself": filled(b"\x80\x04]\x94(", b"h\x00", b"e."),
    "lists in themselves": filled(b"\x80\x04", b"]\x94h\x00a"),
    "doubling": lambda _: b"\x80\x04]\x94" + b"".join(b"]\x94(" + b"h%c" % n * 10 + b"e" for n in range(250)) + b".",
    "a point again and again": filled(b"\x80\x04]\x8c\x03a.b\x94K\x01K\x02\x86\x86\x94(", b"h\x01", b"e."),
    "floats": filled(b"\x80\x04](", b"G?\xf0\0\0\0\0\0\0", b"e."),
    "texts": filled(b"\x80\x04](", b"\x8c\x02ab", b"e."),
    "a long number": lambda size: b"\x80\x04]\x8b" + struct.pack("<i", size) + b"\x7f" * size + b"a.",
    "a long decimal": filled(b"](I", b"9", b"\ne."),
    "a long Python 2 long": filled(b"](L", b"9", b"L\ne."),
    "a long float": filled(b"](F", b"9", b"\ne."),
    "a long index": filled(b"](p", b"9", b"\ne."),
    "a long text as every value": lambda size: filled(
        b"\x80\x04(" + long_text(size // 2), b"\x8c\x01aK\x01h\x00\x86\x86", b"t."
    )(size),
    "a text of the greatest length as every value": filled(
        b"\x80\x04(" + long_text(128), b"\x8c\x01aK\x01h\x00\x86\x86", b"t."
    ),
    "a long text as every path": lambda size: filled(
        b"\x80\x04(" + long_text(size // 2), b"h\x00K\x01K\x02\x86\x86", b"t."
    )(size),
    "two equal long paths": lambda size: filled(
        b"\x80\x04(" + long_text(size // 4) * 2, b"h\x00K\x01K\x02\x86\x86h\x01K\x01K\x02\x86\x86", b"t."
    )(size),
    "two equal paths of the greatest length": filled(
        b"\x80\x04(" + long_text(16384) * 2, b"h\x00K\x01K\x02\x86\x86h\x01K\x01K\x02\x86\x86", b"t."
    ),
    "escapes": filled(b"](S'", b"\\x41", b"'\ne."),
    "an open quote": filled(b"](S'", b"\\'", b"\ne."),
    "unicode escapes": filled(b"](V", b"\\u0041", b"\ne."),
    "a text of 4 GiB": lambda _: b"\x80\x04]X\xff\xff\xff\xffa.",
    "a text of 16 EiB": lambda _: b"\x80\x04]\x8d" + b"\xff" * 8 + b"a.",
    "bytes of 16 EiB": lambda _: b"\x80\x04]\x8e" + b"\xff" * 8 + b"a.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_cost_what_an_honest_frame_costs(name: str, effort) -> None:
    """Memory is bounded for a byte of a small frame and for the largest frame; nothing is left to the collector."""
    size, most = effort((1 << 16, 6 << 20), (1 << 20, 40 << 20))
    frame = BOMBS[name](size)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        parsed = parse_pickle(frame, {}, NOW, LIMITS)
        _, peak = tracemalloc.get_traced_memory()
        assert peak < most
        refused = parsed.rejected
        assert parsed.received == len(parsed.batch) + sum(refused.values())
        del parsed
        left, _ = tracemalloc.get_traced_memory()
        assert left < 1 << 18  # what Python keeps to make its next tuples of
    finally:
        tracemalloc.stop()
        gc.enable()


def test_as_many_points_as_a_frame_may_hold() -> None:
    point = ("a.b", (1, 2.0))
    assert len(read(pickle.dumps([point] * wire.POINTS_MAX, 4))[0]) == wire.POINTS_MAX
    assert read(pickle.dumps([point] * (wire.POINTS_MAX + 1), 4)) == ([], MALFORMED)


# -- frames -----------------------------------------------------------------------------------------------------------


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(p)) + p for p in payloads)


@given(st.lists(st.binary(max_size=30), max_size=8), st.lists(st.integers(0, 300), max_size=12), st.binary(max_size=3))
def test_any_chunking_gives_the_same_frames(payloads, cuts, rest: bytes) -> None:
    stream = framed(*payloads) + rest
    room = FrameRoom()
    splitter = FrameSplitter(30, room)
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    got = [frame for a, b in pairwise(edges) for frame in splitter.feed(stream[a:b])]
    assert (got, splitter.too_long, splitter.broken) == (payloads, 0, False)
    assert room.held == len(rest)
    assert splitter.close() == bool(rest)
    assert room.held == 0
    assert not splitter.close()


@given(st.lists(st.binary(max_size=10), max_size=3), st.integers(11, 2**32 - 1), st.integers(1, 20))
def test_a_frame_over_the_limit_ends_the_stream(payloads, size: int, step: int) -> None:
    stream = framed(*payloads) + struct.pack(">I", size) + framed(b"never read")
    splitter = FrameSplitter(10)
    buffer = bytearray(stream)
    got = [frame for at in range(0, len(stream), step) for frame in splitter.feed(buffer, at, at + step)]
    assert (got, splitter.too_long, splitter.broken) == (payloads, 1, True)
    assert not splitter.close()


def test_the_limit_is_inclusive() -> None:
    splitter = FrameSplitter(3)
    assert splitter.feed(framed(b"abc", b"")) == [b"abc", b""]
    assert splitter.feed(framed(b"abcd")) == []
    assert splitter.broken


def test_unfinished_frames_have_a_room_in_common() -> None:
    room = FrameRoom(200_000)
    first, second, third = (FrameSplitter(room=room) for _ in range(3))
    head = struct.pack(">I", 1 << 20)
    assert first.feed(head + b"x" * 150_000) == []
    assert second.feed(head + b"x" * 40_000) == []
    assert third.feed(head + b"x" * 40_000) == []
    assert not third.broken  # over the room, but small
    assert third.feed(framed(b"x")) == []
    assert first.feed(b"x" * 1000) == []
    assert (first.broken, first.too_long, first.close()) == (True, 1, False)
    assert room.held == 80_008 + 5
    assert second.feed(b"x" * 100_000) == []
    assert not second.broken
    assert second.close()
    assert third.close()
    assert room.held == 0


def test_a_frame_in_many_pieces_is_joined_once() -> None:
    splitter = FrameSplitter()
    payload = os.urandom(1 << 20)
    stream = framed(payload, b"next")
    got = [frame for at in range(0, len(stream), 16) for frame in splitter.feed(stream[at : at + 16])]
    assert got == [payload, b"next"]


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(WireError):
        FrameSplitter(0)


def test_nothing_of_ingestd_imports_pythons_pickle() -> None:
    for file in (Path(wire.__file__).parents[1]).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert not {name.partition(".")[0] for name in names} & {"pickle", "_pickle", "marshal", "shelve"}, file
