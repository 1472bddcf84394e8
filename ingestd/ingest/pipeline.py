"""From what a parser found to accepted points: rights, limits, new series, the ledger.

Index and store are handed in; what is asked of them stands here as Protocols. Everything runs on the event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd.ingest.clock import AcceptClock
from ingestd.ingest.prefixes import Prefixes
from ingestd.ingest.senders import Crowd, Part, Senders
from ingestd.ingest.sources import Access, Grant, Source, SourceLimits, Sources
from ingestd.points import UNKNOWN, Batch, Ids, NameTable, NewName, NewNames, Parsed, Paths, Times
from ingestd.telemetry import Books, Ledger

_SPELLING: Final = 512
"""Bytes of a spelling that is worth remembering: longer ones (tags repeated on purpose) are resolved each time."""


class NameIndex(NameTable, Protocol):
    """The index as seen from here: ids of spellings and of canonical paths (UTF-8)."""

    @property
    def table(self) -> NameTable:
        """What parsers ask."""

    def missing(self, paths: Sequence[str], /) -> NDArray[np.intp]:
        """Which of ``paths`` are new: the place of the first of each, ascending."""

    def look_up(self, paths: Sequence[str], /) -> Ids:
        """The ids of ``paths``, uint32[n]; :data:`UNKNOWN` for those that are no series."""

    def add(self, ids: Ids, paths: Sequence[str]) -> None: ...
    def remember(self, spelling: bytes, series: int, /) -> None: ...
    def path(self, series: int, /) -> str: ...
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

    def __init__(
        self,
        store: Store,
        names: NameIndex,
        limits: SeriesLimits,
        wall: Callable[[], float],
        *,
        source_limits: SourceLimits | None = None,
        access: Access | None = None,
        prefixes: Prefixes | None = None,
        ledger: Ledger | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.names = names
        self.wall = wall
        """Seconds since the epoch, as the machine has them at the moment."""
        self._store = store
        self._limits = limits
        self._clock = AcceptClock(wall, steady)
        self._tokens = float(limits.burst)
        self._refilled = self._clock.now()
        self._prefixes = prefixes or Prefixes()
        ledger = ledger or Ledger()
        self._by_source, self._by_prefix = ledger.sources, ledger.prefixes
        self.sources = Sources(source_limits or SourceLimits(), access or Access(), self.clock)
        """Who sends."""
        self.crowded = False
        """Whether new series are refused because memory is short."""

    @property
    def saturated(self) -> bool:
        """Whether listeners have to wait (streams) or to drop (datagrams)."""
        return self._store.saturated

    def clock(self) -> int:
        """The accept clock in whole seconds: the wall clock, but for leaps that the senders do not follow."""
        return self._clock.now()

    def adopt(self, ids: Ids, paths: Sequence[str]) -> None:
        """Enter series ``paths`` of ``ids`` (uint32[n]), made by the store, in the index and in their prefixes."""
        self.names.add(ids, paths)
        self._prefixes.adopt(ids, paths)

    def register(self, paths: Sequence[str]) -> str | None:
        """Make series of new ``paths`` without points; all or none, and then why: ``limit`` or ``quota``."""
        clock = self._clock.now()
        if len(paths) > self._room(clock):
            return "limit"
        pending: Counter[str] = Counter()
        for path in paths if self._prefixes.active else ():
            if not self._prefixes.admit(path, pending, clock):
                return "quota"
            pending[self._prefixes.of(path)] += 1
        self._tokens -= len(paths)
        self.adopt(self._store.create(paths, clock), paths)
        return None

    def accept(self, books: Books, parts: Sequence[Part]) -> None:
        """Count what some sources sent as received, create the new series, and hand the points to the store as one."""
        clock = self._clock.now(lambda: _times(parts))
        kept: list[Parsed] = []
        for parsed, source in parts:
            books.received += parsed.received
            if isinstance(source, Crowd):
                kept.append(parsed)
                continue
            for reason, points in parsed.rejected.items():
                self._reject(books, source, reason, points)
            rightful = parsed if source.grant is None else self._within_rights(books, parsed, source, source.grant)
            kept.append(rightful if source.points is None else self._within_rate(books, rightful, source, clock))
        whole = joined(kept)
        batch = whole.batch
        senders = Senders(parts, kept)
        if whole.unknown:
            batch = self._with_new_series(batch, whole.unknown, clock, books, senders)
        if self._prefixes.active and len(batch):
            batch = self._within_prefixes(batch, clock, books, senders)
        if len(batch):
            too_old, too_new = self._store.accept(batch, clock, books)
            # The store does not say which: those with the least or the greatest timestamps.
            if too_old:
                self._reject_rows(books, "too_old", np.argsort(batch.timestamps)[:too_old], senders)
            if too_new:
                self._reject_rows(books, "too_new", np.argsort(batch.timestamps)[-too_new:], senders)

    def refuse(self, books: Books, reason: str, points: int, source: Source | None = None) -> None:
        """Count ``points`` that reached no parser as received and rejected."""
        if points:
            books.received += points
            self._reject(books, source or self.sources.nobody, reason, points)

    def _reject(self, books: Books, source: Source, reason: str, points: int) -> None:
        books.reject(reason, points)
        if source.name:
            self._by_source.add(source.name, reason, points)

    def _reject_rows(self, books: Books, reason: str, rows: NDArray[np.intp], senders: Senders) -> None:
        """Reject ``rows`` of a batch, each to its sender."""
        for source, points in Counter(map(senders.of, rows.tolist())).items():
            self._reject(books, source, reason, points)

    # -- rights and rates ----------------------------------------------------------------------------------------------

    def _within_rights(self, books: Books, parsed: Parsed, source: Source, grant: Grant) -> Parsed:
        """The rows that the source may write."""
        allowed = grant.mask(parsed.batch.ids, self.names.path)
        for name in parsed.unknown:
            allowed[name.row] = grant.allows(name.path)
        if allowed.all():
            return parsed
        denied = [name.path for name in parsed.unknown if not allowed[name.row]]
        denied += [self.names.path(i) for i in parsed.batch.ids[~allowed].tolist() if i != UNKNOWN]
        self._reject(books, source, "forbidden", len(denied))
        for prefix, points in Counter(map(self._prefixes.of, denied)).items():
            self._by_prefix.add(prefix, "forbidden", points)
        return _chosen(parsed, allowed)

    def _within_rate(self, books: Books, parsed: Parsed, source: Source, clock: int) -> Parsed:
        """As many of the first rows as the source may send now."""
        n = len(parsed.batch)
        taken = n if source.points is None else source.points.take(n, clock)
        if taken == n:
            return parsed
        self._reject(books, source, "quota", n - taken)
        return _chosen(parsed, np.arange(n) < taken)

    def _within_prefixes(self, batch: Batch, clock: int, books: Books, senders: Senders) -> Batch:
        kept = self._prefixes.within_rate(batch.ids, clock)
        if kept is None:
            return batch
        for prefix, points in self._prefixes.refused(batch.ids[~kept]).items():
            self._by_prefix.add(prefix, "quota", points)
        self._reject_rows(books, "quota", np.flatnonzero(~kept), senders)
        senders.choose(kept)
        return Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept])

    # -- new series ----------------------------------------------------------------------------------------------------

    def _with_new_series(
        self, batch: Batch, unknown: Sequence[NewName], clock: int, books: Books, senders: Senders
    ) -> Batch:
        """``batch`` with an id in every row; rows whose series is over a limit are rejected and left out."""
        ids = batch.ids.copy()
        columns = NewNames.of(unknown) if not self._limited else None
        if columns is not None and self._as_columns(ids, columns, clock):
            return Batch(ids, batch.timestamps, batch.values)
        fresh: dict[str, list[NewName]] = {}
        for name in unknown:
            path = name.path
            found = fresh.get(path)
            if found is not None:
                found.append(name)
                continue
            # A known path in another spelling, or created a moment ago from the same input.
            series = self.names.get(path.encode())
            if series is None:
                fresh[path] = [name]
                continue
            ids[name.row] = series
            self._remember(name, series)
        paths, refused = self._admitted(fresh, clock, senders)
        if paths:
            created = self._store.create(paths, clock)
            self.adopt(created, paths)
            rows: list[int] = []
            numbers: list[int] = []
            for path, series in zip(paths, created.tolist(), strict=True):
                for name in fresh[path]:
                    rows.append(name.row)
                    numbers.append(series)
                    self._remember(name, series)
            ids[rows] = numbers
        if not refused:
            return Batch(ids, batch.timestamps, batch.values)
        for path, reason in refused.items():
            self._by_prefix.add(self._prefixes.of(path), reason, len(fresh[path]))
            self._reject_rows(books, reason, np.array([name.row for name in fresh[path]]), senders)
        kept = ids != UNKNOWN
        senders.choose(kept)
        return Batch(ids[kept], batch.timestamps[kept], batch.values[kept])

    def _as_columns(self, ids: Ids, names: NewNames, clock: int) -> bool:
        """Create the series and write their ids, if nothing limits them: names as columns, as in a fleet's first
        interval; a name at a time elsewhere.
        """
        paths = Paths(names.keys)
        new = self.names.missing(paths)
        if self._room(clock) < len(new):
            return False
        whole = len(new) == len(paths)
        if len(new):
            fresh = paths if whole else Paths([names.keys[place] for place in new.tolist()])
            self._tokens -= len(fresh)
            created = self._store.create(fresh, clock)
            self.adopt(created, fresh)
        ids[names.rows] = created if whole else self.names.look_up(paths)
        return True

    @property
    def _limited(self) -> bool:
        """Whether senders or prefixes have limits of new series."""
        return bool(self._prefixes.active or self.sources.limits.series or self.sources.limits.series_per_second)

    def _remember(self, name: NewName, series: int) -> None:
        spelling = name.spelling
        if len(spelling) <= _SPELLING and spelling != name.path.encode():
            self.names.remember(spelling, series)

    def _admitted(
        self, fresh: dict[str, list[NewName]], clock: int, senders: Senders
    ) -> tuple[list[str], dict[str, str]]:
        """The paths that become series now, and why the others do not."""
        room = self._room(clock)
        if not self._limited:
            paths = list(fresh)
            self._tokens -= min(room, len(paths))
            return paths[:room], dict.fromkeys(paths[room:], "limit")
        admitted: list[str] = []
        refused: dict[str, str] = {}
        pending: Counter[str] = Counter()
        for path, rows in fresh.items():
            if len(admitted) >= room:
                refused[path] = "limit"
            elif self._quota_allows(path, senders.of(rows[0].row), pending, clock):
                admitted.append(path)
            else:
                refused[path] = "quota"
        self._tokens -= len(admitted)
        return admitted, refused

    def _quota_allows(self, path: str, source: Source, pending: Counter[str], clock: int) -> bool:
        """Whether source and prefix may have this new series; it is counted for both."""
        limits = self.sources.limits
        if source.name:
            if limits.series and source.series >= limits.series:
                return False
            if source.new_series is not None and not source.new_series.take(1, clock):
                return False
        if self._prefixes.active:
            if not self._prefixes.admit(path, pending, clock):
                return False
            pending[self._prefixes.of(path)] += 1
        source.series += 1
        return True

    def _room(self, clock: int) -> int:
        """How many new series there may be now in all."""
        room = 0 if self.crowded else max(0, self._limits.total - len(self.names))
        if not self._limits.rate:
            return room
        earned = max(0, clock - self._refilled) * self._limits.rate
        self._tokens = min(float(self._limits.burst), self._tokens + earned)
        self._refilled = clock
        return min(room, int(self._tokens))


def _times(parts: Sequence[Part]) -> Times:
    return np.concatenate([parsed.batch.timestamps for parsed, _ in parts] or [np.empty(0, np.int64)])


def _chosen(parsed: Parsed, kept: NDArray[np.bool_]) -> Parsed:
    """The rows of ``parsed`` where ``kept``."""
    batch = parsed.batch
    places = np.cumsum(kept) - 1
    unknown = [name._replace(row=int(places[name.row])) for name in parsed.unknown if kept[name.row]]
    return Parsed(Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept]), unknown, parsed.rejected)


def _joined_names(parts: Sequence[Parsed], offsets: Sequence[int]) -> Sequence[NewName]:
    """The unknown names of several parts, whose rows begin at ``offsets``: columns, if all of them are."""
    some = [(part.unknown, offset) for part, offset in zip(parts, offsets, strict=True) if part.unknown]
    columns = [(names, offset) for names, offset in some if isinstance(names, NewNames)]
    if some and len(columns) == len(some):
        rows = np.concatenate([names.rows + offset for names, offset in columns])
        return NewNames(rows, list(chain.from_iterable(names.keys for names, _ in columns)))
    return [name._replace(row=name.row + offset) for names, offset in some for name in names]


def joined(parts: Sequence[Parsed]) -> Parsed:
    """Several parsers' results as one, in their order."""
    if len(parts) == 1:
        return parts[0]
    rejected: dict[str, int] = {}
    for part in parts:
        for reason, points in part.rejected.items():
            rejected[reason] = rejected.get(reason, 0) + points
    batches = [part.batch for part in parts]
    batch = Batch(
        np.concatenate([b.ids for b in batches]),
        np.concatenate([b.timestamps for b in batches]),
        np.concatenate([b.values for b in batches]),
    )
    offsets = [0, *accumulate(map(len, batches[:-1]))]
    return Parsed(batch, _joined_names(parts, offsets), rejected)
