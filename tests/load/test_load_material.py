"""What the load generator sends: kernel and twin write the same, and ingestd's parsers read what was meant."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd._speed import Table, load_datagrams_compiled, load_lines_compiled
from ingestd.load import material
from ingestd.load.material import Datagrams, Lines, hundredths, pure_datagrams, pure_lines, successor
from ingestd.load.names import Arena
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.seal import Level, Security
from ingestd.wire.typesdb import builtin_types

TIME = 1_700_000_000
SEED = 88172645463325252
KERNELS = ["compiled", "pure"]


@pytest.fixture(params=KERNELS)
def _writer(request, monkeypatch):
    """Material that is made by kernel, or by twin."""
    if request.param == "pure":
        monkeypatch.setattr(material, "load_lines_compiled", None)
        monkeypatch.setattr(material, "load_datagrams_compiled", None)
    elif load_lines_compiled is None:
        pytest.skip("the kernels are not compiled")


def drawn(count, state=material._SEED):
    """The values that come next."""
    found = []
    for _ in range(count):
        state = successor(state)
        found.append(hundredths(state) / 100.0)
    return found


def filled(made, rows, stamp, room=1 << 16):
    """Every write for all of ``rows``, and the points."""
    out, at, points, writes = bytearray(room), 0, 0, []
    while at < len(rows):
        piece = made.fill(rows[at:], stamp, out)
        assert piece.rows
        writes += [bytes(out[s:e]) for s, e in zip([0, *piece.ends[:-1]], piece.ends, strict=True)]
        at += piece.rows
        points += piece.points
    return writes, points


def test_xorshift_is_marsaglias():
    # The successor of 2463534242 by the shifts 13, 7, 17 in 64 bits, worked out by hand.
    first = 2463534242
    first ^= first << 13
    first ^= first >> 7
    assert successor(2463534242) == first ^ (first << 17) & (1 << 64) - 1
    assert hundredths((1 << 64) - 1) == 99_999
    assert hundredths(1) == 0


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize("room", [100, 1000, 1 << 16])
@pytest.mark.parametrize("order", ["in order", "at random"])
def test_lines_say_what_was_meant(room, order):
    lines = Lines(137, 12)
    rows = np.arange(137, dtype=np.uint32)
    if order == "at random":
        rows = np.random.default_rng(1).permutation(rows)
    writes, points = filled(lines, rows, TIME, room)
    parsed = parse_lines(b"".join(writes), Table(), TIME, PathLimits())
    assert points == len(parsed.batch) == 137
    assert [new.path.encode() for new in parsed.unknown] == [lines.names[row] for row in rows]
    assert len({new.path for new in parsed.unknown}) == 137
    assert set(parsed.batch.timestamps.tolist()) == {TIME}
    assert parsed.batch.values.tolist() == drawn(137)
    assert not parsed.rejected


@pytest.mark.usefixtures("_writer")
@pytest.mark.parametrize("each", [1, 2, 7, 10, 200])
def test_datagrams_say_what_was_meant(each):
    hosts = 3
    made = Datagrams(hosts, each, 10)
    writes, points = filled(made, np.arange(made.rows, dtype=np.uint32), TIME)
    assert points == made.points == hosts * each
    assert max(map(len, writes)) <= material.DATAGRAM
    if each == 200:
        assert len(writes) == 3 * -(-200 * 36 // 1400)
    parser = CollectdParser(builtin_types(), NamingOptions(), Security(Level.NONE, None))
    names, values = [], []
    for datagram in writes:
        parsed = parser.parse(datagram, {}, float(TIME))
        names += [new.path for new in parsed.unknown]
        values += parsed.batch.values.tolist()
        assert set(parsed.batch.timestamps.tolist()) == {TIME}
        assert not parsed.rejected
    assert values == drawn(points)
    assert len(set(names)) == len(names) == points
    assert names[0] == "load_host000000.load-0.load.shortterm" if each > 2 else "load_host000000.df-0.df_complex-used"
    assert not parser.mismatched


@pytest.mark.usefixtures("_writer")
def test_lists_in_any_order_are_read_as_well():
    made = Datagrams(4, 20, 10)
    rows = np.random.default_rng(5).permutation(made.rows).astype(np.uint32)
    parser = CollectdParser(builtin_types(), NamingOptions(), Security(Level.NONE, None))
    in_order, _ = filled(made, np.sort(rows), TIME)
    shuffled, _ = filled(made, rows, TIME)
    seen = [
        {new.path for datagram in writes for new in parser.parse(datagram, {}, 0.0).unknown}
        for writes in (in_order, shuffled)
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 80


@pytest.mark.parametrize("kind", ["lines", "datagrams"])
def test_what_is_renewed_has_new_names(kind):
    made = Lines(50, 10, churn=True) if kind == "lines" else Datagrams(5, 10, 10, churn=True)
    rows = np.arange(made.rows, dtype=np.uint32)
    first, _ = filled(made, rows, TIME)
    made.renew(rows[:10], 42)
    second, _ = filled(made, rows, TIME)
    digits = b"g000042"
    assert b"".join(first).count(digits) == 0
    assert b"".join(second).count(digits) == 10 if kind == "lines" else b"".join(second).count(digits) == 2


texts = st.lists(st.binary(max_size=30), max_size=5)
states = st.integers(0, 2**64 - 1)
times = st.one_of(st.integers(0, 2**33), st.integers(-(2**63), 2**63 - 1))


@st.composite
def arenas(draw, most=None):
    """Texts one behind the other, with bounds that may lie anywhere."""
    arena = Arena.of(draw(texts))
    starts = arena.starts.copy()
    if draw(st.booleans()):
        for place in draw(st.lists(st.integers(0, len(starts) - 1), max_size=3)):
            starts[place] = draw(st.one_of(st.integers(-3, 200), st.integers(-(2**63), 2**63 - 1)))
    return arena.data, starts[: draw(st.integers(0, len(starts)))] if draw(st.booleans()) else starts


def outcome(write, room, *given, ends=None):
    """What was written, or that it was refused."""
    out = bytearray(room)
    ends = None if ends is None else np.zeros(ends, np.uint32)
    try:
        found = write(*given, out) if ends is None else write(*given, out, ends)
    except ValueError:
        return "refused"
    size = found[0] if ends is None else int(ends[found[0] - 1]) if found[0] else 0
    return found, bytes(out[:size]), None if ends is None else ends[: found[0]].tolist()


@given(arenas(), st.lists(st.integers(0, 6), max_size=12), times, states, st.integers(0, 300))
def test_lines_of_kernel_and_twin_are_the_same(require_kernels, arena, rows, stamp, state, room):
    require_kernels()
    given_ = (*arena, np.array(rows, np.uint32), stamp, state)
    assert outcome(load_lines_compiled, room, *given_) == outcome(pure_lines, room, *given_)


@given(
    arenas(),
    st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=1500), st.integers(0, 255)), max_size=4),
    arenas(),
    st.lists(st.integers(0, 12), max_size=12),
    st.tuples(times, times),
    states,
    st.integers(0, 5000),
    st.integers(0, 4),
)
def test_datagrams_of_kernel_and_twin_are_the_same(
    require_kernels, hosts, lists, hostile, rows, stamps, state, room, ends
):
    require_kernels()
    parts = Arena.of([text for whole, change, _ in lists for text in (whole, change)])
    counts = np.array([count for *_, count in lists], np.uint8)
    for data, starts in ((parts.data, parts.starts), hostile):
        given_ = (*hosts, data, starts, counts, np.array(rows, np.uint32), *stamps, state)
        kernel = outcome(load_datagrams_compiled, room, *given_, ends=ends)
        assert kernel == outcome(pure_datagrams, room, *given_, ends=ends)
