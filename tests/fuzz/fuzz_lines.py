"""Graphite lines: the vectorised parser and the splitter of streams, against the line-by-line reference."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable
from typing import Final

import numpy as np
from fuzz_mutate import Mutator
from fuzz_target import GOLDEN, Target, dice

from ingestd._speed import COMPILED, Table
from ingestd.points import UNKNOWN, Parsed
from ingestd.telemetry import REASONS
from ingestd.wire import lines
from ingestd.wire.framing import LineSplitter
from ingestd.wire.lines import PathLimits, canonical_path, parse_line, parse_lines

NOW: Final = 1_750_000_000
LIMITS: Final = PathLimits(length=200, depth=8, tags=3)
"""Narrow ones: inputs reach them."""
FEW: Final = (lines.FEW_BYTES, lines.FEW_VALUES)
PATHS: Final = (
    b"a.b", b"a..b", b".a.b", b"a./b", b"/a/b", b"a.b;x=1", b"a.b;y=2;x=1", b"a;name=b;x=1", b"a;x=1;x=2", b"a;;",
    b"a;x=~1", b"a;!x=1", b"a.*", b"a.", b"\xff", "ä.ö".encode(), b"a\x00b", b"a.b.c.d.e.f.g.h", b"a.b.c.d.e.f.g.h.i",
    b"a;a=1;b=2;c=3;d=4", b"n.ew", b"x" * 201,
)  # fmt: skip
VALUES: Final = (
    b"1", b"0.1", b"-2.5e3", b"1_0", b"nan", b"-inf", b"1e999", b"0x1", b"+", b".", b"-.5", b"123456789012345",
    b"1234567890123456", b"0.000000000000001", b"-0", b"1.2.3", b"--1", b"9007199254740993", b"1e-400", b"Infinity",
)  # fmt: skip
STAMPS: Final = (
    b"1700000000", b"1700000001", b"-1", b"-5", b"1700000000.9", b"170000000_", b"17000000000", b"9" * 19, b"9" * 20,
    b"1e9", b"0", b"00000000001", b"+1700000000", b"N", b"9223372036854775807", b"9223372036854775808",
)  # fmt: skip
GAPS: Final = (b" ", b" ", b" ", b" ", b"\t", b"  ", b" \t ", b"\x0c", b"\r", b"\x00", b"")
ENDS: Final = (b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n", b" \n", b" \r\n", b"\r \n", b"\n\n", b"")
PLAIN: Final = (b"a.b 1 1700000000\n", b"c.d 0.25 1700000010\n", b"e;x=1 -3 1700000020\n", b"new.one 7e3 1700000030\n")
_DTYPES: Final = (np.dtype(np.uint32), np.dtype(np.int64), np.dtype(np.float64))
KNOWN: Final = ({}, {b"a.b": 0}, {b"a.b": 0, b"c.d": 1, b"e;x=1": 2, b"new.one": 3, b"a..b": 0})


class Lines(Target):
    """:func:`parse_lines`, in its way for small buffers and in its way for large ones, and :class:`LineSplitter`."""

    name = "lines"
    tokens = (*PATHS, *VALUES, *STAMPS, *GAPS, *ENDS, *PLAIN)

    def seeds(self) -> list[bytes]:
        rows = (GOLDEN / "graphite" / "lines.jsonl").read_text().splitlines()
        golden = [json.loads(row)["line"].encode("latin-1") for row in rows]
        return [*golden, b"\n".join(golden[:20]), b"".join(PLAIN), b"a.b 1 1700000000\n" * 80]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.4):
            return mutator.changed(seed, self.largest if mutator.chance(0.02) else 96)
        pick = mutator.pick
        out = []
        for _ in range(1 + mutator.below(3)):
            if mutator.chance(0.4):
                out.append(pick(PLAIN))
            else:
                out += (pick(PATHS), pick(GAPS), pick(VALUES), pick(GAPS), pick(STAMPS), pick(ENDS))
        data = b"".join(out)
        return mutator.changed(data, self.largest) if mutator.chance(0.3) else data

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        known = KNOWN[roll % 3]
        passes = roll & 0xF00 == 0
        lines.FEW_BYTES, lines.FEW_VALUES = (0, 0) if passes else FEW
        try:
            parsed = parse_lines(data, known, NOW, LIMITS)
        finally:
            lines.FEW_BYTES, lines.FEW_VALUES = FEW
        check_parsed(parsed)
        if COMPILED:
            same_compiled(data, known, parsed)
        spelt = {series: spelling for spelling, series in known.items()}
        paths = {new.row: new.path for new in parsed.unknown}
        batch = parsed.batch
        ids, values, stamps = batch.ids.tolist(), batch.values.tolist(), batch.timestamps.tolist()
        found = [
            (paths.get(row) or canonical_path(spelt[series], LIMITS), value, stamp)
            for row, (series, value, stamp) in enumerate(zip(ids, values, stamps, strict=True))
        ]
        expected, rejected = by_reference(data)
        assert found == expected
        assert parsed.rejected == rejected
        for path in paths.values():
            assert canonical_path(path.encode(), LIMITS) == path
        if roll & 0x3000 == 0:
            split(data, roll)
        return (passes, len(data) > FEW[0], min(len(found), 3), *sorted(rejected))


def same_compiled(data: bytes, known: dict[bytes, int], parsed: Parsed) -> None:
    """The compiled twin gives the same bits, also when it has seen these lines before."""
    table = Table()
    table.add(list(known), np.array(list(known.values()), np.uint32))
    for _ in range(2):
        other = parse_lines(data, table, NOW, LIMITS)
        assert (other.unknown, other.rejected) == (parsed.unknown, parsed.rejected)
        for column in ("ids", "timestamps", "values"):
            assert getattr(other.batch, column).tobytes() == getattr(parsed.batch, column).tobytes()


def by_reference(data: bytes) -> tuple[list[tuple[str, float, int]], dict[str, int]]:
    """Points and rejections, a line at a time."""
    points = []
    rejected: Counter[str] = Counter()
    for text in data.split(b"\n"):
        line = parse_line(text, NOW)
        if isinstance(line, str):
            rejected[line] += 1
        elif line is not None:
            path = canonical_path(line.spelling, LIMITS)
            if path is None:
                rejected["path"] += 1
            else:
                assert math.isfinite(line.value)
                points.append((path, line.value, line.timestamp))
    return points, dict(rejected)


def split(data: bytes, roll: int) -> None:
    """A stream gives the same lines however it is cut: those within the limit."""
    limit = (16, 64, 16384)[roll % 3]
    splitter = LineSplitter(limit)
    size = 1 + (roll >> 8) % (len(data) + 1)
    pieces = [splitter.feed(data[at : at + size]) for at in range(0, len(data), size)]
    whole = data.split(b"\n")
    last = whole.pop()
    assert b"".join(pieces) == b"".join([line + b"\n" for line in whole if len(line) <= limit])
    assert splitter.too_long == sum(len(line) > limit for line in (*whole, last))
    assert splitter.close() == (len(last) <= limit and bool(last.strip(b" \t\r")))


def check_parsed(parsed: Parsed) -> None:
    """What every parser promises of its columns, its unknown names and its rejections."""
    batch = parsed.batch
    assert (batch.ids.dtype, batch.timestamps.dtype, batch.values.dtype) == _DTYPES
    ids = batch.ids.tolist()
    assert len(ids) == len(batch.timestamps) == len(batch.values)
    assert [new.row for new in parsed.unknown] == [row for row, series in enumerate(ids) if series == UNKNOWN]
    assert all(map(math.isfinite, batch.values.tolist()))
    assert parsed.rejected.keys() <= REASONS.keys()
    assert all(count > 0 for count in parsed.rejected.values())
