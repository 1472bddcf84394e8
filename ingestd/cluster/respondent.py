"""What a node answers to its peers: questions about its own series alone, in the messages of the cluster.

A node never asks others to answer one, so questions between nodes cannot wait for each other in a circle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from ingestd.cluster.messages import Kind, PeerError, decode, encode
from ingestd.points import Ids, Rows, Totals
from ingestd.query.context import Costs
from ingestd.query.grid import EventReader, TotalReader
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.wire.partition import partitions_of

PIECE: Final = 1_000
"""Series that are fetched before their points are counted: 3 MB of an hour each, 80 MB of a day."""
_NAME: Final = "name"


class OwnReader(TotalReader, EventReader, Protocol):
    """A reader of this process's own series."""

    def explain(self, ids: Ids, start: int, until: int, now: int) -> list[dict[str, Any]]: ...


class Finder(Protocol):
    """As :class:`ingestd.serve.deps.Finder`."""

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[tuple[str, str, bool]]: ...
    def paths(self) -> list[str]: ...


class TagFinder(Protocol):
    """As :class:`ingestd.serve.deps.TagFinder`."""

    def find(self, expressions: Sequence[str]) -> list[tuple[str, int]]: ...
    def tags(self, pattern: str = "") -> list[str]: ...
    def values(self, tag: str, pattern: str = "") -> dict[str, int]: ...
    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]: ...
    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]: ...


class EventFinder(Protocol):
    """The searching half of :class:`ingestd.serve.deps.Events`."""

    def query(
        self, start: int, until: int, tags: list[str] | None, set_operation: str | None
    ) -> list[dict[str, Any]]: ...

    def get(self, id: int) -> dict[str, Any] | None: ...  # noqa: A002


@dataclass(frozen=True, slots=True)
class Respondent:
    """This process's own series, for whoever gathers. Thread-safe."""

    reader: OwnReader
    finder: Finder
    tags: TagFinder
    events: EventFinder
    refusals: tuple[type[Exception], ...] = ()
    """Errors besides query's that blame whoever asks."""
    limits: QueryLimits = field(default_factory=QueryLimits)
    given: Callable[[], int] = lambda: 1 << 32
    """How many ids were ever given: no series has a greater one."""

    def answer(self, message: bytes) -> bytes:
        """The message that answers one. Raises :class:`PeerError` if that is no question."""
        kind, values = decode(message)
        return encode(*self.ask(kind, values))

    def check(self, ids: Ids) -> Ids:
        """``ids``, if series may have them. Raises :class:`PeerError`."""
        if len(ids) and int(ids.max()) >= self.given():
            raise PeerError("an id that no series has")
        return ids

    def ask(self, kind: Kind, values: Sequence[Any]) -> tuple[Any, ...]:
        """The kind of the answer, and its values. Raises :class:`PeerError` if ``kind`` is no question."""
        handler = _HANDLERS.get(kind)
        if handler is None:
            raise PeerError("an answer where a question was meant to be")
        blames: tuple[type[Exception], ...] = (QueryError, *self.refusals)
        try:
            return handler(self, *values)
        except blames as error:
            return Kind.REFUSED, str(error)


def _series(found: list[tuple[str, int]]) -> tuple[Any, ...]:
    ids = np.fromiter((number for _, number in found), np.uint32, len(found))
    return Kind.SERIES, ids, [path for path, _ in found]


def _find(own: Respondent, pattern: str) -> tuple[Any, ...]:
    return _series(own.reader.find(pattern))


def _find_tagged(own: Respondent, expressions: list[str]) -> tuple[Any, ...]:
    return _series(own.tags.find(expressions))


def _matches(own: Respondent, pattern: str, leaves_only: int) -> tuple[Any, ...]:
    found = own.finder.find_matches(pattern, bool(leaves_only))
    leaves = np.fromiter((leaf for _, _, leaf in found), np.uint8, len(found))
    return Kind.NODES, [path for _, path, _ in found], leaves


def _paths(own: Respondent) -> tuple[Any, ...]:
    return Kind.TEXTS, own.finder.paths()


def _fetch(own: Respondent, ids: Ids, start: int, until: int, now: int) -> tuple[Any, ...]:
    """In pieces, so that what is beyond the node's own limit of points ends before it fills the memory."""
    costs = Costs(own.limits)
    costs.add_series(len(own.check(ids)))
    found: list[Rows] = []
    for at in range(0, len(ids), PIECE):
        for rows in own.reader.fetch(ids[at : at + PIECE], start, until, now):
            costs.add_points(rows.values.size)
            found.append(Rows(rows.window, rows.positions + at, rows.values))
    return Kind.ROWS, found


def _total(own: Respondent, ids: Ids, ends: Ids, start: int, until: int, now: int, manner: str) -> tuple[Any, ...]:
    """The total of each group, if all are over one window."""
    costs = Costs(own.limits)
    costs.add_series(len(own.check(ids)))
    if manner not in ("sum", "max", "min") or len(np.unique(ids)) < len(ids):
        raise PeerError("a manner that is not known, or a series twice")
    if (ends[1:] < ends[:-1]).any() or (int(ends[-1]) if len(ends) else 0) != len(ids):
        raise PeerError("groups that do not hold the ids")
    found: list[Totals] = []
    for group in np.split(ids, ends[:-1].astype(np.intp)):
        total = own.reader.total(group, start, until, now, manner, costs.add_scanned)
        if total is None or (found and total.window != found[0].window):
            return Kind.TOTALS, 0, 0, 0, 1, np.empty(0), np.empty(0)
        found.append(total)
    values, counts = (np.concatenate(column) for column in zip(*((t.values, t.counts) for t in found), strict=True))
    return Kind.TOTALS, 1, *found[0].window, values, counts


def _explain(own: Respondent, ids: Ids, start: int, until: int, now: int) -> tuple[Any, ...]:
    return Kind.TEXTS, [json.dumps(each) for each in own.reader.explain(own.check(ids), start, until, now)]


def _tags(own: Respondent, pattern: str) -> tuple[Any, ...]:
    return Kind.TEXTS, own.tags.tags(pattern)


def _values(own: Respondent, tag: str, pattern: str, host_nodes: int, partitions: Ids) -> tuple[Any, ...]:
    """The values of a tag among the series of some partitions: what other nodes count must not be counted twice."""
    wanted = np.zeros(1 << 10, np.bool_)
    wanted[partitions[partitions < len(wanted)]] = True
    allowed = own.tags.values(tag, pattern)
    paths = [path for path, _ in own.tags.find([f"{tag}!="])] if allowed else []
    chosen = np.flatnonzero(wanted[partitions_of([path.encode() for path in paths], host_nodes)])
    counts = Counter(value for row in chosen.tolist() if (value := _value(paths[row], tag)) in allowed)
    return Kind.COUNTS, list(counts), np.fromiter(counts.values(), np.int64, len(counts))


def _value(path: str, tag: str) -> str:
    """The value of a tag that a path has."""
    name, *tags = path.split(";")
    return name if tag == _NAME else next(text[len(tag) + 1 :] for text in tags if text.startswith(tag + "="))


def _complete_tags(own: Respondent, expressions: list[str], prefix: str, limit: int) -> tuple[Any, ...]:
    return Kind.TEXTS, own.tags.complete_tags(expressions, prefix, max(limit, 0))


def _complete_values(own: Respondent, expressions: list[str], tag: str, prefix: str, limit: int) -> tuple[Any, ...]:
    return Kind.TEXTS, own.tags.complete_values(expressions, tag, prefix, max(limit, 0))


def _events(own: Respondent, start: int, until: int, tagged: int, tags: list[str], operation: str) -> tuple[Any, ...]:
    found = own.events.query(start, until, tags if tagged else None, operation or None)
    return Kind.TEXTS, list(map(json.dumps, found))


def _event(own: Respondent, number: int) -> tuple[Any, ...]:
    found = own.events.get(number)
    return Kind.TEXTS, [] if found is None else [json.dumps(found)]


_HANDLERS: Final[dict[Kind, Callable[..., tuple[Any, ...]]]] = {
    Kind.FIND: _find,
    Kind.FIND_TAGGED: _find_tagged,
    Kind.MATCHES: _matches,
    Kind.PATHS: _paths,
    Kind.FETCH: _fetch,
    Kind.TOTAL: _total,
    Kind.EXPLAIN: _explain,
    Kind.TAGS: _tags,
    Kind.VALUES: _values,
    Kind.COMPLETE_TAGS: _complete_tags,
    Kind.COMPLETE_VALUES: _complete_values,
    Kind.EVENTS: _events,
    Kind.EVENT: _event,
}
