"""The other nodes, over HTTP: questions to many of them at once, from a worker thread, within a deadline.

A thread sends all its questions before it reads the first answer, and then reads whichever comes: it needs neither
more threads nor an event loop. Connections are kept. A node that has failed is left alone for a moment, so that a
request does not wait for it again, and is then tried by one request.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

HEAD_MAX: Final = 16_384
"""Bytes of the head of an answer."""
RECEIVED: Final = 1 << 18
"""Bytes that are read at once before the length of an answer is known."""
PAUSE: Final = 1.0
"""Seconds that a node is left alone after a failure, twice as long after each further one."""
PAUSE_MAX: Final = 8.0
IDLE_MAX: Final = 60.0
"""Seconds after which a connection that was not used is closed: the other side does after 75."""


def _no_token() -> str:
    return ""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How other nodes are asked."""

    connect: float = 1.0
    """Seconds for a connection."""
    patience: float = 1.0
    """Seconds that are waited at least for replicas whose answer is not needed any more, or as long again as all others
    took: one that hangs must not hold up all, and one that is a little slower is to be heard."""
    connections: int = 8
    """Connections that are kept to each node."""
    answer: int = 256 << 20
    """Bytes of an answer."""
    token: Callable[[], str] = _no_token
    """What is shown to nodes that ask for a token; empty = nothing."""
    tls: ssl.SSLContext | None = None
    """Whom to trust, where a node's URL begins with https."""


class FailureError(Exception):
    """Why a node gave no answer: one line."""


@dataclass(slots=True)
class Counters:
    """What has happened to questions so far, by node."""

    asked: int = 0
    failed: int = 0
    skipped: int = 0
    """Not asked, because it had failed a moment ago."""
    late: int = 0
    """Not waited for, because the others' answers were enough."""
    bytes: int = 0
    """Of answers."""


class _Connection:
    """One connection of HTTP/1.1, one question at a time."""

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self.sock = sock
        self.fresh = True
        """Whether it has answered nothing yet: one that has may have been closed by the other side meanwhile."""
        self.idle_since = 0.0
        self._limit = limit
        self._head = bytearray()
        self._body: bytearray | None = None
        self._filled = 0
        self._status = 0
        self._keep = True

    def send(self, request: bytes, timeout: float) -> None:
        """Send a request. Raises OSError."""
        self.sock.settimeout(timeout)
        self.sock.sendall(request)
        self.sock.settimeout(0.0)
        self._head.clear()
        self._body, self._filled = None, 0

    @property
    def begun(self) -> bool:
        """Whether something of the answer has come."""
        return self._body is not None or bool(self._head)

    @property
    def kept(self) -> bool:
        """Whether it can be asked again."""
        return self._keep

    def receive(self) -> tuple[int, bytearray] | None:
        """Read what is there: status and body once they are whole. Raises OSError or :class:`FailureError`."""
        try:
            while True:
                if self._body is None:
                    data = self.sock.recv(RECEIVED)
                    if not data:
                        raise FailureError("hung up")
                    self._take_head(data)
                elif self._filled < len(self._body):
                    size = self.sock.recv_into(memoryview(self._body)[self._filled :])
                    if not size:
                        raise FailureError("hung up in the middle of its answer")
                    self._filled += size
                if self._body is not None and self._filled == len(self._body):
                    self.fresh = False
                    return self._status, self._body
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def _take_head(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > HEAD_MAX:
                raise FailureError("an answer that is no HTTP")
            return
        status, *lines = bytes(self._head[:end]).decode("latin-1").split("\r\n")
        version, _, rest = status.partition(" ")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = fields.get("content-length", "")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal() or not length.isdecimal() or len(length) > 15:
            raise FailureError("an answer that is no HTTP, or of unknown length")
        if int(length) > self._limit:
            raise FailureError(f"an answer of {length} bytes; the limit is {self._limit} (query.answer)")
        self._status = int(rest[:3])
        self._keep = version == "HTTP/1.1" and fields.get("connection", "").lower() != "close"
        body = self._head[end + 4 :]
        if len(body) > int(length):
            raise FailureError("more than an answer")
        self._filled = len(body)
        self._body = bytearray(int(length))
        self._body[: len(body)] = body

    def close(self) -> None:
        self.sock.close()


class Peer:
    """One other node: its connections, and whether it is worth asking. Thread-safe."""

    def __init__(self, name: str, url: str, settings: PeerSettings, clock: Callable[[], float]) -> None:
        """``url``: ``http://HOST:PORT``. Raises ValueError if it is none."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"node {name}: {url!r} is no http:// or https:// URL")
        self.name = name
        self.url = url
        self.counters = Counters()
        self._tls = (settings.tls or ssl.create_default_context()) if parts.scheme == "https" else None
        self._address = (parts.hostname, parts.port or (443 if self._tls else 80))
        self._head = f"POST {parts.path.rstrip('/')}/cluster HTTP/1.1\r\nHost: {parts.netloc.rpartition('@')[2]}\r\n"
        self._settings = settings
        self._clock = clock
        self._idle: deque[_Connection] = deque()
        self._lock = threading.Lock()
        self._pause = 0.0
        self._again = 0.0
        self.problem = ""
        """Why it failed the last time; empty while it answers."""

    def let(self) -> bool:
        """Whether to ask it: it has not failed, or one request may try it again."""
        with self._lock:
            if not self._pause:
                return True
            if self._clock() < self._again:
                return False
            self._again = self._clock() + self._pause
            return True

    @property
    def healthy(self) -> bool:
        """Whether it answered the last time, or was not asked yet."""
        return not self._pause

    def failed(self, why: str) -> None:
        """It gave no answer."""
        with self._lock:
            self.counters.failed += 1
            self._pause = min(2 * self._pause, PAUSE_MAX) if self._pause else PAUSE
            self._again = self._clock() + self._pause
            self.problem = why
            while self._idle:
                self._idle.pop().close()

    def answered(self, connection: _Connection, size: int) -> None:
        """It gave one over this connection, which is kept."""
        with self._lock:
            self.counters.bytes += size
            self._pause, self.problem = 0.0, ""
            connection.idle_since = self._clock()
            if connection.kept and len(self._idle) < self._settings.connections:
                self._idle.append(connection)
                return
        connection.close()

    def begin(self, message: bytes, timeout: float, fresh: bool = False) -> _Connection:
        """Send a question over a kept connection, or a new one. Raises OSError."""
        token = self._settings.token()
        head = f"{self._head}Content-Length: {len(message)}\r\nContent-Type: application/octet-stream\r\n"
        head += f"Authorization: Bearer {token}\r\n\r\n" if token else "\r\n"
        request = head.encode("latin-1", "replace") + message
        self.counters.asked += 1
        connection = None if fresh else self._kept()
        if connection is not None:
            try:
                connection.send(request, timeout)
                return connection
            except OSError:
                connection.close()
        connection = self._connect(min(timeout, self._settings.connect))
        try:
            connection.send(request, timeout)
        except OSError:
            connection.close()
            raise
        return connection

    def _kept(self) -> _Connection | None:
        oldest = self._clock() - IDLE_MAX
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                return None
            if connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def _connect(self, timeout: float) -> _Connection:
        sock = socket.create_connection(self._address, timeout)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._address[0])
        except OSError:
            sock.close()
            raise
        return _Connection(sock, self._settings.answer)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()


@dataclass(slots=True)
class _Round:
    """Questions that wait for their answers."""

    until: float
    clock: Callable[[], float]
    answers: dict[str, bytearray | FailureError] = field(default_factory=dict)
    pending: dict[str, tuple[Peer, _Connection, bytes]] = field(default_factory=dict)

    def fail(self, peer: Peer, why: str) -> None:
        peer.failed(why)
        self.answers[peer.name] = FailureError(why)

    def begin(self, peer: Peer, message: bytes, fresh: bool = False) -> None:
        left = self.until - self.clock()
        if left <= 0:
            self.answers[peer.name] = FailureError("no time is left")
            return
        try:
            self.pending[peer.name] = peer, peer.begin(message, left, fresh), message
        except OSError as error:
            self.fail(peer, reason_of(error))

    def read(self, name: str) -> bool:
        """Read what is there of an answer; whether it is over. A kept connection that was closed is made anew."""
        peer, connection, message = self.pending[name]
        try:
            found = connection.receive()
        except (OSError, FailureError) as error:
            connection.close()
            del self.pending[name]
            if connection.fresh or connection.begun:
                self.fail(peer, reason_of(error))
            else:
                self.begin(peer, message, fresh=True)
            return True
        if found is None:
            return False
        del self.pending[name]
        self._take(peer, connection, *found)
        return True

    def _take(self, peer: Peer, connection: _Connection, status: int, body: bytearray) -> None:
        if status == 200:
            peer.answered(connection, len(body))
            self.answers[peer.name] = body
        else:
            connection.close()
            text = " ".join(body[:200].decode("utf-8", "replace").split())
            self.fail(peer, f"status {status}: {text}")


def reason_of(error: Exception) -> str:
    """What went wrong, in a line."""
    if isinstance(error, TimeoutError):
        return "no connection in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def ask_all(
    questions: Mapping[Peer, bytes],
    until: float,
    patience: float,
    enough: Callable[[set[str]], bool],
    clock: Callable[[], float],
    meanwhile: Callable[[], None],
) -> dict[str, bytearray | FailureError]:
    """The answers of nodes, by name; blocks until ``until``, by ``clock``, at most.

    ``enough`` is asked, given who has answered, whether the rest may be given up: after ``patience`` seconds, or as
    many as it took so far.
    ``meanwhile`` is called once the questions are on their way: what this process can do itself.
    """
    calls, began = _Round(until, clock), clock()
    for peer, message in questions.items():
        if peer.let():
            calls.begin(peer, message)
        else:
            peer.counters.skipped += 1
            calls.answers[peer.name] = FailureError(f"left alone after a failure ({peer.problem})")
    try:
        meanwhile()
        end = _wait(calls, patience, enough, began)
    except BaseException:
        for _, connection, _ in calls.pending.values():
            connection.close()
        raise
    for peer, connection, _ in calls.pending.values():
        connection.close()
        peer.counters.late += end < until
        calls.fail(peer, "no answer in time")
    return calls.answers


def _wait(calls: _Round, patience: float, enough: Callable[[set[str]], bool], began: float) -> float:
    """Read answers until all are there, or the time is over: until when that was."""
    end = calls.until
    with selectors.DefaultSelector() as selector:
        while calls.pending:
            if end == calls.until and enough(_answered(calls.answers)):
                now = calls.clock()
                end = min(end, now + max(patience, now - began))
            _register(selector, calls)
            left = end - calls.clock()
            ready = selector.select(left) if left > 0 else []
            if not ready and calls.clock() >= end:
                break
            for key, _ in ready:
                if calls.read(key.data):
                    selector.unregister(key.fileobj)
    return end


def _answered(answers: Mapping[str, bytearray | FailureError]) -> set[str]:
    return {name for name, answer in answers.items() if not isinstance(answer, FailureError)}


def _register(selector: selectors.BaseSelector, calls: _Round) -> None:
    """Watch the connections that are not watched yet."""
    watched = {key.data: key for key in selector.get_map().values()}
    for name, (_, connection, _) in calls.pending.items():
        if name not in watched:
            selector.register(connection.sock, selectors.EVENT_READ, name)
