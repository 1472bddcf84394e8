"""From what a parser found to accepted points: limits, new series, the ledger. The lowest module of the floor.

Index and store are handed in; what is asked of them stands here as Protocols. Everything runs on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from ingestd.points import UNKNOWN, Batch, Ids, NameTable, NewName, Parsed
from ingestd.telemetry import Books

_SPELLING: Final = 512
"""Bytes of a spelling that is worth remembering: longer ones (tags repeated on purpose) are resolved each time."""


class IngestError(Exception):
    """Base of the errors of this floor: a listener that cannot start."""


class NameIndex(NameTable, Protocol):
    """The index as seen from here: ids of spellings and of canonical paths (UTF-8)."""

    def add(self, ids: Ids, paths: Sequence[str]) -> None: ...
    def remember(self, spelling: bytes, series: int, /) -> None: ...
    def __len__(self) -> int: ...


class Store(Protocol):
    """The store as seen from here."""

    @property
    def saturated(self) -> bool:
        """Whether reading has to wait for the journal."""

    def create(self, paths: Sequence[str], clock: int) -> Ids:
        """New series in the order of ``paths``: uint32[n]."""

    def accept(self, batch: Batch, clock: int, books: Books) -> tuple[int, int]:
        """Take the points; return how many it did not take as (too old, too new)."""


@dataclass(frozen=True, slots=True)
class SeriesLimits:
    """How many series there may be, and how fast new ones may come."""

    total: int = 10_000_000
    """A name costs some 300 bytes for as long as the daemon runs; ids are 32 bits."""
    rate: float = 0.0
    """New series a second in the long run; 0 = no limit: a fleet's first interval is all new series."""
    burst: int = 100_000
    """New series at once when ``rate`` limits them."""


class Pipeline:
    """Accepts what parsers give, for all listeners, one accept clock for all."""

    def __init__(self, store: Store, names: NameIndex, limits: SeriesLimits, wall: Callable[[], float]) -> None:
        self.names = names
        self.wall = wall
        """Seconds since the epoch, as the machine has them at the moment."""
        self._store = store
        self._limits = limits
        self._clock = int(wall())
        self._tokens = float(limits.burst)
        self._refilled = self._clock

    @property
    def saturated(self) -> bool:
        """Whether listeners have to wait (streams) or to drop (datagrams)."""
        return self._store.saturated

    def clock(self) -> int:
        """The accept clock: the wall clock in whole seconds, never stepping back."""
        self._clock = max(self._clock, int(self.wall()))
        return self._clock

    def accept(self, books: Books, parsed: Parsed) -> None:
        """Count ``parsed`` as received, create its new series, and hand its points to the store."""
        books.received += parsed.received
        for reason, points in parsed.rejected.items():
            books.reject(reason, points)
        batch = parsed.batch
        clock = self.clock()
        if parsed.unknown:
            batch = self._with_new_series(batch, parsed.unknown, clock, books)
        if len(batch):
            too_old, too_new = self._store.accept(batch, clock, books)
            if too_old:
                books.reject("too_old", too_old)
            if too_new:
                books.reject("too_new", too_new)

    def refuse(self, books: Books, reason: str, points: int) -> None:
        """Count ``points`` that reached no parser as received and rejected."""
        if points:
            books.received += points
            books.reject(reason, points)

    def _with_new_series(self, batch: Batch, unknown: list[NewName], clock: int, books: Books) -> Batch:
        """``batch`` with an id in every row; rows whose series is over a limit are rejected and left out."""
        ids = batch.ids.copy()
        fresh: dict[str, list[NewName]] = {}
        for name in unknown:
            # A known path in another spelling, or created a moment ago from the same input.
            canonical = name.path.encode()
            series = self.names.get(canonical)
            if series is None:
                fresh.setdefault(name.path, []).append(name)
                continue
            ids[name.row] = series
            self._remember(name.spelling, canonical, series)
        paths = list(fresh)[: self._allowed(len(fresh), clock)]
        if paths:
            created = self._store.create(paths, clock)
            self.names.add(created, paths)
            for path, series in zip(paths, created.tolist(), strict=True):
                canonical = path.encode()
                for name in fresh[path]:
                    ids[name.row] = series
                    self._remember(name.spelling, canonical, series)
        kept = ids != UNKNOWN
        over = len(ids) - int(np.count_nonzero(kept))
        if not over:
            return Batch(ids, batch.timestamps, batch.values)
        books.reject("limit", over)
        return Batch(ids[kept], batch.timestamps[kept], batch.values[kept])

    def _remember(self, spelling: bytes, canonical: bytes, series: int) -> None:
        if spelling != canonical and len(spelling) <= _SPELLING:
            self.names.remember(spelling, series)

    def _allowed(self, wanted: int, clock: int) -> int:
        """How many of ``wanted`` new series may be created now; they are taken out of the budget."""
        allowed = min(wanted, max(0, self._limits.total - len(self.names)))
        if not self._limits.rate:
            return allowed
        earned = (clock - self._refilled) * self._limits.rate
        self._tokens = min(float(self._limits.burst), self._tokens + earned)
        self._refilled = clock
        allowed = min(allowed, int(self._tokens))
        self._tokens -= allowed
        return allowed


def joined(parts: Sequence[Parsed]) -> Parsed:
    """Several parsers' results as one, in their order."""
    if len(parts) == 1:
        return parts[0]
    unknown: list[NewName] = []
    rejected: dict[str, int] = {}
    offset = 0
    for part in parts:
        unknown += [name._replace(row=name.row + offset) for name in part.unknown]
        for reason, points in part.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + points
        offset += len(part.batch)
    batches = [part.batch for part in parts]
    batch = Batch(
        np.concatenate([b.ids for b in batches]),
        np.concatenate([b.timestamps for b in batches]),
        np.concatenate([b.values for b in batches]),
    )
    return Parsed(batch, unknown, rejected)
