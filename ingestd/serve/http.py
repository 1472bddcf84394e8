"""The HTTP face: routes and their scopes, errors, headers."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiohttp import web

from ingestd.serve.access import OPEN, Access
from ingestd.serve.connections import FIELD_MAX, FIELDS_MAX, HEAD_MAX, LINE_MAX, Connection
from ingestd.serve.deps import Deps, Limits, StatusDeps
from ingestd.serve.events import EventHandlers
from ingestd.serve.find import Handler, expand_handler, find_handler, index_handler
from ingestd.serve.functions import function_details, function_list
from ingestd.serve.headers import HEADERS, SERVER
from ingestd.serve.pages import PATHS, dashboard, dashboards, file, page
from ingestd.serve.params import BODIES, Bodies, ServeError, body_of, params_of
from ingestd.serve.render import render_handler
from ingestd.serve.stream import Streams
from ingestd.serve.tags import TagHandlers
from ingestd.serve.tokens import ADMIN, READ, WRITE
from ingestd.serve.workers import Workers

logger = logging.getLogger(__name__)

_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]

GRAPHITE_VERSION: Final = "1.1.10"
"""The graphite-web whose answers are given: clients choose what they ask by it."""


def make_app(
    deps: Deps, limits: Limits | None = None, connections: Callable[[], dict[str, int]] = dict
) -> web.Application:
    """The application over ``deps``; ``connections``: what ``/status`` shows of them."""
    limits = limits or Limits()
    workers = Workers(limits.workers, limits.waiting, limits.timeout)
    # Requests that wait for another node must not keep its own from being answered.
    peers = Workers(limits.workers, limits.waiting, limits.timeout)
    app, access, route = _frame(deps, limits)
    events = EventHandlers(deps, limits)
    streams = Streams(deps, workers, limits)

    async def end_streams(_: web.Application) -> None:
        await streams.close()

    async def close(_: web.Application) -> None:
        workers.close()
        peers.close()
        events.close()

    app.on_shutdown.append(end_streams)
    app.on_cleanup.append(close)

    find = find_handler(deps, workers)
    both = ("GET", "POST")
    route(both, "/render", render_handler(deps, workers, limits), READ)
    route(both, "/render/stream", streams.handle, READ)
    route(both, "/metrics/find", find, READ)
    route(both, "/metrics/expand", expand_handler(deps, workers), READ)
    route(both, "/metrics/index.json", index_handler(deps, workers), READ)
    route(both, "/metrics", _metrics_handler(deps, find), READ)
    route(("GET",), "/functions", function_list, READ)
    route(("GET",), "/functions/{name}", function_details, READ)
    route(both, "/events/get_data", events.get_data, READ)
    route(("POST",), "/events", events.post, WRITE)
    route(("GET",), r"/events/{id:[0-9]{1,18}}", events.get, READ)
    _add_tags(route, TagHandlers(deps, workers))
    if deps.peer is not None:
        route(("POST",), "/cluster", _peer_handler(deps.peer, peers), READ)
    if deps.pieces is not None:
        route(("POST",), "/cluster/pieces", _pieces_handler(deps.pieces), ADMIN)
    for path in PATHS:
        route(("GET",), path, page, READ)
    route(("GET",), "/web/{name}", file, READ)
    route(("GET",), "/dashboard/find", dashboards, READ)
    route(("GET",), "/dashboard/load/{name}", dashboard, READ)
    _add_status(
        route, deps, lambda: {"connections": connections(), "streams": streams.as_dict(), "access": access.as_dict()}
    )
    return app


def make_status_app(
    deps: StatusDeps, limits: Limits | None = None, connections: Callable[[], dict[str, int]] = dict
) -> web.Application:
    """The application of what has no series: ``/health``, ``/status``, ``/metrics``, ``/version``, ``/flush``."""
    app, access, route = _frame(deps, limits or Limits())
    route(("GET", "POST"), "/metrics", _prometheus_handler(deps), READ)
    _add_status(route, deps, lambda: {"connections": connections(), "access": access.as_dict()})
    return app


def _frame(deps: Deps | StatusDeps, limits: Limits) -> tuple[web.Application, Access, Callable[..., None]]:
    """An application without routes, who is let in, and what adds a route for these."""
    scopes: dict[str, str] = {}
    access = Access(deps.guard, scopes)
    app = web.Application(
        client_max_size=limits.body,
        middlewares=[_watch, _refuse(deps.blames), _when_started(deps), access.middleware, _check_head],
    )
    app[BODIES] = Bodies(limits.bodies)
    app.on_response_prepare.append(_add_headers)

    def route(methods: tuple[str, ...], path: str, handler: Handler, scope: str) -> None:
        for resource in _route(app, methods, path, handler):
            scopes[resource] = scope

    return app, access, route


def runner_options(idle: float = 75.0, line: int = LINE_MAX) -> dict[str, Any]:
    """Keyword arguments for :class:`aiohttp.web.AppRunner` and :class:`Connection`.

    ``idle``: seconds that a connection may be silent between requests: above the 60 s of common proxies. Requests are
    not logged: a line for each costs more than answering a small one. Nothing is decompressed: bodies that are
    compressed are refused, and what nobody reads must not grow either.
    """
    return {
        "keepalive_timeout": idle,
        "max_line_size": line,
        "max_field_size": FIELD_MAX,
        "max_headers": FIELDS_MAX,
        "auto_decompress": False,
        "access_log": None,
    }


def _route(app: web.Application, methods: tuple[str, ...], path: str, handler: Handler) -> set[str]:
    """Add a route, with a slash at its end or without. The canonical paths of its resources."""
    added = set()
    for method in methods:
        for spelling in (path, path + "/"):
            add = app.router.add_get if method == "GET" else partial(app.router.add_route, method)
            resource = add(spelling, handler).resource
            added.add(resource.canonical if resource else spelling)
    return added


@web.middleware
async def _watch(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Tell the connection that it has a request at hand, and how long the answer is."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin(request.content)
    size = 0
    try:
        response = await handler(request)
        body = response.body if isinstance(response, web.Response) else None
        size = len(body) if isinstance(body, bytes | bytearray) and request.method != "HEAD" else 0
    finally:
        connection.end(size)
    return response


def _refuse(refusals: tuple[type[Exception], ...]) -> Any:
    """The middleware that turns errors into short answers in plain text."""

    @web.middleware
    async def middleware(request: web.Request, handler: _Next) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServeError as error:
            response = web.Response(status=error.status, text=_line(str(error)), headers=error.headers)
            if error.status == 503:
                response.headers["Retry-After"] = "1"
            return response
        except refusals as error:
            return web.Response(status=400, text=_line(str(error)))
        except web.RequestPayloadError:
            return web.Response(status=400, text="the body is no HTTP")
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("no answer to %s %s", request.method, request.path)
            return web.Response(status=500, text="internal error; the log has more")

    return middleware


def _when_started(deps: Deps | StatusDeps) -> Any:
    """The middleware that answers 503 until there is something to ask."""

    @web.middleware
    async def middleware(request: web.Request, handler: _Next) -> web.StreamResponse:
        if deps.starting() and request.path.rstrip("/") != "/health":
            raise ServeError(503, "starting")
        return await handler(request)

    return middleware


@web.middleware
async def _check_head(request: web.Request, handler: _Next) -> web.StreamResponse:
    """Refuse heads that are too large as a whole, and bodies that would have to be decompressed."""
    if sum(len(name) + len(value) + 4 for name, value in request.raw_headers) > HEAD_MAX:
        raise ServeError(431, f"the header fields of a request have at most {HEAD_MAX} bytes")
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise ServeError(415, "compressed bodies are not taken", {"Accept-Encoding": "identity"})
    return await handler(request)


def _line(text: str) -> str:
    """One line, not too long, of characters that show: what Grafana shows."""
    line = " ".join(text.split())[:1000]
    return line if line.isprintable() else "".join(c if c.isprintable() else " " for c in line)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SERVER)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def _metrics_handler(deps: Deps, find: Handler) -> Handler:
    plain = _prometheus_handler(deps)

    async def metrics(request: web.Request) -> web.Response:
        if "query" in await params_of(request):
            found: web.Response = await find(request)
            return found
        answer: web.Response = await plain(request)
        return answer

    return metrics


def _prometheus_handler(deps: Deps | StatusDeps) -> Handler:
    async def metrics(_: web.Request) -> web.Response:
        return web.Response(
            body=deps.prometheus().encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return metrics


def _add_tags(route: Callable[..., None], tags: TagHandlers) -> None:
    both = ("GET", "POST")
    route(("GET",), "/tags", tags.tags, READ)
    route(both, "/tags/findSeries", tags.find_series, READ)
    route(both, "/tags/autoComplete/tags", tags.complete_tags, READ)
    route(both, "/tags/autoComplete/values", tags.complete_values, READ)
    route(("POST",), "/tags/tagSeries", tags.tag_series, WRITE)
    route(("POST",), "/tags/tagMultiSeries", tags.tag_multi_series, WRITE)
    route(("POST",), "/tags/delSeries", tags.delete_series, ADMIN)
    route(("GET",), "/tags/{tag:.+}", tags.tag, READ)


def _peer_handler(answer: Callable[[bytes], bytes], workers: Workers) -> Handler:
    """The handler of what other nodes ask."""

    async def peer(request: web.Request) -> web.Response:
        body = await workers.run(answer, await body_of(request))
        return web.Response(body=body, content_type="application/octet-stream")

    return peer


def _pieces_handler(answer: Callable[[bytes], Awaitable[bytes]]) -> Handler:
    """The handler of what moves history between nodes."""

    async def pieces(request: web.Request) -> web.Response:
        return web.Response(body=await answer(await body_of(request)), content_type="application/octet-stream")

    return pieces


def _add_status(route: Callable[..., None], deps: Deps | StatusDeps, shown: Callable[[], dict[str, Any]]) -> None:
    async def version(_: web.Request) -> web.Response:
        return web.Response(text=GRAPHITE_VERSION, content_type="text/html")

    async def health(_: web.Request) -> web.Response:
        healthy, text = deps.health()
        return web.Response(status=200 if healthy else 503, text=_line(text))

    async def status(_: web.Request) -> web.Response:
        body = {"version": deps.version, **deps.status(), "http": shown()}
        return web.Response(text=json.dumps(body), content_type="application/json")

    async def flush(_: web.Request) -> web.Response:
        await deps.flush()
        return web.Response(text="flushed")

    route(("GET",), "/version", version, READ)
    route(("GET",), "/health", health, OPEN)
    route(("GET",), "/status", status, READ)
    route(("POST",), "/flush", flush, ADMIN)
    if deps.snapshot is not None:
        copy = deps.snapshot

        async def snapshot(request: web.Request) -> web.Response:
            target = (await params_of(request)).get("target", "")
            return web.Response(text=json.dumps(await copy(target)), content_type="application/json")

        route(("POST",), "/snapshot", snapshot, ADMIN)
