"""TCP connections that send lines.

A connection is read at most once a turn of the loop, into a buffer that all connections of a listener share: what
one read brings is parsed before the next begins. While the store is saturated a connection that becomes readable is
parked, which is to stop watching it, and the kernel's window closes on the client; idle ones need no attention.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import BACKLOG
from ingestd.points import Parsed
from ingestd.telemetry import Books
from ingestd.wire.framing import LINE_LIMIT, LineSplitter

_log = logging.getLogger(__name__)

READ_SIZE: Final = 128 * 1024
"""Bytes a read: 2,000 lines. Larger ones gain little (the fixed cost of a batch is 5 % here) and cost fairness."""
_ACCEPTS_A_TURN: Final = 64
_RETRY_ACCEPT: Final = 1.0
"""Seconds without accepting when the process is out of descriptors: the kernel would report it without end."""
_RECHECK: Final = 0.05
"""Seconds until a saturated store is asked again, should nobody call ``resume``."""


FIRST_READ: Final = 4096
"""Bytes of a connection's first read: enough to see whether it sends lines, cheap to find out that it does not."""
SUSPECTS_MAX: Final = 1000
"""Connections that send nothing but garbage; beyond, the oldest is closed: each holds buffers of the kernel."""
_SILENT: Final = 30.0
"""Seconds of silence after which a connection is looked at: 10,000 of them cost 10 ms of CPU a look."""
_SUSPECTS_SHARE: Final = 0.002
"""Seconds of each turn of the loop for connections that send garbage."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Limits of a TCP listener."""

    line: int = LINE_LIMIT
    """Bytes of a line."""
    connections: int = 20_000
    """Connections at once; twice the largest fleet in mind, below usual limits on descriptors."""
    idle_timeout: float = 0.0
    """Seconds of silence after which a connection is closed; 0 = never: clients keep theirs open between intervals."""


class _Connection:
    __slots__ = ("last", "size", "sock", "splitter")

    def __init__(self, sock: socket.socket, limit: int, now: float) -> None:
        self.sock = sock
        self.splitter = LineSplitter(limit)
        self.last = now
        self.size = FIRST_READ
        """Bytes of the next read."""


class StreamListener:
    """Reads lines from all connections of some listening sockets; ``parse`` turns whole lines into points."""

    def __init__(
        self, pipeline: Pipeline, books: Books, settings: StreamSettings, parse: Callable[[bytes], Parsed]
    ) -> None:
        self.refused = 0
        """Connections closed at once because there were too many."""
        self._pipeline = pipeline
        self._books = books
        self._settings = settings
        self._parse = parse
        self._listening: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._parked: dict[_Connection, None] = {}
        self._suspects: dict[_Connection, None] = {}
        """Connections whose last lines were all garbage; the oldest first."""
        self._waiting: dict[_Connection, None] = {}
        """Suspects that can be read."""
        self._hearing = False
        self.evicted = 0
        """Connections that sent garbage and were closed to make room for others."""
        self._held = False
        self._recheck: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._loop: asyncio.AbstractEventLoop

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    def start(self, listening: list[socket.socket]) -> None:
        """Accept at these sockets, which now belong to the listener."""
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        for sock in listening:
            self._loop.add_reader(sock, self._accept, sock)
        self._schedule_sweep()

    async def stop(self, grace: float) -> None:
        """Accept and read what the kernel holds already, for at most ``grace`` seconds, then close everything."""
        deadline = asyncio.get_running_loop().time() + grace
        for sock in self._listening:
            for _ in range(BACKLOG // _ACCEPTS_A_TURN + 1):
                if not self._accept(sock):
                    break
            self._loop.remove_reader(sock)
            sock.close()
        self._listening = []
        self._held = False
        for connection in list(self._connections):
            await self._drain(connection, deadline)
        for connection in list(self._connections):
            self._end(connection)
        for timer in (self._recheck, self._sweep):
            if timer is not None:
                timer.cancel()

    async def _drain(self, connection: _Connection, deadline: float) -> None:
        while connection in self._connections and self._loop.time() < deadline:
            if self._pipeline.saturated:
                await asyncio.sleep(0.01)
            elif not self._take(connection):
                break
            else:
                await asyncio.sleep(0)

    def pause(self) -> None:
        """Read nothing until :meth:`resume`."""
        self._held = True

    def resume(self) -> None:
        """Read again, unless the store is saturated."""
        self._held = False
        parked, self._parked = self._parked, {}
        for connection in parked:
            connection.last = self._loop.time()
            self._loop.add_reader(connection.sock, self._read, connection)

    def _accept(self, listening: socket.socket) -> bool:
        """Accept some connections. Return whether there may be more."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    _log.error("cannot accept a connection: %s", error.strerror)
                    self._loop.remove_reader(listening)
                    self._loop.call_later(_RETRY_ACCEPT, self._accept_again, listening)
                    return False
                continue  # that client has gone already
            if len(self._connections) >= self._settings.connections and not self._evict():
                self.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            connection = _Connection(sock, self._settings.line, self._loop.time())
            self._connections.add(connection)
            self._loop.add_reader(sock, self._read, connection)
            # A connection that was reset before it is watched is never reported by libuv: look at once.
            self._read(connection)
        return True

    def _evict(self) -> bool:
        """Close the connection that has sent garbage for longest. Return whether there was one."""
        suspect = next(iter(self._suspects), None)
        if suspect is None:
            return False
        self.evicted += 1
        self._end(suspect)
        return True

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    def _read(self, connection: _Connection) -> None:
        if self._held or self._pipeline.saturated:
            self._loop.remove_reader(connection.sock)
            self._parked[connection] = None
            if self._recheck is None:
                self._recheck = self._loop.call_later(_RECHECK, self._check_again)
        elif connection in self._suspects:
            self._loop.remove_reader(connection.sock)
            self._waiting[connection] = None
            if not self._hearing:
                self._hearing = True
                self._loop.call_soon(self._hear_suspects)
        else:
            self._take(connection)

    def _hear_suspects(self) -> None:
        """Read from those that send garbage, in turn, for a small part of each turn of the loop.

        Who sends points is read at once, and so does not wait behind thousands of reads of garbage.
        """
        deadline = self._loop.time() + _SUSPECTS_SHARE
        while self._waiting and self._loop.time() < deadline:
            suspect = next(iter(self._waiting))
            del self._waiting[suspect]
            if not (self._held or self._pipeline.saturated):
                self._take(suspect)
            if suspect in self._connections:
                self._loop.add_reader(suspect.sock, self._read, suspect)
        self._hearing = bool(self._waiting)
        if self._hearing:
            self._loop.call_soon(self._hear_suspects)

    def _check_again(self) -> None:
        self._recheck = None
        if self._held or not self._parked:
            return
        if self._pipeline.saturated:
            self._recheck = self._loop.call_later(_RECHECK, self._check_again)
        else:
            self.resume()

    def _take(self, connection: _Connection) -> bool:
        """One read and what it brings. Return whether there may be more."""
        try:
            size = connection.sock.recv_into(self._buffer[: connection.size])
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:  # reset by the client: what came before it counts
            size = 0
        if not size:
            self._end(connection)
            return False
        connection.last = self._loop.time()
        connection.size = READ_SIZE
        splitter = connection.splitter
        before = splitter.too_long
        lines = splitter.feed(bytes(self._buffer[:size]))
        self._pipeline.refuse(self._books, "too_long", splitter.too_long - before)
        if lines:
            parsed = self._parse(lines)
            if parsed.received and parsed.rejected.get("malformed", 0) == parsed.received:
                self._suspects.setdefault(connection)
            else:
                self._suspects.pop(connection, None)
            self._pipeline.accept(self._books, parsed)
            if len(self._suspects) > SUSPECTS_MAX:
                self._evict()
        return True

    def _end(self, connection: _Connection) -> None:
        """Close a connection; a last line without LF may be cut short and is not stored."""
        self._connections.discard(connection)
        self._parked.pop(connection, None)
        self._suspects.pop(connection, None)
        self._waiting.pop(connection, None)
        self._loop.remove_reader(connection.sock)
        connection.sock.close()
        if connection.splitter.close():
            self._pipeline.refuse(self._books, "malformed", 1)

    def _schedule_sweep(self) -> None:
        period = min(_SILENT, self._settings.idle_timeout / 4 or _SILENT)
        self._sweep = self._loop.call_later(max(0.05, period), self._look_after_silent)

    def _look_after_silent(self) -> None:
        """Close connections that have been silent for too long, or were reset without a word from the loop.

        One timer for all of them: libuv stops watching a socket that has data and an error at once, and says nothing.
        """
        now, timeout = self._loop.time(), self._settings.idle_timeout
        for connection in [c for c in self._connections if c not in self._parked and c not in self._waiting]:
            if timeout and connection.last < now - timeout:
                self._end(connection)
            elif connection.last < now - _SILENT and not (self._held or self._pipeline.saturated):
                self._take(connection)
        self._schedule_sweep()
