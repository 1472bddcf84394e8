"""collectd's binary network protocol: the datagrams of a moment to one batch, and their notifications.

What the parts mean is in :mod:`ingestd.wire.parts`, or in its compiled twin; here is what both are given (types,
names, users) and what becomes of their columns.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ingestd._speed import CollectdNaming, CollectdReader, Reader, Refused, Run
from ingestd.points import Batch, NameTable, NewNames, Parsed
from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import GraphiteNames, NamingOptions, field_text
from ingestd.wire.parts import PureReader
from ingestd.wire.rates import SECOND
from ingestd.wire.seal import Security, decrypted, verified
from ingestd.wire.typesdb import TypesDB
from ingestd.wire.value_lists import LIMIT, Described, Key, Learned

SEVERITIES: Final = {1: "failure", 2: "warning", 4: "okay"}


@dataclass(frozen=True, slots=True)
class Notification:
    """What a collectd tells besides values. ``time`` in seconds, ``severity`` a key of :data:`SEVERITIES`."""

    time: int
    severity: int
    host: str
    plugin: str
    plugin_instance: str
    type: str
    type_instance: str
    message: str


@dataclass(slots=True)
class CollectdParsed(Parsed):
    """Points, and the notifications that stood among them, in their order. Datagrams are counted from 0."""

    notifications: list[Notification] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    """Rows up to ``end``: (end, datagram they stood in, user who sealed them or b""). None is empty."""
    refused: list[Refused] = field(default_factory=list)
    """``rejected``, by sender: (datagram, user of its first row or b"", points by reason)."""
    failed: list[tuple[int, Exception]] = field(default_factory=list)
    """Datagrams on which the parser failed: a bug of it. Nothing of them is in the columns."""


class CollectdParser:
    """Parses datagrams; remembers identities and, where ``store_rates``, the last values of counters.

    ``interval`` (seconds) stands in for a sender's interval of 0; at most ``limit`` identities are remembered. Compiled
    where it can be and ``compiled`` does not forbid it. Raises :class:`WireError` if the interval is not positive.
    """

    def __init__(
        self,
        types: TypesDB,
        naming: NamingOptions,
        security: Security,
        *,
        store_rates: bool = True,
        interval: float = 10.0,
        limit: int = LIMIT,
        compiled: bool = True,
    ) -> None:
        if not 0.0 < interval < 1e9:
            raise WireError(f"collectd interval of {interval} s: must be positive")
        self.security = security
        """Level and users; may be replaced at any time."""
        self._types = types
        self._names = GraphiteNames(naming)
        self._reader: Reader
        units = max(1, round(interval * SECOND))
        if compiled and CollectdReader and CollectdNaming:
            naming = CollectdNaming(self._names.scheme(), self._describe, self._names.spellings)
            self._reader = CollectdReader(naming, _tell, verified, decrypted, store_rates, units, limit)
        else:
            self._reader = PureReader(self._learn, _tell, store_rates, units, limit)

    @property
    def types(self) -> TypesDB:
        """The types in force. Replacing them forgets all identities, and with them the last values of counters."""
        return self._types

    @types.setter
    def types(self, types: TypesDB) -> None:
        self._types = types
        self._reader.clear()

    @property
    def identities(self) -> int:
        """Value lists that are remembered."""
        return len(self._reader)

    @property
    def forgotten(self) -> int:
        """Value lists that had to make room for others while they were being sent."""
        return self._reader.forgotten

    @property
    def mismatched(self) -> int:
        """Value lists whose kinds are not those of types.db: decoded as their sender says."""
        return self._reader.mismatched

    @property
    def padded(self) -> int:
        """Datagrams and sealed parts with zeros at their end."""
        return self._reader.padded

    @property
    def unverified(self) -> int:
        """Signatures that nobody could verify, for there is no AuthFile."""
        return self._reader.unverified

    def parse(self, datagram: bytes, names: NameTable, now: float) -> CollectdParsed:
        """:meth:`parse_all` of one datagram; raises what it failed with."""
        parsed = self.parse_all([datagram], names, now)
        for _, error in parsed.failed:
            raise error
        return parsed

    def parse_all(self, datagrams: list[bytes], names: NameTable, now: float) -> CollectdParsed:
        """All that can be read of ``datagrams``, in their order; never raises, and keeps no view of them.

        ``now``: seconds, for what is to be forgotten. A value is one point received. What was refused: a list of
        an unknown type ``unknown_type``, without an identity or time ``malformed``; what cannot be read to the
        end of the datagram counts as one point ``malformed``, what security refuses as one point ``security``.
        """
        found = self._reader.read(datagrams, names, now, self.security)
        ids, stamps, values, rows, spellings, runs, refused, notifications, failed = found
        rejected: Counter[str] = Counter()
        for _, _, reasons in refused:
            rejected.update(reasons)
        unknown = NewNames(rows, spellings)
        return CollectdParsed(Batch(ids, stamps, values), unknown, dict(rejected), notifications, runs, refused, failed)

    def _describe(self, type_: bytes, kinds: bytes) -> Described | None:
        """What types.db says of values of ``kinds``; None where it has no such type, or one of another length."""
        sources = self._types.types.get(type_)
        if sources is None or len(sources) != len(kinds):
            return None
        return (
            [source.name for source in sources],
            [(source.minimum, source.maximum) for source in sources],
            any(source.kind != kind for source, kind in zip(sources, kinds, strict=True)),
        )

    def _learn(self, key: Key, kinds: bytes) -> Learned | None:
        described = self._describe(key[3], kinds)
        return described and (self._names.spellings(key, described[0]), *described[1:])


def _tell(time: int, severity: int, fields: Key, message: bytes) -> Notification:
    return Notification(time, severity, *map(field_text, (*fields, message)))
