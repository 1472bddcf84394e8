"""The composition of a relay: the listeners of a store, and a broker where a store has its files.

Start: lock, the HTTP face, the spool, the broker's connection, listeners. Drain: listeners first, then what they
brought goes to the broker, or to the spool if that is away, then the rest.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
import time
from typing import Any, Final

from ingestd import __version__
from ingestd.build import access, http_limits, make_guard, open_doors, prefixes, source_limits
from ingestd.config import Settings
from ingestd.config_types import parse_address
from ingestd.consuming import broker_settings
from ingestd.index.names import Names
from ingestd.ingest.collectd import WatchedFile
from ingestd.ingest.lanes import Lanes, LaneSettings
from ingestd.ingest.pipeline import Pipeline, SeriesLimits
from ingestd.ingest.producer import Producer
from ingestd.ingest.publish import Publisher
from ingestd.ingest.relaying import RelaySettings, RelaySink
from ingestd.ingest.sockets import Listener
from ingestd.ingest.spool import SEGMENT_BYTES, Spool
from ingestd.listening import announce, connections, make_listeners, withdraw
from ingestd.own_series import memory_bytes
from ingestd.serve.deps import StatusDeps
from ingestd.serve.server import HttpServer
from ingestd.storage.files import Files, make_durably
from ingestd.telemetry import Ledger, exposition
from ingestd.tls import TlsContext, make_tls
from ingestd.wire.collectd import Notification

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 10.0
"""How long SIGTERM waits for the broker's confirms; the rest is spooled."""
_SEGMENTS: Final = 1024
"""Segments of a spool at most: each takes a descriptor."""
_LEAST_SEGMENTS: Final = 32
_LEAST_SEGMENT: Final = 2 << 20
"""Bytes: a message fits."""


class Relay:
    """One running relay, on the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._started = time.time()
        self._state = "starting"
        self._data = settings.server.data
        self._files = Files()
        self._lock = -1
        self.ledger = Ledger()
        self.names = Names()
        self._producer = Producer(self._data / "producer.json", self._files)
        amqp = settings.amqp
        self._publisher = Publisher(
            broker_settings(amqp, "relay"),
            lambda: self._producer.name,
            amqp.exchange,
            settings.relay.confirm_timeout,
        )
        self._lanes = Lanes(self._publisher, _make_spool(settings, self._files), _lane_settings(settings))
        self._sink = RelaySink(self._lanes, self._producer, self.names.keys, _relay_settings(settings))
        limits = settings.limits
        self._pipeline = Pipeline(
            self._sink,
            self.names,
            SeriesLimits(limits.series, limits.names_per_second, limits.names_burst),
            time.time,
            source_limits=source_limits(settings),
            access=access(settings),
            prefixes=prefixes(settings),
            ledger=self.ledger,
        )
        self._tls: list[TlsContext] = []
        self._listeners: list[Listener] = []
        self._http: HttpServer | None = None
        self._watched: list[WatchedFile] = []
        self._tick: asyncio.Task[None] | None = None
        self._notices = 0

    # -- start ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find what was spooled, connect, listen; no broker needs to be there. Raises the floors' errors or OSError."""
        make_durably(self._files, self._data)
        self._lock = self._files.lock(self._data / "lock")
        withdraw(self._data)
        self._producer.open()
        self._publisher.on_change = self._broker_changed
        self._sink.on_relief = self._relieved
        await self._serve_http()
        try:
            await self._lanes.start()
            self._publisher.start()
            settings = self._settings
            self._listeners = make_listeners(settings, self._pipeline, self.ledger, self._notice, self._follow)
            for listener in self._listeners:
                await listener.start()
        except BaseException:
            if self._http is not None:
                await self._http.stop()
            raise
        for warning in open_doors(settings):
            log.warning("%s", warning)
        self._tick = self._loop.create_task(self._run())
        self._state = "running"
        announce(self._data, self.listening)

    async def _serve_http(self) -> None:
        settings = self._settings
        if not settings.http.listen:
            return
        guard, watched = make_guard(settings)
        self._watched += watched
        deps = StatusDeps(
            status=self.status,
            health=self.health,
            prometheus=self._prometheus,
            flush=self._flush,
            version=__version__,
            guard=guard,
            starting=lambda: self._state == "starting",
        )
        self._http = HttpServer(deps, http_limits(settings), self._follow(make_tls(settings.http.tls)))
        await self._http.start([parse_address(text) for text in settings.http.listen])

    def _follow(self, tls: TlsContext | None) -> ssl.SSLContext | None:
        """The context; its certificate is read again when it is renewed."""
        if tls is None:
            return None
        self._tls.append(tls)
        return tls.context

    @property
    def listening(self) -> list[tuple[str, str]]:
        """Every (listener, ``HOST:PORT``)."""
        return [pair for listener in self._listeners for pair in listener.listening] + (
            self._http.listening if self._http is not None else []
        )

    # -- while it runs -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for tls in self._tls:
                tls.poll()
            for file in self._watched:
                file.poll()
            limit = self._settings.limits.memory
            self._pipeline.crowded = bool(limit) and memory_bytes() > limit
            if self._sink.saturated:
                for listener in self._listeners:
                    listener.pause()

    def _broker_changed(self, usable: bool) -> None:
        if usable:
            self._lanes.pump()
        else:
            self._lanes.lost_broker()

    def _relieved(self) -> None:
        for listener in self._listeners:
            listener.resume()

    def _notice(self, _: Notification) -> None:
        """A relay has no events: they are told to stores."""
        self._notices += 1

    async def _flush(self) -> None:
        for listener in self._listeners:
            listener.flush()
        self._sink.flush()

    def health(self) -> tuple[bool, str]:
        """Whether points are accepted, and why not. A broker that is away is no reason while the spool has room."""
        if self._state != "running":
            return False, self._state
        problem = self._lanes.problem
        return problem is None, problem or "ok"

    def status(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        for listener in self._listeners:
            listener.kernel_drops()
        healthy, health = self.health()
        return {
            "state": self._state,
            "healthy": healthy,
            "health": health,
            "ledger": self.ledger.as_dict(),
            "refusals": {"sources": self.ledger.sources.top(), "prefixes": self.ledger.prefixes.top()},
            "sources": len(self._pipeline.sources),
            "series": len(self.names),
            "relay": {
                "producer": self._producer.name.decode(),
                "messages": self._sink.messages,
                "points": self._sink.points,
                **self._lanes.as_dict(),
            },
            "broker": self._publisher.as_dict(),
            "listening": self.listening,
            "connections": connections(self._listeners),
            "notifications_dropped": self._notices,
            "uptime_seconds": round(time.time() - self._started, 1),
            "memory_bytes": memory_bytes(),
            "python": sys.version.split()[0],
        }

    def _prometheus(self) -> str:
        status = self.status()
        relay, broker = status["relay"], status["broker"]
        gauges = {f"relay_{name}": value for name, value in relay.items() if isinstance(value, int)}
        gauges |= {
            "series": status["series"],
            "memory_bytes": status["memory_bytes"],
            "healthy": int(status["healthy"]),
            "broker_connected": int(broker["connected"]),
            "broker_blocked": int(broker["blocked"]),
            "broker_connections": broker["connections"],
        }
        return exposition(self.ledger, gauges)

    # -- drain ---------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop listening, send or spool what there is, give up the directory."""
        self._state = "draining"
        for listener in self._listeners:
            await listener.stop()
        if self._tick is not None:
            self._tick.cancel()
        await self._sink.close()
        await self._lanes.close(DRAIN_SECONDS)
        await self._publisher.close()
        if self._http is not None:
            await self._http.stop()
        withdraw(self._data)
        self._files.close(self._lock)


def _make_spool(settings: Settings, files: Files) -> Spool:
    limit = settings.relay.spool_limit
    segment = min(SEGMENT_BYTES, max(_LEAST_SEGMENT, limit // _LEAST_SEGMENTS))
    return Spool(settings.server.data / "spool", files, limit, max(segment, limit // _SEGMENTS))


def _lane_settings(settings: Settings) -> LaneSettings:
    relay = settings.relay
    return LaneSettings(
        relay.window,
        relay.window_bytes,
        settings.limits.in_flight,
        relay.patience,
        relay.catch_up,
        relay.spool_alarm,
    )


def _relay_settings(settings: Settings) -> RelaySettings:
    relay = settings.relay
    return RelaySettings(
        relay.host_nodes,
        relay.linger,
        relay.linger_max,
        relay.messages,
        relay.batch,
        relay.message_points,
        int(settings.limits.future),
        settings.limits.in_flight,
    )
