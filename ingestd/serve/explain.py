"""/render?...&explain=1: how an answer comes about, in place of the answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeAlias

from ingestd.query.consolidate import consolidate
from ingestd.query.evaluate import Request
from ingestd.query.grid import Series
from ingestd.query.missing import reported
from ingestd.query.trace import Trace
from ingestd.serve.formats import json_bytes

Run: TypeAlias = Callable[[Request, Trace], list[Series]]
"""Evaluates a request and tells a trace of it."""


def explain(run: Run, asked: Request) -> bytes:
    """JSON of the trees, patterns, reads, calls, times and warnings of a request; for a worker thread."""
    trace = Trace(perf_counter)
    series = run(asked, trace) if asked.targets else []
    missing = reported()
    for reason in missing:
        trace.warn(f"partial: {reason}")
    since = trace.clock()
    shaped = consolidate(series, asked.max_data_points)
    trace.took("consolidate", since)
    since = trace.clock()
    size = len(json_bytes(shaped))
    trace.took("encode", since)
    for before, after in zip(series, shaped, strict=False):
        if after.values_per_point > 1:
            step = after.step * after.values_per_point
            trace.warn(
                f"maxDataPoints={asked.max_data_points}: {before.step} s become {step} s, each the "
                f"{after.consolidation_func} of {after.values_per_point} points (consolidateBy chooses)"
            )
            break
    body: dict[str, Any] = {
        "request": {
            "from": asked.start,
            "until": asked.until,
            "now": asked.now,
            "maxDataPoints": asked.max_data_points,
        },
        "partial": missing,
        **trace.as_dict(),
        "series": [_shown(each) for each in shaped],
        "bytes": size,
    }
    return json.dumps(body, indent=2).encode()


def _shown(series: Series) -> dict[str, Any]:
    return {
        "target": series.name,
        "start": series.start,
        "end": series.end,
        "step": series.step,
        "points": len(series.values),
        "valuesPerPoint": series.values_per_point,
        "consolidateBy": series.consolidation_func,
        "xFilesFactor": series.x_files_factor,
    }
