"""Where the index and the store meet: what queries read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ingestd.index.answers import Searches
from ingestd.index.tags import Tags
from ingestd.points import Ids, Rows, Totals
from ingestd.storage.origins import Origin
from ingestd.storage.store import Store

EventTimes: TypeAlias = Callable[[Sequence[str], int, int], list[int]]
"""As :meth:`ingestd.storage.events.EventLog.times`."""


class LocalReader:
    """The :class:`ingestd.query.grid.TotalReader` of this process's own series. Thread-safe."""

    def __init__(self, searches: Searches, tags: Tags, store: Store, events: EventTimes) -> None:
        self._searches = searches
        self._tags = tags
        self._store = store
        self._events = events

    def find(self, pattern: str) -> list[tuple[str, int]]:
        """Leaves (path, id) that match a glob, ascending by path, none twice."""
        return self._searches.find_leaves(pattern)

    def find_ids(self, pattern: str) -> Ids | None:
        """As :meth:`ingestd.index.globs.Globs.find_ids`."""
        return self._searches.find_ids(pattern)

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        """Series (path, id) whose tags satisfy all expressions, ascending by path."""
        return self._tags.find(expressions)

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """As :meth:`ingestd.storage.store.Store.fetch`."""
        return self._store.fetch(ids, start, until, now)

    def total(
        self, ids: Ids, start: int, until: int, now: int, manner: str, before: Callable[[int], None]
    ) -> Totals | None:
        """As :meth:`ingestd.storage.store.Store.total`."""
        return self._store.total(ids, start, until, now, manner, before)

    def events(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        """As :meth:`ingestd.query.grid.EventReader.events`."""
        return self._events(tags, start, until)

    def explain(self, ids: Ids, start: int, until: int, now: int) -> list[dict[str, Any]]:
        """As :meth:`ingestd.query.trace.Explainer.explain`."""
        return [_shown(origin, start, now) for origin in self._store.origins(ids, start, until, now)]


def _shown(origin: Origin, start: int, now: int) -> dict[str, Any]:
    window, chosen = origin.window, origin.chosen
    return {
        "archives": [{"step": each.step, "retention": each.retention} for each in origin.archives],
        "methods": sorted({profile.method for profile in origin.profiles}),
        "xFilesFactors": sorted({profile.x_files_factor for profile in origin.profiles}),
        "series": origin.series,
        "chosen": chosen,
        "why": _why(origin, start, now),
        "start": window.start if window else None,
        "end": window.end if window else None,
        "step": window.step if window else None,
        "slots": window.slots if window else 0,
        "known": origin.known,
        "points": {"blocks": origin.blocks, "memory": origin.memory},
        "computed": origin.computed,
        "hidden": origin.hidden,
    }


def _why(origin: Origin, start: int, now: int) -> str:
    if origin.chosen is None:
        return "the window lies in the future, or before all that is kept"
    archive = origin.archives[origin.chosen]
    reach = f"the first whose retention, {archive.retention} s, covers the {now - start} s back to the window's begin"
    if archive.retention < now - start:
        return f"no archive covers the {now - start} s back to the window's begin: the last one, cut to what it keeps"
    return reach
