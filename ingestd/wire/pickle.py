"""Carbon's pickle protocol: frames of ``[(path, (timestamp, value)), …]``, read without unpickling anything.

A frame is a length in four bytes, big-endian, and a pickle, which :mod:`ingestd.wire.opcodes` reads: what is not a
list of tuples of texts and numbers is refused, not loaded. What carbon takes of these is in its
``lib/carbon/protocols.py`` (``MetricPickleReceiver``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ingestd.points import UNKNOWN, Batch, NameTable, NewName, Parsed, Times, Values, empty_batch
from ingestd.wire.framing import LINE_LIMIT, WireError
from ingestd.wire.lines import Line, PathLimits, canonical_path, parse_line
from ingestd.wire.opcodes import REFUSALS, Machine, PickleError

FRAME_LIMIT: Final = 1 << 20
"""Bytes of a frame: carbon's own limit."""
POINTS_MAX: Final = 1 << 16
"""Points of a frame: as many as 1 MiB holds of distinct ones, and a bound on how often one may be repeated."""
ROOM: Final = 256 << 20
"""Bytes of unfinished frames of all connections: 256 that hold back the last byte of the largest frame."""
ALWAYS_ROOM: Final = 1 << 16
"""Bytes of an unfinished frame for which there is always room: carbon's own frames have 500 points, some 25 KB."""
_HEADER: Final = 4
_NUMBER_TEXT: Final = 128
"""Bytes of a text that may be a number: one long text can be the value of all points."""
_INT64_MAX: Final = (1 << 63) - 1
_TIME_END: Final = float(1 << 63)


def parse_pickle(frame: bytes, names: NameTable, now: int, limits: PathLimits) -> Parsed:
    """All points of one frame (without its length) as one batch in their order.

    A frame that is no pickle of a list or tuple counts as one point received and refused (``malformed``). An item
    that is no ``(path, (timestamp, value))`` costs itself alone. Paths are texts or bytes; numbers are ints, floats,
    booleans, and texts in the grammar of plaintext; ``now`` in seconds stands in for the timestamp -1, and fractions
    of seconds are cut, as there. Nothing of ``frame`` is kept.
    """
    rejected: Counter[str] = Counter()
    machine = Machine(frame)
    try:
        items = machine.run()
        if not isinstance(items, list | tuple) or len(items) > POINTS_MAX:
            raise PickleError("not points")
        columns = _plain_columns(items) or _read_each(items, now, rejected)
    except REFUSALS:
        return Parsed(empty_batch(), [], {"malformed": 1})
    finally:
        machine.close()
    return _resolve(columns, names, limits, rejected)


class _Columns(NamedTuple):
    """Points whose paths have not been looked at."""

    spellings: Sequence[bytes]
    timestamps: Times
    values: Values


def _plain_columns(items: Sequence[Any]) -> _Columns | None:
    """Columns of items that are all points of bytes, numbers within range and nothing else; None if one is not."""
    try:
        spellings, pairs = zip(*items, strict=True)
        stamps, numbers = zip(*pairs, strict=True)
    except (TypeError, ValueError):
        return None
    stamp_types = set(map(type, stamps))
    if (
        set(map(type, spellings)) != {bytes}
        or not set(map(type, pairs)) <= {tuple, list}
        or not set(map(type, numbers)) <= {float, int}
        or stamp_types not in ({int}, {float})
    ):
        return None
    try:
        timestamps, values = np.array(stamps), np.array(numbers, np.float64)
    except OverflowError:
        return None
    # Integers beyond int64 make another type of array; NaN compares as false.
    if timestamps.dtype.kind not in "if" or not ((timestamps >= 0) & (timestamps < _TIME_END)).all():
        return None
    if not np.isfinite(values).all() or max(map(len, spellings)) > LINE_LIMIT:
        return None
    return _Columns(spellings, timestamps.astype(np.int64), values)


def _read_each(items: Sequence[Any], now: int, rejected: Counter[str]) -> _Columns:
    """Columns of any items, one at a time; what is no point is counted by its reason."""
    found: list[Line] = []
    for item in items:
        point = _point(item, now)
        if isinstance(point, str):
            rejected[point] += 1
        else:
            found.append(point)
    return _Columns(
        [point.spelling for point in found],
        np.array([point.timestamp for point in found], np.int64),
        np.array([point.value for point in found], np.float64),
    )


def _point(item: Any, now: int) -> Line | str:
    """One item as a point, or the reason why it is none: the reference for :func:`_plain_columns`."""
    match item:
        case [bytes(spelling), [stamp, number]]:
            timestamp, value = _timestamp(stamp, now), _value(number)
        case _:
            return "malformed"
    if timestamp is None or value is None:
        return "malformed"
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "infinite"
    if timestamp > _INT64_MAX:
        return "too_new"
    return Line(spelling, value, timestamp) if len(spelling) <= LINE_LIMIT else "path"


def _value(number: Any) -> float | None:
    """A double, infinite beyond its range; None if ``number`` is none."""
    if isinstance(number, bytes):
        line = parse_line(b"- %b 0" % number, 0) if len(number) <= _NUMBER_TEXT else "malformed"
        return line.value if isinstance(line, Line) else None if line == "malformed" else float(number)
    try:
        return float(number) if isinstance(number, int | float) else None
    except OverflowError:
        return math.inf


def _timestamp(stamp: Any, now: int) -> int | None:
    """Seconds, the fraction cut (may be beyond int64); ``now`` for -1; None if ``stamp`` is no timestamp."""
    if isinstance(stamp, bytes):
        line = parse_line(b"- 0 %b" % stamp, now) if len(stamp) <= _NUMBER_TEXT else None
        return line.timestamp if isinstance(line, Line) else _INT64_MAX + 1 if line == "too_new" else None
    if not isinstance(stamp, int | float) or (isinstance(stamp, float) and not math.isfinite(stamp)):
        return None
    return now if stamp == -1 else int(stamp) if stamp >= 0 else None


def _resolve(columns: _Columns, names: NameTable, limits: PathLimits, rejected: Counter[str]) -> Parsed:
    """Ids of the spellings; unknown ones are listed with their path, or refused if they cannot be one."""
    spellings, timestamps, values = columns
    found = list(map(names.get, spellings))
    unknown: list[NewName] = []
    if None not in found:
        return Parsed(Batch(np.array(found, np.uint32), timestamps, values), unknown, dict(rejected))
    paths: dict[bytes, str | None] = {}
    kept: list[int] = []
    for row, (series, spelling) in enumerate(zip(found, spellings, strict=True)):
        if series is None:
            if spelling not in paths:
                paths[spelling] = canonical_path(spelling, limits)
            path = paths[spelling]
            if path is None:
                rejected["path"] += 1
                continue
            unknown.append(NewName(len(kept), spelling, path))
            found[row] = UNKNOWN
        kept.append(row)
    ids = np.array([found[row] for row in kept], np.uint32)
    return Parsed(Batch(ids, timestamps[kept], values[kept]), unknown, dict(rejected))


class FrameRoom:
    """The bytes of unfinished frames that all connections of a listener hold together."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int = ROOM) -> None:
        self.limit = limit
        self.held = 0


class FrameSplitter:
    """Gives back the whole frames of a stream that arrives in pieces of any size, without their lengths.

    What it gives depends on the stream alone, never on where the stream was cut. A frame over ``limit`` bytes, or over
    :data:`ALWAYS_ROOM` when ``room`` is full, is counted in ``too_long`` and ends the stream: :attr:`broken` is true
    and nothing more comes of it, for carbon too closes such a connection, and its client shall see it.
    """

    __slots__ = ("_limit", "_needed", "_room", "_tail", "broken", "too_long")

    def __init__(self, limit: int = FRAME_LIMIT, room: FrameRoom | None = None) -> None:
        if limit < 1:
            raise WireError(f"frame limit of {limit} bytes: must be at least 1")
        self._limit = limit
        self._room = room or FrameRoom()
        self._tail = bytearray()
        self._needed = 0
        """Bytes that the tail must have before it is worth a look."""
        self.too_long = 0
        self.broken = False

    def feed(self, chunk: bytes | bytearray, start: int = 0, end: int | None = None) -> list[bytes]:
        """Take ``chunk[start:end]``, the next piece of the stream; return all frames that are whole now."""
        if self.broken:
            return []
        chunk = bytes(memoryview(chunk)[start:end])
        before = len(self._tail)
        if before:
            self._tail += chunk
            chunk = b""
            if len(self._tail) >= self._needed:
                chunk = bytes(self._tail)
                self._tail.clear()
        frames = self._cut(chunk) if chunk else []
        self._room.held += len(self._tail) - before
        if self._room.held > self._room.limit and len(self._tail) > ALWAYS_ROOM:
            self._break()
        return frames

    def close(self) -> bool:
        """The stream has ended. Return whether an unfinished frame, not counted yet, was dropped."""
        partial = bool(self._tail)
        self._room.held -= len(self._tail)
        self._tail.clear()
        return partial

    def _cut(self, data: bytes) -> list[bytes]:
        """The whole frames of ``data``; what follows them becomes the tail."""
        frames: list[bytes] = []
        position, self._needed = 0, _HEADER
        while len(data) - position >= _HEADER:
            start = position + _HEADER
            size = int.from_bytes(data[position:start])
            if size > self._limit:
                self.too_long += 1
                self.broken = True
                return frames
            if start + size > len(data):
                self._needed = _HEADER + size
                break
            frames.append(data[start : start + size])
            position = start + size
        self._tail += data[position:]
        return frames

    def _break(self) -> None:
        self.too_long += 1
        self.broken = True
        self.close()
