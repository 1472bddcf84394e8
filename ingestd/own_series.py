"""The daemon's own series: journalled like any other, never counted in the ledger. Part of the composition root."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from ingestd.ingest.pipeline import Pipeline
from ingestd.points import Batch
from ingestd.storage.store import Store

OWN_BRANCH: Final = "ingestd"
"""Wildcards do not enter it unless it is named, so that ``*.*`` means the fleet's series."""


def own_values(ledger: Mapping[str, Any], store: Mapping[str, Any]) -> dict[str, float]:
    """Values by path, of what ``/status`` shows of ledger and store."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    values = {
        "series": store["series"],
        "unflushed": store["unflushed"],
        "ring_bytes": store["ring_bytes"],
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory_bytes": memory_bytes(),
        "points.received": ledger["received"],
        "points.stored": ledger["stored"],
        "points.in_flight": ledger["in_flight"],
    }
    values |= {f"points.rejected.{reason}": n for reason, n in ledger["rejected"].items()}
    return {f"{OWN_BRANCH}.{name}": float(value) for name, value in values.items()}


def record(values: Mapping[str, float], pipeline: Pipeline, store: Store) -> None:
    """Store ``values`` by path at the accept clock's time."""
    clock = pipeline.clock()
    fresh = [path for path in values if pipeline.names.get(path.encode()) is None]
    if fresh:
        pipeline.adopt(store.create(fresh, clock), fresh)
    ids = np.array([pipeline.names.get(path.encode()) for path in values], np.uint32)
    times = np.full(len(ids), clock, np.int64)
    store.accept(Batch(ids, times, np.array(list(values.values()))), clock, None)


def memory_bytes() -> int:
    """Memory that this process has in RAM, but for pages of mapped files, which the kernel takes back when it needs."""
    with Path("/proc/self/statm").open() as f:
        _, resident, shared, *_ = map(int, f.read().split())
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")
