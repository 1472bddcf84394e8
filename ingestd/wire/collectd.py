"""collectd's binary network protocol: one datagram to one batch, and its notifications.

A datagram is a sequence of parts, each ``u16 type, u16 length`` (of the whole part) and a payload; parts set fields,
and a values part uses the fields as they stand. Nothing is carried from one datagram to the next. The rules, bounds
and what ends a datagram early are those of collectd 5.12's ``network.c``, but for what it gets wrong: the length of
numbers is checked, the kinds on the wire are believed and never reinterpreted, and sealed parts nest to a limit.

``74 65 73 74 00`` after ``00 00 00 09`` is the host "test"; ``00 06 00 0f 00 01 01`` and eight bytes is one gauge.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from itertools import compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import UNKNOWN, Batch, NameTable, NewName, Parsed
from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import GraphiteNames, NamingOptions, field_text
from ingestd.wire.rates import SECOND, Rate
from ingestd.wire.seal import NESTING_LIMIT, SIGN_OVERHEAD, Level, Security, decrypted, verified
from ingestd.wire.typesdb import TypesDB
from ingestd.wire.value_lists import NO_PATH, Raws, ValueList, ValueLists

_HOST, _TIME, _PLUGIN, _PLUGIN_INSTANCE, _TYPE, _TYPE_INSTANCE = range(6)
_VALUES, _INTERVAL, _TIME_HR, _INTERVAL_HR = range(6, 10)
_MESSAGE, _SEVERITY, _SIGN, _ENCRYPT = 0x0100, 0x0101, 0x0200, 0x0210
_FIELD: Final = (0, -1, 1, 2, 3, 4, -1, -1, -1, -1)
"""Position in an identity by type of part; -1 for what is no string."""
_NAME_LIMIT: Final = 128
"""Bytes of a name with its NUL, as in collectd since 5.5."""
_TEXTS: Final = 1 << 16
"""Names kept, so that value lists share them: 10 MB at most."""
_MESSAGE_LIMIT: Final = 4 + 256
_NUMBER_LENGTH: Final = 12
_LAST_TIME: Final = (1 << 64) - 1
_HALF: Final = SECOND >> 1
_KINDS: Final = b"\0\1\2\3"

_header = struct.Struct(">HH").unpack_from
_count = struct.Struct(">H").unpack_from
_number = struct.Struct(">Q").unpack_from

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
    """Points, and the notifications that stood among them, in their order."""

    notifications: list[Notification] = field(default_factory=list)
    users: list[tuple[int, bytes]] = field(default_factory=list)
    """Runs of rows: the first row, and the user who sealed them (b"": nobody did). Empty: nobody sealed anything."""


class _State:
    """What the parts so far have set: valid within one datagram, or within one sealed part."""

    __slots__ = ("fields", "interval", "severity", "stamp", "time")

    def __init__(self, interval: int) -> None:
        self.fields = [b""] * 5
        self.time = 0
        self.stamp = 0
        self.interval = interval
        self.severity = 0


class _Found:
    """What a datagram has given so far, a row a value."""

    __slots__ = ("below", "no_rate", "notifications", "now", "rejected", "spellings", "stamps", "users", "values")

    def __init__(self, now: float) -> None:
        self.now = now
        self.users: list[tuple[int, bytes]] = []
        self.below = False
        self.no_rate = 0
        self.spellings: list[bytes] = []
        self.stamps: list[int] = []
        self.values: list[int | float] = []
        self.rejected: dict[str, int] = {}
        self.notifications: list[Notification] = []

    @property
    def user(self) -> bytes:
        """Who sealed what is being read; b"" = nobody."""
        return self.users[-1][1] if self.users else b""

    @user.setter
    def user(self, user: bytes) -> None:
        if not self.users:
            self.users.append((0, b""))
        self.users.append((len(self.spellings), user))

    def reject(self, reason: str, points: int = 1) -> None:
        if points:
            self.rejected[reason] = self.rejected.get(reason, 0) + points


class CollectdParser:
    """Parses datagrams; remembers identities and, where ``store_rates``, the last values of counters.

    ``interval`` (seconds) stands in for a sender's interval of 0. Raises :class:`WireError` if it is not positive.
    """

    def __init__(
        self,
        types: TypesDB,
        naming: NamingOptions,
        security: Security,
        *,
        store_rates: bool = True,
        interval: float = 10.0,
    ) -> None:
        if not 0.0 < interval < 1e9:
            raise WireError(f"collectd interval of {interval} s: must be positive")
        self.security = security
        """Level and users; may be replaced at any time."""
        self._types = types
        self._interval = max(1, round(interval * SECOND))
        self._lists = ValueLists(GraphiteNames(naming), store_rates)
        self._texts: dict[bytes, bytes] = {}
        self.mismatched = 0
        """Value lists whose kinds are not those of types.db: decoded as their sender says."""
        self.padded = 0
        """Datagrams and sealed parts with zeros at their end."""
        self.unverified = 0
        """Signatures that nobody could verify, for there is no AuthFile."""

    @property
    def types(self) -> TypesDB:
        """The types in force. Replacing them forgets all identities, and with them the last values of counters."""
        return self._types

    @types.setter
    def types(self, types: TypesDB) -> None:
        self._types = types
        self._lists.clear()

    @property
    def identities(self) -> int:
        """Value lists that are remembered."""
        return len(self._lists)

    @property
    def forgotten(self) -> int:
        """Value lists that had to make room for others while they were being sent."""
        return self._lists.forgotten

    def parse(self, datagram: bytes, names: NameTable, now: float) -> CollectdParsed:
        """All that can be read of ``datagram``, in its order; never raises, and keeps no view of it.

        ``now``: seconds, for what is to be forgotten. A value is one point received. What was refused: a list of
        an unknown type ``unknown_type``, without an identity or time ``malformed``; what cannot be read to the
        end of the datagram counts as one point ``malformed``, what security refuses as one point ``security``.
        """
        found = _Found(now)
        self._read(datagram, Level.NONE, 0, found)
        if found.below:
            found.reject("security")
        found.reject("no_rate", found.no_rate)
        return _resolve(found, names)

    def _read(self, data: bytes, seal: Level, depth: int, found: _Found) -> None:  # noqa: C901
        """Read all parts of ``data``, which is protected by ``seal``.

        What nearly every list has is taken here and not in methods: the calls would cost as much as the work.
        """
        state = _State(self._interval)
        fields = state.fields
        known_list = self._lists.get
        texts = self._texts
        below = seal < self.security.level
        position, end = 0, len(data)
        last = end - 4
        while position < last:
            part, length = _header(data, position)
            stop = position + length
            if length < 4 or stop > end:
                break
            if below or part > _INTERVAL_HR:
                stop = self._read_other(part, data, position, stop, seal, depth, state, found)
                if stop < 0:
                    break
            elif part == _VALUES:
                known = known_list(tuple(fields))
                if known is not None and state.time and data.startswith(known.head, position):
                    self._take(known, data, position, state, found)
                elif not self._learn(data, position, stop, state, found):
                    break
            elif part == _TIME_HR and length == _NUMBER_LENGTH:
                state.time = time = _number(data, position + 4)[0]
                state.stamp = (time + _HALF) >> 30
            elif (index := _FIELD[part]) >= 0:
                text = texts.get(data[position + 4 : stop])
                if text is None and (text := self._text(data[position + 4 : stop])) is None:
                    break
                fields[index] = text
            elif not self._read_number(part, data, position, stop, state):
                break
            position = stop
        if position < end:
            self._count_rest(data, position, found)

    def _text(self, payload: bytes) -> bytes | None:
        """The text of a part with a name, or None if it is none; one object for all that are equal."""
        if not payload or len(payload) > _NAME_LIMIT or payload[-1]:
            return None
        if len(self._texts) >= _TEXTS:
            self._texts.clear()
        # What follows the first NUL is not part of the text.
        text = self._texts[payload] = payload[: payload.index(0)]
        return text

    def _read_number(self, part: int, data: bytes, position: int, stop: int, state: _State) -> bool:
        """Take a time or interval. Return whether it could be read."""
        if stop - position != _NUMBER_LENGTH:
            return False
        number = _number(data, position + 4)[0]
        if part in {_TIME, _INTERVAL}:
            # What 64 bits of 2^-30 s do not hold is the last time that they hold.
            number = min(number << 30, _LAST_TIME)
        if part in {_TIME, _TIME_HR}:
            state.time = number
            state.stamp = (number + _HALF) >> 30
        else:
            state.interval = number or self._interval
        return True

    def _read_other(
        self, part: int, data: bytes, position: int, stop: int, seal: Level, depth: int, state: _State, found: _Found
    ) -> int:
        """Take a part that is sealed, below the level, or neither name nor number nor values.

        Return where to go on: -1 if the part could not be read, the end of ``data`` if it forbids to.
        """
        level = self.security.level
        if part == _ENCRYPT or (part == _SIGN and (seal is Level.ENCRYPT or level < Level.ENCRYPT)):
            after = self._open(part, data, position, stop, seal, depth, found)
            if after < 0:
                found.reject("security")
                return len(data)
            return after
        if seal < level:
            found.below = True
            return stop
        return stop if _read_notice(part, data, position, stop, state, found) else -1

    def _count_rest(self, data: bytes, position: int, found: _Found) -> None:
        """What cannot be read at the end: zeros are how some senders fill their buffer."""
        if data.count(0, position) == len(data) - position:
            self.padded += 1
        else:
            found.reject("malformed")

    def _open(self, part: int, data: bytes, position: int, stop: int, seal: Level, depth: int, found: _Found) -> int:
        """Read what a sealed part protects. Return where to go on, -1 if it is not what a user sent."""
        users = self.security.users
        if part == _SIGN and users is None and stop - position > SIGN_OVERHEAD:
            self.unverified += 1
            return stop
        if users is None or depth >= NESTING_LIMIT:
            return -1
        before = found.user
        if part == _SIGN:
            if not verified(data, position, stop, len(data), users):
                return -1
            found.user = data[position + SIGN_OVERHEAD : stop]
            self._read(data[stop:], max(seal, Level.SIGN), depth + 1, found)
            after = len(data)
        else:
            opened = decrypted(data, position, stop, users)
            if opened is None:
                return -1
            found.user, payload = opened
            self._read(payload, Level.ENCRYPT, depth + 1, found)
            after = stop
        found.user = before
        return after

    def _take(self, known: ValueList, data: bytes, position: int, state: _State, found: _Found) -> None:
        """Take the values part at ``position``, which begins with the head of ``known``."""
        known.seen = found.now
        if known.mismatched:
            self.mismatched += 1
        raws = known.decode(data, position + len(known.head))
        if known.rates is not None:
            known.interval = state.interval
            self._take_rates(known.spellings, known.rates, raws, state, found)
            return
        found.values += raws
        found.spellings += known.spellings
        if len(raws) == 1:
            found.stamps.append(state.stamp)
        else:
            found.stamps += [state.stamp] * len(raws)

    def _take_rates(
        self, spellings: list[bytes], rates: list[Rate | None], raws: Raws, state: _State, found: _Found
    ) -> None:
        """Take the rates of counters, and the gauges among them as they are."""
        for spelling, rate, raw in zip(spellings, rates, raws, strict=True):
            value = raw if rate is None else rate.update(raw, state.time, state.interval, found.now)
            if value is None:
                found.no_rate += 1
            else:
                found.values.append(value)
                found.spellings.append(spelling)
                found.stamps.append(state.stamp)

    def _learn(self, data: bytes, position: int, stop: int, state: _State, found: _Found) -> bool:
        """Take a value list that is new or has changed. Return whether it could be read, whatever became of it."""
        count, left = divmod(stop - position - 6, 9)
        if left or _count(data, position + 4)[0] != count:
            return False
        kinds = data[position + 6 : position + 6 + count]
        if kinds.translate(None, _KINDS):
            return False
        host, plugin, _, type_, _ = fields = tuple(state.fields)
        sources = self._types.types.get(type_)
        if not count:
            pass
        elif not (state.time and host and plugin and type_):
            found.reject("malformed", count)
        elif sources is None or len(sources) != count:
            found.reject("unknown_type", count)
        else:
            known = self._lists.add(fields, kinds, sources, state.interval, found.now)
            self._take(known, data, position, state, found)
        return True


def _read_notice(part: int, data: bytes, position: int, stop: int, state: _State, found: _Found) -> bool:
    """Take a message or severity, pass over any other part. Return whether it could be read."""
    length = stop - position
    if part == _SEVERITY:
        if length != _NUMBER_LENGTH:
            return False
        state.severity = _number(data, position + 4)[0]
    elif part == _MESSAGE:
        if not 4 < length <= _MESSAGE_LIMIT or data[stop - 1]:
            return False
        message = data[position + 4 : stop - 1].partition(b"\0")[0]
        if message and state.time and state.severity in SEVERITIES:
            texts = map(field_text, (*state.fields, message))
            found.notifications.append(Notification(state.stamp, state.severity, *texts))
    return True


def _resolve(found: _Found, names: NameTable) -> CollectdParsed:
    """Columns of what was found: finite values with a path, the unknown ones listed."""
    spellings, rejected = found.spellings, found.rejected
    count = len(spellings)
    values = np.fromiter(found.values, np.float64, count)
    stamps = np.fromiter(found.stamps, np.int64, count)
    # The sum is finite only if all are; one that overflows just costs a second look.
    if not math.isfinite(sum(found.values)):
        finite = np.isfinite(values)
        nans = int(np.isnan(values).sum())
        found.reject("nan", nans)
        found.reject("infinite", count - int(finite.sum()) - nans)
        _move(found.users, finite)
        spellings = list(compress(spellings, finite.tolist()))
        values, stamps = values[finite], stamps[finite]
    ids = list(map(names.get, spellings))
    unknown: list[NewName] = []
    if None in ids:
        if NO_PATH in spellings:
            kept = np.array([spelling != NO_PATH for spelling in spellings], np.bool_)
            found.reject("path", spellings.count(NO_PATH))
            _move(found.users, kept)
            ids, spellings = list(compress(ids, kept.tolist())), list(compress(spellings, kept.tolist()))
            values, stamps = values[kept], stamps[kept]
        for row, series in enumerate(ids):
            if series is None:
                ids[row] = UNKNOWN
                unknown.append(NewName(row, spellings[row], spellings[row].decode()))
    batch = Batch(np.fromiter(ids, np.uint32, len(ids)), stamps, values)
    return CollectdParsed(batch, unknown, rejected, found.notifications, found.users)


def _move(users: list[tuple[int, bytes]], kept: NDArray[np.bool_]) -> None:
    """Let the runs of users begin where their rows stand once the others are left out."""
    if users:
        below = np.concatenate([[0], np.cumsum(kept)]).tolist()
        users[:] = [(below[first], user) for first, user in users]
