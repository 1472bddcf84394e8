"""The HTTP face: routes, errors, headers.

Nothing here trusts a Host header, and nothing that a browser can be led to send from another site changes state except
posting an event, which Graphite's clients do without any credentials.
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from ingestd.query.limits import QueryError
from ingestd.serve.deps import Deps, Limits
from ingestd.serve.events import EventHandlers, tag_handler
from ingestd.serve.find import Handler, expand_handler, find_handler, index_handler
from ingestd.serve.params import ServeError, params_of
from ingestd.serve.render import render_handler
from ingestd.serve.workers import Workers

logger = logging.getLogger(__name__)

GRAPHITE_VERSION: Final = "1.1.10"
"""The graphite-web whose answers are given: clients choose what they ask by it."""

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}


def make_app(deps: Deps, limits: Limits | None = None) -> web.Application:
    """The application over ``deps``."""
    limits = limits or Limits()
    workers = Workers(limits.workers, limits.waiting, limits.timeout)
    app = web.Application(client_max_size=limits.body, middlewares=[_refuse((QueryError, *deps.refusals))])
    app.on_response_prepare.append(_add_headers)

    async def close(_: web.Application) -> None:
        workers.close()

    app.on_cleanup.append(close)
    events = EventHandlers(deps, limits)
    find = find_handler(deps, workers)
    render = render_handler(deps, workers)
    _route(app, ("GET", "POST"), "/render", render)
    _route(app, ("GET", "POST"), "/metrics/find", find)
    _route(app, ("GET", "POST"), "/metrics/expand", expand_handler(deps, workers))
    _route(app, ("GET", "POST"), "/metrics/index.json", index_handler(deps, workers))
    _route(app, ("GET", "POST"), "/metrics", _metrics_handler(deps, find))
    _route(app, ("POST",), "/events", events.post)
    _route(app, ("GET", "POST"), "/events/get_data", events.get_data)
    _route(app, ("GET",), r"/events/{id:[0-9]{1,18}}", events.get)
    _route(app, ("POST",), "/tags/tagSeries", tag_handler(deps, several=False))
    _route(app, ("POST",), "/tags/tagMultiSeries", tag_handler(deps, several=True))
    _add_status(app, deps)
    return app


def runner_options(idle: float = 75.0, line: int = 65_536) -> dict[str, Any]:
    """Keyword arguments for :class:`aiohttp.web.AppRunner`.

    ``idle``: seconds that a connection may be silent between requests: above the 60 s of common proxies. ``line``:
    bytes of a request line, which in Graphite holds whole dashboards; headers stay at 8 KB. Requests are not logged:
    a line for each costs more than answering a small one.
    """
    return {"keepalive_timeout": idle, "max_line_size": line, "max_field_size": 8190, "access_log": None}


def _route(app: web.Application, methods: tuple[str, ...], path: str, handler: Handler) -> None:
    """A route, with a slash at its end or without."""
    for method in methods:
        for spelling in (path, path + "/"):
            if method == "GET":
                app.router.add_get(spelling, handler)
            else:
                app.router.add_route(method, spelling, handler)


def _refuse(refusals: tuple[type[Exception], ...]) -> Any:
    """The middleware that turns errors into short answers in plain text."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except ServeError as error:
            response = web.Response(status=error.status, text=_line(str(error)))
            if error.status == 503:
                response.headers["Retry-After"] = "1"
            return response
        except refusals as error:
            return web.Response(status=400, text=_line(str(error)))
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("no answer to %s %s", request.method, request.path)
            return web.Response(status=500, text="internal error; the log has more")

    return middleware


def _line(text: str) -> str:
    """One line, not too long: what Grafana shows."""
    return " ".join(text.split())[:1000]


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    # The library would name its own version and Python's.
    response.headers["Server"] = "ingestd"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


def _metrics_handler(deps: Deps, find: Handler) -> Handler:
    async def metrics(request: web.Request) -> web.Response:
        if "query" in await params_of(request):
            found: web.Response = await find(request)
            return found
        return web.Response(
            body=deps.prometheus().encode(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    return metrics


def is_local(request: web.Request) -> bool:
    """Whether a request comes from this machine and was not passed on by a proxy or led here by a web page."""
    if any(name in request.headers for name in ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Origin", "Via")):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not isinstance(peer, tuple):
        return False
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _add_status(app: web.Application, deps: Deps) -> None:
    async def version(_: web.Request) -> web.Response:
        return web.Response(text=GRAPHITE_VERSION, content_type="text/html")

    async def health(_: web.Request) -> web.Response:
        healthy, text = deps.health()
        return web.Response(status=200 if healthy else 503, text=_line(text))

    async def status(_: web.Request) -> web.Response:
        body = {"version": deps.version, **deps.status()}
        return web.Response(text=json.dumps(body), content_type="application/json")

    async def flush(request: web.Request) -> web.Response:
        if not is_local(request):
            raise ServeError(403, "flush is for this machine only")
        await deps.flush()
        return web.Response(text="flushed")

    _route(app, ("GET",), "/version", version)
    _route(app, ("GET",), "/health", health)
    _route(app, ("GET",), "/status", status)
    _route(app, ("POST",), "/flush", flush)
