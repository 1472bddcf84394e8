"""collectd's datagrams at all levels of security, and the two text files that its parser is given."""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from collections.abc import Callable, Hashable
from functools import cache
from typing import Final

from cryptography.hazmat.decrepit.ciphers.modes import OFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from fuzz_lines import check_parsed
from fuzz_mutate import Mutator
from fuzz_target import GOLDEN, Target, dice

from ingestd._speed import COMPILED, Table
from ingestd.wire.collectd import SEVERITIES, CollectdParsed, CollectdParser
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.lines import PathLimits, canonical_path
from ingestd.wire.seal import Level, Security, parse_auth_file
from ingestd.wire.typesdb import TypesDB, builtin_types, parse_types_db

LIMITS: Final = PathLimits()
USERS: Final = {b"alice": b"secret", b"b": "pässwörd b".encode()}
NAMINGS: Final = (
    NamingOptions(),
    NamingOptions(use_tags=True, always_append_ds=True),
    NamingOptions(prefix="a.", separate_instances=True, reverse_host=True, drop_duplicate_fields=True),
    NamingOptions(preserve_separator=True, escape_character="-", postfix=".x"),
)
_WAYS: Final = 2 * len(NAMINGS)
"""Each set of naming options without and with rates."""
TEXTS: Final = (
    b"", b"h", b"host.example.org", b"..", "ä/ö".encode(), b"\xff\xfe", b"a;b=c", b"~", b";=", b"*{}[]?", b"\n\x1b[2J",
    b"name", b"x" * 127, b"x" * 128, b"a b.c/d", b"gauge", b"if_octets", b"load", b"cpu", b"derive", b"counter",
    b"absolute",
    b"mysql_qcache", b"nosuch",
)  # fmt: skip
TYPES: Final = (b"gauge", b"if_octets", b"load", b"derive", b"counter", b"absolute", b"mysql_qcache", b"cpu", b"nosuch")
GAUGES: Final = (0.0, -0.0, 1.5, math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324)
SECOND: Final = 1 << 30
TIMES: Final = tuple(time * SECOND for time in (0, 1, 1_700_000_000, 1_700_000_010, 1_700_000_020, 2**33, 2**34 - 1))
ARITY: Final = {b"if_octets": 2, b"load": 3, b"mysql_qcache": 5}


def part(kind: int, payload: bytes) -> bytes:
    return struct.pack(">HH", kind, (4 + len(payload)) & 0xFFFF) + payload


def signed(user: bytes, password: bytes, payload: bytes) -> bytes:
    """``payload`` with the signature that its user would give it."""
    return part(0x0200, hmac.digest(password, user + payload, "sha256") + user) + payload


def encrypted(user: bytes, password: bytes, payload: bytes) -> bytes:
    """``payload`` as its user would encrypt it."""
    iv = bytes(16)
    encryptor = Cipher(algorithms.AES256(hashlib.sha256(password).digest()), OFB(iv)).encryptor()
    sealed = encryptor.update(hashlib.sha1(payload, usedforsecurity=False).digest() + payload) + encryptor.finalize()
    return part(0x0210, struct.pack(">H", len(user)) + user + iv + sealed)


@cache
def captured(name: str, most: int = 400) -> tuple[bytes, ...]:
    """Datagrams of a real collectd, or of somebody hostile, each cut at 1,024 bytes."""
    data = (GOLDEN / "collectd" / name).read_bytes()
    position, found = 0, []
    while position < len(data) and len(found) < most:
        (length,) = struct.unpack_from(">I", data, position)
        found.append(data[position + 4 : position + 4 + min(length, 1024)])
        position += 4 + length
    return tuple(found)


def _text(mutator: Mutator, kind: int) -> bytes:
    text = mutator.pick(TYPES) if kind == 4 and mutator.chance(0.8) else mutator.pick(TEXTS)
    return part(kind, text + (b"" if mutator.chance(0.02) else b"\0"))


def _number(mutator: Mutator, kind: int) -> bytes:
    value = mutator.pick(TIMES) if mutator.chance(0.8) else mutator.number(8)
    return part(kind, struct.pack(">Q", value)[: 8 if mutator.chance(0.97) else mutator.below(8)])


def _values(mutator: Mutator, count: int) -> bytes:
    kinds = bytes(mutator.below(4) if mutator.chance(0.98) else mutator.below(256) for _ in range(count))
    values = b"".join(
        struct.pack("<d", mutator.pick(GAUGES)) if kind == 1 else struct.pack(">Q", mutator.number(8)) for kind in kinds
    )
    shown = count if mutator.chance(0.97) else mutator.number(2)
    return part(6, struct.pack(">H", shown) + kinds + values)


def _value_list(mutator: Mutator) -> bytes:
    """What one value list needs, in one piece: only so do most inputs reach the values."""
    type_ = mutator.pick(TYPES)
    head = part(0, b"h\0") + _number(mutator, 8) + part(2, mutator.pick(TEXTS) + b"\0") + part(4, type_ + b"\0")
    instance = part(5, mutator.pick(TEXTS) + b"\0") if mutator.chance(0.5) else b""
    return head + instance + _values(mutator, ARITY.get(type_, 1)) * (1 + mutator.below(3))


def _notification(mutator: Mutator) -> bytes:
    severity = part(0x0101, struct.pack(">Q", mutator.pick((0, 1, 2, 3, 4, 2**63))))
    return severity + part(0x0100, mutator.pick(TEXTS) + b"\0")


def _odd(mutator: Mutator) -> bytes:
    return part(mutator.number(2), mutator.bytes(12))


_PARTS: Final[tuple[Callable[[Mutator], bytes], ...]] = (
    _value_list,
    _value_list,
    _value_list,
    lambda mutator: _text(mutator, mutator.pick((0, 2, 3, 4, 5))),
    lambda mutator: _number(mutator, mutator.pick((1, 7, 8, 9))),
    lambda mutator: _values(mutator, mutator.below(6)),
    _notification,
    _odd,
)


def plain(mutator: Mutator, seed: bytes) -> bytes:
    """A hostile datagram that is not sealed: of parts, or a capture with changes."""
    if mutator.chance(0.3):
        return mutator.changed(seed[: 2048 if mutator.chance(0.05) else 300], 2048)
    data = b"".join([mutator.pick(_PARTS)(mutator) for _ in range(1 + mutator.below(4))])
    if mutator.chance(0.4):
        data = mutator.changed(data, 2048)
    return data


def sealed(mutator: Mutator, payload: bytes, kinds: tuple[Callable[[bytes, bytes, bytes], bytes], ...]) -> bytes:
    """``payload`` in seals, mostly good ones, up to three in one another."""
    for _ in range(mutator.pick((1, 1, 1, 2, 3))):
        user = mutator.pick((b"alice", b"alice", b"b", b"eve", b""))
        payload = mutator.pick(kinds)(user, USERS.get(user, b"x"), payload)
        if mutator.chance(0.1):
            payload = plain(mutator, b"")[:100] + payload
    return payload


class Datagrams(Target):
    """:meth:`CollectdParser.parse` of datagrams that are not sealed, under every set of naming options."""

    name = "collectd"
    tokens = tuple(part(kind, text + b"\0") for kind in (0, 2, 3, 4, 5) for text in TEXTS[:4])
    security: Security = Security(Level.NONE, USERS)

    def seeds(self) -> list[bytes]:
        return [*captured("plain.bin"), *captured("malformed.bin")]

    def begin(self) -> None:
        self._parsers = [self._fresh(way) for way in range(_WAYS)]
        self._names: dict[bytes, int] = {}
        self._compiled = [self._fresh(way, compiled=True) for way in range(_WAYS)] if COMPILED else []
        self._table = Table()
        self._now = 0.0

    def _fresh(self, way: int, *, compiled: bool = False) -> CollectdParser:
        naming, rated = NAMINGS[way % len(NAMINGS)], way >= len(NAMINGS)
        # A limit that inputs reach: lists make room for others, and their numbers are given away again.
        return CollectdParser(builtin_types(), naming, self.security, store_rates=rated, limit=50, compiled=compiled)

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        return plain(mutator, seed)

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        self._now += roll % 5
        way = (roll >> 8) % _WAYS
        datagrams = [data, data[: roll % (len(data) + 1)]] if roll & 0x10000 else [data]
        parsed = self._parsers[way].parse_all(datagrams, self._names, self._now)
        check_parsed(parsed)
        if self._compiled:
            compiled = self._compiled[way]
            same(parsed, compiled.parse_all(datagrams, self._table, self._now))
            assert compiled.identities == self._parsers[way].identities
            assert compiled.forgotten == self._parsers[way].forgotten
        for new in parsed.unknown:
            assert canonical_path(new.path.encode(), LIMITS) == new.path
            assert new.spelling == new.path.encode()
            if roll & 1 and len(self._names) < 1_000:
                self._names[new.spelling] = self._table[new.spelling] = len(self._names)
        if roll & 0xE0000 == 0 and self._names:
            gone = next(iter(self._names))
            del self._names[gone], self._table[gone]
        self._check_notifications(parsed)
        if way < len(NAMINGS) and roll % 8 == 0 and len(datagrams) == 1:
            # Without rates a datagram means the same to a parser that has seen others and to one that has not.
            other = self._fresh(way).parse(data, {}, 0.0)
            assert other.rejected == parsed.rejected
            assert other.batch.values.tobytes() == parsed.batch.values.tobytes()
            assert other.batch.timestamps.tobytes() == parsed.batch.timestamps.tobytes()
            assert other.notifications == parsed.notifications
        kinds = sorted(parsed.rejected)
        return (min(len(parsed.batch), 3), min(len(parsed.unknown), 3), min(len(parsed.notifications), 2), *kinds)

    def _check_notifications(self, parsed: CollectdParsed) -> None:
        for told in parsed.notifications:
            assert told.severity in SEVERITIES
            assert 0 <= told.time <= 2**34
            for text in (told.host, told.plugin, told.plugin_instance, told.type, told.type_instance, told.message):
                text.encode()


def same(one: CollectdParsed, other: CollectdParsed) -> None:
    """Both twins found the same bits."""
    assert not one.failed
    assert not other.failed
    for name in ("unknown", "rejected", "notifications", "runs", "refused"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("ids", "timestamps", "values"):
        assert getattr(one.batch, name).tobytes() == getattr(other.batch, name).tobytes(), name


class Signed(Datagrams):
    """Datagrams with signatures, good ones around hostile parts and bad ones, where a signature is needed."""

    name = "collectd-signed"
    security = Security(Level.SIGN, USERS)

    def seeds(self) -> list[bytes]:
        payloads = captured("plain.bin", 60)
        return [*captured("signed.bin", 100), *(signed(b"alice", USERS[b"alice"], payload) for payload in payloads)]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.2):
            return mutator.changed(seed[:400], 2048)
        data = sealed(mutator, plain(mutator, mutator.other), (signed, signed, encrypted))
        return mutator.changed(data, 2048) if mutator.chance(0.15) else data


class Encrypted(Datagrams):
    """Encrypted datagrams, with signatures within and around them, where encryption is needed."""

    name = "collectd-encrypted"
    security = Security(Level.ENCRYPT, USERS)

    def seeds(self) -> list[bytes]:
        payloads = captured("plain.bin", 60)
        made = (encrypted(b"alice", USERS[b"alice"], payload) for payload in payloads)
        return [*captured("encrypted.bin", 100), *made]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.2):
            return mutator.changed(seed[:400], 2048)
        data = sealed(mutator, plain(mutator, mutator.other), (encrypted, encrypted, signed))
        return mutator.changed(data, 2048) if mutator.chance(0.15) else data


class AuthFile(Target):
    """:func:`parse_auth_file`: a user has a name and a password, whatever the file holds."""

    name = "auth-file"
    tokens = (b":", b": ", b"\n", b"\r\n", b"#", b" ", b"\t", b"alice", b"alice: secret\n")
    largest = 1024

    def seeds(self) -> list[bytes]:
        return [
            (GOLDEN / "collectd" / "auth_file").read_bytes(),
            b"alice: secret\n  bob :\t pass word \n# eve: x\n:none",
        ]

    def run(self, data: bytes) -> Hashable:
        users = parse_auth_file(data.decode("utf-8", "surrogateescape"))
        for user, password in users.items():
            assert user
            assert password
            assert not user.startswith((b" ", b"\t", b"#"))
            assert not {b":", b"\n"} & {user[at : at + 1] for at in range(len(user))}
            assert b"\n" not in password
        Security(Level.ENCRYPT, users)
        return (min(len(users), 8), b"\r" in data, b"#" in data)


class TypesFile(Target):
    """:func:`parse_types_db`: what it takes has a kind and bounds, what it does not take is a line it names."""

    name = "types-db"
    tokens = (
        b":", b",", b"\n", b" ", b"\t", b"U", b"0", b"-1e99", b"GAUGE", b"value:GAUGE:0:U", b"DERIVE", b"counter",
        b"nan",
        b"inf", b"#", b"rx:DERIVE:0:U, tx:DERIVE:0:U", b"load  ", b"a:ABSOLUTE:0:1,",
    )  # fmt: skip
    largest = 1024

    def seeds(self) -> list[bytes]:
        rows = (GOLDEN / "collectd" / "types.db").read_bytes().split(b"\n")
        return [b"\n".join(rows[at : at + 3]) for at in range(0, len(rows), 3)]

    def run(self, data: bytes) -> Hashable:
        text = data.decode("utf-8", "replace")
        found = parse_types_db(text, TypesDB({b"x": ()}))
        for name, sources in found.types.items():
            assert name
            for source in sources:
                assert source.name
                assert source.kind in range(4)
                assert not math.isnan(source.minimum)
                assert not math.isnan(source.maximum)
        assert list(found.refused) == sorted(set(found.refused))
        assert all(1 <= line <= text.count("\n") + 1 for line in found.refused)
        return (min(len(found.types), 8), min(len(found.refused), 4))
