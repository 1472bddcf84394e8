"""One answer of all nodes: a reader that asks those who own what a request is about, and merges what they say.

A :class:`Gather` is of one request: it has one map and one deadline from its first question to its last. What it could
not have is reported (:mod:`ingestd.query.missing`), and the answer is made of the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd.cluster.gathering import Cluster, Failures
from ingestd.cluster.groups import Compared, Group, added, compared, grouped, split
from ingestd.cluster.merging import NOBODY, Part, merged
from ingestd.cluster.messages import Kind, PeerError, window_of
from ingestd.cluster.routes import Partitions, Routes, everything
from ingestd.cluster.table import Held, Table
from ingestd.points import Ids, Rows, Totals, Window
from ingestd.query.missing import report
from ingestd.wire.batch import PARTITIONS

Answers: TypeAlias = dict[str, list[Any]]
"""The values of answers, by node."""

Column: TypeAlias = NDArray[np.uint8]
"""A node's rank for each series, or partition."""
Chosen: TypeAlias = NDArray[np.bool_]
"""The series, or partitions, that a node is asked for."""
Enough: TypeAlias = Callable[[Set[str]], bool]
Match: TypeAlias = tuple[str, str, bool]
_CODES: Final = 1 << 16
"""The id of an event is its node's id of it times this, and a number of the node."""


class Gather:
    """The :class:`ingestd.query.grid.TotalReader` and all searches of one request, over all nodes."""

    def __init__(self, cluster: Cluster, routes: Routes) -> None:
        self._cluster = cluster
        self._routes = routes
        self._until = cluster.clock() + cluster.deadline
        self._table = Table(routes)

    # -- series --------------------------------------------------------------------------------------------------------

    def find(self, pattern: str) -> list[tuple[str, int]]:
        """As :meth:`ingestd.query.grid.Reader.find`."""
        return self._entered(self._all(self._routes.of_pattern(pattern), Kind.FIND, pattern))

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        """As :meth:`ingestd.query.grid.Reader.find_tagged`."""
        partitions = self._routes.of_expressions(expressions)
        return self._entered(self._all(partitions, Kind.FIND_TAGGED, list(expressions)))

    def find_ids(self, pattern: str) -> Ids | None:
        """None: the paths come with the ids."""
        return None

    def _entered(self, answers: Answers) -> list[tuple[str, int]]:
        return self._table.enter({name: (ids, paths) for name, (ids, paths) in answers.items()})

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """As :meth:`ingestd.query.grid.Reader.fetch`: of all nodes that have a series, point by point."""
        if not len(ids):
            return []
        partitions, held = self._table.held(ids)
        whole = _Whole(self._routes, partitions, held)
        questions = {name: (Kind.FETCH, some.ids, start, until, now) for name, some in held.items()}
        answers, failures = self._cluster.ask(questions, self._until, lambda names: not whole.lost(names).any())
        parts = []
        for name, (rows,) in answers.items():
            some = held[name]
            try:
                parts += [_part(each, some) for each in rows]
            except PeerError as error:
                failures[name] = str(error)
        self._report_rows(whole.lost(set(answers) - set(failures)), failures)
        found = merged(parts, len(ids))
        self._cluster.differences += found.differences
        return found.rows

    def total(
        self, ids: Ids, start: int, until: int, now: int, manner: str, before: Callable[[int], None]
    ) -> Totals | None:
        """As :meth:`ingestd.query.grid.TotalReader.total`: nodes add up what they have, and are compared.

        Sums of several groups are added group by group, so their last digits may differ from those of one store.
        """
        partitions, held = self._table.held(ids)
        if any(len(np.unique(some.ids)) < len(some.ids) for some in held.values()):
            return None  # two patterns mean the same series
        groups = grouped(_Whole(self._routes, partitions, held).columns, len(ids))
        answers = self._totals(groups, held, len(ids), (start, until, now, manner))
        found = compared(groups, answers) if answers else None
        if found is None:
            return None  # fetching them says what is missing
        before(len(ids) * found.window.slots)
        rows = self._differing(groups, found, ids, (start, now))
        return None if rows is None else added(found, rows, manner)

    def _totals(
        self, groups: Sequence[Group], held: Mapping[str, Held], count: int, asked: tuple[int, int, int, str]
    ) -> dict[str, list[Totals]]:
        """The totals of the groups of each node that has them; none where one says that they are to be fetched."""
        questions: dict[str, tuple[Any, ...]] = {}
        own = {name: [group for group in groups if name in group.nodes] for name in held}
        for name, some in held.items():
            if own[name]:
                ids = np.zeros(count, np.uint32)
                ids[some.rows] = some.ids
                ends = np.cumsum([len(group.rows) for group in own[name]]).astype(np.uint32)
                rows = np.concatenate([group.rows for group in own[name]])
                questions[name] = (Kind.TOTAL, ids[rows], ends, *asked)

        def enough(names: Set[str]) -> bool:
            return all(not names.isdisjoint(group.nodes) for group in groups)

        answers, _ = self._cluster.ask(questions, self._until, enough)
        found = {}
        for name, (there, *window, values, counts) in answers.items():
            try:
                totals = split(window_of(*window), values, counts, len(own[name])) if there else None
            except PeerError:
                totals = None
            if totals is None:
                return {}
            found[name] = totals
        return found

    def _differing(
        self, groups: Sequence[Group], found: Compared, ids: Ids, asked: tuple[int, int]
    ) -> list[Rows] | None:
        """The series of differing groups over the slots that differ; None if that cannot be."""
        if not found.differing:
            return []
        rows = np.sort(np.concatenate([groups[number].rows for number in found.differing]))
        window, (start, now) = found.window, asked
        part = Window(window.start + found.low * window.step, window.start + found.high * window.step, window.step)
        # The archive is chosen by how far the beginning lies back: that must be as far as it was.
        begin = part.start - part.step
        fetched = self.fetch(ids[rows], begin, part.end - part.step, now + begin - start)
        return fetched if all(each.window == part for each in fetched) else None

    def explain(self, ids: Ids, start: int, until: int, now: int) -> list[dict[str, Any]]:
        """As :meth:`ingestd.query.trace.Explainer.explain`, of each node by itself."""
        if not len(ids):
            return []
        _, held = self._table.held(ids)
        questions = {name: (Kind.EXPLAIN, some.ids, start, until, now) for name, some in held.items()}
        answers, _ = self._cluster.ask(questions, self._until, lambda names: True)
        return [
            {"node": name, **each}
            for name, (texts,) in answers.items()
            for each in _objects(texts)
            if {"archives", "chosen", "start", "hidden", "xFilesFactors"} <= each.keys()
        ]

    # -- names and tags ------------------------------------------------------------------------------------------------

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        """As :meth:`ingestd.serve.deps.Finder.find_matches`."""
        answers = self._all(self._routes.of_pattern(pattern, below=True), Kind.MATCHES, pattern, int(leaves_only))
        found = {
            (path, leaf)
            for paths, leaves in answers.values()
            for path, leaf in zip(paths, leaves.tolist(), strict=True)
        }
        return sorted((path.rsplit(".", 1)[-1], path, bool(leaf)) for path, leaf in found)

    def paths(self) -> list[str]:
        """All paths without tags, sorted."""
        return self._texts(Kind.PATHS)

    def tags(self, pattern: str = "") -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.tags`."""
        return self._texts(Kind.TAGS, pattern)

    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.complete_tags`."""
        return list(islice(self._texts(Kind.COMPLETE_TAGS, list(expressions), prefix, limit), limit))

    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.complete_values`."""
        return list(islice(self._texts(Kind.COMPLETE_VALUES, list(expressions), tag, prefix, limit), limit))

    def values(self, tag: str, pattern: str = "") -> dict[str, int]:
        """As :meth:`ingestd.index.tags.Tags.values`: each partition is counted by one of its nodes alone."""
        counts: dict[str, int] = {}
        todo, failures = everything(), Failures()
        while todo.any():
            ranks = {
                name: np.where(self._routes.complete[name], rank, NOBODY).astype(np.uint8)
                for name, rank in self._routes.rank.items()
                if name not in failures
            }
            chosen = _chosen(ranks, todo)
            if not chosen:
                break
            host_nodes = self._routes.host_nodes
            questions = {
                name: (Kind.VALUES, tag, pattern, host_nodes, np.flatnonzero(rows).astype(np.uint32))
                for name, rows in chosen.items()
            }
            answers, more = self._cluster.ask(questions, self._until, _replaceable(ranks, chosen, todo))
            failures.update(more)
            for name, (texts, numbers) in answers.items():
                todo &= ~chosen[name]
                for text, number in zip(texts, numbers.tolist(), strict=False):
                    counts[text] = counts.get(text, 0) + number
        self._report(todo, failures)
        return dict(sorted(counts.items()))

    def _texts(self, kind: Kind, *values: Any) -> list[str]:
        """The texts that nodes give, sorted, each once."""
        return sorted(set().union(*(texts for (texts,) in self._all(everything(), kind, *values).values())))

    # -- events --------------------------------------------------------------------------------------------------------

    def events(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        """As :meth:`ingestd.query.grid.EventReader.events`."""
        return [event["when"] for event in self.query(start, until, list(tags), None)]

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        """As :meth:`ingestd.serve.deps.Events.query`. What several nodes were told alike is one event."""
        asked = (Kind.EVENTS, start, until, int(tags is not None), list(tags or ()), set_operation or "")
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for name, (texts,) in self._each(asked).items():
            seen: dict[tuple[Any, ...], int] = {}
            for event in _events(texts):
                key = (event["when"], event["what"], tuple(event["tags"]), event["data"])
                seen[key] = seen.get(key, 0) + 1
                found.setdefault((*key, seen[key]), {**event, "id": event["id"] * _CODES + self._cluster.code(name)})
        return sorted(found.values(), key=lambda event: (event["when"], event["id"]))

    def get(self, number: int) -> dict[str, Any] | None:
        """As :meth:`ingestd.serve.deps.Events.get`."""
        own, code = divmod(number, _CODES)
        for _, (texts,) in self._each((Kind.EVENT, own), lambda name: self._cluster.code(name) == code).items():
            for event in _events(texts):
                return {**event, "id": number}
        return None

    def _each(self, question: tuple[Any, ...], wanted: Callable[[str], bool] = lambda name: True) -> Answers:
        """The answers of all nodes that are wanted: of what one of them alone has."""
        names = [node.name for node in self._routes.map.nodes if wanted(node.name)]
        answers, failures = self._cluster.ask(dict.fromkeys(names, question), self._until, bool)
        for name, why in failures.items():
            report(f"the events of {name} are missing ({why})")
        return answers

    # -- asking --------------------------------------------------------------------------------------------------------

    def _all(self, partitions: Partitions, kind: Kind, *values: Any) -> Answers:
        """The answers of those who have some of these partitions."""
        names = self._routes.nodes(partitions)
        answers, failures = self._cluster.ask(
            dict.fromkeys(names, (kind, *values)),
            self._until,
            lambda names: not self._routes.lacking(partitions, names).any(),
        )
        self._report(self._routes.lacking(partitions, answers.keys()), failures)
        return answers

    def _report(self, lacking: Partitions, failures: Failures) -> None:
        count = int(np.count_nonzero(lacking))
        if count:
            report(f"{count} of {PARTITIONS} partitions have no whole answer ({_reasons(failures)})")

    def _report_rows(self, lost: NDArray[np.bool_], failures: Failures) -> None:
        number = int(np.count_nonzero(lost))
        if number:
            report(f"{number} of {len(lost)} series have no whole answer ({_reasons(failures)})")


class _Whole:
    """Of which of the series that are asked for each node has everything: all that whoever has most of them has."""

    def __init__(self, routes: Routes, partitions: NDArray[np.uint16], held: Mapping[str, Held]) -> None:
        count = len(partitions)
        self.columns: dict[str, Chosen] = {}
        """By node, bool[series]."""
        has = np.zeros(count, np.bool_)
        for name, some in held.items():
            column = self.columns[name] = np.zeros(count, np.bool_)
            column[some.rows] = routes.complete[name][partitions[some.rows]]
            has |= column
        for name, some in held.items():
            # What a new owner alone has heard of is all there is.
            self.columns[name][some.rows] |= ~has[some.rows]

    def lost(self, answered: Iterable[str]) -> Chosen:
        """The series of which nobody who answered has everything: bool[series]."""
        columns = [self.columns[name] for name in answered]
        return ~np.any(columns, axis=0) if columns else np.ones(len(next(iter(self.columns.values()))), np.bool_)


def _part(rows: Rows, some: Held) -> Part:
    """Rows of a node at their positions in the question. Raises :class:`PeerError` if they are not what was asked."""
    at = rows.positions
    if len(at) and (int(at.max()) >= len(some.rows) or len(np.unique(at)) < len(at)):
        raise PeerError("rows that were not asked for")
    return Part(Rows(rows.window, some.rows[at], rows.values), some.ranks[at])


def _chosen(ranks: Mapping[str, Column], todo: Chosen) -> dict[str, Chosen]:
    """Of each node the rows of ``todo`` for which it has the lowest rank of all."""
    if not ranks:
        return {}
    table = np.stack(list(ranks.values()))
    best = np.argmin(table, axis=0)
    some = todo & (table[best, np.arange(table.shape[1])] != NOBODY)
    chosen = {name: some & (best == number) for number, name in enumerate(ranks)}
    return {name: rows for name, rows in chosen.items() if rows.any()}


def _replaceable(ranks: Mapping[str, Column], chosen: Mapping[str, Chosen], todo: Chosen) -> Enough:
    """Whether those who have not answered yet can be replaced by those who have."""

    def enough(names: Set[str]) -> bool:
        left = todo.copy()
        for name in names:
            left &= ~chosen[name]
        for name, rank in ranks.items():
            if name in names or name not in chosen:
                left &= rank == NOBODY
        return not left.any()

    return enough


def _objects(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The JSON objects among texts."""
    found = []
    for text in texts:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def _events(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The events among JSON texts."""
    kinds = {"id": int, "when": int, "what": str, "data": str, "tags": list}
    return [
        event
        for event in _objects(texts)
        if all(isinstance(event.get(key), kind) for key, kind in kinds.items())
        and all(isinstance(tag, str) for tag in event["tags"])
    ]


def _reasons(failures: Failures) -> str:
    return "; ".join(f"{name}: {why}" for name, why in failures.items()) or "nobody has them"
