"""Connections of HTTP: how many, how long a request's head may take, how long an answer may lie unread.

aiohttp bounds lines, fields and bodies, but neither connections nor the time that a head or an answer takes. Its
protocol is therefore subclassed, and connections are accepted here, before a handshake of TLS, so that they can be
counted and made room for (docs/adr/059-http-connections.md).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, Final

from aiohttp import StreamReader, http_exceptions, web

from ingestd.serve.deps import Limits
from ingestd.serve.headers import HEADERS, SERVER

logger = logging.getLogger(__name__)

LINE_MAX: Final = 65_536
"""Bytes of a request line, which in Graphite holds whole dashboards."""
FIELD_MAX: Final = 8_190
FIELDS_MAX: Final = 100
HEAD_MAX: Final = 65_536
"""Bytes of all header fields of a request."""
_BUFFERED_HEAD: Final = LINE_MAX + HEAD_MAX + 65_536
"""Bytes without the end of a head that are buffered before their sender is dropped: all limits, and one read."""
_PROGRESS: Final = 65_536
_LARGE: Final = 1 << 20
_ACCEPTS: Final = 64
"""Connections accepted in one turn of the loop, so that a flood of them does not stop it."""
_RETRY: Final = 1.0
"""Seconds until accepting goes on after the descriptors ran out."""
_BACKLOG: Final = 1_024
_GREETING: Final = 1.0
"""Seconds after which a handshake of TLS may be ended to make room."""
_SWEEP: Final = 1.0
_BYTES_ACKED: Final = struct.Struct("=Q")
_BYTES_ACKED_AT: Final = 120
"""Where tcpi_bytes_acked stands in struct tcp_info (linux/tcp.h, Linux 4.1 and later)."""
_ALL: Final = 1 << 62
"""Acknowledged bytes where nobody tells: the client counts as having taken everything."""
_PEERS: Final = (http_exceptions.HttpProcessingError, web.RequestPayloadError, ConnectionError)
"""Errors that a peer makes."""


class Counts:
    """What was done about connections, for ``/status``."""

    def __init__(self) -> None:
        self.refused = 0
        """Closed at once: all the others had a request at hand."""
        self.evicted = 0
        """Idle ones closed to make room."""
        self.late_heads = 0
        """Closed because no whole head came in time, or one too long."""
        self.failed_handshakes = 0
        self.unread = 0
        """Dropped because they did not take their answer."""
        self.malformed = 0
        """Requests that are no HTTP."""


class Connection(web.RequestHandler):
    """One connection: aiohttp's protocol, with the times that it does not keep."""

    def __init__(self, door: Door, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._door = door
        self.busy = False
        """Whether a request is being answered."""
        self.head_since: float | None = None
        """When the head that is awaited began, or the connection; None between requests."""
        self._head_bytes = 0
        self._tail = b""
        self._whole = False
        """Whether a head has ended whose request is not being answered yet: what comes next may be its body."""
        self._body: StreamReader | None = None
        """The body of the last request, which may go on after the answer to it."""
        self.written = 0
        """Bytes of answers since the client had taken everything."""
        self._base = 0
        self._checked: tuple[float, int] | None = None
        self.line: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.line = transport  # type: ignore[assignment]
        self.head_since = asyncio.get_running_loop().time()
        self._door.opened(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.line = None
        self._door.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if data and not self._whole and (self._body is None or self._body.is_eof()):
            if self.head_since is None:
                self.head_since = asyncio.get_running_loop().time()
            if not self.busy and self._endless(data):
                self._door.counts.late_heads += 1
                self.drop()
                return
        super().data_received(data)

    def _endless(self, data: bytes) -> bool:
        """Whether a head goes on beyond all limits; the parser keeps up to 1.6 MB of it."""
        seen = self._tail + data
        if b"\r\n\r\n" in seen or b"\n\n" in seen:
            self._head_bytes, self._tail, self._whole = 0, b"", True
            return False
        self._head_bytes += len(data)
        self._tail = seen[-3:]
        return self._head_bytes > _BUFFERED_HEAD

    def begin(self, body: StreamReader) -> None:
        """A request's head is whole, and it is being answered."""
        self.busy = True
        self._whole = False
        self._body = body
        self.head_since = None
        self._door.work(self)

    def end(self, size: int) -> None:
        """It is answered with ``size`` bytes."""
        self.busy = False
        if not self.held():
            self._base, self._checked = self._acked(), None
        self.written += size
        self._door.rest(self, size)

    def drop(self) -> None:
        """Close without a word, whatever is buffered."""
        self._door.closed(self)
        if self.line is not None:
            self.line.abort()

    def held(self) -> int:
        """Bytes of answers that the client has not taken; 0 once it has all.

        Heads and TLS make a little more of an answer than is counted as written, so that the end is seen a little
        early, and never late.
        """
        if not self.written:
            return 0
        held = self.written - (self._acked() - self._base)
        if held <= 0:
            self.written = 0
            return 0
        return held

    def stuck(self, now: float, patience: float) -> bool:
        """Whether the client took less than it must of an answer within ``patience`` seconds."""
        acked = self._acked()
        if self._checked is None or acked - self._checked[1] >= _PROGRESS:
            self._checked = (now, acked)
            return False
        return now - self._checked[0] > patience

    def _acked(self) -> int:
        """Bytes that the peer has acknowledged since the beginning: only the kernel knows, under TLS as without."""
        sock = self.line.get_extra_info("socket") if self.line is not None else None
        if sock is None:
            return _ALL
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
        except (OSError, ValueError):  # closed meanwhile; uvloop then has a negative descriptor
            return _ALL
        return int(_BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)[0]) if len(info) == 128 else _ALL

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What a peer sent is no error of ours, and must not fill the log with tracebacks."""
        level = logging.DEBUG if isinstance(kw.get("exc_info"), _PEERS) else logging.ERROR
        logger.log(level, *args, **kw)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP: short, without what was sent, and without the library's name."""
        if isinstance(exc, http_exceptions.HttpProcessingError):
            self._door.counts.malformed += 1
            logger.debug("no HTTP from %s: %s", request.remote, exc.message)
            status, text = _malformed(exc)
        else:
            logger.error("no answer to %s", request.remote, exc_info=exc)
            text = "internal error; the log has more"
        response = web.Response(status=status, text=text, headers={**SERVER, **HEADERS})
        response.force_close()
        return response


def _malformed(error: http_exceptions.HttpProcessingError) -> tuple[int, str]:
    if isinstance(error, http_exceptions.LineTooLong):
        if error.args[1:2] == (LINE_MAX,):
            return 414, f"a request line has at most {LINE_MAX} bytes"
        return 431, f"a header field has at most {FIELD_MAX} bytes"
    if "many headers" in error.message.lower():
        return 431, f"a request has at most {FIELDS_MAX} header fields"
    return 400, "this is no HTTP request"


class Door:
    """Accepts connections, keeps their number and their times within ``limits``."""

    def __init__(self, manager: web.Server, limits: Limits, options: dict[str, Any]) -> None:
        self._manager = manager
        self._limits = limits
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLContext | None = None
        self._sockets: list[socket.socket] = []
        self._greeting: dict[asyncio.Task[None], tuple[socket.socket, float]] = {}
        """Connections that are being set up, above all in the handshake of TLS, and since when; the oldest first."""
        self._all: dict[Connection, None] = {}
        self._idle: dict[Connection, None] = {}
        """Those without a request at hand, the longest idle first."""
        self.counts = Counts()
        self._sweeper: asyncio.Task[None] | None = None

    def open(self, sockets: list[socket.socket], tls: ssl.SSLContext | None) -> None:
        """Accept from these bound sockets."""
        self._tls = tls
        self._sockets = sockets
        for sock in sockets:
            sock.setblocking(False)
            sock.listen(_BACKLOG)
            self._loop.add_reader(sock, self._accept, sock)
        self._sweeper = self._loop.create_task(self._sweep())

    async def close(self) -> None:
        """Accept no more; connections are left to the server's own shutdown."""
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            sock.close()
        self._sockets = []
        if self._sweeper is not None:
            self._sweeper.cancel()
        for task in list(self._greeting):
            task.cancel()

    def opened(self, connection: Connection) -> None:
        self._all[connection] = None
        self._idle[connection] = None

    def closed(self, connection: Connection) -> None:
        self._all.pop(connection, None)
        self._idle.pop(connection, None)

    def work(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def rest(self, connection: Connection, size: int) -> None:
        # One whose client hung up meanwhile is no longer here.
        if connection in self._all:
            self._idle[connection] = None
        if size > _LARGE:
            # Between two looks a second apart, more could be answered than there is room for.
            self._loop.call_soon(self._bound_unread, self._loop.time())

    def as_dict(self) -> dict[str, int]:
        """What ``/status`` shows."""
        return {"open": len(self._all), "idle": len(self._idle), **vars(self.counts)}

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS):
            try:
                sock, _ = listening.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # No descriptors are left; the kernel keeps the others waiting.
                logger.error("cannot accept: %s", error)
                self._loop.remove_reader(listening)
                self._loop.call_later(_RETRY, self._accept_again, listening)
                return
            if len(self._all) + len(self._greeting) >= self._limits.connections and not self._make_room():
                self.counts.refused += 1
                sock.close()
                continue
            sock.setblocking(False)
            task = self._loop.create_task(self._greet(sock))
            self._greeting[task] = (sock, self._loop.time())
            task.add_done_callback(self._greeted)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)

    def _make_room(self) -> bool:
        """Close who has been in a handshake, or idle, for longest. Return whether there was one."""
        late = self._loop.time() - _GREETING
        for task, (_, since) in self._greeting.items():
            if since > late:
                break
            if not task.cancelling():
                task.cancel()
                self.counts.evicted += 1
                return True
        for connection in self._idle:
            self.closed(connection)
            connection.drop()
            self.counts.evicted += 1
            return True
        return False

    async def _greet(self, sock: socket.socket) -> None:
        factory: Callable[[], Connection] = lambda: Connection(self, self._manager, **self._options)  # noqa: E731
        timeout = self._limits.head_timeout if self._tls else None
        try:
            await self._loop.connect_accepted_socket(factory, sock, ssl=self._tls, ssl_handshake_timeout=timeout)
        except (OSError, ssl.SSLError) as error:
            self.counts.failed_handshakes += 1
            logger.debug("handshake: %s", error)
            sock.close()

    def _greeted(self, task: asyncio.Task[None]) -> None:
        sock, _ = self._greeting.pop(task)
        if task.cancelled():
            sock.close()
        elif task.exception() is not None:
            logger.error("a connection could not be set up", exc_info=task.exception())
            sock.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            try:
                self.sweep(self._loop.time())
            except Exception:  # a bug, but without the next looks every slow client would stay
                logger.exception("BUG: cannot look after the connections")

    def sweep(self, now: float) -> None:
        """Drop those whose time is up."""
        limits = self._limits
        for connection in list(self._idle):
            since = connection.head_since
            if since is not None and now - since > limits.head_timeout and not connection.held():
                self.counts.late_heads += 1
                connection.drop()
        self._bound_unread(now)

    def _bound_unread(self, now: float) -> None:
        limits = self._limits
        holders = [(connection.held(), connection) for connection in self._all if connection.written]
        total = sum(held for held, _ in holders)
        for held, connection in sorted(holders, key=lambda pair: -pair[0]):
            if held and (total > limits.unread or connection.stuck(now, limits.write_timeout)):
                self.counts.unread += 1
                total -= held
                connection.drop()
