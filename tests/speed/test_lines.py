"""Compiled lines against the pure ones, while names come and go between the reads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd._speed import PureTable, Table
from ingestd.wire.lines import PathLimits, parse_lines

NOW = 1_750_000_000
NAMES = [b"a.b", b"a.b.c", b"a", b"c d", b"e\tf", b"g\n", b"", b"h;x=1", b"\xff", b"i" * 300]
values = st.one_of(
    st.sampled_from([b"1", b"-0", b"0.1", b"9007199254740993", b"1e400", b"nan", b"123456789012345678901234567890.5"]),
    st.floats().map(lambda f: b"%r" % f),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda d: b"%s" % str(d).encode()),
    st.from_regex(rb"[-+]?[0-9]{0,25}\.?[0-9]{0,25}([eE][-+]?[0-9]{0,3})?", fullmatch=True),
    st.from_regex(rb"0{0,401}[0-9.]{0,30}", fullmatch=True),
)
stamps = st.sampled_from(
    [b"1700000000", b"1700000010", b"1700000010.5", b"1700000010.", b"-1", b"17000000101", b"170000001x"]
)
rows = st.tuples(st.sampled_from(NAMES), values, stamps, st.sampled_from([b"\n", b"\r\n", b" \n", b""])).map(
    lambda f: f[0] + b" " + f[1] + b" " + f[2] + f[3]
)
reads = st.lists(rows, max_size=6).map(b"".join)
steps = st.lists(
    st.tuples(st.just("read"), reads)
    | st.tuples(st.just("put"), st.sampled_from(NAMES))
    | st.tuples(st.just("del"), st.sampled_from(NAMES)),
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


@settings(max_examples=300)
@given(steps)
def test_they_read_the_same_while_names_come_and_go(steps):
    table, model = Table(), PureTable()
    for number, (op, what) in enumerate(steps):
        if op == "put":
            table[what] = model[what] = number
        elif op == "del":
            if what in model:
                del table[what], model[what]
        else:
            same(what, table, model)
            same(what, table, model)


def same(data, table, model):
    one, other = (parse_lines(data, names, NOW, PathLimits(length=100)) for names in (table, model))
    assert (one.unknown, one.rejected) == (other.unknown, other.rejected)
    for name in ("ids", "timestamps", "values"):
        column, expected = getattr(one.batch, name), getattr(other.batch, name)
        assert (column.dtype, column.tobytes()) == (expected.dtype, expected.tobytes())


def test_a_fleet_in_every_order():
    random = np.random.default_rng(5)
    names = [b"host%d.cpu.%d" % (i % 70, i) for i in range(1500)]
    table, model = Table(), PureTable()
    table.add(names, np.arange(1500, dtype=np.uint32))
    model.add(names, np.arange(1500, dtype=np.uint32))
    for _ in range(5):
        order = random.permutation(1500) if random.random() < 0.5 else np.arange(1500)
        data = b"".join(b"%s %r %d\n" % (names[i], random.normal(), 1_700_000_000 + i % 3) for i in order.tolist())
        cut = int(random.integers(0, len(data)))
        cut = data.rfind(b"\n", 0, cut) + 1
        same(data[:cut], table, model)
        same(data[cut:], table, model)


FLEET = [b"host%d.cpu.%d" % (number % 7, number) for number in range(60)]
ODD = [b"\n", b"\t\n", b"x\n", b"host1.cpu.1\t1 1700000000\n", b"new.%d 1 1700000000\n", b" host2.cpu.2 1 1700000000\n"]
runs = st.one_of(
    st.tuples(st.just("in order"), st.integers(0, 59), st.integers(1, 40)),
    st.tuples(st.just("shuffled"), st.integers(0, 2**32 - 1), st.integers(1, 60)),
    st.tuples(st.just("odd"), st.integers(0, len(ODD) - 1), st.integers(1, 20)),
)


@given(st.lists(st.lists(runs, min_size=1, max_size=8), min_size=1, max_size=4), st.sets(st.integers(0, 59)))
def test_orders_that_come_and_go_within_a_read(reads, unknown):
    """Guesses hold, fail, are given up and taken up again; other lines come between."""
    table, model = Table(), PureTable()
    for number, name in enumerate(FLEET):
        if number not in unknown:
            table[name] = model[name] = number
    for read in reads:
        lines = []
        for kind, which, length in read:
            if kind == "odd":
                lines += [ODD[which]] * length
                continue
            places = np.random.default_rng(which).permutation(60) if kind == "shuffled" else np.arange(60) + which
            lines += [b"%s %d 1700000000\n" % (FLEET[place % 60], place) for place in places[:length].tolist()]
        same(b"".join(lines), table, model)
        same(b"".join(lines)[:-3], table, model)


def test_the_hostile_ends_of_a_buffer():
    """Where the last line is cut off anywhere, nothing behind the buffer is read as a part of it."""
    table, model = Table(), PureTable()
    for known in (table, model):
        known[b"a.b"] = 0
    line = b"a.b -12.5e3 1700000000.25\r\n"
    for before in (b"", b"a.b 1 1700000000\n"):
        for end in range(len(line) + 1):
            same(before + line[:end], table, model)
            same(before + line[:end] + b"\0", table, model)
