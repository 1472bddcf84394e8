"""The collectd listener: datagrams of the binary protocol, unicast and multicast.

The parser is handed in; its tables (types.db, AuthFile) come from files that are watched here, because the parser's
floor reads no files.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from ingestd.ingest.datagrams import DatagramListener, Datagrams
from ingestd.ingest.gather import Gather
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import RECEIVE_BUFFER, Address, open_datagram, resolve, shown
from ingestd.ingest.sources import IngestError, Source
from ingestd.points import Batch, NameTable, NewName, Parsed
from ingestd.telemetry import Ledger
from ingestd.wire.framing import WireError

_log = logging.getLogger(__name__)

UDP: Final = "collectd/udp"
_CHECK_FILES: Final = 1.0
"""Seconds between two looks at the watched files."""


class Decoded(Protocol):
    """What the parser makes of a datagram: points, and notifications that are events."""

    @property
    def batch(self) -> Batch: ...
    @property
    def unknown(self) -> list[NewName]: ...
    @property
    def rejected(self) -> dict[str, int]: ...
    @property
    def notifications(self) -> Sequence[Any]: ...
    @property
    def users(self) -> Sequence[tuple[int, bytes]]: ...


class Decoder(Protocol):
    """A parser of collectd's binary protocol. ``now``: seconds, with fraction."""

    def parse(self, datagram: bytes, names: NameTable, now: float) -> Decoded: ...


class WatchedFile:
    """A file whose text is given to ``apply`` whenever the file has changed."""

    def __init__(self, path: Path, apply: Callable[[str], None]) -> None:
        self._path = path
        self._apply = apply
        self._seen: tuple[int, int, int] | None = None

    def load(self) -> None:
        """Read it for the first time. Raises OSError, or what ``apply`` raises."""
        self._seen = self._mark()
        self._apply(self._path.read_text("utf-8", "surrogateescape"))

    def poll(self) -> None:
        """Read it again if it has changed; an unreadable file leaves what was read before in force."""
        try:
            mark = self._mark()
            if mark != self._seen:
                self._seen = mark
                self._apply(self._path.read_text("utf-8", "surrogateescape"))
                _log.info("%s has changed and was read again", self._path)
        except (OSError, WireError) as error:
            if self._seen is not None or isinstance(error, WireError):
                _log.error("%s: what was read before stays in force: %s", self._path, error)
            if isinstance(error, OSError):
                self._seen = None  # read when it is there again; said once

    def _mark(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


class CollectdListener:
    """Takes collectd's datagrams at ``addresses``; counts in the books ``collectd/udp``."""

    def __init__(
        self,
        addresses: Sequence[Address],
        pipeline: Pipeline,
        ledger: Ledger,
        decoder: Decoder,
        on_notification: Callable[[Any], None],
        watched: Sequence[WatchedFile] = (),
        receive_buffer: int = RECEIVE_BUFFER,
    ) -> None:
        self._wanted = addresses
        self._pipeline = pipeline
        self._books = ledger.open(UDP)
        self._decoder = decoder
        self._on_notification = on_notification
        self._watched = watched
        self._receive_buffer = receive_buffer
        self._gather = Gather(pipeline, self._books)
        self._datagrams = DatagramListener(pipeline, self._books, self._take, self._drop)
        self._checked = pipeline.wall()
        self.listening: list[tuple[str, str]] = []
        """Every (``collectd/udp``, ``HOST:PORT``)."""

    @property
    def addresses(self) -> dict[str, str]:
        """The first address."""
        return dict(reversed(self.listening))

    async def start(self) -> None:
        """Read the watched files, open all sockets and read from them.

        Raises :class:`IngestError`, with nothing left open, OSError for a file, or what reading a file's text raises.
        """
        for file in self._watched:
            file.load()
        sockets: list[socket.socket] = []
        try:
            for endpoint in await resolve(self._wanted, socket.SOCK_DGRAM):
                sockets.append(open_datagram(endpoint, self._receive_buffer))
        except IngestError:
            for sock in sockets:
                sock.close()
            raise
        self.listening = [(UDP, shown(sock)) for sock in sockets]
        self._gather.start()
        self._datagrams.start(sockets)

    async def stop(self, grace: float = 5.0) -> None:
        """Read what the kernel holds, for at most ``grace`` seconds, and close the sockets."""
        await self._datagrams.stop(grace)
        self._gather.flush()

    def flush(self) -> None:
        """Hand over what was read."""
        self._gather.flush()

    def pause(self) -> None:
        """Read and drop."""
        self._datagrams.pause()

    def resume(self) -> None:
        self._datagrams.resume()

    def kernel_drops(self) -> None:
        """Bring ``kernel_drops`` of the books up to date."""
        self._datagrams.kernel_drops()

    def _take(self, datagrams: Datagrams) -> None:
        now = self._pipeline.wall()
        if not 0 <= now - self._checked < _CHECK_FILES:
            self._checked = now
            for file in self._watched:
                file.poll()
        parts: list[tuple[Parsed, Source]] = []
        notifications: list[Any] = []
        for datagram, host in datagrams:
            try:
                decoded = self._decoder.parse(datagram, self._pipeline.names, now)
            except Exception:  # a bug in the parser, but the other datagrams are other clients'
                _log.exception("BUG: the parser raised on a datagram of %d bytes", len(datagram))
                self._pipeline.refuse(self._books, "malformed", 1, self._pipeline.sources.address(host))
                continue
            parts += self._by_sender(decoded, host)
            notifications += decoded.notifications
        self._gather.add(*parts)
        for notification in notifications:
            self._on_notification(notification)

    def _by_sender(self, decoded: Decoded, host: str) -> list[tuple[Parsed, Source]]:
        """What a datagram gave, by who sealed it: its users, or the host where nobody did."""
        sources = self._pipeline.sources
        batch, users = decoded.batch, decoded.users
        if not users:
            return [(Parsed(batch, decoded.unknown, decoded.rejected), sources.address(host))]
        parts: list[tuple[Parsed, Source]] = []
        rejected = decoded.rejected
        for (first, user), (end, _) in zip(users, [*users[1:], (len(batch), b"")], strict=True):
            if first == end and not (rejected and end == len(batch)):
                continue
            mine = Batch(batch.ids[first:end], batch.timestamps[first:end], batch.values[first:end])
            unknown = [n._replace(row=n.row - first) for n in decoded.unknown if first <= n.row < end]
            source = sources.user(user.decode("utf-8", "replace"), host) if user else sources.address(host)
            # What was refused is told of whoever comes first: a datagram has one sender, however many seals.
            parts.append((Parsed(mine, unknown, rejected), source))
            rejected = {}
        return parts

    def _drop(self, datagrams: Datagrams) -> None:
        for _, host in datagrams:
            self._pipeline.refuse(self._books, "overload", 1, self._pipeline.sources.address(host))
