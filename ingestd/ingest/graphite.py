"""The Graphite listener: plaintext lines over TCP and UDP, on the same port numbers."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ingestd.ingest.datagrams import DatagramListener
from ingestd.ingest.pipeline import IngestError, Pipeline
from ingestd.ingest.sockets import RECEIVE_BUFFER, Address, open_pair, resolve, shown
from ingestd.ingest.streams import StreamListener, StreamSettings
from ingestd.points import Parsed
from ingestd.telemetry import Ledger
from ingestd.wire.framing import LineSplitter
from ingestd.wire.lines import PathLimits, parse_lines

TCP: Final = "graphite/tcp"
UDP: Final = "graphite/udp"


@dataclass(frozen=True, slots=True)
class GraphiteSettings:
    """Settings of the Graphite listener."""

    stream: StreamSettings = field(default_factory=StreamSettings)
    paths: PathLimits = field(default_factory=PathLimits)
    receive_buffer: int = RECEIVE_BUFFER
    """Bytes of a UDP socket's buffer."""


class GraphiteListener:
    """Takes Graphite lines at ``addresses``; counts in the books ``graphite/tcp`` and ``graphite/udp``."""

    def __init__(
        self,
        addresses: Sequence[Address],
        pipeline: Pipeline,
        ledger: Ledger,
        settings: GraphiteSettings | None = None,
    ) -> None:
        self._wanted = addresses
        self._pipeline = pipeline
        self._settings = settings or GraphiteSettings()
        self._udp_books = ledger.open(UDP)
        self._streams = StreamListener(pipeline, ledger.open(TCP), self._settings.stream, self._parse)
        self._datagrams = DatagramListener(pipeline, self._udp_books, self._take, self._drop)
        # Every wake-up ends with a whole line, so nothing carries over from one to the next.
        self._splitter = LineSplitter(self._settings.stream.line)
        self.listening: list[tuple[str, str]] = []
        """Every (``graphite/tcp`` or ``graphite/udp``, ``HOST:PORT``)."""

    @property
    def addresses(self) -> dict[str, str]:
        """The first address of each."""
        return dict(reversed(self.listening))

    @property
    def connections(self) -> int:
        """Open TCP connections."""
        return self._streams.connections

    @property
    def refused_connections(self) -> int:
        """TCP connections closed at once because there were too many."""
        return self._streams.refused

    @property
    def evicted_connections(self) -> int:
        """TCP connections that sent garbage and were closed to make room for others."""
        return self._streams.evicted

    async def start(self) -> None:
        """Open all sockets and read from them. Raises :class:`IngestError`, with nothing left open."""
        pairs: list[tuple[socket.socket, socket.socket]] = []
        try:
            for endpoint in await resolve(self._wanted, socket.SOCK_STREAM):
                pairs.append(open_pair(endpoint, self._settings.receive_buffer))
        except IngestError:
            for stream, datagram in pairs:
                stream.close()
                datagram.close()
            raise
        for stream, datagram in pairs:
            self.listening += [(TCP, shown(stream)), (UDP, shown(datagram))]
        self._streams.start([stream for stream, _ in pairs])
        self._datagrams.start([datagram for _, datagram in pairs])

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening, read what the kernel holds (for at most ``grace`` seconds each), close all connections."""
        await self._streams.stop(grace)
        await self._datagrams.stop(grace)

    def pause(self) -> None:
        """Stop reading TCP, read and drop UDP."""
        self._streams.pause()
        self._datagrams.pause()

    def resume(self) -> None:
        self._streams.resume()
        self._datagrams.resume()

    def kernel_drops(self) -> None:
        """Bring ``kernel_drops`` of the books up to date."""
        self._datagrams.kernel_drops()

    def _parse(self, lines: bytes) -> Parsed:
        return parse_lines(lines, self._pipeline.names, self._pipeline.clock(), self._settings.paths)

    def _take(self, datagrams: list[bytes]) -> None:
        before = self._splitter.too_long
        lines = self._splitter.feed(_closed(datagrams))
        self._pipeline.refuse(self._udp_books, "too_long", self._splitter.too_long - before)
        if lines:
            self._pipeline.accept(self._udp_books, self._parse(lines))

    def _drop(self, datagrams: list[bytes]) -> None:
        self._pipeline.refuse(self._udp_books, "overload", _closed(datagrams).count(b"\n"))


def _closed(datagrams: list[bytes]) -> bytes:
    """The datagrams' lines; a last line without LF is a line, for a datagram is whole or not there at all."""
    return b"".join(d if d.endswith(b"\n") else d + b"\n" for d in datagrams if d)
