"""/events: kept and asked for as graphite-web does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from functools import partial
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from ingestd.serve.deps import Deps, Limits
from ingestd.serve.find import respond
from ingestd.serve.params import ServeError, body_of, params_of
from ingestd.serve.partial import whole
from ingestd.serve.render import time_of

P = ParamSpec("P")
T = TypeVar("T")

TAGS_MAX: Final = 1_000
"""Tags of an event."""


def read_event(body: bytes, now: int, limits: Limits) -> tuple[int, str, list[str], str]:
    """(when, what, tags, data) of a posted event.

    :raises ServeError: 400, it is none.
    """
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise ServeError(400, "an event is a JSON object") from None
    if not isinstance(event, dict):
        raise ServeError(400, "an event is a JSON object")
    tags = event.get("tags") or []
    if isinstance(tags, str):
        tags = tags.split()
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or len(tags) > TAGS_MAX:
        raise ServeError(400, '"tags" must be an array or space-separated string')
    when = event.get("when", now)
    if isinstance(when, bool) or not isinstance(when, int | float) or not 0 <= when < 2**40:
        raise ServeError(400, '"when" must be seconds since 1970')
    texts = []
    for name in ("what", "data"):
        text = event.get(name)
        text = "" if text is None else text if isinstance(text, str) else json.dumps(text)
        texts.append(text)
    if any(len(text) > limits.event for text in (*texts, *tags)):
        raise ServeError(400, f"a text of an event has at most {limits.event} characters")
    # A tag is a word: a list is joined and cut at blanks, as it comes back from graphite-web.
    return int(when), texts[0], " ".join(tags).split(), texts[1]


class EventHandlers:
    """Handlers of /events. The store is called in one thread, because it writes, so one call at a time.

    An event whose client hangs up before its turn is not kept; one that is being written is.
    """

    def __init__(self, deps: Deps, limits: Limits) -> None:
        self._deps = deps
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="events")

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._thread.submit(call, *args, **kwargs))

    def close(self) -> None:
        """Take no more calls; one that runs is left alone."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def post(self, request: web.Request) -> web.Response:
        """POST /events/: keep one."""
        now = int(self._deps.clock())
        when, what, tags, data = read_event(await body_of(request), now, self._limits)
        await self._run(self._deps.events.add, when, what, tags, data)
        return web.Response(content_type="text/html")

    async def get_data(self, request: web.Request) -> web.Response:
        """GET /events/get_data: those of a time and of tags."""
        params = await params_of(request)
        params.callback()
        now = int(self._deps.clock())
        start = time_of(params, "from", 0, now, UTC)
        until = time_of(params, "until", now, now, UTC)
        tags = params.get("tags").split() if "tags" in params else None
        set_operation = params.get("set") or None
        query = partial(self._deps.events.query, start, until, tags, set_operation)
        found, headers = await self._run(whole, self._deps, params, query)
        response = respond(params, found)
        response.headers.update(headers)
        return response

    async def get(self, request: web.Request) -> web.Response:
        """GET /events/ID: one."""
        params = await params_of(request)
        digits = request.match_info["id"]
        event = await self._run(self._deps.events.get, int(digits))
        if event is None:
            return web.json_response({"error": "Event matching query does not exist"}, status=404)
        return respond(params, event)
