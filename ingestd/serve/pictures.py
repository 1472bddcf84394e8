"""Pictures among the formats of /render: what a request says of one, and when one is meant.

As in graphite-web a picture is what is asked for by no format, and by one that is none; a pie is always a picture.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from ingestd.query.evaluate import Request
from ingestd.query.grid import Series
from ingestd.serve.chart.options import ChartLimits, ChartOptions, parse_options
from ingestd.serve.deps import Limits
from ingestd.serve.params import Params, ServeError

CONTENT_TYPES: Final[Mapping[str, str]] = {
    "png": "image/png",
    "svg": "image/svg+xml",
    "pdf": "application/x-pdf",
}
"""The kinds of pictures, with graphite-web's types of content."""

GRAPH_TYPES: Final = ("line", "pie")


def kind_of(params: Params, formats: Mapping[str, object]) -> str:
    """The kind of picture that a request asks for; empty if it asks for one of ``formats``.

    :raises ServeError: 400, its type of graph is none.
    """
    graph = params.get("graphType", "line")
    if graph not in GRAPH_TYPES:
        raise ServeError(400, f"Invalid parameters (graphType is none of {', '.join(GRAPH_TYPES)})")
    name = params.get("format", "raw" if "rawData" in params else "pickle" if "pickle" in params else "png")
    if name in formats and graph != "pie":
        return ""
    name = params.get("outputFormat").lower() or name
    return name if name in CONTENT_TYPES else "png"


def picture_writer(
    params: Params, kind: str, limits: Limits, scratch: Path | None
) -> Callable[[list[Series], Request, Params], bytes]:
    """What draws the series of a request as ``params`` want it.

    :raises ChartError: they want what cannot be drawn.
    """
    allowed = ChartLimits(pixels=limits.chart_pixels, series=limits.chart_series)
    options: ChartOptions = parse_options(dict(params.pairs), allowed)

    def write(series: list[Series], asked: Request, params: Params) -> bytes:
        from ingestd.serve.chart.render import render_chart  # noqa: PLC0415 - Pillow: for those who want pictures

        body = render_chart(series, options, asked.tz, kind, allowed, scratch, asked.stop)
        # A callback is called with the document as a string.
        return json.dumps(body.decode()).encode() if kind == "svg" and params.callback() else body

    return write


def with_slices(asked: Request, params: Params) -> Request:
    """The request with the targets ``name:value`` that a pie takes as what is evaluated to them."""
    if params.get("graphType") != "pie":
        return asked
    return replace(asked, targets=tuple(map(slice_target, asked.targets)))


def slice_target(target: str) -> str:
    """The target ``name:value`` as a function call; any other as it is."""
    name, colon, text = target.partition(":")
    if not colon or len(text) > 64 or any(letter in name for letter in "(){}'\"|\\"):
        return target
    try:
        value = float(text)
    except ValueError:
        return target
    return f'alias(constantLine({value!r}),"{name}")' if math.isfinite(value) else target
