"""CPU of a picture: what /render does with the series it has found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Final

import numpy as np

from bench.figures import Figure, thread_ns
from bench.figures import Series as Runs
from bench.material import Size
from ingestd.query.grid import Series
from ingestd.serve.chart.options import ChartLimits, parse_options
from ingestd.serve.chart.render import render_chart

BEGIN: Final = 1_795_305_600
POINTS: Final = 1_440
"""A day by the minute: two points for a pixel, which are consolidated."""
LIMITS: Final = ChartLimits()
CASES: Final[tuple[tuple[str, str, int, dict[str, str]], ...]] = (
    ("png, 10 lines", "png", 10, {}),
    ("png, 10 stacked areas", "png", 10, {"areaMode": "stacked"}),
    ("png, 100 lines, legend", "png", 100, {"hideLegend": "false"}),
    ("png, pie of 10", "png", 10, {"graphType": "pie"}),
    ("svg, 10 lines", "svg", 10, {}),
    ("pdf, 10 lines", "pdf", 10, {}),
)


def noisy(count: int) -> list[Series]:
    """A day of walks with noise: what costs a line the most."""
    random = np.random.default_rng(1)
    walks = 100 + np.cumsum(random.normal(size=(count, POINTS)), axis=1) + random.normal(size=(count, POINTS)) * 3
    end = BEGIN + 60 * POINTS
    return [
        Series(f"servers.web{at:02}.load", "servers.*.load", {}, BEGIN, end, 60, walk) for at, walk in enumerate(walks)
    ]


def charts(size: Size) -> Iterator[Figure]:
    """Pictures of 800 × 400 pixels, after one of each kind that loads what it needs."""
    for name, kind, count, params in CASES:
        options = parse_options({"width": "800", "height": "400", "title": "Load", **params}, LIMITS)
        shown = noisy(count)
        render_chart(shown, options, UTC, kind, LIMITS)
        found = Runs(f"chart: {name}", "ms")
        for _ in range(size.runs):
            found.runs.append(thread_ns(render_chart, shown, options, UTC, kind, LIMITS) / 1e6)
        yield found.figure()
