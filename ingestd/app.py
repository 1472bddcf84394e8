"""The composition root: builds the daemon from its settings, starts it, and drains it in order.

Start: lock, the HTTP face, which says "starting", recovery, listeners, then the HTTP face says "healthy". Drain:
listeners first (what the kernel holds is still read), then a last checkpoint, then the HTTP face, then the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from ingestd import __version__
from ingestd._speed import COMPILED
from ingestd.build import (
    access,
    http_limits,
    make_guard,
    make_query_limits,
    open_doors,
    path_limits,
    prefixes,
    source_limits,
    store_settings,
    tag_limits,
)
from ingestd.cluster.messages import PeerError
from ingestd.cluster.respondent import Respondent
from ingestd.config import Settings, make_rules
from ingestd.config_types import parse_address
from ingestd.consuming import consumes, make_consumer, make_marks
from ingestd.gathered import Gathered
from ingestd.index.answers import Searches
from ingestd.index.globs import Globs
from ingestd.index.names import NameIndexError, Names
from ingestd.index.tags import Tags
from ingestd.ingest.collectd import WatchedFile
from ingestd.ingest.consume import Consumer
from ingestd.ingest.pipeline import Pipeline, SeriesLimits
from ingestd.ingest.sockets import Listener
from ingestd.listening import announce, connections, make_listeners, withdraw
from ingestd.notices import Notices
from ingestd.own_series import OWN_BRANCH, memory_bytes, own_values, record
from ingestd.points import Ids
from ingestd.query.evaluate import Request, run
from ingestd.query.grid import Series
from ingestd.query.substitute import Search
from ingestd.query.trace import Trace
from ingestd.reader import LocalReader
from ingestd.registrar import Registrar, RegistrarError
from ingestd.serve.deps import Deps, Guard
from ingestd.serve.params import ServeError
from ingestd.serve.server import HttpServer
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.events import EventLog
from ingestd.storage.files import Files
from ingestd.storage.marks import Marks
from ingestd.storage.store import Store
from ingestd.telemetry import Ledger, exposition
from ingestd.tls import TlsContext, make_tls
from ingestd.transfer import Transfer

log = logging.getLogger(__name__)

TICK_SECONDS: Final = 1.0
DRAIN_SECONDS: Final = 60.0
"""How long SIGTERM waits for the last checkpoint; after it the journal alone holds the rest, and nothing is lost."""
FLUSH_SECONDS: Final = 30.0
"""How long POST /flush waits before it answers that the checkpoint goes on."""
PARSER: Final = "compiled" if COMPILED else "pure Python and numpy"


class Daemon:
    """One running ingestd, on the running event loop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._started = time.time()
        self._state = "starting"
        self._data = settings.server.data
        self.ledger = Ledger()
        self.names = Names()
        self._globs = Globs(self.names, private=OWN_BRANCH)
        self._searches = Searches(self._globs, self.names)
        self._tags = Tags(self.names, Search, tag_limits(settings))
        rules = make_rules(settings)
        self._store = Store(
            self._data, rules, store_settings(settings), self._post, self._loop.call_later, rules.fingerprint
        )
        limits = settings.limits
        self._prefixes = prefixes(settings)
        self._pipeline = Pipeline(
            self._store,
            self.names,
            SeriesLimits(limits.series, limits.names_per_second, limits.names_burst),
            time.time,
            source_limits=source_limits(settings),
            access=access(settings),
            prefixes=self._prefixes,
            ledger=self.ledger,
        )
        self._tls: list[TlsContext] = []
        self._reader = LocalReader(self._searches, self._tags, self._store, self._event_times)
        self._events: EventLog
        self._notices: Notices
        self._listeners: list[Listener] = []
        self._http: HttpServer | None = None
        self._gathered: Gathered | None = None
        self._watched: list[WatchedFile] = []
        self._consumer: Consumer | None = None
        self._marks: Marks | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _post(self, call: Callable[[], None]) -> None:
        # A thread may finish its work while the loop is being closed; nobody waits for its word any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    # -- start ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Recover and listen. Raises the floors' own errors, or OSError."""
        self._store.lock()
        withdraw(self._data)
        try:
            self._events = EventLog(Files(), self._data / "events.log", self._settings.storage.events)
        except CorruptFileError as e:
            raise StorageError(f"{e}; try: ingestd check --repair {self._data}") from e
        self._notices = Notices(self._events, self._post)
        self._store.on_relief = self._relieved
        self._store.before_forget = self._hand_over
        self._store.on_forget = self._forgotten
        await self._serve_http()
        try:
            await self._loop.run_in_executor(None, self._recover)
            await self._listen()
        except BaseException:
            if self._http is not None:
                await self._http.stop()
            raise
        self._tasks.append(self._loop.create_task(self._tick()))
        if self._settings.telemetry.own_series_interval:
            self._tasks.append(self._loop.create_task(self._own_series()))
        # A million tagged series take 3 s: nobody but the first who searches by tag waits for that.
        self._tags_ready = self._loop.run_in_executor(None, self._tags.refresh)
        self._state = "running"
        announce(self._data, self.listening)

    def _recover(self) -> None:
        opened = self._store.open()
        self.names.load(opened.ids, opened.blob, opened.offsets)
        if self._prefixes.active:
            self._prefixes.adopt(opened.ids, self.names.paths(opened.ids))
        self._globs.refresh()

    async def _listen(self) -> None:
        settings = self._settings
        self._listeners = make_listeners(settings, self._pipeline, self.ledger, self._notices.take, self._follow)
        if consumes(settings):
            self._marks = make_marks(settings)
            self._consumer, watched = make_consumer(
                settings,
                self._pipeline,
                self.ledger,
                self._marks,
                self._store.settled,
                lambda: self._gathered.host_nodes if self._gathered is not None else None,
            )
            self._watched += watched
            self._listeners.append(self._consumer)
        for listener in self._listeners:
            await listener.start()
        for warning in open_doors(settings):
            log.warning("%s", warning)

    def _follow(self, tls: TlsContext | None) -> ssl.SSLContext | None:
        """The context; its certificate is read again when it is renewed."""
        if tls is None:
            return None
        self._tls.append(tls)
        return tls.context

    async def _serve_http(self) -> None:
        settings = self._settings
        if not settings.http.listen:
            return
        guard, watched = make_guard(settings)
        self._watched += watched
        tls = self._follow(make_tls(settings.http.tls))
        self._http = HttpServer(self._deps(guard), http_limits(settings), tls)
        await self._http.start([parse_address(text) for text in settings.http.listen])

    def _event_times(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        return self._events.times(tags, start, until)

    def _deps(self, guard: Guard) -> Deps:
        registrar = Registrar(self._pipeline, self._store, path_limits(self._settings), self._hand_over)

        def evaluate(request: Request, trace: Trace | None = None) -> list[Series]:
            return run(request, self._reader, trace)

        refusals = (NameIndexError, RegistrarError, PeerError)
        query_limits = make_query_limits(self._settings)
        own = Respondent(
            self._reader, self._searches, self._tags, self._events, refusals, query_limits, lambda: len(self.names.keys)
        )
        deps = Deps(
            run=evaluate,
            explain=evaluate,
            finder=self._searches,
            events=self._events,
            tags=self._tags,
            register=registrar.register,
            forget=registrar.forget,
            status=self.status,
            health=self.health,
            scratch=self._data,
            starting=lambda: self._state == "starting",
            prometheus=self._prometheus,
            flush=self._flush,
            snapshot=self._snapshot,
            clock=time.time,
            version=__version__,
            refusals=refusals,
            guard=guard,
            query_limits=query_limits,
            peer=own.answer,
            pieces=Transfer(self.names, self._store, registrar, self._pipeline.clock).answer,
        )
        if not self._settings.cluster.map:
            return deps
        self._gathered = Gathered(self._settings, own)
        self._watched += self._gathered.watched
        return self._gathered.over(deps)

    @property
    def listening(self) -> list[tuple[str, str]]:
        """Every (listener, ``HOST:PORT``)."""
        return [pair for listener in self._listeners for pair in listener.listening] + (
            self._http.listening if self._http is not None else []
        )

    # -- while it runs -------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                self._store.tick(self._pipeline.clock())
            except OSError as e:
                log.error("cannot look after the store: %s", e)
            for tls in self._tls:
                tls.poll()
            for file in self._watched:
                file.poll()
            self._watch_memory()
            if self._store.saturated:
                for listener in self._listeners:
                    listener.pause()

    def _watch_memory(self) -> None:
        limit = self._settings.limits.memory
        crowded = bool(limit) and memory_bytes() > limit
        if crowded and not self._pipeline.crowded:
            log.error("memory is over limits.memory (%d bytes): new series are refused", limit)
        self._pipeline.crowded = crowded

    def _hand_over(self) -> None:
        """Let the store have every point that was read."""
        for listener in self._listeners:
            listener.flush()

    def _relieved(self) -> None:
        for listener in self._listeners:
            listener.resume()

    def _forgotten(self, ids: Ids) -> None:
        self._prefixes.forget(ids)
        for number in ids.tolist():
            self.names.remove(number)

    async def _own_series(self) -> None:
        """The daemon's own series: journalled like any other, never counted in the ledger."""
        interval = self._settings.telemetry.own_series_interval
        while True:
            await asyncio.sleep(interval - time.time() % interval)
            values = own_values(self.ledger.as_dict(), self._store.status())
            record(values, self._pipeline, self._store)

    async def _write_all(self, patience: float) -> None:
        """Write as blocks what is in memory. Raises TimeoutError after ``patience`` seconds, while it goes on."""
        self._hand_over()
        self._store.tick(self._pipeline.clock())
        await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(self._store.flush())), patience)

    async def _flush(self) -> None:
        try:
            await self._write_all(FLUSH_SECONDS)
        except TimeoutError:
            raise ServeError(503, self._store.failure or "the checkpoint takes long; it goes on") from None

    async def _snapshot(self, target: str) -> dict[str, Any]:
        if not Path(target).is_absolute():
            raise ServeError(400, "target is the absolute path of a new directory")
        self._hand_over()
        self._store.tick(self._pipeline.clock())
        try:
            copied = await asyncio.wrap_future(self._store.snapshot(Path(target)))
        except (StorageError, OSError) as e:
            raise ServeError(409, str(e)) from e
        return {"target": target, "blocks": copied.blocks, "linked": copied.linked, "missing": copied.missing}

    def health(self) -> tuple[bool, str]:
        """Whether points are accepted, and why not."""
        if self._state != "running":
            return False, self._state
        problem = self._store.problem
        return problem is None, problem or "ok"

    def status(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        for listener in self._listeners:
            listener.kernel_drops()
        healthy, health = self.health()
        store = self._store.status()
        return {
            "state": self._state,
            "healthy": healthy,
            "health": health,
            "ledger": self.ledger.as_dict(),
            "refusals": {"sources": self.ledger.sources.top(), "prefixes": self.ledger.prefixes.top()},
            "sources": len(self._pipeline.sources),
            **store,
            "listening": self.listening,
            "connections": connections(self._listeners),
            **({"cluster": self._gathered.cluster.status()} if self._gathered is not None else {}),
            **({"amqp": self._consumer.status()} if self._consumer is not None else {}),
            "parser": PARSER,
            "uptime_seconds": round(time.time() - self._started, 1),
            "memory_bytes": memory_bytes(),
            "events": len(self._events),
            "events_lost": self._notices.lost,
            "damage": [*store["damage"], *self._events.damage],
            "python": sys.version.split()[0],
        }

    def _prometheus(self) -> str:
        status = self.status()
        gauges = {
            "series": status["series"],
            "unflushed_points": status["unflushed"],
            "ring_bytes": status["ring_bytes"],
            "block_files": status["blocks"],
            "memory_bytes": status["memory_bytes"],
            "healthy": int(status["healthy"]),
        }
        if self._gathered is not None:
            gauges |= self._gathered.cluster.gauges()
        counters = {} if self._consumer is None else self._consumer.counters()
        if self._consumer is not None:
            gauges |= {f"amqp_{name}": value for name, value in self._consumer.gauges().items()}
        return exposition(self.ledger, gauges, {f"amqp_{name}": value for name, value in counters.items()})

    # -- drain ---------------------------------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Stop listening, write what there is, give up the directory."""
        self._state = "draining"
        for listener in self._listeners:
            await listener.stop()
        for task in self._tasks:
            task.cancel()
        try:
            await self._write_all(DRAIN_SECONDS)
        except TimeoutError:
            log.error("no checkpoint within %g s (%s); the journal holds the rest", DRAIN_SECONDS, self._store.failure)
        if self._http is not None:
            await self._http.stop()
        if self._gathered is not None:
            self._gathered.cluster.close()
        await self._loop.run_in_executor(None, self._store.close)
        if self._marks is not None:
            self._marks.close()
        self._notices.close()
        self._events.close()
        withdraw(self._data)
