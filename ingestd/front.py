"""The composition without a store: answers queries over all nodes of a cluster, and keeps nothing."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from ingestd import __version__
from ingestd.build import http_limits, make_guard, make_query_limits, open_http
from ingestd.config import Settings
from ingestd.config_types import ConfigError, parse_address
from ingestd.gathered import Gathered
from ingestd.ingest.collectd import WatchedFile
from ingestd.own_series import memory_bytes
from ingestd.serve.deps import Deps, Match
from ingestd.serve.params import ServeError
from ingestd.serve.server import HttpServer
from ingestd.telemetry import Ledger, exposition
from ingestd.tls import TlsContext, make_tls

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0


class Front:
    """One running ``ingestd query``, on the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started = time.time()
        self._state = "starting"
        self._gathered: Gathered
        self._http: HttpServer
        self._tls: TlsContext | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Read the map and listen. Raises ConfigError, WireError or OSError."""
        settings = self._settings
        if not settings.cluster.map:
            raise ConfigError("cluster.map: a query front needs the map of its cluster")
        if not settings.http.listen:
            raise ConfigError("http.listen: a query front has nothing else to listen at")
        self._gathered = Gathered(settings)
        guard, watched = make_guard(settings)
        self._tls = make_tls(settings.http.tls)
        nothing = _Nothing()
        deps = self._gathered.over(
            Deps(
                run=lambda _: [],
                finder=nothing,
                events=nothing,
                tags=nothing,
                register=_register,
                forget=_forget,
                status=self.status,
                health=self.health,
                prometheus=self._prometheus,
                flush=_flush,
                clock=time.time,
                version=__version__,
                refusals=(),
                query_limits=make_query_limits(settings),
                guard=guard,
            )
        )
        self._http = HttpServer(deps, http_limits(settings), self._tls.context if self._tls is not None else None)
        await self._http.start([parse_address(text) for text in settings.http.listen])
        self._tasks.append(asyncio.get_running_loop().create_task(self._tick([*watched, *self._gathered.watched])))
        self._state = "running"
        for warning in open_http(settings):
            log.warning("%s", warning)
        for name, address in self._http.listening:
            print(f"listening {name} {address}", flush=True)  # noqa: T201 - what scripts wait for

    async def _tick(self, watched: Sequence[WatchedFile]) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for file in watched:
                file.poll()
            if self._tls is not None:
                self._tls.poll()

    async def drain(self) -> None:
        """Finish what is being answered, and close all."""
        self._state = "draining"
        for task in self._tasks:
            task.cancel()
        await self._http.stop()
        self._gathered.cluster.close()

    def health(self) -> tuple[bool, str]:
        """Whether something can be answered, and why not."""
        if self._state != "running":
            return False, self._state
        problem = self._gathered.cluster.problem()
        return problem is None, problem or "ok"

    def status(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        healthy, health = self.health()
        return {
            "state": self._state,
            "healthy": healthy,
            "health": health,
            "cluster": self._gathered.cluster.status(),
            "listening": self._http.listening,
            "uptime_seconds": round(time.time() - self._started, 1),
            "memory_bytes": memory_bytes(),
            "python": sys.version.split()[0],
        }

    def _prometheus(self) -> str:
        gauges = {"memory_bytes": float(memory_bytes()), "healthy": float(self.health()[0])}
        return exposition(Ledger(), gauges | self._gathered.cluster.gauges())


class _Nothing:
    """The names, tags and events of a process that keeps none; those of its cluster stand before it."""

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        return []

    def paths(self) -> list[str]:
        return []

    def find(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        return []

    def tags(self, pattern: str = "") -> list[str]:
        return []

    def values(self, tag: str, pattern: str = "") -> dict[str, int]:
        return {}

    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]:
        return []

    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]:
        return []

    def add(self, when: int, what: str, tags: list[str], data: str) -> int:
        raise _elsewhere()

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        return []

    def get(self, id: int) -> dict[str, Any] | None:  # noqa: A002
        return None


def _elsewhere() -> ServeError:
    return ServeError(501, "nothing is kept here; a store of the cluster takes it")


async def _register(_: Sequence[str]) -> list[str]:
    raise _elsewhere()


async def _forget(_: Sequence[str]) -> None:
    raise _elsewhere()


async def _flush() -> None:
    """There is nothing to write."""
