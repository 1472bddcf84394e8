"""Datagrams of collectd's protocol, part by part; the captures are held by test_collectd_golden.py."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import UNKNOWN
from ingestd.wire import value_lists
from ingestd.wire.collectd import CollectdParser, Notification
from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.rates import SECOND
from ingestd.wire.seal import Level, Security
from ingestd.wire.typesdb import COUNTER, DERIVE, GAUGE, builtin_types, parse_types_db
from ingestd.wire.value_lists import ValueLists

DEFAULT = NamingOptions()
OPEN = Security(Level.NONE, {b"alice": b"secret"})
TIME = 1_700_000_000
HOST, PLUGIN, PLUGIN_INSTANCE, TYPE, TYPE_INSTANCE = 0, 2, 3, 4, 5
FORMATS = {0: ">Q", 1: "<d", 2: ">q", 3: ">Q"}


def part(kind, payload):
    return struct.pack(">HH", kind, 4 + len(payload)) + payload


def text(kind, value):
    return part(kind, value + b"\0")


def number(kind, value):
    return part(kind, struct.pack(">Q", value))


def values(*pairs):
    kinds = bytes(kind for kind, _ in pairs)
    return part(6, struct.pack(">H", len(pairs)) + kinds + b"".join(struct.pack(FORMATS[k], v) for k, v in pairs))


def identity(type_=b"gauge", type_instance=b"", host=b"h", plugin=b"p", time=TIME, interval=10):
    return (
        text(HOST, host)
        + number(8, time * SECOND)
        + number(9, interval * SECOND)
        + text(PLUGIN, plugin)
        + text(TYPE, type_)
        + text(TYPE_INSTANCE, type_instance)
    )


def parser(security=OPEN, naming=DEFAULT, **options):
    return CollectdParser(builtin_types(), naming, security, **options)


def points(parsed):
    rows = zip(parsed.unknown, parsed.batch.timestamps.tolist(), parsed.batch.values.tolist(), strict=True)
    return [(new.path, stamp, value) for new, stamp, value in rows]


def test_columns_and_ids():
    datagram = identity() + values((GAUGE, 1.5)) + text(TYPE_INSTANCE, b"x") + values((GAUGE, 2.5))
    parsed = parser().parse(datagram, {b"h.p.gauge-x": 7}, 0.0)
    assert parsed.batch.ids.tolist() == [UNKNOWN, 7]
    assert parsed.batch.values.tolist() == [1.5, 2.5]
    assert [(n.row, n.spelling, n.path) for n in parsed.unknown] == [(0, b"h.p.gauge", "h.p.gauge")]
    assert [column.dtype for column in (parsed.batch.ids, parsed.batch.timestamps, parsed.batch.values)] == [
        np.uint32,
        np.int64,
        np.float64,
    ]


def test_example_of_the_documentation():
    datagram = (
        bytes.fromhex("00000009 74657374 00") + number(8, TIME * SECOND) + text(PLUGIN, b"p") + text(TYPE, b"gauge")
    )
    datagram += bytes.fromhex("0006000f 0001 01") + struct.pack("<d", 2.5)
    assert points(parser().parse(datagram, {}, 0.0)) == [("test.p.gauge", TIME, 2.5)]


def test_texts_are_kept_within_bounds():
    under_test = parser()
    for i in range(70_000 // 100):
        names = b"".join(text(HOST, b"%d" % (100 * i + j)) for j in range(100))
        under_test.parse(names, {}, 0.0)
    assert points(under_test.parse(identity() + values((GAUGE, 1.0)), {}, 0.0)) == [("h.p.gauge", TIME, 1.0)]


def test_names_may_come_to_be_known():
    under_test, datagram = parser(), identity() + values((GAUGE, 1.5))
    assert under_test.parse(datagram, {}, 0.0).batch.ids.tolist() == [UNKNOWN]
    parsed = under_test.parse(datagram, {b"h.p.gauge": 3}, 0.0)
    assert parsed.batch.ids.tolist() == [3]
    assert not parsed.unknown


def test_fields_persist_and_a_plugin_clears_no_instance():
    datagram = (
        identity()
        + text(PLUGIN_INSTANCE, b"i")
        + values((GAUGE, 1.0))
        + text(PLUGIN, b"q")
        + values((GAUGE, 2.0))
        + text(PLUGIN_INSTANCE, b"")
        + values((GAUGE, 3.0))
    )
    assert points(parser().parse(datagram, {}, 0.0)) == [
        ("h.p-i.gauge", TIME, 1.0),
        ("h.q-i.gauge", TIME, 2.0),
        ("h.q.gauge", TIME, 3.0),
    ]


def test_nothing_is_carried_to_the_next_datagram():
    under_test = parser()
    under_test.parse(identity() + values((GAUGE, 1.0)), {}, 0.0)
    parsed = under_test.parse(values((GAUGE, 1.0)), {}, 0.0)
    assert parsed.rejected == {"malformed": 1}
    assert not len(parsed.batch)


@pytest.mark.parametrize(
    ("time", "stamp"),
    [
        (number(1, 17), 17),
        (number(8, 17 * SECOND + SECOND // 2 - 1), 17),
        (number(8, 17 * SECOND + SECOND // 2), 18),
        (number(8, (1 << 64) - 1), 1 << 34),
        (number(1, (1 << 64) - 1), 1 << 34),
    ],
)
def test_times(time, stamp):
    assert points(parser().parse(identity() + time + values((GAUGE, 1.0)), {}, 0.0)) == [("h.p.gauge", stamp, 1.0)]


def test_several_sources_of_several_kinds():
    under_test = parser()
    under_test.types = parse_types_db("mix a:GAUGE:0:U b:DERIVE:0:U c:COUNTER:0:U d:ABSOLUTE:0:U", builtin_types())
    first = identity(b"mix") + values((1, 1.0), (2, 100), (0, 2**64 - 5), (3, 20))
    second = identity(b"mix", time=TIME + 10) + values((1, 2.0), (2, 150), (0, 5), (3, 30))
    parsed = under_test.parse(first, {}, 0.0)
    assert points(parsed) == [("h.p.mix.a", TIME, 1.0), ("h.p.mix.d", TIME, 2.0)]
    assert parsed.rejected == {"no_rate": 2}
    assert [value for *_, value in points(under_test.parse(second, {}, 10.0))] == [2.0, 5.0, 1.0, 3.0]
    raw = parser(store_rates=False)
    raw.types = under_test.types
    assert [v for *_, v in points(raw.parse(first, {}, 0.0))] == [1.0, 100.0, float(2**64 - 5), 20.0]


def test_rates_are_forgotten_after_twice_the_interval():
    under_test = parser()

    def rejected(seconds):
        datagram = identity(b"derive", time=TIME + seconds) + values((DERIVE, seconds))
        return under_test.parse(datagram, {}, float(seconds)).rejected

    assert [rejected(s) for s in (0, 10, 30, 51, 61)] == [{"no_rate": 1}, {}, {}, {"no_rate": 1}, {}]


def test_own_interval_stands_in_for_none():
    under_test = parser(interval=5.0)
    datagram = identity(b"absolute", interval=0) + values((3, 10))
    assert points(under_test.parse(datagram, {}, 0.0)) == [("h.p.absolute", TIME, 2.0)]
    with pytest.raises(WireError):
        parser(interval=0.0)


def test_kinds_on_the_wire_are_believed_and_counted():
    under_test = parser()
    under_test.parse(identity(b"derive") + values((COUNTER, 0)), {}, 0.0)
    parsed = under_test.parse(identity(b"derive", time=TIME + 10) + values((COUNTER, 50)), {}, 10.0)
    assert points(parsed) == [("h.p.derive", TIME + 10, 5.0)]
    assert under_test.mismatched == 2
    changed = under_test.parse(identity(b"derive", time=TIME + 20) + values((GAUGE, 1.5)), {}, 20.0)
    assert points(changed) == [("h.p.derive", TIME + 20, 1.5)]


@pytest.mark.parametrize(
    ("parts", "rejected"),
    [
        (b"", {}),
        (bytes(100), {}),
        (b"\0\0\0", {}),
        (b"abc", {"malformed": 1}),
        (identity(), {}),
        (identity() + values(), {}),
        (identity() + values((GAUGE, math.nan)), {"nan": 1}),
        (identity() + values((GAUGE, math.inf), (GAUGE, math.inf)), {"unknown_type": 2}),
        (identity() + values((GAUGE, -math.inf)), {"infinite": 1}),
        (identity(b"nothing") + values((GAUGE, 1.0)), {"unknown_type": 1}),
        (identity(host=b"") + values((GAUGE, 1.0)), {"malformed": 1}),
        (identity(time=0) + values((GAUGE, 1.0)), {"malformed": 1}),
        (identity(b"derive") + values((DERIVE, 1)), {"no_rate": 1}),
        (identity() + part(6, b"\0\1\4" + bytes(8)), {"malformed": 1}),
        (identity() + part(6, b"\0\2\1" + bytes(8)), {"malformed": 1}),
        (identity() + part(6, b""), {"malformed": 1}),
        (identity() + part(8, bytes(7)), {"malformed": 1}),
        (identity() + part(0, b"x" * 200 + b"\0"), {"malformed": 1}),
        (identity() + part(0x101, b"1"), {"malformed": 1}),
        (identity() + part(0x210, b"1"), {"security": 1}),
        (identity() + part(0x77, b"1"), {}),
    ],
)
def test_what_is_refused(parts, rejected):
    parsed = parser().parse(parts, {}, 0.0)
    assert parsed.rejected == rejected
    assert not len(parsed.batch)
    assert parsed.received == sum(rejected.values())


def test_bad_values_do_not_hide_others():
    datagram = b"".join(
        [
            identity(),
            values((GAUGE, 1.0)),
            values((GAUGE, math.nan)),
            values((GAUGE, math.inf)),
            text(TYPE, b"nothing"),
            values((GAUGE, 5.0)),
            text(TYPE, b"gauge"),
            text(HOST, b"h."),
            values((GAUGE, 2.0)),
            bytes(20),
        ]
    )
    under_test = parser()
    parsed = under_test.parse(datagram, {b"h.p.gauge": 1}, 0.0)
    assert parsed.batch.values.tolist() == [1.0, 2.0]
    assert parsed.batch.ids.tolist() == [1, UNKNOWN]
    assert [(n.row, n.path) for n in parsed.unknown] == [(1, "h_.p.gauge")]
    assert parsed.rejected == {"nan": 1, "infinite": 1, "unknown_type": 1}
    assert under_test.padded == 1


def test_large_values_are_finite():
    largest = np.finfo(np.float64).max
    parsed = parser().parse(identity() + values((GAUGE, largest)) + values((GAUGE, largest)), {}, 0.0)
    assert parsed.batch.values.tolist() == [largest, largest]


def test_name_that_cannot_be_a_path():
    naming = NamingOptions(preserve_separator=True)
    datagram = identity(type_instance=b"x.") + values((GAUGE, 1.0)) + text(TYPE_INSTANCE, b"y") + values((GAUGE, 2.0))
    parsed = parser(naming=naming).parse(datagram, {}, 0.0)
    assert points(parsed) == [("h.p.gauge-y", TIME, 2.0)]
    assert parsed.rejected == {"path": 1}


@pytest.mark.parametrize("severity", [1, 2, 4])
def test_notification(severity):
    datagram = identity() + number(0x101, severity) + text(0x100, b"m\xff \0rest")
    parsed = parser().parse(datagram, {}, 0.0)
    assert parsed.notifications == [Notification(TIME, severity, "h", "p", "", "gauge", "", "m_ ")]
    assert parsed.received == 0


@pytest.mark.parametrize(
    "datagram",
    [
        identity() + number(0x101, 3) + text(0x100, b"m"),
        identity() + text(0x100, b"m"),
        identity(time=0) + number(0x101, 4) + text(0x100, b"m"),
        identity() + number(0x101, 4) + text(0x100, b""),
    ],
)
def test_notification_that_says_nothing(datagram):
    parsed = parser().parse(datagram + values((GAUGE, 1.0)), {}, 0.0)
    assert not parsed.notifications
    assert parser(Security(Level.SIGN, {})).parse(datagram, {}, 0.0).rejected == {"security": 1}


def test_new_types_forget_what_was_known():
    under_test = parser()
    under_test.parse(identity(b"derive") + values((DERIVE, 1)), {}, 0.0)
    assert under_test.identities == 1
    under_test.types = parse_types_db("derive x:GAUGE:0:U y:GAUGE:0:U", builtin_types())
    assert under_test.identities == 0
    assert under_test.parse(identity(b"derive") + values((DERIVE, 1)), {}, 0.0).rejected == {"unknown_type": 1}


def test_new_security_holds_from_the_next_datagram():
    under_test, datagram = parser(), identity() + values((GAUGE, 1.0))
    assert under_test.parse(datagram, {}, 0.0).rejected == {}
    under_test.security = Security(Level.ENCRYPT, {})
    assert under_test.parse(datagram, {}, 0.0).rejected == {"security": 1}


def table(limit):
    return ValueLists(True, limit)


def add(lists, number, now, interval=10):
    key = (b"h", b"p", b"", b"gauge", b"%d" % number)
    return lists.add(key, bytes([GAUGE]), ([b"h.p.gauge"], [(0.0, 1.0)], False), interval * SECOND, now)


def test_table_drops_lists_that_are_silent():
    lists = table(10_000)
    for second in range(5000):
        add(lists, second, float(second))
    assert len(lists) < 1000
    assert lists.forgotten == 0


def test_table_never_exceeds_its_limit():
    lists = table(20)
    for i in range(100):
        add(lists, i, 0.0)
        assert len(lists) <= 20
    assert lists.forgotten == 80
    add(lists, 99, 0.0)
    assert len(lists) == 20


def test_table_keeps_what_is_being_sent():
    lists = table(1000)
    for second in range(0, 500, 10):
        for i in range(5):
            known = lists.get((b"h", b"p", b"", b"gauge", b"%d" % i)) or add(lists, i, float(second))
            known.seen = float(second)
        add(lists, 1000 + second, float(second))
        assert all(lists.get((b"h", b"p", b"", b"gauge", b"%d" % i)) for i in range(5))


def test_decoders_are_kept_per_kinds():
    assert value_lists.decoder(b"\1") is value_lists.decoder(b"\1")


PART = st.one_of(
    st.builds(
        text, st.sampled_from([0, 2, 3, 4, 5, 0x100]), st.sampled_from([b"", b"a", b"gauge", b"if_octets", b"x."])
    ),
    st.builds(number, st.sampled_from([1, 7, 8, 9, 0x101]), st.integers(0, 2**64 - 1) | st.integers(0, 5)),
    st.lists(
        st.tuples(st.just(GAUGE), st.floats()) | st.tuples(st.just(DERIVE), st.integers(-5, 2**63 - 1)), max_size=3
    ).map(lambda pairs: values(*pairs)),
    st.builds(part, st.integers(0, 0xFFFF) | st.sampled_from([0x200, 0x210]), st.binary(max_size=60)),
    st.binary(max_size=8),
)
SECURITIES = [OPEN, Security(), Security(Level.SIGN, {b"alice": b"secret"}), Security(Level.ENCRYPT, {})]


@given(
    st.lists(st.lists(PART, max_size=12).map(b"".join) | st.binary(max_size=100), max_size=4),
    st.sampled_from(SECURITIES),
    st.booleans(),
    st.booleans(),
)
def test_any_bytes_give_columns_that_agree(datagrams, security, rated, tagged):
    under_test = parser(security, NamingOptions(use_tags=tagged), store_rates=rated)
    for i, datagram in enumerate(datagrams):
        parsed = under_test.parse(datagram, {b"a.a.gauge": 5}, float(i))
        batch = parsed.batch
        assert len(batch.ids) == len(batch.timestamps) == len(batch.values)
        assert [new.row for new in parsed.unknown] == np.flatnonzero(batch.ids == UNKNOWN).tolist()
        assert np.isfinite(batch.values).all()
        assert all(n > 0 for n in parsed.rejected.values())
        assert parsed.received <= len(datagram)
