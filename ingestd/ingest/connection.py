"""One TCP connection: reading from it, its handshake, its farewell."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from typing import Any, Final

from ingestd._speed import receive_all as compiled
from ingestd.ingest.senders import free
from ingestd.ingest.sources import Source
from ingestd.points import Parsed
from ingestd.wire.framing import LineSplitter, Splitter

READ_SIZE: Final = 128 * 1024
"""Bytes a read: 2,000 lines, which hold the loop for 0.2 ms if they are usual, for 60 ms if they are all hostile."""
LARGEST_READ: Final = 512 * 1024
"""Bytes a read of who has filled those before with what is usual: the fixed cost of a read and its batch is a third of
all that is spent on usual lines at 128 KiB, an eighth here."""
LEAST_USUAL: Final = 24
"""Bytes of a usual line, at least: a largest read of these has as many lines as another of the shortest possible."""
_UNUSUAL: Final = 1 / 64
"""Share of a read's lines that may be new names or no points: each costs up to a hundred times as much as others."""
FIRST_READ: Final = 4096
"""Bytes of a connection's first read: enough to see whether it sends lines, cheap to find out that it does not."""
_TLS_RECORD: Final = 16 * 1024
"""Bytes that one read of TLS brings at most (RFC 8446, section 5.1)."""


NOTHING: Final = -1
FAILED: Final = -2
"""What :func:`receive_all` gives in place of bytes."""


def receive_all(numbers: list[int], buffer: memoryview, each: int) -> list[int]:
    """Read from each of the descriptors once, one behind the other into ``buffer``, at most ``each`` bytes.

    Gives the bytes of each: 0 at its end, :data:`NOTHING`, :data:`FAILED`. They are fewer than the descriptors where
    less than ``each`` bytes of room were left.
    """
    if compiled is not None:
        return compiled(numbers, buffer, each)
    sizes: list[int] = []
    end = 0
    for number in numbers:
        if len(buffer) - end < each:
            break
        try:
            sizes.append(os.readv(number, [buffer[end : end + each]]))
        except (BlockingIOError, InterruptedError):
            sizes.append(NOTHING)
            continue
        except OSError:
            sizes.append(FAILED)
            continue
        end += sizes[-1]
    return sizes


def usual(parsed: Parsed, size: int) -> bool:
    """Whether ``size`` bytes of lines were, nearly all, points of known series in lines of the usual length."""
    points = len(parsed.batch)
    unusual = len(parsed.unknown) + parsed.received - points
    return LEAST_USUAL * points <= size and unusual <= _UNUSUAL * points


class Connection:
    """A client; ``last``: when it was heard last, on the loop's clock."""

    __slots__ = ("last", "number", "pending", "size", "sock", "source", "splitter", "steady")

    def __init__(self, sock: socket.socket, source: Source, splitter: Splitter[Any], now: float) -> None:
        self.sock = sock
        self.number = sock.fileno()
        self.source = source
        self.splitter = splitter
        self.last = now
        self.size = FIRST_READ
        """Bytes of the next read: few at first, and more while all that comes is usual (:meth:`learn`)."""
        self.steady = False
        """Whether it may be read and parsed with others: no TLS, not its first read, all it sends are points."""
        self.pending = False
        """Whether an unfinished line goes before what comes next."""

    def feed(self, buffer: bytearray, start: int, end: int) -> Any:
        """What is whole now of what it has sent, of which ``buffer[start:end]`` is the latest."""
        whole = self.splitter.feed(buffer, start, end)
        self.pending = isinstance(self.splitter, LineSplitter) and self.splitter.pending
        return whole

    def learn(self, size: int, *, usual: bool) -> None:
        """A read has brought ``size`` bytes of lines: whether they were :func:`usual` says what the next may bring."""
        if isinstance(self.sock, ssl.SSLSocket):
            return
        if not usual:
            self.size = READ_SIZE
        elif size >= self.size:
            self.size = min(2 * size, LARGEST_READ)

    def receive(self, buffer: memoryview) -> tuple[int, bool]:
        """Bytes read into ``buffer``, which has room for :data:`LARGEST_READ`, and whether no more will come."""
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                return self._receive_records(buffer)
            size = self.sock.recv_into(buffer[: self.size])
        except (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0, False
        except OSError:  # reset by the client: what came before it counts
            return 0, True
        if self.size < READ_SIZE:
            self.size = READ_SIZE
            self.steady = free(self.source)
        return size, not size

    def _receive_records(self, buffer: memoryview) -> tuple[int, bool]:
        """Record by record, while a whole one has room: what TLS holds back would never be reported as readable."""
        size = 0
        while size <= READ_SIZE - _TLS_RECORD:
            try:
                got = self.sock.recv_into(buffer[size:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if not size:
                    raise
                break
            if not got:
                return size, True
            size += got
        return size, False

    def shake(self) -> bool:
        """Go on with the handshake. Return whether it is done. Raises OSError or ValueError where it has failed."""
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def common_name(self) -> str | None:
        """The common name of the verified certificate that the client has shown; None without one."""
        shown: Any = self.sock.getpeercert() if isinstance(self.sock, ssl.SSLSocket) else None
        subject = shown.get("subject", ()) if isinstance(shown, dict) else ()
        names = [value for relative in subject for key, value in relative if key == "commonName"]
        return str(names[-1]) if names else None

    def close(self, *, farewell: bool) -> None:
        """Close the socket. ``farewell``: say goodbye in TLS, so that the client can tell the end from a cut."""
        if farewell and isinstance(self.sock, ssl.SSLSocket):
            with contextlib.suppress(OSError, ValueError):  # nobody waits for the answer
                self.sock.unwrap()
        self.sock.close()
