"""Reading what connections have sent, and what becomes of it: one by one, or many as one."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Final, Protocol

import numpy as np

from ingestd.ingest.connection import LARGEST_READ, NOTHING, READ_SIZE, Connection, receive_all, usual
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.senders import Crowd, Part
from ingestd.points import Parsed
from ingestd.telemetry import Books

_MUCH: Final = 16 * 1024
"""Bytes of a read that make the next turn follow at once: a kernel's first window holds 64 KiB, so whoever waits for it
to open is among them. Many who send little each do not: a read costs as much as fifty lines, and after a pause it
brings more."""
_CROWD: Final = 256
"""Connections whose lines are parsed as one."""
_FEW: Final = LARGEST_READ // READ_SIZE
"""Connections up to which each may bring more than usual when they are read together."""
_LF: Final = 10


class Keeper(Protocol):
    """Who keeps the connections."""

    def is_new(self, connection: Connection, /) -> bool:
        """Whether it has brought no point yet."""

    def judge(self, connection: Connection, parsed: Parsed, /) -> None:
        """What was found in what it has sent."""

    def heard(self, connections: list[Connection], /) -> None:
        """All that these have sent were points."""

    def close(self, connection: Connection, /) -> None:
        """It has ended, or nothing more can come of it."""


class Reader:
    """Reads connections into a buffer that all of them share, and has accepted what is found."""

    def __init__(
        self,
        pipeline: Pipeline,
        books: Books,
        parse: Callable[[Any], Parsed],
        limit: int,
        keeper: Keeper,
        *,
        lines: bool,
    ) -> None:
        """``limit`` bytes of a line; ``lines``: the pieces are lines, and each LF of good ones is a point."""
        self._pipeline = pipeline
        self._books = books
        self._parse = parse
        self._limit = limit
        self._keeper = keeper
        self._lines = lines
        self._store = bytearray(LARGEST_READ + READ_SIZE if lines else 2 * READ_SIZE)
        self._buffer = memoryview(self._store)
        self._bytes = np.frombuffer(self._buffer, np.uint8)
        self.unread: list[Connection] = []
        """Connections that can be read and found the turn spent: the first of the next one."""

    def one(self, connection: Connection) -> int:
        """One read and what it brings. Return bytes."""
        parts: list[Part] = []
        size = self._read(connection, parts)
        self._accept(parts)
        return size

    def each(self, connections: list[Connection], spent: Callable[[], bool]) -> bool:
        """Read them one by one until the turn is ``spent``. Return whether they brought much."""
        parts: list[Part] = []
        size = 0
        much = False
        for done, connection in enumerate(connections, 1):
            # Whoever sends for the first time may end at once, and wait for that.
            first = self._keeper.is_new(connection)
            got = self._read(connection, parts)
            size += got
            much = much or got >= _MUCH or (first and got > 0)
            if size >= READ_SIZE:
                self._accept(parts)
                size = 0
            if spent():
                self.unread += connections[done:]
                break
        self._accept(parts)
        return much

    def crowd(self, connections: list[Connection], spent: Callable[[], bool]) -> bool:
        """Read many at once, and parse what all have sent as one. Return whether they brought much."""
        done = 0
        much = False
        while done < len(connections):
            if done and spent():
                self.unread += connections[done:]
                break
            crowd = connections[done : done + _CROWD]
            each = READ_SIZE
            if len(crowd) <= _FEW:
                each = max(each, min(LARGEST_READ // len(crowd), *[connection.size for connection in crowd]))
            sizes = receive_all([c.number for c in crowd], self._buffer, each)
            much = much or max(sizes) >= _MUCH
            self._take_crowd(crowd, sizes)
            done += len(sizes)
        return much

    def _take_crowd(self, crowd: list[Connection], sizes: list[int]) -> None:
        """Take what stands in the buffer, of each one behind the other."""
        ends = list(accumulate(sizes))
        if len(sizes) < len(crowd):
            crowd = crowd[: len(sizes)]
        if not self._are_whole(crowd, sizes, ends):
            self._take_each(crowd, sizes)
            return
        now = time.monotonic()
        for connection in crowd:
            connection.last = now
        self._learn(crowd, sizes, usual=self._hand_over(crowd, bytes(self._buffer[: ends[-1]]), ends))

    def _are_whole(self, crowd: list[Connection], sizes: list[int], ends: list[int]) -> bool:
        """Whether each has sent whole lines, none of them too long: what nearly all that are read together have."""
        if min(sizes) <= 0 or max(sizes) > self._limit or True in [c.pending for c in crowd]:
            return False
        return bool((self._bytes[np.array(ends) - 1] == _LF).all())

    def _take_each(self, crowd: list[Connection], sizes: list[int]) -> None:
        """As :meth:`_take_crowd`, where any of them has sent more, less or nothing."""
        buffer, limit, now = self._buffer, self._limit, time.monotonic()
        pieces: list[bytes] = []
        senders: list[Connection] = []
        ends: list[int] = []
        ended: list[Connection] = []
        run = at = length = 0
        for connection, size in zip(crowd, sizes, strict=True):
            if size <= 0:
                if size != NOTHING:
                    ended.append(connection)
                continue
            end = at + size
            connection.last = now
            if size <= limit and buffer[end - 1] == _LF and not connection.pending:
                length += size  # whole lines, none of them too long: they stay where they are
            else:
                pieces += bytes(buffer[run:at]), self._feed(connection, at, end)
                run = end
                length += len(pieces[-1])
            senders.append(connection)
            ends.append(length)
            at = end
        pieces.append(bytes(buffer[run:at]))
        pieces = [piece for piece in pieces if piece]
        fine = self._hand_over(senders, pieces[0] if len(pieces) == 1 else b"".join(pieces), ends)
        self._learn(crowd, sizes, usual=fine)
        for connection in ended:
            self._keeper.close(connection)

    @staticmethod
    def _learn(crowd: list[Connection], sizes: list[int], *, usual: bool) -> None:
        """Where they were few, what was read of each says how much the next read may bring."""
        if len(crowd) <= _FEW:
            for connection, size in zip(crowd, sizes, strict=True):
                connection.learn(size, usual=usual)

    def _read(self, connection: Connection, parts: list[Part]) -> int:
        """Read once, and add what was found to ``parts``. Return bytes."""
        size, end = connection.receive(self._buffer)
        if size:
            connection.last = time.monotonic()
            whole = self._feed(connection, 0, size)
            if whole:
                parts.append(self._parse_one(connection, whole))
                if self._lines:
                    connection.learn(size, usual=usual(parts[-1][0], size))
        if end or connection.splitter.broken:
            # Who sees the end sees the points.
            self._accept(parts)
            self._keeper.close(connection)
        return size

    def _accept(self, parts: list[Part]) -> None:
        """Have them accepted as one; none are left."""
        if parts:
            self._pipeline.accept(self._books, parts)
            parts.clear()

    def _feed(self, connection: Connection, start: int, end: int) -> Any:
        """What is whole now of what the connection has sent: the latest stands in the buffer."""
        splitter = connection.splitter
        before = splitter.too_long
        whole = connection.feed(self._store, start, end)
        if splitter.too_long != before:
            self._pipeline.refuse(self._books, "too_long", splitter.too_long - before, connection.source)
        return whole

    def _parse_one(self, connection: Connection, piece: Any) -> Part:
        parsed = self._parse(piece)
        if self._lines and len(parsed.batch) != piece.count(b"\n"):
            connection.steady = False
        self._keeper.judge(connection, parsed)
        return parsed, connection.source

    def _hand_over(self, senders: list[Connection], lines: bytes, ends: list[int]) -> bool:
        """Parse and accept as one the lines of many; apart where any line is no point, for whose would it be?

        Return whether they were :func:`~ingestd.ingest.connection.usual`.
        """
        if not lines:
            return False
        parsed = self._parse(lines)
        parts: list[Part] = []
        if len(senders) == 1:
            self._keeper.judge(senders[0], parsed)
            parts.append((parsed, senders[0].source))
        elif len(parsed.batch) == int(np.count_nonzero(np.frombuffer(lines, np.uint8) == _LF)):
            self._keeper.heard(senders)
            parts.append((parsed, Crowd([connection.source for connection in senders], lines, ends)))
        else:
            for connection, start, end in zip(senders, [0, *ends], ends, strict=False):
                if start < end:
                    parts.append(self._parse_one(connection, lines[start:end]))
        self._accept(parts)
        return usual(parsed, len(lines))
