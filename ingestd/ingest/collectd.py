"""The collectd listener: datagrams of the binary protocol, unicast and multicast.

The parser is handed in; its tables (types.db, AuthFile) come from files that are watched here, because the parser's
floor reads no files.
"""

from __future__ import annotations

import logging
import socket
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from ingestd.ingest.datagrams import DatagramListener, Datagrams
from ingestd.ingest.gather import Gather
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.senders import Crowd, Part
from ingestd.ingest.senders import free as unlimited
from ingestd.ingest.sockets import RECEIVE_BUFFER, Address, open_datagram, resolve, shown
from ingestd.ingest.sources import IngestError, Source
from ingestd.points import Batch, NameTable, NewName, Parsed, empty_batch
from ingestd.telemetry import Ledger
from ingestd.wire.framing import WireError

_log = logging.getLogger(__name__)

UDP: Final = "collectd/udp"
_CHECK_FILES: Final = 1.0
"""Seconds between two looks at the watched files."""

_Key: TypeAlias = tuple[bytes, str]
"""A sender: the user who sealed it, or b"", and the address."""


class Decoded(Protocol):
    """What the parser makes of some datagrams, counted from 0: points, and notifications that are events."""

    @property
    def batch(self) -> Batch: ...
    @property
    def unknown(self) -> Sequence[NewName]: ...
    @property
    def runs(self) -> Sequence[tuple[int, int, bytes]]:
        """Where the rows of a sender end, the datagram they stood in, the user who sealed them or b""."""

    @property
    def refused(self) -> Sequence[tuple[int, bytes, dict[str, int]]]:
        """The datagram of what was refused, the user of its first row or b"", points by reason."""

    @property
    def notifications(self) -> Sequence[Any]: ...
    @property
    def failed(self) -> Sequence[tuple[int, Exception]]:
        """Datagrams on which the parser failed, of which nothing stands in the batch."""


class Decoder(Protocol):
    """A parser of collectd's binary protocol. ``now``: seconds, with fraction."""

    def parse_all(self, datagrams: list[bytes], names: NameTable, now: float) -> Decoded: ...


class _Crowd(Crowd):
    """The senders of the rows of many datagrams, none of whom is limited."""

    __slots__ = ("_datagrams", "_runs", "_source")

    def __init__(
        self, runs: Sequence[tuple[int, int, bytes]], datagrams: Datagrams, source: Callable[[_Key], Source]
    ) -> None:
        """``runs`` as the parser gave them for ``datagrams``; ``source`` tells who a sender is."""
        self._runs = runs
        self._datagrams = datagrams
        self._source = source

    def runs(self) -> Iterator[tuple[int, Source]]:
        begin = 0
        for end, which, user in self._runs:
            yield end - begin, self._source((user, self._datagrams[which][1]))
            begin = end


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
        self._datagrams = DatagramListener(pipeline, self._books, self._take, self._drop, self._gather.flush)
        self._checked = pipeline.wall()
        self._free: set[_Key] = set()
        """Senders heard of since, whom nothing limits."""
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
            self._free.clear()
            for file in self._watched:
                file.poll()
        decoded = self._decoder.parse_all([payload for payload, _ in datagrams], self._pipeline.names.table, now)
        for which, error in decoded.failed:  # a bug in the parser, but the other datagrams are other clients'
            payload, host = datagrams[which]
            _log.error("BUG: the parser raised on a datagram of %d bytes", len(payload), exc_info=error)
            self._pipeline.refuse(self._books, "malformed", 1, self._pipeline.sources.address(host))
        self._gather.add(*self._by_sender(decoded, datagrams))
        for notification in decoded.notifications:
            self._on_notification(notification)

    def _by_sender(self, decoded: Decoded, datagrams: Datagrams) -> list[Part]:
        """What the datagrams gave, by who sealed it: their users, or the hosts where nobody did.

        Where nobody is limited all are one part, and who they are is only asked when something is refused.
        """
        parts: list[Part] = []
        senders = {(user, datagrams[which][1]) for _, which, user in decoded.runs}
        if all(map(self._is_free, senders - self._free)):
            if senders:
                crowd = _Crowd(decoded.runs, datagrams, self._source)
                parts.append((Parsed(decoded.batch, decoded.unknown), crowd))
        else:
            begin = 0
            for end, which, user in decoded.runs:
                parts.append((_rows(decoded, begin, end), self._source((user, datagrams[which][1]))))
                begin = end
        refused: dict[_Key, Counter[str]] = {}
        for which, user, reasons in decoded.refused:
            # What was refused is told of whoever comes first: a datagram has one sender, however many seals.
            refused.setdefault((user, datagrams[which][1]), Counter()).update(reasons)
        parts += [(Parsed(empty_batch(), [], dict(points)), self._source(key)) for key, points in refused.items()]
        return parts

    def _is_free(self, key: _Key) -> bool:
        """Whether nothing limits a sender, who is hereby heard of; noted for a while."""
        found = unlimited(self._source(key))
        if found:
            self._free.add(key)
        return found

    def _source(self, key: _Key) -> Source:
        user, host = key
        sources = self._pipeline.sources
        return sources.user(user.decode("utf-8", "replace"), host) if user else sources.address(host)

    def _drop(self, datagrams: Datagrams) -> None:
        for _, host in datagrams:
            self._pipeline.refuse(self._books, "overload", 1, self._pipeline.sources.address(host))


def _rows(decoded: Decoded, begin: int, end: int) -> Parsed:
    """Some rows of what was found, and nothing that was refused."""
    batch, unknown = decoded.batch, decoded.unknown
    if unknown:
        first, last = (bisect_left(unknown, row, key=attrgetter("row")) for row in (begin, end))
        unknown = [new._replace(row=new.row - begin) for new in unknown[first:last]]
    return Parsed(Batch(batch.ids[begin:end], batch.timestamps[begin:end], batch.values[begin:end]), unknown)
