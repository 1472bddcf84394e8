"""What one request's evaluation shares: its reader, what was fetched already, and what it has cost so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import NamedTuple, cast

import numpy as np

from ingestd.points import Ids, Rows, Totals, Values
from ingestd.query.grid import Reader, SeriesList, TotalReader, from_rows
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import LimitError, QueryError, QueryLimits, charge
from ingestd.query.parse import Node, parse
from ingestd.query.reduce import SHORT
from ingestd.query.trace import Explainer, Trace

PROBE = 64
"""Series that are fetched first to learn how many points a series has, before a large query is begun in earnest."""


def never() -> bool:
    """Of a request that nobody gives up."""
    return False


@dataclass(slots=True)
class Costs:
    """What the request has used of its :class:`QueryLimits`.

    ``stop`` is asked at each step: a request that was given up ends with :class:`QueryError`, which nobody reads, and
    leaves its thread to others.
    """

    limits: QueryLimits
    stop: Callable[[], bool] = never
    series: int = 0
    points: int = 0
    scanned: int = 0
    patterns: int = 0
    calls: int = 0

    def _go_on(self) -> None:
        if self.stop():
            raise QueryError("the request was given up")

    def add_series(self, more: int) -> None:
        self.series = charge(self.series, more, self.limits.series, "series", "series")

    def add_points(self, more: int) -> None:
        self._go_on()
        self.points = charge(self.points, more, self.limits.points, "points", "points")

    def add_scanned(self, more: int) -> None:
        self._go_on()
        self.scanned = charge(self.scanned, more, self.limits.scanned, "scanned", "points to be read")

    def add_call(self) -> None:
        self._go_on()
        self.calls = charge(self.calls, 1, self.limits.calls, "calls", "function calls")

    def add_pattern(self) -> None:
        self._go_on()
        self.patterns = charge(self.patterns, 1, self.limits.patterns, "patterns", "path expressions")


@dataclass(slots=True)
class Fetched:
    """One path expression over one window."""

    paths: list[str]
    rows: list[Rows]


class Total(NamedTuple):
    """Series as one: how many they are, and as many of their labels as tell what all have in common."""

    totals: Totals
    series: int
    labels: Labels


@dataclass(slots=True)
class Source:
    """The reader behind the caches of one request: a pattern is found once, a window of it fetched once."""

    reader: Reader
    now: int
    costs: Costs
    trace: Trace | None = None
    """What is asked to explain the request, if anybody is."""
    stacks: dict[str, Values] = field(default_factory=dict)
    """How high each stack of stacked() is by now: float64[points]."""
    _found: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    _ids: dict[str, Ids | None] = field(default_factory=dict)
    _fetched: dict[tuple[str, int, int], Fetched] = field(default_factory=dict)

    def fetch(self, pattern: str, start: int, until: int, tagged: Sequence[str] | None = None) -> Fetched:
        """What matches ``pattern`` over (start, until]. The arrays are shared: not to be written to.

        ``tagged``: the tag expressions that decide instead, if ``pattern`` is the text of a call of seriesByTag.

        What the cache answers is charged too, because functions make new arrays of it each time.
        """
        key = (pattern, start, until)
        known = self._fetched.get(key)
        if known is not None:
            self.costs.add_series(len(known.paths))
            self.costs.add_points(sum(rows.values.size for rows in known.rows))
            return known
        found = self._find(pattern, tagged)
        self.costs.add_series(len(found))
        ids = [number for _, number in found]
        since = self.trace.clock() if self.trace else 0.0
        fetched = self._fetched[key] = Fetched([path for path, _ in found], self._read(ids, start, until))
        if self.trace:
            self._explain(self.trace, pattern, ids, (start, until, self.now), since)
        return fetched

    def total(self, patterns: Sequence[str], start: int, until: int, manner: str) -> Total | None:
        """All series that match, each slot's values made one, as :meth:`TotalReader.total`; None: fetch them.

        Few series are fetched: they are added in another manner (:data:`ingestd.query.reduce.SHORT`). So are those that
        were already, and those that two patterns match.
        """
        if not isinstance(self.reader, TotalReader) or any((each, start, until) in self._fetched for each in patterns):
            return None
        found = [self._chosen(self.reader, pattern) for pattern in dict.fromkeys(patterns)]
        ids = found[0][0] if len(patterns) == 1 else np.concatenate([each for each, _ in found])
        if len(ids) <= SHORT or (len(patterns) > 1 and len(np.unique(ids)) < len(ids)):
            return None
        self.costs.add_series(len(ids))
        totals = self.reader.total(ids, start, until, self.now, manner, self.costs.add_scanned)
        if totals is None or totals.window.slots <= 1:
            self.costs.series -= len(ids)
            return None
        return Total(totals, len(ids), Labels.joined([labels for _, labels in found]))

    def _chosen(self, reader: TotalReader, pattern: str) -> tuple[Ids, Labels]:
        """The series that match, and labels that have in common what theirs have."""
        if pattern not in self._found and pattern not in self._ids:
            self.costs.add_pattern()
            self._ids[pattern] = reader.find_ids(pattern)
        ids = self._ids.get(pattern)
        if ids is not None and len(ids) > 1:
            # Without tags they have nothing in common but what they are called by.
            return ids, Labels.of([Label("", pattern, {})])
        matches = self._find(pattern)
        labels = Labels.found([path for path, _ in matches], pattern, 0.0)
        return np.array([number for _, number in matches], np.uint32), labels

    def _find(self, pattern: str, tagged: Sequence[str] | None = None) -> list[tuple[str, int]]:
        found = self._found.get(pattern)
        if found is None:
            if pattern not in self._ids:
                self.costs.add_pattern()
            since = self.trace.clock() if self.trace else 0.0
            found = self.reader.find(pattern) if tagged is None else self.reader.find_tagged(tagged)
            self._found[pattern] = found
            if self.trace:
                self.trace.found(pattern, [path for path, _ in found], since)
        return found

    def _explain(self, trace: Trace, pattern: str, ids: list[int], window: tuple[int, int, int], since: float) -> None:
        seconds = trace.took("read", since)
        trace.spent(seconds)
        rows = self._fetched[(pattern, *window[:2])].rows
        explain = cast(Explainer, self.reader).explain if hasattr(self.reader, "explain") else None
        # Explaining reads it all again, and that is not the request's time.
        began = trace.clock()
        origins = explain(np.array(ids, np.uint32), *window) if explain and ids else []
        trace.spent(trace.took("explain", began))
        trace.read(pattern, window, rows, seconds, origins)

    def _read(self, ids: list[int], start: int, until: int) -> list[Rows]:
        """Fetches in pieces, so that a query beyond the limit of points ends before they fill the memory.

        What is within the limit is fetched in one piece, the first ones again: pieces would have to be laid together.
        """
        out: list[Rows] = []
        at, size, longest = 0, PROBE, 1
        while at < len(ids):
            chunk = np.array(ids[at : at + size], np.uint32)
            for rows in self.reader.fetch(chunk, start, until, self.now):
                self.costs.add_points(rows.values.size)
                longest = max(longest, rows.values.shape[1])
                out.append(Rows(rows.window, rows.positions + at, rows.values))
            at += len(chunk)
            room = (self.costs.limits.points - self.costs.points) // longest
            if at == PROBE and room >= len(ids) - at:
                self.costs.points -= sum(rows.values.size for rows in out)
                out, at, room = [], 0, len(ids)
            size = max(min(len(ids) - at, room), 1)
        return out


@dataclass(slots=True)
class Context:
    """A window under evaluation; shifted ones share the source. ``x_files_factor`` may change for later calls."""

    source: Source
    start: int
    until: int
    tz: tzinfo
    x_files_factor: float
    evaluate: Callable[[Context, Node], SeriesList]
    inside: int = 0
    """Targets around this one: functions that make a target and evaluate it."""

    @property
    def now(self) -> int:
        return self.source.now

    @property
    def limits(self) -> QueryLimits:
        return self.source.costs.limits

    def fetch(self, pattern: str, tagged: Sequence[str] | None = None) -> SeriesList:
        """Fresh labels over the series that match ``pattern``, or ``tagged``, in order of their paths."""
        fetched = self.source.fetch(pattern, self.start, self.until, tagged)
        return from_rows(fetched.rows, Labels.found(fetched.paths, pattern, self.x_files_factor))

    def shifted(self, start: int, until: int) -> Context:
        """The same request over another window. Raises :class:`QueryError` if that window is empty or too far off."""
        beyond = max(abs(start - self.start), abs(until - self.until))
        if beyond > self.limits.window:
            raise LimitError(
                "limits.query_window",
                f"a function would read {beyond} s beyond the request's window",
                self.limits.window,
            )
        if start >= until:
            raise QueryError(f"the shifted time range {start} to {until} is empty")
        return replace(self, start=start, until=until)

    def evaluate_text(self, target: str) -> SeriesList:
        """The series of a target that a function has made. The deeper such targets lie, the less deep each may be."""
        inner = replace(self, inside=self.inside + 1)
        limits = replace(self.limits, depth=self.limits.depth >> inner.inside)
        return inner.evaluate(inner, parse(target, limits))

    def charge(self, rows: int, points: int) -> None:
        """Books what a function is about to make: ``rows`` series of ``points`` points each."""
        self.source.costs.add_points(rows * points)


@dataclass(slots=True)
class Invocation:
    """A function call under evaluation: what a function gets besides its arguments."""

    context: Context
    name: str
    args: tuple[Node, ...]
    raw: str = ""
    """Its text in the target, without what was piped into it."""

    def series_again(self, start: int, until: int) -> SeriesList:
        """The first argument evaluated anew over another window."""
        context = self.context.shifted(start, until)
        return context.evaluate(context, self.args[0])
