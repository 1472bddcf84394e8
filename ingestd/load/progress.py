"""A load with a progress bar."""

from __future__ import annotations

import sys
from typing import Final

import click

from ingestd.load.figures import Report
from ingestd.load.run import expected, prepare, run
from ingestd.load.workloads import Load

_TENTHS: Final = 10


def run_shown(load: Load, target: str, url: str | None) -> Report:
    """As :func:`ingestd.load.run.run`; on a terminal a bar shows the points, or the time where that alone ends it."""
    material = prepare(load)
    total = expected(load, material)
    if not sys.stderr.isatty():
        return run(load, material, target, url, lambda points, seconds: None)
    length = total if total is not None else round((load.seconds or 0.0) * _TENTHS)
    with click.progressbar(length=length, label=f"{load.workload} to {target}", file=sys.stderr) as bar:

        def tell(points: int, seconds: float) -> None:
            at = points if total is not None else round(seconds * _TENTHS)
            bar.update(min(at, length) - bar.pos)

        return run(load, material, target, url, tell)
