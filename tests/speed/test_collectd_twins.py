"""The compiled reader of collectd's datagrams against the pure one: any bytes, while names and lists come and go."""

import hashlib
import hmac
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd._speed import PureTable, Table
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.seal import Level, Security, parse_auth_file
from ingestd.wire.typesdb import builtin_types, parse_types_db

GOLDEN = Path(__file__).parents[1] / "golden" / "collectd"
USERS = {b"alice": b"secret", b"b": b"other"}
SECOND = 1 << 30
TIME = 1_700_000_000
TYPES = parse_types_db("mix a:GAUGE:0:U b:DERIVE:0:100 c:COUNTER:U:U d:ABSOLUTE:-5:5", builtin_types())
SECURITIES = [
    Security(Level.NONE, USERS),
    Security(),
    Security(Level.SIGN, USERS),
    Security(Level.ENCRYPT, USERS),
]


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


class Twins:
    """Both readers, each with a table of names, given the same."""

    def __init__(self, security=SECURITIES[0], naming=None, types=TYPES, **options):
        self.readers = [
            CollectdParser(types, naming or NamingOptions(), security, compiled=compiled, **options)
            for compiled in (True, False)
        ]
        self.tables = [Table(), PureTable()]
        self.next = 0

    def read(self, datagrams, now, learnt=lambda number: True):
        """Read; both must give the same bits. New names get an id where ``learnt`` says so."""
        one, other = (
            reader.parse_all(datagrams, table, now) for reader, table in zip(self.readers, self.tables, strict=True)
        )
        for name in ("unknown", "rejected", "notifications", "runs", "refused"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.failed == other.failed == []
        for name in ("ids", "timestamps", "values"):
            column, expected = getattr(one.batch, name), getattr(other.batch, name)
            assert (column.dtype, column.tobytes()) == (expected.dtype, expected.tobytes()), name
        for name in ("identities", "forgotten", "mismatched", "padded", "unverified"):
            assert getattr(self.readers[0], name) == getattr(self.readers[1], name), name
        for new in one.unknown:
            self.next += 1
            if learnt(self.next) and new.spelling not in self.tables[1]:
                self.put(new.spelling, self.next)
        return one

    def put(self, spelling, series):
        for table in self.tables:
            table[spelling] = series

    def remove(self, spelling):
        for table in self.tables:
            if spelling in table:
                del table[spelling]


def captured(name):
    data = (GOLDEN / name).read_bytes()
    position, found = 0, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return found


def part(kind, payload):
    return struct.pack(">HH", kind, (4 + len(payload)) & 0xFFFF) + payload


def text(kind, value):
    return part(kind, value + b"\0")


def number(kind, value):
    return part(kind, struct.pack(">Q", value))


def values(pairs):
    kinds = bytes(kind for kind, _ in pairs)
    coded = b"".join(struct.pack("<d" if k == 1 else ">Q", v if k == 1 else v & (2**64 - 1)) for k, v in pairs)
    return part(6, struct.pack(">H", len(pairs)) + kinds + coded)


def signed(payload):
    return part(0x0200, hmac.digest(b"secret", b"alice" + payload, "sha256") + b"alice") + payload


def encrypted(payload):
    from cryptography.hazmat.decrepit.ciphers.modes import OFB
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

    encryptor = Cipher(algorithms.AES256(hashlib.sha256(b"other").digest()), OFB(bytes(16))).encryptor()
    clear = hashlib.sha1(payload, usedforsecurity=False).digest() + payload
    return part(0x0210, b"\0\1b" + bytes(16) + encryptor.update(clear))


raws = st.integers(0, 2**64 - 1) | st.sampled_from([0, 5, 2**32 - 1, 2**32, 2**63, 2**64 - 1]) | st.integers(0, 300)
value = st.tuples(st.just(1), st.floats()) | st.tuples(st.sampled_from([0, 2, 3]), raws)
mixes = st.tuples(st.floats(), raws, raws, raws).map(lambda v: values([*zip((1, 2, 0, 3), v, strict=True)]))
times = st.integers(0, 12).map(lambda n: number(8, (TIME + 5 * n) * SECOND)) | st.builds(
    number, st.sampled_from([1, 7, 8, 9]), raws | st.sampled_from([TIME, 10 * SECOND])
)
texts = st.builds(
    text,
    st.sampled_from([0, 2, 3, 4, 5]),
    st.sampled_from(
        [b"", b"a", b"b", b"gauge", b"derive", b"mix", b"if_octets", b"x.", b"a\0b", b"n" * 127, b"n" * 128]
    ),
)
head = text(0, b"h") + text(2, b"p") + number(9, 10 * SECOND) + number(8, TIME * SECOND)
typical = st.tuples(
    times, st.sampled_from([b"gauge", b"derive", b"counter", b"absolute"]), st.sampled_from([b"", b"1", b"2"]), value
).map(lambda f: f[0] + text(4, f[1]) + text(5, f[2]) + values([f[3]]))
odd = st.one_of(
    st.lists(value, max_size=3).map(values),
    st.builds(part, st.integers(0, 0x0110) | st.sampled_from([0x200, 0x210]), st.binary(max_size=60)),
    st.sampled_from([number(0x101, 4), number(0x101, 9), text(0x100, b"m\0x"), bytes(9), part(6, b"\0\1\1")]),
    st.binary(max_size=8),
)
pieces = st.lists(st.one_of(typical, typical, mixes.map(lambda m: text(4, b"mix") + m), texts, times, odd), max_size=8)
plain = pieces.map(lambda found: head + b"".join(found)) | pieces.map(b"".join)
seals = st.sampled_from([lambda p: p, lambda p: p, signed, encrypted])
datagrams = st.tuples(plain, seals, seals, plain, st.integers(0, 9)).map(
    lambda f: (f[3] if f[4] == 0 else b"") + f[2](f[1](f[0]))
)
turns = st.lists(st.tuples(st.lists(datagrams, max_size=4), st.floats(0, 2000), st.integers(0, 7)), max_size=5)


@settings(max_examples=250, deadline=None)
@given(turns, st.sampled_from(SECURITIES), st.booleans(), st.booleans(), st.sampled_from([1, 3, 1000]))
def test_they_read_the_same_while_names_and_lists_come_and_go(sent, security, rated, tagged, limit):
    twins = Twins(security, NamingOptions(use_tags=tagged), store_rates=rated, limit=limit)
    now = 0.0
    for turn, later, roll in sent:
        now += later if roll % 2 else 10.0
        for _ in range(2):
            taken = twins.read(turn, now, lambda n, roll=roll: n % 4 != roll % 4)
        for new in taken.unknown[: roll % 3]:
            twins.remove(new.spelling)
        if roll == 5:
            twins.put(b"h.p.gauge", 77)
        elif roll == 6:
            twins.remove(b"h.p.gauge")
            twins.remove(b"h.p.derive")
        elif roll == 7:
            for reader in twins.readers:
                reader.types = TYPES


@pytest.mark.parametrize("rated", [True, False])
@pytest.mark.parametrize(
    ("name", "level"),
    [("plain", Level.NONE), ("signed", Level.SIGN), ("encrypted", Level.ENCRYPT), ("malformed", Level.NONE)],
)
def test_captures(name, level, rated):
    users = parse_auth_file((GOLDEN / "auth_file").read_text())
    twins = Twins(Security(level, users), store_rates=rated)
    sent = captured(f"{name}.bin")
    for size in (1, 7, 64):
        for at in range(0, len(sent), size):
            twins.read(sent[at : at + size], float(at))
    for reader in twins.readers:
        reader.security = Security()
    twins.read(sent, 1e6)


def rates(kind, kinds=None):
    """Values of one counter and the times at which they come."""
    type_ = {0: b"counter", 2: b"derive", 3: b"absolute"}[kind]
    return lambda time, interval, raw: (
        head
        + number(9, interval)
        + number(8, time)
        + text(4, type_)
        + values([(kinds if kinds is not None else kind, raw)])
    )


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([0, 2, 3]),
    st.lists(st.tuples(st.integers(0, 60) | raws, st.sampled_from([0, 5, 10 * SECOND, 2**64 - 1]), raws), max_size=12),
    st.lists(st.floats(0, 400_000), min_size=12, max_size=12),
)
def test_rates_are_the_same_bits(kind, steps, later):
    twins, now = Twins(), 0.0
    datagram = rates(kind)
    for (time, interval, raw), wait in zip(steps, later, strict=False):
        now += wait if interval else 10.0
        when = (TIME + time) * SECOND + time if time <= 60 else time
        twins.read([datagram(when % 2**64, interval, raw)], now)


def test_an_id_is_never_stale():
    twins = Twins()
    sent = [head + text(4, b"gauge") + text(5, b"%d" % i) + values([(1, 1.0)]) for i in range(3)]
    assert len(twins.read(sent, 0.0).unknown) == 3
    assert twins.read(sent, 1.0).batch.ids.tolist() == [1, 2, 3]
    twins.remove(b"h.p.gauge-1")
    assert [new.row for new in twins.read(sent, 2.0, lambda n: False).unknown] == [1]
    twins.put(b"h.p.gauge-1", 9)
    twins.put(b"h.p.gauge-2", 10)
    assert twins.read(sent, 3.0).batch.ids.tolist() == [1, 9, 10]
    # Another table is another truth, whatever it has seen.
    twins.tables = [Table(), PureTable()]
    assert len(twins.read(sent, 4.0, lambda n: False).unknown) == 3
    twins.put(b"h.p.gauge-0", 5)
    assert len(twins.read(sent, 5.0, lambda n: False).unknown) == 2


def test_a_fleet_in_every_order():
    """Lists of many hosts, in order and out of order, cut into datagrams anywhere, beyond the limit as well."""
    import random

    roll = random.Random(3)
    for limit in (1_000_000, 700):
        twins = Twins(limit=limit)
        for step in range(6):
            sent = []
            for host in range(40):
                lists = [(b"cpu", b"%d" % i, b"derive") for i in range(12)] + [
                    (b"df", b"%d" % i, b"gauge") for i in range(9)
                ]
                if roll.random() < 0.3:
                    roll.shuffle(lists)
                data = b""
                for plugin, instance, type_ in lists:
                    if not data or roll.random() < 0.1:
                        sent.append(data)
                        data = text(0, b"host%d" % host) + number(9, 10 * SECOND)
                    data += number(8, (TIME + 10 * step) * SECOND + host) + text(2, plugin) + text(3, instance)
                    pair = (2, 100 * step * step) if type_ == b"derive" else (1, roll.random())
                    data += text(4, type_) + values([pair])
                sent.append(data)
            roll.shuffle(sent)
            twins.read(sent, 10.0 * step, lambda n: n % 50 != 0)


def test_a_failure_costs_its_datagram_only():
    class Names(dict):
        def get(self, key):
            if key == b"h.p.gauge-1":
                raise ZeroDivisionError
            return 4

    sent = [head + text(4, b"gauge") + text(5, b"%d" % i) + values([(1, float(i))]) for i in range(3)]
    for compiled in (True, False):
        reader = CollectdParser(TYPES, NamingOptions(), Security(), compiled=compiled)
        found = reader.parse_all(sent, Names(), 0.0)
        assert [(which, type(error)) for which, error in found.failed] == [(1, ZeroDivisionError)]
        assert found.batch.values.tolist() == [0.0, 2.0]
        assert [run[:2] for run in found.runs] == [(1, 0), (2, 2)]
        with pytest.raises(ZeroDivisionError):
            reader.parse(sent[1], Names(), 0.0)
