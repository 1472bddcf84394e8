"""Where the index and the store meet: what queries read."""

from __future__ import annotations

from ingestd.index.globs import Globs
from ingestd.points import Ids, Rows
from ingestd.storage.store import Store


class LocalReader:
    """The :class:`ingestd.query.grid.Reader` of this process's own series. Thread-safe."""

    def __init__(self, globs: Globs, store: Store) -> None:
        self._globs = globs
        self._store = store

    def find(self, pattern: str) -> list[tuple[str, int]]:
        """Leaves (path, id) that match a glob, ascending by path, none twice."""
        return self._globs.find_leaves(pattern)

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """As :meth:`ingestd.storage.store.Store.fetch`."""
        return self._store.fetch(ids, start, until, now)
