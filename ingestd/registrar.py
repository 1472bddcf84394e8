"""Series made and let go of by hand, not by points: part of the composition root."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ingestd.ingest.pipeline import Pipeline
from ingestd.storage.store import Store
from ingestd.wire.lines import PathLimits, canonical_path

PATIENCE: Final = 30.0
"""Seconds that an answer waits for the disk; the change goes on."""
_REASONS: Final = {
    "limit": "there may be no more series now (limits.series, limits.names_per_second, limits.memory)",
    "quota": "their prefix may have no more series now (limits.prefix_series, limits.prefix_series_per_second)",
}


class RegistrarError(Exception):
    """A path that is none, or series that there is no room for."""


class Registrar:
    """Works on the event loop. Answers come when the change is on disk."""

    def __init__(self, pipeline: Pipeline, store: Store, limits: PathLimits, hand_over: Callable[[], None]) -> None:
        """``hand_over`` lets the store have every point that was read, before their ids are given up."""
        self._pipeline = pipeline
        self._store = store
        self._limits = limits
        self._hand_over = hand_over

    async def register(self, paths: Sequence[str]) -> list[str]:
        """Make a series of each path that has none; the canonical paths, in order.

        A series that never gets a point is forgotten with those that are silent. Raises :class:`RegistrarError`.
        """
        canonical = [self._canonical(path) for path in paths]
        fresh = [path for path in dict.fromkeys(canonical) if self._pipeline.names.get(path.encode()) is None]
        if fresh:
            refused = self._pipeline.register(fresh)
            if refused is not None:
                raise RegistrarError(f"{len(fresh)} new series: {_REASONS[refused]}")
            await self._settle()
        return canonical

    async def forget(self, paths: Sequence[str]) -> None:
        """Let the series of ``paths`` be gone; those that are none are passed over. Raises :class:`RegistrarError`."""
        wanted = {self._canonical(path).encode() for path in paths}
        self._hand_over()
        ids = {number for key in wanted if (number := self._pipeline.names.get(key)) is not None}
        if ids:
            self._store.forget(np.array(sorted(ids), np.uint32))
            await self._settle()

    def _canonical(self, path: str) -> str:
        found = canonical_path(path.encode("utf-8", "replace"), self._limits)
        if found is None:
            raise RegistrarError(f"{path[:200]!r} is no path")
        return found

    async def _settle(self) -> None:
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._store.settled()), PATIENCE)
        except TimeoutError:
            raise RegistrarError("the disk takes long; the change goes on") from None
