"""TCP connections that send lines or frames.

A connection is read at most once a turn of the loop, into a buffer that all connections of a listener share: what
one read brings is parsed before the next begins. While the store is saturated a connection that becomes readable is
parked, which is to stop watching it, and the kernel's window closes on the client; idle ones need no attention.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from ingestd.ingest.gather import Gather
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import BACKLOG
from ingestd.ingest.sources import Source
from ingestd.points import Parsed
from ingestd.telemetry import Books
from ingestd.wire.framing import LINE_LIMIT, Splitter

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
"""Seconds of each turn of the loop for connections that send garbage, and for handshakes of TLS: each costs up to a
millisecond of CPU, and anybody can begin one."""
_TURN: Final = 0.02
"""Seconds of each turn of the loop for connections that send points; who finds it spent waits for the next one. Else a
question, which takes some five turns, would wait for five reads of every client of a fleet that sends all at once."""
HANDSHAKE_SECONDS: Final = 10.0
"""Seconds for a client to finish its handshake: three round trips over the slowest line."""
_WORD: Final = 1.0
"""Seconds between two words in the log about connections that were closed for what they sent."""
_TLS_RECORD: Final = 16 * 1024
"""Bytes that one read of TLS brings at most (RFC 8446, section 5.1)."""


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


class _Connection:
    __slots__ = ("last", "size", "sock", "source", "splitter")

    def __init__(self, sock: socket.socket, source: Source, splitter: Splitter[Any], now: float) -> None:
        self.sock = sock
        self.source = source
        self.splitter = splitter
        self.last = now
        self.size = FIRST_READ
        """Bytes of the next read."""


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
    ) -> None:
        self._tls = tls
        self.refused = 0
        """Connections closed at once because there were too many."""
        self._pipeline = pipeline
        self._books = books
        self._gather = Gather(pipeline, books)
        self._settings = settings
        self._splitter = splitter
        self._parse: Callable[[Any], Parsed] = parse
        self._listening: list[socket.socket] = []
        self._connections: set[_Connection] = set()
        self._parked: dict[_Connection, None] = {}
        self._suspects: dict[_Connection, None] = {}
        """Connections whose last lines were all garbage; the oldest first."""
        self._waiting: dict[_Connection, None] = {}
        """Suspects, and connections in their handshake, that can be read."""
        self._shaking: dict[_Connection, None] = {}
        """Connections in the handshake of TLS, the oldest first."""
        self._silent: dict[_Connection, None] = {}
        """Connections that have brought no point yet, the oldest first."""
        self.failed_handshakes = 0
        """Connections closed because their client does not speak TLS, shows no valid certificate, or is too slow."""
        self._hearing = False
        self._queue: dict[_Connection, None] = {}
        """Connections that can be read and found the turn spent, in the order in which they are served."""
        self._turn_ends: float | None = None
        """When no more connections are read in this turn of the loop; None: none was read yet."""
        self.evicted = 0
        """Connections that sent garbage, or no point at all, and were closed to make room for others."""
        self.broken = 0
        """Connections closed because nothing more could come of what they sent."""
        self._next_word = 0.0
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
        self._gather.start()
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
        self._gather.flush()
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

    def flush(self) -> None:
        """Hand over what was read."""
        self._gather.flush()

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
        connection = _Connection(sock, source, self._splitter(), self._loop.time())
        self._connections.add(connection)
        self._silent[connection] = None
        if self._tls is not None:
            self._shaking[connection] = None
        self._loop.add_reader(sock, self._read, connection)
        # A connection that was reset before it is watched is never reported by libuv: look at once.
        self._read(connection)

    def _evict(self) -> bool:
        """Close who has sent garbage, shaken hands or sent nothing for longest. Return whether there was one."""
        suspect = next(iter(self._suspects), None) or next(iter(self._shaking), None) or self._oldest_silent()
        if suspect is None:
            return False
        self.evicted += 1
        self._end(suspect)
        return True

    def _oldest_silent(self) -> _Connection | None:
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

    def _read(self, connection: _Connection) -> None:
        if self._held or self._pipeline.saturated:
            self._loop.remove_reader(connection.sock)
            self._parked[connection] = None
            if self._recheck is None:
                self._recheck = self._loop.call_later(_RECHECK, self._check_again)
        elif connection in self._suspects or connection in self._shaking:
            self._loop.remove_reader(connection.sock)
            self._waiting[connection] = None
            if not self._hearing:
                self._hearing = True
                self._loop.call_soon(self._hear_suspects)
        elif self._turn_ends is None:
            self._turn_ends = self._loop.time() + _TURN
            self._loop.call_soon(self._next_turn)
            self._take(connection)
        elif self._loop.time() < self._turn_ends:
            self._take(connection)
        else:
            self._loop.remove_reader(connection.sock)
            self._queue[connection] = None

    def _next_turn(self) -> None:
        """Read from those that found the last turn spent; who is readable meanwhile queues up behind them."""
        deadline = self._loop.time() + _TURN
        while self._queue and self._loop.time() < deadline:
            connection = next(iter(self._queue))
            del self._queue[connection]
            if not (self._held or self._pipeline.saturated):
                self._take(connection)
            if connection in self._connections:
                self._loop.add_reader(connection.sock, self._read, connection)
        self._turn_ends = deadline if self._queue else None
        if self._queue:
            self._loop.call_soon(self._next_turn)

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
        if connection in self._shaking:
            return self._shake(connection)
        try:
            size, ended = self._receive(connection)
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:  # reset by the client: what came before it counts
            size, ended = 0, True
        if size:
            self._consume(connection, size)
        if connection.splitter.broken:
            self._break(connection)
        elif ended:
            self._end(connection)
        return not ended and not connection.splitter.broken

    def _break(self, connection: _Connection) -> None:
        """Close a connection whose framing is lost: its client shall see it, not go on to send into the void."""
        self.broken += 1
        if self._loop.time() >= self._next_word:
            self._next_word = self._loop.time() + _WORD
            _log.warning("closed a connection that sent more than may be", extra={"source": connection.source.name})
        self._end(connection)

    def _receive(self, connection: _Connection) -> tuple[int, bool]:
        """Bytes read into the buffer, and whether the client has sent its last."""
        if self._tls is None:
            size = connection.sock.recv_into(self._buffer[: connection.size])
            return size, not size
        # Record by record, while a whole one has room: what TLS holds back would never be reported as readable.
        size = 0
        while size <= READ_SIZE - _TLS_RECORD:
            try:
                got = connection.sock.recv_into(self._buffer[size:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not size:
                    raise
                break
            if not got:
                return size, True
            size += got
        return size, False

    def _shake(self, connection: _Connection) -> bool:
        """Go on with a handshake. Return whether the connection is worth another look at once."""
        sock = connection.sock
        assert isinstance(sock, ssl.SSLSocket)
        try:
            sock.do_handshake()
            shown = sock.getpeercert()
        except ssl.SSLWantReadError:
            return False
        except (OSError, ValueError) as error:
            # Not logged as an error: anybody can cause it without end.
            _log.debug("handshake with %s: %s", connection.source.name, error)
            self._fail(connection)
            return False
        del self._shaking[connection]
        name = common_name(shown)
        if name is not None:
            connection.source = self._pipeline.sources.certificate(name, connection.source.name)
        return True

    def _fail(self, connection: _Connection) -> None:
        self.failed_handshakes += 1
        self._end(connection)

    def _consume(self, connection: _Connection, size: int) -> None:
        """Take what stands in the buffer."""
        connection.last = self._loop.time()
        connection.size = READ_SIZE
        splitter = connection.splitter
        before = splitter.too_long
        lines = splitter.feed(bytes(self._buffer[:size]))
        self._pipeline.refuse(self._books, "too_long", splitter.too_long - before, connection.source)
        if lines:
            parsed = self._parse(lines)
            if parsed.received and parsed.rejected.get("malformed", 0) == parsed.received:
                self._suspects.setdefault(connection)
            else:
                self._suspects.pop(connection, None)
                self._silent.pop(connection, None)
            self._gather.add((parsed, connection.source))
            if len(self._suspects) > SUSPECTS_MAX:
                self._evict()

    def _end(self, connection: _Connection) -> None:
        """Close a connection; a last line without LF may be cut short and is not stored."""
        # Who sees the end sees the points.
        self._gather.flush()
        self._connections.discard(connection)
        self._parked.pop(connection, None)
        self._suspects.pop(connection, None)
        self._silent.pop(connection, None)
        self._waiting.pop(connection, None)
        self._queue.pop(connection, None)
        self._loop.remove_reader(connection.sock)
        shaken = connection not in self._shaking
        self._shaking.pop(connection, None)
        if shaken and isinstance(connection.sock, ssl.SSLSocket):
            # Say goodbye, so that the client can tell the end from a cut; nobody waits for its answer.
            with contextlib.suppress(OSError, ValueError):
                connection.sock.unwrap()
        connection.sock.close()
        if connection.splitter.close():
            self._pipeline.refuse(self._books, "malformed", 1, connection.source)

    def _schedule_sweep(self) -> None:
        period = min(
            _SILENT, self._settings.idle_timeout / 4 or _SILENT, _SILENT if self._tls is None else HANDSHAKE_SECONDS / 4
        )
        self._sweep = self._loop.call_later(max(0.05, period), self._look_after_silent)

    def _watched(self, connection: _Connection) -> bool:
        """Whether the loop says when it can be read."""
        return not any(connection in held for held in (self._parked, self._waiting, self._queue))

    def _look_after_silent(self) -> None:
        """Close connections that have been silent for too long, or were reset without a word from the loop.

        One timer for all of them: libuv stops watching a socket that has data and an error at once, and says nothing.
        """
        now, timeout = self._loop.time(), self._settings.idle_timeout
        for connection in [c for c in self._shaking if self._watched(c)]:
            if connection.last < now - HANDSHAKE_SECONDS:
                self._fail(connection)
        for connection in [c for c in self._connections if self._watched(c)]:
            if timeout and connection.last < now - timeout:
                self._end(connection)
            elif connection.last < now - _SILENT and not (self._held or self._pipeline.saturated):
                self._take(connection)
        self._schedule_sweep()


def common_name(certificate: object) -> str | None:
    """The common name of a verified certificate, as :meth:`ssl.SSLSocket.getpeercert` gives it; None without one."""
    subject = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    names = [value for relative in subject for key, value in relative if key == "commonName"]
    return str(names[-1]) if names else None
