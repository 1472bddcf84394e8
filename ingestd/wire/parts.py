"""The parts of collectd's datagrams, in Python: the reference of the compiled :mod:`ingestd._speed.collectd`.

A datagram is a sequence of parts, each ``u16 type, u16 length`` (of the whole part) and a payload; parts set fields,
and a values part uses the fields as they stand. Nothing is carried from one datagram to the next. The rules, bounds
and what ends a datagram early are those of collectd 5.12's ``network.c``, but for what it gets wrong: the length of
numbers is checked, the kinds on the wire are believed and never reinterpreted, and sealed parts nest to a limit.

``74 65 73 74 00`` after ``00 00 00 09`` is the host "test"; ``00 06 00 0f 00 01 01`` and eight bytes is one gauge.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import Found, Refused, Run
from ingestd.points import UNKNOWN, NameTable
from ingestd.wire.graphite_names import NO_PATH
from ingestd.wire.rates import SECOND, Rate
from ingestd.wire.seal import NESTING_LIMIT, SIGN_OVERHEAD, Level, Security, decrypted, verified
from ingestd.wire.value_lists import LIMIT, Key, Learn, Raws, ValueList, ValueLists

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
_SEVERITIES: Final = (1, 2, 4)

_header = struct.Struct(">HH").unpack_from
_count = struct.Struct(">H").unpack_from
_number = struct.Struct(">Q").unpack_from

Tell: TypeAlias = Callable[[int, int, Key, bytes], Any]
"""Makes a notification of its time (seconds), severity, fields and message."""
_Columns: TypeAlias = tuple[
    NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64], list[tuple[int, bytes]], list[tuple[int, bytes]]
]


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

    __slots__ = (
        "below", "no_rate", "notifications", "now", "rejected", "security", "spellings", "stamps", "users", "values",
    )  # fmt: skip

    def __init__(self, security: Security, now: float) -> None:
        self.security = security
        self.now = now
        self.users: list[tuple[int, bytes]] = [(0, b"")]
        """The first row of each run, and the user who sealed it (b"": nobody did)."""
        self.below = False
        self.no_rate = 0
        self.spellings: list[bytes] = []
        self.stamps: list[int] = []
        self.values: list[int | float] = []
        self.rejected: dict[str, int] = {}
        self.notifications: list[Any] = []

    @property
    def user(self) -> bytes:
        """Who sealed what is being read; b"" = nobody."""
        return self.users[-1][1]

    @user.setter
    def user(self, user: bytes) -> None:
        self.users.append((len(self.spellings), user))

    def reject(self, reason: str, points: int = 1) -> None:
        if points:
            self.rejected[reason] = self.rejected.get(reason, 0) + points


class PureReader:
    """Reads datagrams; remembers identities and, where ``rated``, the last values of counters.

    ``learn`` gives what there is to know of an identity, ``tell`` makes its notifications; ``interval`` (2^-30 s)
    stands in for a sender's of 0. Holds at most ``limit`` value lists.
    """

    def __init__(self, learn: Learn, tell: Tell, rated: bool, interval: int, limit: int = LIMIT) -> None:
        self._learned = learn
        self._tell = tell
        self._interval = interval
        self._lists = ValueLists(rated, limit)
        self._texts: dict[bytes, bytes] = {}
        self.mismatched = self.padded = self.unverified = 0

    @property
    def forgotten(self) -> int:
        return self._lists.forgotten

    def __len__(self) -> int:
        return len(self._lists)

    def clear(self) -> None:
        """Forget all identities."""
        self._lists.clear()

    def read(self, datagrams: Sequence[bytes], names: NameTable, now: float, security: Security) -> Found:
        """All that can be read of ``datagrams``, in their order. A datagram on which this fails gives nothing."""
        columns: list[tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]] = []
        rows: list[int] = []
        unknown: list[bytes] = []
        runs: list[Run] = []
        refused: list[Refused] = []
        notifications: list[Any] = []
        failed: list[tuple[int, Exception]] = []
        offset = 0
        for number, datagram in enumerate(datagrams):
            found = _Found(security, now)
            try:
                self._read(datagram, Level.NONE, 0, found)
                if found.below:
                    found.reject("security")
                found.reject("no_rate", found.no_rate)
                ids, stamps, values, new, users = _resolve(found, names)
            except Exception as error:  # a bug, but the other datagrams are other clients'
                failed.append((number, error))
                continue
            ends = [first for first, _ in users[1:]] + [len(ids)]
            mine = [(offset + end, number, user) for (first, user), end in zip(users, ends, strict=True) if end > first]
            if found.rejected:
                refused.append((number, mine[0][2] if mine else b"", found.rejected))
            runs += mine
            rows += [offset + row for row, _ in new]
            unknown += [spelling for _, spelling in new]
            columns.append((ids, stamps, values))
            notifications += found.notifications
            offset += len(ids)
        empty = np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float64)
        joined = columns[0] if len(columns) == 1 else [np.concatenate(column) for column in zip(empty, *columns)]  # noqa: B905
        where = np.array(rows, np.intp)
        return (joined[0], joined[1], joined[2], where, unknown, runs, refused, notifications, failed)

    def _read(self, data: bytes, seal: Level, depth: int, found: _Found) -> None:  # noqa: C901
        """Read all parts of ``data``, which is protected by ``seal``.

        What nearly every list has is taken here and not in methods: the calls would cost as much as the work.
        """
        state = _State(self._interval)
        fields = state.fields
        known_list = self._lists.get
        texts = self._texts
        below = seal < found.security.level
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
        level = found.security.level
        if part == _ENCRYPT or (part == _SIGN and (seal is Level.ENCRYPT or level < Level.ENCRYPT)):
            after = self._open(part, data, position, stop, seal, depth, found)
            if after < 0:
                found.reject("security")
                return len(data)
            return after
        if seal < level:
            found.below = True
            return stop
        return stop if self._read_notice(part, data, position, stop, state, found) else -1

    def _count_rest(self, data: bytes, position: int, found: _Found) -> None:
        """What cannot be read at the end: zeros are how some senders fill their buffer."""
        if data.count(0, position) == len(data) - position:
            self.padded += 1
        else:
            found.reject("malformed")

    def _open(self, part: int, data: bytes, position: int, stop: int, seal: Level, depth: int, found: _Found) -> int:
        """Read what a sealed part protects. Return where to go on, -1 if it is not what a user sent."""
        users = found.security.users
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
        if not count:
            pass
        elif not (state.time and host and plugin and type_):
            found.reject("malformed", count)
        elif (learned := self._learned(fields, kinds)) is None:
            found.reject("unknown_type", count)
        else:
            known = self._lists.add(fields, kinds, learned, state.interval, found.now)
            self._take(known, data, position, state, found)
        return True

    def _read_notice(self, part: int, data: bytes, position: int, stop: int, state: _State, found: _Found) -> bool:
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
            if message and state.time and state.severity in _SEVERITIES:
                found.notifications.append(self._tell(state.stamp, state.severity, tuple(state.fields), message))
        return True


def _resolve(found: _Found, names: NameTable) -> _Columns:
    """Columns of what was found: finite values with a path, the unknown ones and the runs of users listed."""
    spellings, users = found.spellings, found.users
    count = len(spellings)
    values = np.fromiter(found.values, np.float64, count)
    stamps = np.fromiter(found.stamps, np.int64, count)
    # The sum is finite only if all are; one that overflows just costs a second look.
    if not math.isfinite(sum(found.values)):
        finite = np.isfinite(values)
        nans = int(np.isnan(values).sum())
        found.reject("nan", nans)
        found.reject("infinite", count - int(finite.sum()) - nans)
        users = _moved(users, finite)
        spellings = list(compress(spellings, finite.tolist()))
        values, stamps = values[finite], stamps[finite]
    ids = list(map(names.get, spellings))
    unknown: list[tuple[int, bytes]] = []
    if None in ids:
        if NO_PATH in spellings:
            kept = np.array([spelling != NO_PATH for spelling in spellings], np.bool_)
            found.reject("path", spellings.count(NO_PATH))
            users = _moved(users, kept)
            ids, spellings = list(compress(ids, kept.tolist())), list(compress(spellings, kept.tolist()))
            values, stamps = values[kept], stamps[kept]
        for row, series in enumerate(ids):
            if series is None:
                ids[row] = UNKNOWN
                unknown.append((row, spellings[row]))
    return np.fromiter(ids, np.uint32, len(ids)), stamps, values, unknown, users


def _moved(users: list[tuple[int, bytes]], kept: NDArray[np.bool_]) -> list[tuple[int, bytes]]:
    """The runs of users, beginning where their rows stand once the others are left out."""
    below = np.concatenate([[0], np.cumsum(kept)]).tolist()
    return [(below[first], user) for first, user in users]
