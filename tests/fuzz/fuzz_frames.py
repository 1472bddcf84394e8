"""Pickles of carbon's protocol: frames of opcodes, against Python's own unpickler where that is harmless."""

from __future__ import annotations

import math
import pickle
import pickletools
import struct
from collections.abc import Hashable
from typing import Any, Final

from fuzz_lines import NOW, check_parsed
from fuzz_mutate import Mutator
from fuzz_target import Target, dice

from ingestd.wire.lines import PathLimits, canonical_path
from ingestd.wire.opcodes import MARKS_MAX
from ingestd.wire.pickle import FrameSplitter, parse_pickle

LIMITS: Final = PathLimits()
KNOWN: Final = {b"a.b": 0, b"c.d": 1}
HARMLESS: Final = frozenset(
    """
    PROTO FRAME EMPTY_LIST LIST APPEND APPENDS MARK TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_TUPLE BININT BININT1 BININT2
    BINFLOAT BINUNICODE SHORT_BINUNICODE SHORT_BINBYTES BINBYTES MEMOIZE BINPUT BINGET STOP NEWTRUE NEWFALSE
    """.split()  # noqa: SIM905 - a list of words, not of texts
)
"""Opcodes of which Python's unpickler makes lists, tuples, texts and numbers, and takes no more than they say."""
PATHS: Final = ("a.b", "c.d", "a..b", "a.b;x=1", "ä", "", "*", "x" * 300, "a.", ".a", b"a.b", b"\xff", "a\n1", None, 5)
NUMBERS: Final = (
    0, 1, -1, 1.5, -0.0, math.nan, math.inf, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, "1", "1.5", b"2", "nan",
    True, None, (), [], "1_0", "١", 1_700_000_000, 1_700_000_000.9, "1700000000", -5, "9" * 200,
)  # fmt: skip
_CODES: Final = b"()]lat.NKMJG\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x94\x95ebBCXVSUTILFpqrghj20ciosRQP"
OPCODES: Final = (
    *(bytes([code]) for code in _CODES), b"cos\nsystem\n", b"(S'id'\ntR.", b"\x8c\x05posix\x8c\x06system\x93",
    b"r\xff\xff\xff\x7f", b"X\xff\xff\xff\xff", b"\x8a\xff", b"I99999999999\n", b"Vx\\u0000\n", b"S'\\x00'\n",
    b"](" * 20,
    b"h\x00" * 8, b"e" * 4, b"2" * 8, b"\x94" * 6, b"Fnan\n", b"L1L\n", b"I01\n", b"p0\n", b"g0\n", b"\x80\x02",
    b"\x80\x06",
)  # fmt: skip


def item(mutator: Mutator) -> Any:
    """Something like a point."""
    stamp = 1_700_000_000 + mutator.below(60) if mutator.chance(0.6) else mutator.pick(NUMBERS)
    value = mutator.random() if mutator.chance(0.6) else mutator.pick(NUMBERS)
    path = mutator.pick(PATHS[:5]) if mutator.chance(0.8) else mutator.pick(PATHS)
    way = mutator.random()
    if way < 0.85:
        return (path, (stamp, value))
    if way < 0.9:
        return [path, [stamp, value]]
    return mutator.pick((None, (), (path,), (path, stamp, value), (path, (stamp,)), [[]], path, {}, (path, [1, 2, 3])))


class Pickles(Target):
    """:func:`parse_pickle`: no class, no call, no error; and Python's own reading where the opcodes allow it."""

    name = "pickle"
    tokens = OPCODES

    def seeds(self) -> list[bytes]:
        points = [("a.b", (1_700_000_000, 1.5)), ("c.d", (1_700_000_010, 2))]
        made = [pickle.dumps(points, protocol) for protocol in range(6)]
        made += [pickle.dumps([list(point) for point in points], protocol) for protocol in (0, 2)]
        return [*made, b"cos\nsystem\n(S'true'\ntR.", pickle.dumps(points * 20, 2), pickle.dumps({"a": {1, 2}}, 2)]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        way = mutator.random()
        if way < 0.35:
            return mutator.changed(seed[:400], self.largest)
        if way < 0.5:
            return b"".join([mutator.pick(OPCODES) + mutator.bytes(3) for _ in range(1 + mutator.below(12))]) + b"."
        data = pickle.dumps(
            [item(mutator) for _ in range(1 + mutator.below(4))], mutator.pick((0, 1, 2, 2, 2, 3, 4, 5))
        )
        return mutator.changed(data, self.largest) if mutator.chance(0.4) else data

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        parsed = parse_pickle(data, KNOWN if roll & 1 else {}, NOW, LIMITS)
        check_parsed(parsed)
        for new in parsed.unknown:
            assert canonical_path(new.path.encode(), LIMITS) == new.path
        if roll & 0x70 == 0:
            compare(data, len(parsed.batch), parsed.received)
        if roll & 0x700 == 0:
            frames(data, roll)
        return (min(len(parsed.batch), 4), min(len(parsed.unknown), 3), *sorted(parsed.rejected))


def compare(data: bytes, taken: int, received: int) -> None:
    """As many items as Python's unpickler finds, and every plain one of them taken."""
    try:
        opcodes = list(pickletools.genops(data))
    except Exception:
        return
    if any(opcode.name not in HARMLESS for opcode, _, _ in opcodes) or _open_marks(opcodes) > MARKS_MAX:
        return
    try:
        found = pickle.loads(data[: opcodes[-1][2] + 1])
        plain = sum(1 for one in found if _is_plain(one)) if isinstance(found, list | tuple) else 0
    except Exception:
        return
    if isinstance(found, list | tuple) and received != 1:
        assert received == len(found)
    assert taken >= plain


def _open_marks(opcodes: list[Any]) -> int:
    """The most marks that are open at once; a pickler opens a few."""
    depth = most = 0
    for opcode, _, _ in opcodes:
        if opcode.name == "MARK":
            depth += 1
        elif pickletools.markobject in opcode.stack_before:
            depth -= 1
        most = max(most, depth)
    return most


def _is_plain(one: Any) -> bool:
    if not isinstance(one, tuple | list) or len(one) != 2 or not isinstance(one[1], tuple | list) or len(one[1]) != 2:
        return False
    path, (stamp, value) = one
    return (
        path in {"a.b", "c.d"}
        and type(stamp) is int
        and 0 <= stamp < 2**31
        and type(value) is float
        and math.isfinite(value)
    )


def frames(data: bytes, roll: int) -> None:
    """A stream of frames gives the same however it is cut."""
    stream = b"".join([struct.pack(">I", len(piece)) + piece for piece in (data, b"", data[:7])]) + data[:3]
    whole = FrameSplitter(1_000)
    expected = whole.feed(stream)
    assert expected == ([data, b"", data[:7]] if len(data) <= 1_000 else [])
    cut = FrameSplitter(1_000)
    size = 1 + (roll >> 12) % 64
    found: list[bytes] = []
    for at in range(0, len(stream), size):
        found += cut.feed(stream[at : at + size])
    assert found == expected
    assert (cut.broken, cut.too_long, cut.close()) == (whole.broken, whole.too_long, whole.close())
