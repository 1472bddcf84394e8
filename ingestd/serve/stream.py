"""/render/stream: a target kept up to date, as server-sent events (WHATWG HTML, section 9.2).

The first event, ``answer``, is what /render would say. Then ``points`` come, once a step: what has changed since, in
the same shape, with the points alone that are new, late or corrected. ``answer`` comes again where points would not do:
when series come or go, when their step changes, and when the window has grown to twice what was asked for.

Those who ask the same share a feed: it computes once a step however many watch, and they are sent the same bytes.
It computes from the beginning of its window each time, because integrals, consolidation and the like depend on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from aiohttp import web

from ingestd.query.consolidate import consolidate
from ingestd.query.context import never
from ingestd.query.evaluate import Request
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.serve.deps import Deps, Limits
from ingestd.serve.formats import json_bytes
from ingestd.serve.params import ServeError, params_of
from ingestd.serve.render import request_of
from ingestd.serve.workers import Workers

logger = logging.getLogger(__name__)

_PENDING: Final = 8
"""Events that may wait for one reader; who is further behind is dropped. They are shared, so they cost little."""
_QUIET: Final = 15.0
"""Seconds of silence after which a comment keeps proxies from giving up."""
_LONGEST: Final = 60.0
"""Seconds between two looks at the longest: coarse steps change by every point that comes in."""
_WITHOUT: Final = 10.0
"""Seconds between two looks while there is no series to tell the step."""
_SHARE: Final = 20.0
"""A feed rests for so many times what its last look took: one costs 5 % of a core at most."""
_GROWN: Final = 2


@dataclass(slots=True)
class State:
    """What the readers of a feed have been told so far."""

    series: list[Series]
    step: int
    """The finest step of what was read, 0 without series."""


class Reader:
    """One who watches a feed: the events that wait for it."""

    def __init__(self) -> None:
        self._pending: deque[bytes] = deque()
        self._more = asyncio.Event()
        self.ended = False
        """Whether no more events come once those that wait are taken."""
        self.late = False
        """Whether it fell too far behind."""

    def give(self, event: bytes) -> None:
        if len(self._pending) >= _PENDING:
            self.late = True
            self._pending.clear()
            self.end()
        elif not self.ended:
            self._pending.append(event)
            self._more.set()

    def end(self) -> None:
        self.ended = True
        self._more.set()

    async def take(self) -> bytes | None:
        """The next event; a comment after a silence; None at the end."""
        while not self._pending:
            if self.ended:
                return None
            self._more.clear()
            try:
                async with asyncio.timeout(_QUIET):
                    await self._more.wait()
            except TimeoutError:
                return b": nothing new\n\n"
        return self._pending.popleft()


class Feed:
    """One question, its readers, and the task that keeps them up to date."""

    def __init__(self, deps: Deps, workers: Workers, asked: Request, turn: asyncio.Lock) -> None:
        self._deps = deps
        self._workers = workers
        self._asked = asked
        self._span = asked.until - asked.start
        self._start = asked.start
        self._turn = turn
        self._state: State | None = None
        self._answer = b""
        self._took = 0.0
        self.readers: set[Reader] = set()
        self.visitors = 0
        """Requests that hold it: readers, and those that wait for the first answer."""
        self._task: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        """Held while an answer is made: a reader that joins meanwhile would miss what came between."""

    async def join(self) -> Reader:
        """A new reader, which is given the answer as it stands. Raises what :func:`ingestd.query.evaluate.run` does."""
        async with self._changing:
            if self._state is None:
                self._state = await self._look()
            if not self._answer:
                self._answer = await self._workers.run(_answer_event, self._state.series)
            reader = Reader()
            reader.give(self._answer)
            self.readers.add(reader)
        if self._task is None:
            self._task = asyncio.create_task(self._go_on())
        return reader

    async def end(self) -> None:
        """End it for all readers."""
        for reader in self.readers:
            reader.end()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _look(self) -> State:
        now = int(self._deps.clock())
        if now - self._start > _GROWN * self._span:
            self._start = now - self._span
        asked = replace(self._asked, start=self._start, until=max(now, self._start + 1), now=now)
        began = time.monotonic()
        state = await self._workers.run(_state, self._deps.run, asked)
        self._took = time.monotonic() - began
        return state

    async def _go_on(self) -> None:
        """Look once a step, and tell the readers what is new."""
        try:
            while self._state is not None:
                await asyncio.sleep(self._pause(self._state))
                async with self._turn, self._changing:
                    await self._tell(self._state)
        except QueryError as error:
            self._give(_event("error", json.dumps(str(error)).encode()))
        except Exception:
            logger.exception("BUG: a stream ended")
        finally:
            for reader in self.readers:
                reader.end()

    async def _tell(self, known: State) -> None:
        try:
            state = await self._look()
            event, whole = await self._workers.run(_news, known.series, state.series)
        except ServeError as error:  # too much to do at the moment; the next look tells it all
            logger.debug("a stream waits: %s", error)
            return
        self._state = state
        if event:
            self._answer = event if whole else b""
            self._give(event)

    def _pause(self, state: State) -> float:
        """Seconds to the next look: just behind the next multiple of the step."""
        step = min(max(float(state.step), 1.0), _LONGEST) if state.step else _WITHOUT
        return max(step - self._deps.clock() % step, self._took * _SHARE)

    def _give(self, event: bytes) -> None:
        for reader in self.readers:
            reader.give(event)


class Streams:
    """All feeds: by what is asked, and by how long a window."""

    def __init__(self, deps: Deps, workers: Workers, limits: Limits) -> None:
        self._deps = deps
        self._workers = workers
        self._limits = limits
        self._feeds: dict[Request, Feed] = {}
        self._turn = asyncio.Lock()
        """One feed looks at a time, so that the other worker is there for those who ask once."""
        self._watching = 0
        self.dropped = 0
        """Readers that fell too far behind."""

    def as_dict(self) -> dict[str, int]:
        """What ``/status`` shows."""
        return {"feeds": len(self._feeds), "readers": self._watching, "dropped": self.dropped}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """The handler of /render/stream."""
        asked = request_of(self._deps, await params_of(request))
        if asked.until != asked.now or abs(asked.now - self._deps.clock()) > 1:
            raise ServeError(400, "a stream ends now: it takes neither until nor now")
        if not asked.targets:
            raise ServeError(400, "a stream needs a target")
        if self._watching >= self._limits.streams:
            raise ServeError(
                503, f"{self._watching} streams are open; the limit is {self._limits.streams} (http.streams)"
            )
        self._watching += 1
        try:
            return await self._serve(request, asked)
        finally:
            self._watching -= 1

    async def _serve(self, request: web.Request, asked: Request) -> web.StreamResponse:
        key = replace(asked, start=asked.start - asked.now, until=0, now=0, stop=never)
        feed = self._feeds.get(key) or self._feeds.setdefault(
            key, Feed(self._deps, self._workers, replace(asked, stop=never), self._turn)
        )
        feed.visitors += 1
        reader = None
        try:
            reader = await feed.join()
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            await response.prepare(request)
            await self._write_all(response, reader)
            if reader.late:
                self.dropped += 1
                if request.transport is not None:
                    request.transport.abort()
            return response
        finally:
            feed.visitors -= 1
            if reader is not None:
                feed.readers.discard(reader)
            if not feed.visitors:
                del self._feeds[key]
                await feed.end()

    async def _write_all(self, response: web.StreamResponse, reader: Reader) -> None:
        try:
            while (event := await reader.take()) is not None:
                async with asyncio.timeout(self._limits.write_timeout):
                    await response.write(event)
        except TimeoutError:
            reader.late = True
        except ConnectionError:  # it hung up
            return

    async def close(self) -> None:
        """End all streams."""
        for feed in list(self._feeds.values()):
            await feed.end()


def _state(run: Callable[[Request], list[Series]], asked: Request) -> State:
    series = run(asked)
    step = min((each.step for each in series if each.step > 0), default=0)
    return State(consolidate(series, asked.max_data_points), step)


def _event(kind: str, data: bytes) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)


def _answer_event(series: list[Series]) -> bytes:
    return _event("answer", json_bytes(series))


def _news(old: list[Series], new: list[Series]) -> tuple[bytes, bool]:
    """The event that brings a reader from ``old`` to ``new``, empty if nothing changed; whether it is an answer."""
    if list(map(_shape, old)) != list(map(_shape, new)):
        return _answer_event(new), True
    items = [item for before, after in zip(old, new, strict=True) if (item := _changes(before, after))]
    return (_event("points", f"[{', '.join(items)}]".encode()), False) if items else (b"", False)


def _shape(series: Series) -> tuple[object, ...]:
    return series.name, series.start, series.step, series.values_per_point


def _changes(old: Series, new: Series) -> str:
    """JSON of the points that differ: of a slot that has lost its value null, of one that never had any nothing."""
    times = new.timestamps()
    after = new.values[: len(times)]
    before = np.full(len(after), np.nan)
    common = min(len(before), len(old.values))
    before[:common] = old.values[:common]
    places = np.flatnonzero((before != after) & ~(np.isnan(before) & np.isnan(after)))
    if not len(places):
        return ""
    points = ", ".join(
        f"[{_number(value, new.ints)}, {times[place]}]"
        for place, value in zip(places.tolist(), after[places].tolist(), strict=True)
    )
    return f'{{"target": {json.dumps(new.name)}, "datapoints": [{points}]}}'


def _number(value: float, ints: bool) -> str:
    if math.isnan(value):
        return "null"
    if math.isinf(value):
        return "1e9999" if value > 0 else "-1e9999"
    return repr(int(value) if ints else value)
