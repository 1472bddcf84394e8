"""/render: the question read from a request, answered in a worker thread, written in a format or drawn."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import partial
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web

from ingestd.query.attime import parse_time
from ingestd.query.consolidate import consolidate
from ingestd.query.evaluate import Request
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.serve.binary import BINARY, msgpack_bytes, pickle_bytes, series_records
from ingestd.serve.chart.options import ChartError
from ingestd.serve.deps import Deps, Limits
from ingestd.serve.explain import explain
from ingestd.serve.formats import json_bytes, to_csv, to_dygraph, to_raw, to_rickshaw
from ingestd.serve.params import Params, ServeError, invalid, params_of
from ingestd.serve.partial import whole
from ingestd.serve.pictures import CONTENT_TYPES, kind_of, picture_writer, with_slices
from ingestd.serve.workers import Workers

_DAY: Final = 86_400
_ZONE_MAX: Final = 64
_UNLETTERED: Final = frozenset((*BINARY.values(), *CONTENT_TYPES.values()))
"""Types of content that name no set of characters: bytes, or documents that say it themselves."""


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

    :raises QueryError: a parameter is none.
    """
    tz = zone_of(params)
    clock = int(deps.clock())
    now = time_of(params, "now", clock, clock, tz)
    until = time_of(params, "until", now, now, tz)
    start = time_of(params, "from", now - _DAY, now, tz)
    if start == until:
        raise QueryError("Invalid empty time range")
    return Request(
        targets=tuple(target for target in params.all("target") if target),
        start=min(start, until),
        until=max(start, until),
        now=now,
        tz=tz,
        max_data_points=_max_data_points(params),
        x_files_factor=_x_files_factor(params),
        limits=deps.query_limits,
        template=_template(params),
    )


def _template(params: Params) -> tuple[tuple[str, str], ...]:
    """The variables ``template[NAME]``, the last value of each."""
    values = {name[9:-1]: value for name, value in params.pairs if name.startswith("template[")}
    return tuple(values.items())


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
        raise QueryError("xFilesFactor is not a number") from None
    if not math.isfinite(factor):
        raise QueryError("xFilesFactor is not finite")
    return factor


def _json(series: list[Series], asked: Request, params: Params) -> bytes:
    series = consolidate(series, asked.max_data_points)
    return json_bytes(series, "noNullPoints" in params, bool(params.get("pretty")))


@dataclass(frozen=True, slots=True)
class Format:
    """How an answer is written: the bytes of ``write(series, request, parameters)``, in a worker thread."""

    content_type: str
    write: Callable[[list[Series], Request, Params], bytes]
    script: bool = False
    """Whether it is JSON, which a callback can be called with."""


FORMATS: Final[dict[str, Format]] = {
    "json": Format("application/json", _json, script=True),
    "csv": Format("text/csv", lambda series, asked, _: to_csv(series, asked.tz).encode()),
    "raw": Format("text/plain", lambda series, *_: to_raw(series).encode()),
    "dygraph": Format("application/json", lambda series, *_: to_dygraph(series).encode(), script=True),
    "rickshaw": Format(
        "application/json",
        lambda series, _, params: to_rickshaw(series, bool(params.get("pretty"))).encode(),
        script=True,
    ),
    "pickle": Format(BINARY["pickle"], lambda series, *_: pickle_bytes(series_records(series))),
    "msgpack": Format(BINARY["msgpack"], lambda series, *_: msgpack_bytes(series_records(series))),
}


def format_of(params: Params, limits: Limits, scratch: Path | None) -> Format:
    """The format that a request names, or a picture.

    :raises ServeError: 400, it wants a picture that cannot be.
    """
    kind = kind_of(params, FORMATS)
    if not kind:
        return FORMATS[params.get("format", "raw" if "rawData" in params else "pickle")]
    try:
        return Format(CONTENT_TYPES[kind], picture_writer(params, kind, limits, scratch), script=kind == "svg")
    except ChartError as error:
        raise invalid(error) from error


def _answer(deps: Deps, params: Params, asked: Request, form: Format) -> bytes:
    """The body of an answer; made in a worker thread."""
    try:
        series = deps.run(asked) if asked.targets else []
        body = form.write(series, asked, params)
    except ChartError as error:
        raise invalid(error) from error
    except deps.blames as error:
        raise invalid(error, asked.targets) from error
    callback = params.callback() if form.script else ""
    return b"%s(%s)" % (callback.encode(), body) if callback else body


async def _explained(deps: Deps, params: Params, workers: Workers, asked: Request) -> web.Response:
    if deps.explain is None:
        raise ServeError(400, "requests are not explained here")
    body, headers = await workers.run(whole, deps, params, partial(explain, deps.explain, asked))
    return web.Response(body=body, content_type="application/json", charset="utf-8", headers=headers)


def render_handler(deps: Deps, workers: Workers, limits: Limits) -> Callable[[web.Request], object]:
    """The handler of /render."""

    async def render(request: web.Request) -> web.Response:
        params = await params_of(request)
        explaining = params.get("explain") not in ("", "0", "false")
        form = FORMATS["json"] if explaining else format_of(params, limits, deps.scratch)
        script = bool(params.callback()) and form.script
        given_up = threading.Event()
        try:
            asked = replace(with_slices(request_of(deps, params), params), stop=given_up.is_set)
        except QueryError as error:
            raise invalid(error) from error
        try:
            if explaining:
                return await _explained(deps, params, workers, asked)
            body, headers = await workers.run(whole, deps, params, partial(_answer, deps, params, asked, form))
        finally:
            given_up.set()
        if form.content_type in _UNLETTERED and not script:
            return web.Response(body=body, content_type=form.content_type, headers=headers)
        kind = "text/javascript" if script else form.content_type
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    return render
