"""CPU of making what the load generator sends: it must not be the bottleneck."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.figures import Figure, Series, thread_ns
from bench.material import METRICS, PIECE, Size
from ingestd.load.material import Datagrams, Lines, Material, Rows

NOW = 1_795_380_810
ROWS = 4_096
"""Of a piece at most: more than a buffer holds lines."""
VALUES = 200
"""Of a host of collectd."""


def load(size: Size) -> Iterator[Figure]:
    """All steps of ``size.series`` series into one buffer, a piece at a time."""
    lines, datagrams = Lines(size.series, METRICS), Datagrams(max(1, size.series // VALUES), VALUES, 10)
    in_order, lists = (np.arange(made.rows, dtype=np.uint32) for made in (lines, datagrams))
    shuffled = np.random.default_rng(2).permutation(in_order)
    out = bytearray(PIECE)

    def make(made: Material, rows: Rows) -> None:
        for step in range(size.steps):
            at = 0
            while at < len(rows):
                at += made.fill(rows[at : at + ROWS], NOW + 10 * step, out).rows

    cases: tuple[tuple[str, Material, Rows], ...] = (
        ("lines in order", lines, in_order),
        ("lines in random order", lines, shuffled),
        ("collectd", datagrams, lists),
    )
    for name, made, rows in cases:
        points = made.points * size.steps
        found = Series(f"make: {name}", "ns/point")
        for _ in range(size.runs):
            found.runs.append(thread_ns(make, made, rows) / points)
        yield found.figure()
