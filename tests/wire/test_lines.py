"""Graphite lines: the golden lines, and the vectorised parser against the line-by-line reference."""

import json
import math
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd._speed import Table
from ingestd.points import UNKNOWN, NameTable, Parsed
from ingestd.wire import lines
from ingestd.wire.framing import LineSplitter
from ingestd.wire.lines import Line, PathLimits, canonical_path, parse_line, parse_lines

GOLDEN = Path(__file__).parents[1] / "golden" / "graphite" / "lines.jsonl"
ROWS = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
NOW = 1_750_000_000
LIMITS = PathLimits()
Points = list[tuple[str, str, int]]


@pytest.fixture(autouse=True, scope="module", params=["by size", "passes", "compiled"])
def way(request, require_kernels):
    """Small input goes to the reference; here it also takes the passes over whole buffers, and the compiled way."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "passes":
            patch.setattr(lines, "FEW_BYTES", 0)
            patch.setattr(lines, "FEW_VALUES", 0)
        elif request.param == "compiled":
            require_kernels()
            patch.setattr(sys.modules[__name__], "table_of", compiled_table_of)
        yield


def table_of(known: dict[bytes, int]) -> NameTable:
    """What is handed to the parser."""
    return known


def compiled_table_of(known: dict[bytes, int]) -> NameTable:
    table = Table()
    for spelling, series in known.items():
        table[spelling] = series
    return table


def parsed_twice(data: bytes, known: dict[bytes, int], limits: PathLimits = LIMITS) -> Parsed:
    """What parse_lines gives, also when it has seen the same lines before."""
    table = table_of(known)
    first, again = parse_lines(data, table, NOW, limits), parse_lines(data, table, NOW, limits)
    assert (first.unknown, first.rejected) == (again.unknown, again.rejected)
    for name in ("ids", "timestamps", "values"):
        assert getattr(first.batch, name).tobytes() == getattr(again.batch, name).tobytes()
    return first


def by_reference(data: bytes, limits: PathLimits = LIMITS) -> tuple[Points, dict[str, int]]:
    """Points as (path, value as hex, timestamp) and rejections, by parse_line and canonical_path alone."""
    points: Points = []
    rejected: Counter[str] = Counter()
    for text in data.split(b"\n"):
        line = parse_line(text, NOW)
        if isinstance(line, str):
            rejected[line] += 1
        elif line is not None:
            path = canonical_path(line.spelling, limits)
            if path is None:
                rejected["path"] += 1
            else:
                points.append((path, line.value.hex(), line.timestamp))
    return points, dict(rejected)


def by_parse_lines(data: bytes, known: dict[bytes, int], limits: PathLimits = LIMITS) -> tuple[Points, dict[str, int]]:
    """The same by parse_lines, ids turned back into paths; checks what Parsed promises."""
    parsed = parsed_twice(data, known, limits)
    batch = parsed.batch
    assert (batch.ids.dtype, batch.timestamps.dtype, batch.values.dtype) == (np.uint32, np.int64, np.float64)
    assert len(batch.ids) == len(batch.timestamps) == len(batch.values)
    assert [name.row for name in parsed.unknown] == np.flatnonzero(batch.ids == UNKNOWN).tolist()
    spellings = {series: spelling for spelling, series in known.items()}
    unknown = {name.row: name.path for name in parsed.unknown}
    points = [
        (unknown.get(row) or str(canonical_path(spellings[series], limits)), value.hex(), stamp)
        for row, (series, value, stamp) in enumerate(
            zip(batch.ids.tolist(), batch.values.tolist(), batch.timestamps.tolist(), strict=True)
        )
    ]
    assert parsed.received == len(points) + sum(parsed.rejected.values())
    return points, parsed.rejected


def test_the_golden_lines_are_all_there() -> None:
    assert len(ROWS) == 77


@pytest.mark.parametrize("row", ROWS, ids=lambda row: repr(row["line"]))
def test_golden_line(row: dict) -> None:
    line = row["line"].encode("latin-1")
    for data in (line, line + b"\n", b"\n" + line + b"\r\n" if not line.endswith(b"\r") else line + b"\n"):
        points, rejected = by_parse_lines(data, {})
        if row.get("rejected") == "too_old":
            assert points == [("a.b", (1.0).hex(), 0)]
            assert not rejected
        elif "point" in row:
            path, value, stamp = row["point"]
            assert points == [(path, float(value).hex(), NOW if stamp == "now" else stamp)]
            assert not rejected
        else:
            assert not points
            assert rejected == ({row["rejected"]: 1} if "rejected" in row else {})


def test_all_golden_lines_in_one_buffer() -> None:
    data = b"\n".join(row["line"].encode("latin-1") for row in ROWS)
    points, rejected = by_parse_lines(data, {b"a.b": 7})
    assert len(points) == sum("point" in row or row.get("rejected") == "too_old" for row in ROWS)
    expected = Counter(row["rejected"] for row in ROWS if row.get("rejected", "too_old") != "too_old")
    assert rejected == dict(expected)


fields = st.one_of(
    st.sampled_from([b"a.b", b"c..d", b"e;x=1", b"a.*", b"f.", b"\xff", b"\x0b", b""]),
    st.sampled_from([b"1", b"-2.5e3", b"1_0", b"nan", b"-inf", b"1e999", b"0x1", b"+", b"."]),
    st.sampled_from([b"1700000000", b"170000000_", b"1700000000.9", b"-1", b"-5", b"17000000000", b"9" * 20]),
    st.binary(max_size=3),
)
gaps = st.sampled_from([b" ", b" ", b" ", b"  ", b"\t", b"\x0c", b"\r", b"\x00", b""])
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n", b" \n", b" \r\n", b"\r \n", b"\n\n"])
plain_lines = st.tuples(
    st.sampled_from([b"a.b", b"c.d", b"e;x=1", b"new.one"]),
    st.sampled_from([b"1", b"0.1", b"-3e-5", b"nan", b"7_7"]),
    st.sampled_from([b"1700000000", b"1700000001", b"-1", b"1700000000.5", b"99999"]),
).map(lambda f: b" ".join(f) + b"\n")
wild_lines = st.tuples(fields, gaps, fields, gaps, fields, ends).map(b"".join)
mixtures = st.lists(st.one_of(plain_lines, plain_lines, wild_lines, st.binary(max_size=8)), max_size=12).map(b"".join)
tables = st.sampled_from([{}, {b"a.b": 0, b"c.d": 1}, {b"a.b": 0, b"c.d": 1, b"e;x=1": 2, b"new.one": 3}])


@given(mixtures, tables)
def test_equals_the_reference_on_mixtures(data: bytes, known: dict[bytes, int]) -> None:
    assert by_parse_lines(data, known) == by_reference(data)


@given(st.binary(), tables)
def test_equals_the_reference_on_any_bytes(data: bytes, known: dict[bytes, int]) -> None:
    assert by_parse_lines(data, known) == by_reference(data)


@given(mixtures, st.lists(st.integers(0, 400), max_size=8))
def test_any_chunking_gives_the_same_points(data: bytes, cuts: list[int]) -> None:
    data += b"\n"
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    splitter = LineSplitter()
    points: Points = []
    rejected: Counter[str] = Counter()
    for start, end in pairwise(edges):
        some, refused = by_parse_lines(splitter.feed(data[start:end]), {})
        points += some
        rejected.update(refused)
    assert (points, dict(rejected)) == by_reference(data)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_values_are_the_nearest_doubles(value: float) -> None:
    data = b"a %r 1700000000\n" % value
    assert parsed_twice(data, {b"a": 0}).batch.values[0].hex() == value.hex()


@given(
    st.lists(
        st.from_regex(rb"[-+]?[0-9.-]{1,16}", fullmatch=True) | st.from_regex(rb"[0-9]{0,9}[.][0-9]{0,9}"), min_size=1
    )
)
def test_decimals_equal_the_reference(values: list[bytes]) -> None:
    data = b"".join(b"a %s 1700000000\n" % value.strip() for value in values)
    assert by_parse_lines(data, {b"a": 1}) == by_reference(data)


@given(st.text() | st.text(alphabet="ab.;=~!^ü", max_size=20))
def test_a_canonical_path_is_its_own_canonical_path(spelling: str) -> None:
    path = canonical_path(spelling.encode(errors="surrogatepass"), LIMITS)
    if path is not None:
        assert canonical_path(path.encode(), LIMITS) == path
        assert not path.split(";")[0].startswith(".")
        assert ".." not in path.split(";")[0]


def test_a_count_of_tokens_is_no_proof() -> None:
    parsed = parsed_twice(b"a.b 1\n7 9 3 4\n", {b"a.b": 0, b"9": 1})
    assert len(parsed.batch) == 0
    assert parsed.rejected == {"malformed": 2}


@pytest.mark.parametrize(
    ("spelling", "limits"),
    [(b"a" * 9, PathLimits(length=8)), (b"a.b.c", PathLimits(depth=2)), (b"a;b=1;c=2", PathLimits(tags=1))],
)
def test_paths_over_a_limit_are_refused(spelling: bytes, limits: PathLimits) -> None:
    assert canonical_path(spelling, limits) is None
    assert parsed_twice(spelling + b" 1 1700000000\n", {}, limits).rejected == {"path": 1}


def test_limits_are_inclusive_and_hold_for_the_canonical_path() -> None:
    limits = PathLimits(length=8, depth=2, tags=1)
    assert canonical_path(b"..aa...b;c=1;c=2", limits) == "aa.b;c=2"


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        (b"1700000000.99999999999999", 1_700_000_000),
        (b"+1700000000", 1_700_000_000),
        (b"01700000000", 1_700_000_000),
        (b".5", 0),
        (b"-0", 0),
        (b"-1e0", NOW),
        (b"1" * 18, 111_111_111_111_111_111),
    ],
)
def test_timestamps(text: bytes, stamp: int) -> None:
    assert parse_line(b"a 1 " + text, NOW) == Line(b"a", 1.0, stamp)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"a 1 " + b"9" * 5000, "too_new"),
        (b"a 1 1e999", "too_new"),
        (b"a 1 -0.5", "malformed"),
        (b"a 1 1_700_000_000", "malformed"),
        (b"a. 1_0 5", "malformed"),
        (b"a " + b"9" * 5000 + b" 5", "infinite"),
        (b"a +NaN 5", "nan"),
        (b"a nan x", "malformed"),
        (b"a 1\r 5", "malformed"),
        (b"a 1 5\r\r", "malformed"),
    ],
)
def test_refused_lines(line: bytes, reason: str) -> None:
    assert parse_line(line, NOW) == reason
    assert parsed_twice(line, {}).rejected == {reason: 1}


def test_the_columns_are_the_callers_own() -> None:
    data = b"".join(b"p%d %d.25 1700000000\n" % (i, i) for i in range(100))
    batch = parsed_twice(data, {b"p%d" % i: i for i in range(100)}).batch
    assert batch.ids.flags.owndata
    assert batch.values.flags.owndata
    assert batch.timestamps.flags.owndata
    assert math.fsum(batch.values) == 4950 + 25


@given(
    st.text(alphabet="ab.;=~/+*{\\ ü\x7f", max_size=12) | st.text(max_size=12), st.integers(1, 12), st.integers(1, 4)
)
def test_plain_paths_are_what_the_rules_make_of_them(spelling: str, length: int, depth: int) -> None:
    limits = PathLimits(length, depth, 2)
    data = spelling.encode(errors="surrogatepass")
    quick = canonical_path(data, limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "_PLAIN", lambda _: None)
        assert canonical_path(data, limits) == quick
