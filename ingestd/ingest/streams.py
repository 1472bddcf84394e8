"""TCP connections that send lines or frames.

A connection is read at most once a turn, into a buffer that all connections of a listener share. A fleet of agents
sends ten lines a connection every interval, and a batch costs some 0.1 ms however few its points are: so what the
reads of a turn have brought is parsed and accepted together. While the store is saturated no turns are taken, and the
kernel's windows close on the clients.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from ingestd.ingest.connection import Connection
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.readiness import Readiness
from ingestd.ingest.reading import Reader
from ingestd.ingest.sockets import BACKLOG
from ingestd.ingest.sources import Source
from ingestd.points import Parsed
from ingestd.telemetry import Books
from ingestd.wire.framing import LINE_LIMIT, Splitter

_log = logging.getLogger(__name__)

_ACCEPTS_A_TURN: Final = 64
_RETRY_ACCEPT: Final = 1.0
"""Seconds without accepting when the process is out of descriptors: the kernel would report it without end."""
_RECHECK: Final = 0.05
"""Seconds until a saturated store is asked again, should nobody call ``resume``."""

SUSPECTS_MAX: Final = 1000
"""Connections that send nothing but garbage; beyond, the oldest is closed: each holds buffers of the kernel."""
_SUSPECTS_SHARE: Final = 0.002
"""Seconds of each turn of the loop for connections that send garbage, and for handshakes of TLS: each costs up to a
millisecond of CPU, and anybody can begin one."""
_TURN: Final = 0.02
"""Seconds of a turn for connections that send points; who finds it spent is first in the next one. Else a question,
which takes some five turns, would wait for five reads of every client of a fleet that sends all at once."""
HANDSHAKE_SECONDS: Final = 10.0
"""Seconds for a client to finish its handshake: three round trips over the slowest line."""
_WORD: Final = 1.0
"""Seconds between two words in the log about connections that were closed for what they sent."""

_Pieces = TypeVar("_Pieces")


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Limits of a TCP listener."""

    line: int = LINE_LIMIT
    """Bytes of a line."""
    connections: int = 20_000
    """Connections at once; twice the largest fleet in mind, below usual limits on descriptors."""
    idle_timeout: float = 0.0
    """Seconds of silence after which a connection is closed; 0 = never: clients keep theirs open between intervals."""


class StreamListener:
    """Reads all connections of some listening sockets: a ``splitter`` each, ``parse`` turns its pieces into points."""

    def __init__(
        self,
        pipeline: Pipeline,
        books: Books,
        settings: StreamSettings,
        splitter: Callable[[], Splitter[_Pieces]],
        parse: Callable[[_Pieces], Parsed],
        tls: ssl.SSLContext | None = None,
        *,
        lines: bool = False,
    ) -> None:
        """``lines``: the pieces are lines, of which those of many senders may be parsed as one."""
        self._tls = tls
        self._lines = lines
        self.refused = 0
        """Connections closed at once because there were too many."""
        self._pipeline = pipeline
        self._books = books
        self._settings = settings
        self._splitter = splitter
        self._reader = Reader(pipeline, books, parse, settings.line, self, lines=lines)
        self._listening: list[socket.socket] = []
        self._connections: set[Connection] = set()
        self._readiness: Readiness[Connection] = Readiness(self._turn)
        self._suspects: dict[Connection, None] = {}
        """Connections whose last lines were all garbage; the oldest first."""
        self._waiting: dict[Connection, None] = {}
        """Suspects, and connections in their handshake, that can be read."""
        self._shaking: dict[Connection, None] = {}
        """Connections in the handshake of TLS, the oldest first."""
        self._silent: dict[Connection, None] = {}
        """Connections that have brought no point yet, the oldest first."""
        self.failed_handshakes = 0
        """Connections closed because their client does not speak TLS, shows no valid certificate, or is too slow."""
        self._hearing = False
        self.evicted = 0
        """Connections that sent garbage, or no point at all, and were closed to make room for others."""
        self.broken = 0
        """Connections closed because nothing more could come of what they sent."""
        self._next_word = 0.0
        self._held = False
        self._recheck: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._resumed = 0.0
        """When reading went on last: nobody was silent before, for nobody was heard."""
        self._loop: asyncio.AbstractEventLoop

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    def start(self, listening: list[socket.socket]) -> None:
        """Accept at these sockets, which now belong to the listener."""
        self._loop = asyncio.get_running_loop()
        self._readiness.start()
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
        self._readiness.stop()
        self._held = False
        for connection in list(self._connections):
            await self._drain(connection, deadline)
        for connection in list(self._connections):
            self._end(connection)
        for timer in (self._recheck, self._sweep):
            if timer is not None:
                timer.cancel()

    async def _drain(self, connection: Connection, deadline: float) -> None:
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
        self._readiness.rest()

    def resume(self) -> None:
        """Read again, unless the store is saturated."""
        self._held = False
        if self._readiness.resting:
            self._resumed = self._loop.time()
            self._readiness.go_on()

    def _accept(self, listening: socket.socket) -> bool:
        """Accept some connections. Return whether there may be more."""
        for _ in range(_ACCEPTS_A_TURN):
            try:
                sock, peer = listening.accept()
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
            self._begin(sock, self._pipeline.sources.address(peer[0]))
        return True

    def _begin(self, sock: socket.socket, source: Source) -> None:
        if self._tls is not None:
            try:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError):  # that client has gone already
                sock.close()
                return
        connection = Connection(sock, source, self._splitter(), self._loop.time())
        self._connections.add(connection)
        self._silent[connection] = None
        if self._tls is not None:
            self._shaking[connection] = None
        self._readiness.watch(sock, connection)
        self._readiness.hurry()

    def _evict(self) -> bool:
        """Close who has sent garbage, shaken hands or sent nothing for longest. Return whether there was one."""
        suspect = next(iter(self._suspects), None) or next(iter(self._shaking), None) or self._oldest_silent()
        if suspect is None:
            return False
        self.evicted += 1
        self._end(suspect)
        return True

    def _oldest_silent(self) -> Connection | None:
        """Who has been connected for longest without a point, and has none in the kernel's buffer either."""
        while self._silent and not (self._held or self._pipeline.saturated):
            oldest = next(iter(self._silent))
            self._take(oldest)
            if oldest in self._silent:
                return oldest
        return None

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    def _turn(self) -> bool:
        """Read from those that can be read, once each. Return whether there is more to be had at once."""
        if self._saturated():
            return False
        reader = self._reader
        ready = self._readiness.ready()
        if reader.unread:
            found = dict.fromkeys([*reader.unread, *ready])
            ready = [connection for connection in found if connection in self._connections]
        if self._suspects or self._shaking:
            for connection in ready:
                if connection in self._suspects or connection in self._shaking:
                    self._hear_later(connection)
            ready = [connection for connection in ready if connection not in self._waiting]
        deadline = self._loop.time() + _TURN
        crowd = [connection for connection in ready if connection.steady] if self._lines else []
        others = ready
        if crowd:
            others = [] if len(crowd) == len(ready) else [connection for connection in ready if not connection.steady]

        def spent() -> bool:
            return self._loop.time() >= deadline or self._saturated()

        reader.unread = []
        much = reader.each(others, spent)
        much = reader.crowd(crowd, spent) or much
        return much or bool(reader.unread)

    def _saturated(self) -> bool:
        """Whether nothing is to be read now; then no turns are taken until there is relief."""
        if not (self._held or self._pipeline.saturated):
            return False
        self._readiness.rest()
        if self._recheck is None and not self._held:
            self._recheck = self._loop.call_later(_RECHECK, self._check_again)
        return True

    def _hear_later(self, suspect: Connection) -> None:
        self._readiness.unwatch(suspect.sock)
        self._waiting[suspect] = None
        if not self._hearing:
            self._hearing = True
            self._loop.call_soon(self._hear_suspects)

    def _hear_suspects(self) -> None:
        """Read from those that send garbage or shake hands, in turn, for a small part of each turn of the loop.

        Who sends points is read at once, and so does not wait behind thousands of reads of garbage.
        """
        deadline = self._loop.time() + _SUSPECTS_SHARE
        while self._waiting and self._loop.time() < deadline:
            suspect = next(iter(self._waiting))
            del self._waiting[suspect]
            if not (self._held or self._pipeline.saturated):
                self._take(suspect)
            if suspect in self._connections:
                self._readiness.watch(suspect.sock, suspect)
        self._hearing = bool(self._waiting)
        if self._hearing:
            self._loop.call_soon(self._hear_suspects)

    def _check_again(self) -> None:
        self._recheck = None
        if self._held:
            return
        if self._pipeline.saturated:
            self._recheck = self._loop.call_later(_RECHECK, self._check_again)
        else:
            self.resume()

    def _take(self, connection: Connection) -> bool:
        """One read and what it brings. Return whether there may be more."""
        if connection in self._shaking:
            return self._shake(connection)
        return self._reader.one(connection) > 0 and connection in self._connections

    def is_new(self, connection: Connection) -> bool:
        """Whether it has brought no point yet."""
        return connection in self._silent

    def heard(self, connections: list[Connection]) -> None:
        """All that these have sent were points."""
        for connection in connections if self._silent else ():
            self._silent.pop(connection, None)

    def close(self, connection: Connection) -> None:
        """It has ended, or nothing more can come of it."""
        if connection.splitter.broken:
            self._break(connection)
        else:
            self._end(connection)

    def judge(self, connection: Connection, parsed: Parsed) -> None:
        """Who sends nothing but garbage is a suspect, until there is a point in it."""
        if parsed.received and parsed.rejected.get("malformed", 0) == parsed.received:
            self._suspects.setdefault(connection)
            if len(self._suspects) > SUSPECTS_MAX:
                self._evict()
        else:
            self._suspects.pop(connection, None)
            self._silent.pop(connection, None)

    def _break(self, connection: Connection) -> None:
        """Close a connection whose framing is lost: its client shall see it, not go on to send into the void."""
        self.broken += 1
        if self._loop.time() >= self._next_word:
            self._next_word = self._loop.time() + _WORD
            _log.warning("closed a connection that sent more than may be", extra={"source": connection.source.name})
        self._end(connection)

    def _shake(self, connection: Connection) -> bool:
        """Go on with a handshake. Return whether the connection is worth another look at once."""
        try:
            if not connection.shake():
                return False
        except (OSError, ValueError) as error:
            # Not logged as an error: anybody can cause it without end.
            _log.debug("handshake with %s: %s", connection.source.name, error)
            self._fail(connection)
            return False
        del self._shaking[connection]
        name = connection.common_name()
        if name is not None:
            connection.source = self._pipeline.sources.certificate(name, connection.source.name)
        return True

    def _fail(self, connection: Connection) -> None:
        self.failed_handshakes += 1
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        """Close a connection; a last line without LF may be cut short and is not stored."""
        self._connections.discard(connection)
        self._suspects.pop(connection, None)
        self._silent.pop(connection, None)
        self._waiting.pop(connection, None)
        self._readiness.unwatch(connection.sock)
        connection.close(farewell=connection not in self._shaking)
        self._shaking.pop(connection, None)
        if connection.splitter.close():
            self._pipeline.refuse(self._books, "malformed", 1, connection.source)

    def _schedule_sweep(self) -> None:
        periods = [] if self._tls is None else [HANDSHAKE_SECONDS / 4]
        if self._settings.idle_timeout:
            periods.append(self._settings.idle_timeout / 4)
        if periods:
            self._sweep = self._loop.call_later(max(0.05, min(periods)), self._look_after_silent)

    def _look_after_silent(self) -> None:
        """Close connections that have been silent for too long: one timer for all of them."""
        if not self._readiness.resting:
            now, timeout = self._loop.time(), self._settings.idle_timeout
            self._close_older(self._shaking, now - HANDSHAKE_SECONDS, self._fail)
            if timeout:
                self._close_older(self._connections, now - timeout, self._end)
        self._schedule_sweep()

    def _close_older(self, connections: Iterable[Connection], last: float, close: Callable[[Connection], None]) -> None:
        if self._resumed < last:
            unread = {*self._waiting, *self._reader.unread}
            for connection in [c for c in connections if c.last < last and c not in unread]:
                close(connection)
