"""The loop that sends: non-blocking sockets, what is due first goes first, what the target does not take waits.

A latency counts from when a write was due, so that a target that stops for a second is seen to have stopped, although
nothing else is sent meanwhile.
"""

from __future__ import annotations

import errno
import heapq
import math
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final

from ingestd.load.figures import Report
from ingestd.load.workloads import Clock, Lane, Load

PIECE: Final = 128 * 1024
"""Bytes that are made at a time at most."""
TICK: Final = 0.1
"""Seconds between two words of progress."""

CLOSING: Final = 30.0
"""Seconds for the target to read what is on its way and close its side."""

Tell = Callable[[int, float], None]
"""Hears points sent and seconds gone, all in all."""


class _Sending:
    """A lane with its socket, and what of its last piece the socket has not taken."""

    __slots__ = ("begun", "lane", "rest", "since", "sock")

    def __init__(self, sock: socket.socket, lane: Lane) -> None:
        self.sock = sock
        self.lane = lane
        self.rest: list[memoryview] = []
        self.begun = 0.0
        """When the piece was due, or its writing begun where nothing says when."""
        self.since = 0.0
        """When the socket took no more."""


class Sender:
    """Sends all of ``lanes``, each over the socket of its place, and fills in the ``report``."""

    def __init__(
        self, sockets: Sequence[socket.socket], lanes: Sequence[Lane], load: Load, report: Report, tell: Tell
    ) -> None:
        self._all = [_Sending(sock, lane) for sock, lane in zip(sockets, lanes, strict=True)]
        self._load = load
        self._report = report
        self._tell = tell
        self._buffer = bytearray(PIECE)
        self._view = memoryview(self._buffer)
        self._due: list[tuple[float, int]] = []
        self._blocked = 0
        self._waited = 0.0
        self._told = 0.0

    def run(self) -> None:
        """Send everything, or for as long as was asked for. Raises OSError if the target breaks a connection."""
        self._clock = Clock(time.time(), time.monotonic())
        self._paced = begin = self._clock.monotonic
        end = begin + self._load.seconds if self._load.seconds is not None else math.inf
        with selectors.DefaultSelector() as self._selector:
            for number in range(len(self._all)):
                self._schedule(number, begin)
            while (now := time.monotonic()) < end and (self._due or self._blocked):
                self._turn(now, end)
            self._due.clear()
            self._drain()
            done = time.monotonic()
            if self._load.protocol == "graphite":
                done = self._close(done)
            else:
                self._ask_for_errors()
        self._report.seconds = done - begin
        self._report.blocked = self._waited / (len(self._all) * self._report.seconds)
        self._tell(self._report.points, self._report.seconds)

    def _turn(self, now: float, end: float) -> None:
        """One piece that is due, or a wait for what may come: room in a socket, the next that is due."""
        if self._due and self._due[0][0] <= now:
            due, number = heapq.heappop(self._due)
            now = self._write(number, due)
        if now - self._told >= TICK:
            self._told = now
            self._tell(self._report.points, now - self._clock.monotonic)
        ready = bool(self._due) and self._due[0][0] <= now
        if self._blocked or (self._due and not ready):
            until = min(end, now + TICK, self._due[0][0] if self._due else end)
            self._resume(0.0 if ready else max(0.0, until - now))

    def _schedule(self, number: int, now: float) -> None:
        lane = self._all[number].lane
        if lane.finished:
            return
        due = lane.due(self._clock)
        if due is None:
            due = now if self._load.rate is None else self._paced
        heapq.heappush(self._due, (due, number))

    def _write(self, number: int, due: float) -> float:
        """Make a lane's next piece and send what of it its socket takes; when that was done."""
        one, report = self._all[number], self._report
        filled = one.lane.fill(self._clock, time.monotonic(), self._buffer)
        report.points += filled.points
        report.size += filled.ends[-1]
        if self._load.rate is not None:
            self._paced += filled.points / self._load.rate
        paced = self._load.rate is not None or self._load.workload == "fleet"
        one.begun = due if paced else time.monotonic()
        starts = [0, *filled.ends[:-1]]
        rest = self._send(one.sock, [self._view[s:e] for s, e in zip(starts, filled.ends, strict=True)])
        now = time.monotonic()
        if rest:
            # The buffer is everybody's: what waits is copied.
            one.rest = [memoryview(bytes(piece)) for piece in rest]
            one.since = now
            self._blocked += 1
            self._selector.register(one.sock, selectors.EVENT_WRITE, number)
        else:
            report.latencies.add(now - one.begun)
            self._schedule(number, now)
        return now

    @staticmethod
    def _send(sock: socket.socket, pieces: list[memoryview]) -> list[memoryview]:
        """Send until the socket takes no more; what is left."""
        for place, piece in enumerate(pieces):
            try:
                sent = sock.send(piece)
            except BlockingIOError:
                sent = 0
            if sent < len(piece):
                return [piece[sent:], *pieces[place + 1 :]]
        return []

    def _resume(self, wait: float) -> None:
        """Wait at most so many seconds for sockets with room, and send what they did not take before."""
        if not self._blocked:
            time.sleep(wait)
            return
        for key, _ in self._selector.select(wait):
            one = self._all[key.data]
            one.rest = self._send(one.sock, one.rest)
            if not one.rest:
                now = time.monotonic()
                self._selector.unregister(one.sock)
                self._blocked -= 1
                self._waited += now - one.since
                self._report.latencies.add(now - one.begun)
                self._schedule(key.data, now)

    def _drain(self) -> None:
        """Send the rest of lines that have begun: a point that was counted is sent."""
        deadline = time.monotonic() + CLOSING
        while self._blocked:
            self._resume(TICK)
            self._due.clear()
            if self._blocked and time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def _close(self, sent: float) -> float:
        """End all connections. When the target had closed the last of them, or ``sent`` where it leaves them open."""
        for one in self._all:
            one.sock.shutdown(socket.SHUT_WR)
            self._selector.register(one.sock, selectors.EVENT_READ)
        left, deadline = len(self._all), sent + CLOSING
        while left:
            for key, _ in self._selector.select(TICK):
                sock = key.fileobj
                assert isinstance(sock, socket.socket)
                if not sock.recv(PIECE):
                    self._selector.unregister(sock)
                    left -= 1
            now = time.monotonic()
            if left and now > deadline:
                return sent
        return now

    def _ask_for_errors(self) -> None:
        """Datagrams that nobody takes show themselves by an error after they were sent, if at all."""
        for one in self._all:
            if error := one.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
