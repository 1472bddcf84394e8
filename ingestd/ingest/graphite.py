"""The Graphite listener: plaintext lines over TCP and UDP, on the same port numbers."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ingestd.ingest.datagrams import DatagramListener, Datagrams
from ingestd.ingest.gather import Gather
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import RECEIVE_BUFFER, Address, open_pair, open_stream, resolve, shown
from ingestd.ingest.sources import IngestError, Source
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
    udp: bool = True
    """Whether there is a UDP socket beside each TCP one."""


class GraphiteListener:
    """Takes Graphite lines at ``addresses``; counts in the books ``graphite/tcp`` and ``graphite/udp``."""

    def __init__(
        self,
        addresses: Sequence[Address],
        pipeline: Pipeline,
        ledger: Ledger,
        settings: GraphiteSettings | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls``: TCP speaks TLS."""
        self._wanted = addresses
        self._pipeline = pipeline
        self._settings = settings or GraphiteSettings()
        self._streams = StreamListener(
            pipeline,
            ledger.open(TCP),
            self._settings.stream,
            self._new_splitter,
            self._parse,
            tls,
            lines=True,
        )
        self._udp_books = ledger.open(UDP)
        self._gather = Gather(pipeline, self._udp_books)
        self._datagrams = DatagramListener(pipeline, self._udp_books, self._take, self._drop, self._gather.flush)
        # Every wake-up ends with a whole line, so nothing carries over from one to the next.
        self._splitter = self._new_splitter()
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
        """TCP connections that sent garbage, or nothing, and were closed to make room for others."""
        return self._streams.evicted

    @property
    def failed_handshakes(self) -> int:
        """TCP connections closed because their handshake of TLS failed."""
        return self._streams.failed_handshakes

    async def start(self) -> None:
        """Open all sockets and read from them. Raises :class:`IngestError`, with nothing left open."""
        streams: list[socket.socket] = []
        datagrams: list[socket.socket] = []
        listening: list[tuple[str, str]] = []
        try:
            for endpoint in await resolve(self._wanted, socket.SOCK_STREAM):
                if not self._settings.udp:
                    streams.append(open_stream(endpoint))
                    listening.append((TCP, shown(streams[-1])))
                    continue
                stream, datagram = open_pair(endpoint, self._settings.receive_buffer)
                streams.append(stream)
                datagrams.append(datagram)
                listening += [(TCP, shown(stream)), (UDP, shown(datagram))]
        except IngestError:
            for sock in (*streams, *datagrams):
                sock.close()
            raise
        self.listening = listening
        self._streams.start(streams)
        self._datagrams.start(datagrams)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening, read what the kernel holds (for at most ``grace`` seconds each), close all connections."""
        await self._streams.stop(grace)
        await self._datagrams.stop(grace)
        self._gather.flush()

    def flush(self) -> None:
        """Hand over what was read."""
        self._gather.flush()

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

    def _new_splitter(self) -> LineSplitter:
        return LineSplitter(self._settings.stream.line)

    def _parse(self, lines: bytes) -> Parsed:
        return parse_lines(lines, self._pipeline.names.table, self._pipeline.clock(), self._settings.paths)

    def _take(self, datagrams: Datagrams) -> None:
        parts: list[tuple[Parsed, Source]] = []
        for host, mine in _by_host(datagrams).items():
            source = self._pipeline.sources.address(host)
            before = self._splitter.too_long
            lines = self._splitter.feed(_closed(mine))
            self._pipeline.refuse(self._udp_books, "too_long", self._splitter.too_long - before, source)
            if lines:
                parts.append((self._parse(lines), source))
        self._gather.add(*parts)

    def _drop(self, datagrams: Datagrams) -> None:
        for host, mine in _by_host(datagrams).items():
            source = self._pipeline.sources.address(host)
            self._pipeline.refuse(self._udp_books, "overload", _closed(mine).count(b"\n"), source)


def _by_host(datagrams: Datagrams) -> dict[str, list[bytes]]:
    """The payloads of each host, in their order: they are parsed together."""
    found: dict[str, list[bytes]] = {}
    for payload, host in datagrams:
        found.setdefault(host, []).append(payload)
    return found


def _closed(datagrams: list[bytes]) -> bytes:
    """The datagrams' lines; a last line without LF is a line, for a datagram is whole or not there at all."""
    return b"".join(d if d.endswith(b"\n") else d + b"\n" for d in datagrams if d)
