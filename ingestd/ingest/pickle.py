"""The pickle listener: carbon's frames of pickled points over TCP."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ingestd.ingest.pipeline import Pipeline, joined
from ingestd.ingest.sockets import Address, open_stream, resolve, shown
from ingestd.ingest.sources import IngestError
from ingestd.ingest.streams import StreamListener, StreamSettings
from ingestd.points import Parsed
from ingestd.telemetry import Ledger
from ingestd.wire.lines import PathLimits
from ingestd.wire.pickle import FRAME_LIMIT, FrameRoom, FrameSplitter, parse_pickle

TCP: Final = "pickle/tcp"
CONNECTIONS: Final = 1000
"""Connections at once: relays send pickles, not agents, and each connection may hold an unfinished frame."""


@dataclass(frozen=True, slots=True)
class PickleSettings:
    """Settings of the pickle listener."""

    stream: StreamSettings = field(default_factory=lambda: StreamSettings(connections=CONNECTIONS))
    paths: PathLimits = field(default_factory=PathLimits)
    frame: int = FRAME_LIMIT
    """Bytes of a frame; a longer one closes its connection."""


class PickleListener:
    """Takes frames of pickled points at ``addresses``; counts in the books ``pickle/tcp``."""

    def __init__(
        self,
        addresses: Sequence[Address],
        pipeline: Pipeline,
        ledger: Ledger,
        settings: PickleSettings | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``tls``: the connections speak TLS."""
        self._wanted = addresses
        self._pipeline = pipeline
        self._settings = settings or PickleSettings()
        self._room = FrameRoom()
        self._streams = StreamListener(
            pipeline, ledger.open(TCP), self._settings.stream, self._new_splitter, self._parse, tls
        )
        self.listening: list[tuple[str, str]] = []
        """Every (``pickle/tcp``, ``HOST:PORT``)."""

    @property
    def addresses(self) -> dict[str, str]:
        """The first address."""
        return dict(reversed(self.listening))

    @property
    def connections(self) -> int:
        """Open connections."""
        return self._streams.connections

    @property
    def refused_connections(self) -> int:
        """Connections closed at once because there were too many."""
        return self._streams.refused

    @property
    def evicted_connections(self) -> int:
        """Connections closed because they sent garbage: to make room for others, or because a frame was too long."""
        return self._streams.evicted + self._streams.broken

    @property
    def failed_handshakes(self) -> int:
        """Connections closed because their handshake of TLS failed."""
        return self._streams.failed_handshakes

    async def start(self) -> None:
        """Open all sockets and read from them. Raises :class:`IngestError`, with nothing left open."""
        streams: list[socket.socket] = []
        try:
            for endpoint in await resolve(self._wanted, socket.SOCK_STREAM):
                streams.append(open_stream(endpoint))
        except IngestError:
            for sock in streams:
                sock.close()
            raise
        self.listening = [(TCP, shown(sock)) for sock in streams]
        self._streams.start(streams)

    async def stop(self, grace: float = 5.0) -> None:
        """Stop listening, read what the kernel holds (for at most ``grace`` seconds), close all connections."""
        await self._streams.stop(grace)

    def flush(self) -> None:
        """What is read is handed over at once."""

    def pause(self) -> None:
        """Stop reading."""
        self._streams.pause()

    def resume(self) -> None:
        self._streams.resume()

    def kernel_drops(self) -> None:
        """TCP drops nothing."""

    def _new_splitter(self) -> FrameSplitter:
        return FrameSplitter(self._settings.frame, self._room)

    def _parse(self, frames: list[bytes]) -> Parsed:
        names, clock, paths = self._pipeline.names, self._pipeline.clock(), self._settings.paths
        return joined([parse_pickle(frame, names, clock, paths) for frame in frames])
