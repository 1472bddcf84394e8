"""A small reader in memory, and a way to run one target over it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ingestd.index.names import Names
from ingestd.index.tags import Tags
from ingestd.points import Ids, Rows, Window
from ingestd.query.evaluate import Request, run
from ingestd.query.grid import Series
from ingestd.query.limits import QueryLimits
from ingestd.query.substitute import Search

NOW = 1_800_000_000
NONE = float("nan")


class MemoryReader:
    """Series of one archive each: ``{path: (step, values)}``, the last value at NOW's slot. Counts what it is asked."""

    def __init__(self, data: dict[str, tuple[int, list[float]]]) -> None:
        self.data = data
        self.paths = sorted(data)
        self.finds: list[str] = []
        self.fetches: list[tuple[tuple[int, ...], int, int]] = []

    def find(self, pattern: str) -> list[tuple[str, int]]:
        self.finds.append(pattern)
        return [(path, at) for at, path in enumerate(self.paths) if fnmatchcase(path, pattern)]

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        self.finds.append(" ".join(expressions))
        names = Names()
        names.add(np.arange(len(self.paths), dtype=np.uint32), self.paths)
        return Tags(names, Search).find(expressions)

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """In descending order of positions, and a Rows for each series: both are the reader's right."""
        self.fetches.append((tuple(ids.tolist()), start, until))
        out = []
        for position, number in reversed(list(enumerate(ids.tolist()))):
            step, values = self.data[self.paths[number]]
            first, last = start - start % step + step, until - until % step + step
            oldest = NOW - NOW % step - (len(values) - 1) * step
            row = [values[(at - oldest) // step] if oldest <= at <= NOW else NONE for at in range(first, last, step)]
            out.append(Rows(Window(first, last, step), np.array([position]), np.array([row])))
        return out


@pytest.fixture
def memory() -> type[MemoryReader]:
    return MemoryReader


Render = Callable[..., list[Series]]


@pytest.fixture
def render() -> Render:
    """``render(data or reader, *targets, seconds=60, limits=..., x_files_factor=...)`` up to NOW."""

    def call(
        data: dict[str, tuple[int, list[float]]] | MemoryReader,
        *targets: str,
        seconds: int = 60,
        limits: QueryLimits | None = None,
        x_files_factor: float | None = None,
    ) -> list[Series]:
        reader = data if isinstance(data, MemoryReader) else MemoryReader(data)
        zone = ZoneInfo("Europe/Berlin")
        request = Request(targets, NOW - seconds, NOW, NOW, zone, None, x_files_factor, limits or QueryLimits())
        return run(request, reader)

    return call
