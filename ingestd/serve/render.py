"""/render: the question read from a request, answered in a worker thread, written in a format."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web

from ingestd.query.attime import parse_time
from ingestd.query.consolidate import consolidate
from ingestd.query.evaluate import Request
from ingestd.serve.deps import Deps
from ingestd.serve.explain import explain
from ingestd.serve.formats import json_bytes, to_csv, to_raw
from ingestd.serve.params import Params, ServeError, params_of
from ingestd.serve.workers import Workers

FORMATS: Final = ("json", "csv", "raw")
_DAY: Final = 86_400
_ZONE_MAX: Final = 64


def zone_of(params: Params) -> tzinfo:
    """The time zone of a request; UTC if it names none that is known, as graphite-web takes its default."""
    name = params.get("tz")
    if not name or len(name) > _ZONE_MAX:
        return UTC
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; not a key; a directory of zones
        return UTC


def time_of(params: Params, name: str, default: int, now: int, tz: tzinfo) -> int:
    """A time of a request in seconds."""
    return parse_time(params.get(name), now, tz) if name in params else default


def request_of(deps: Deps, params: Params) -> Request:
    """What a request to /render asks.

    :raises ServeError: 400, a parameter is none.
    """
    tz = zone_of(params)
    clock = int(deps.clock())
    now = time_of(params, "now", clock, clock, tz)
    until = time_of(params, "until", now, now, tz)
    start = time_of(params, "from", now - _DAY, now, tz)
    if start == until:
        raise ServeError(400, "Invalid empty time range")
    return Request(
        targets=tuple(target for target in params.all("target") if target),
        start=min(start, until),
        until=max(start, until),
        now=now,
        tz=tz,
        max_data_points=_max_data_points(params),
        x_files_factor=_x_files_factor(params),
        limits=deps.query_limits,
    )


def _max_data_points(params: Params) -> int | None:
    text = params.get("maxDataPoints")
    if not text.isascii() or not text.isdigit():
        return None
    # More digits than any answer has points: no limit.
    return int(text[:18])


def _x_files_factor(params: Params) -> float | None:
    if "xFilesFactor" not in params:
        return None
    try:
        factor = float(params.get("xFilesFactor"))
    except ValueError:
        raise ServeError(400, "xFilesFactor is not a number") from None
    if not math.isfinite(factor):
        raise ServeError(400, "xFilesFactor is not finite")
    return factor


def _format_of(params: Params) -> str:
    name = params.get("format", "raw" if "rawData" in params else "png")
    if name not in FORMATS:
        raise ServeError(400, f"this format is not served; served are {', '.join(FORMATS)}")
    return name


def _answer(deps: Deps, params: Params, asked: Request, name: str) -> bytes:
    """The body of an answer; made in a worker thread."""
    series = deps.run(asked) if asked.targets else []
    if name == "csv":
        return to_csv(series, asked.tz).encode()
    if name == "raw":
        return to_raw(series).encode()
    series = consolidate(series, asked.max_data_points)
    return json_bytes(series, "noNullPoints" in params, bool(params.get("pretty")))


async def _explained(deps: Deps, workers: Workers, asked: Request) -> web.Response:
    if deps.explain is None:
        raise ServeError(400, "requests are not explained here")
    body = await workers.run(explain, deps.explain, asked)
    return web.Response(body=body, content_type="application/json", charset="utf-8")


_CONTENT_TYPES: Final = {"json": "application/json", "csv": "text/csv", "raw": "text/plain"}


def render_handler(deps: Deps, workers: Workers) -> Callable[[web.Request], object]:
    """The handler of /render."""

    async def render(request: web.Request) -> web.Response:
        params = await params_of(request)
        callback = params.callback()
        name = _format_of(params) if "explain" not in params else "json"
        given_up = threading.Event()
        asked = replace(request_of(deps, params), stop=given_up.is_set)
        try:
            if params.get("explain") not in ("", "0", "false"):
                return await _explained(deps, workers, asked)
            body = await workers.run(_answer, deps, params, asked, name)
        finally:
            given_up.set()
        if callback and name == "json":
            body = b"%s(%s)" % (callback.encode(), body)
        kind = "text/javascript" if callback and name == "json" else _CONTENT_TYPES[name]
        return web.Response(body=body, content_type=kind, charset="utf-8")

    return render
