"""What happened while a request was evaluated: what ``explain=1`` shows.

A :class:`Trace` is handed to :func:`ingestd.query.evaluate.run` and filled by it; requests without one pay for a look
at None. It also holds what reading tells of itself, and warns of graphs that are likely to mislead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from ingestd.points import Ids, Rows
from ingestd.query.grid import SeriesList
from ingestd.query.parse import Call, Literal, Node, Path

SHOWN: Final = 20
"""Paths of a pattern that are shown: who wants all asks /metrics/expand."""
PERCENTILE: Final = re.compile(
    r"(?:^|[._\-;=])(?:upper_\d+|p(?:50|75|9\d|9{2,}\d?)|(?:percentile|pct|quantile)[_\-]?\d+|\d+(?:th)?_?(?:percentile|pct)|median)"
    r"(?:$|[._\-;])",
    re.IGNORECASE,
)
"""A node that names a percentile: those of statsd, Dropwizard, collectd's Aggregation and the like."""
AVERAGES: Final = frozenset(
    ("averageSeries", "avg", "averageSeriesWithWildcards", "weightedAverage", "sumSeries", "sum")
)
CALLBACKS: Final = frozenset(
    ("aggregate", "aggregateWithWildcards", "groupByNode", "groupByNodes", "groupByTags", "summarize", "smartSummarize")
)
_MEANS: Final = frozenset(("average", "avg", "averageSeries", "sum", "sumSeries", "total"))


class Explainer(Protocol):
    """A reader that can say where its values come from."""

    def explain(self, ids: Ids, start: int, until: int, now: int) -> list[dict[str, Any]]:
        """A description for each kind of retention among ``ids``: what it keeps, what was chosen, points by source.

        Keys that are looked at here: ``archives`` ([{"step", "retention"}]), ``chosen`` (index or None), ``start``,
        ``hidden`` (slots that an xFilesFactor empties), ``xFilesFactors``.
        """
        ...


@dataclass(slots=True)
class Trace:
    """The steps of one evaluation, in the order in which they ended."""

    clock: Callable[[], float]
    """Seconds of a steady clock."""
    patterns: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    trees: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    _inner: list[float] = field(default_factory=list)
    """Seconds that the calls and reads inside of each open call took."""

    def took(self, step: str, since: float) -> float:
        """Book the time since ``since`` under ``step``; the seconds."""
        seconds = self.clock() - since
        self.seconds[step] = self.seconds.get(step, 0.0) + seconds
        return seconds

    def found(self, pattern: str, paths: Sequence[str], since: float) -> None:
        """A pattern has been looked up in the index."""
        seconds = self.took("find", since)
        self.spent(seconds)
        shown = {"pattern": pattern, "series": len(paths), "paths": list(paths[:SHOWN]), "reads": []}
        self.patterns.append({**shown, "seconds": round(seconds, 6)})
        if not paths:
            self.warn(f"no series matches {pattern}")

    def read(
        self,
        pattern: str,
        window: tuple[int, int, int],
        rows: Sequence[Rows],
        seconds: float,
        origins: list[dict[str, Any]],
    ) -> None:
        """``rows`` of a pattern were read over ``window`` (start, until, now) in ``seconds``, from ``origins``."""
        start, until, now = window
        shown = {
            "from": start,
            "until": until,
            "points": sum(each.values.size for each in rows),
            "seconds": round(seconds, 6),
            "origins": origins,
        }
        next(each for each in self.patterns if each["pattern"] == pattern)["reads"].append(shown)
        for origin in origins:
            self._warn_of(pattern, origin, start, now)

    def _warn_of(self, pattern: str, origin: Mapping[str, Any], start: int, now: int) -> None:
        archives = origin["archives"]
        if not archives:
            return
        longest = archives[-1]["retention"]
        if now - start > longest:
            self.warn(f"{pattern}: only {longest} s are kept, less than the {now - start} s asked for")
        if origin["hidden"]:
            factors = ", ".join(map(str, origin["xFilesFactors"]))
            self.warn(
                f"{pattern}: {origin['hidden']} slots are empty although finer points are known: "
                f"too few for the xFilesFactor of {factors}"
            )

    def enter(self) -> float:
        """A call begins, before its arguments are evaluated: its time."""
        self._inner.append(0.0)
        return self.clock()

    def given(self, call: Call, bound: Sequence[object]) -> tuple[int, int]:
        """Its arguments are there, and belong to the function from now on: series and points among them."""
        lists = [each for each in bound if isinstance(each, SeriesList)]
        names = [name for each in lists for name in each.names]
        grids = [grid for each in lists for grid in each.grids]
        combines = call.name in AVERAGES or call.name in CALLBACKS
        steps = sorted({grid.step for grid in grids})
        if combines and len(steps) > 1:
            shown, common = ", ".join(map(str, steps)), int(np.lcm.reduce(steps))
            self.warn(f"{call.name}: series of steps {shown} s are brought to their least common multiple, {common} s")
        if call.name in AVERAGES or (combines and any(isinstance(each, str) and each in _MEANS for each in bound)):
            named = next((name for name in names if _is_percentile(name)), None)
            if named is not None:
                self.warn(f"{call.name}: an average or sum of percentiles ({named}) is no percentile of the whole")
        return len(names), sum(grid.values.size for grid in grids)

    def leave(self, call: Call, given: tuple[int, int], result: SeriesList, since: float) -> None:
        """It has ended: what it was given and what it made."""
        seconds = self.clock() - since
        own = seconds - self._inner.pop()
        self.spent(seconds)
        self.seconds["functions"] = self.seconds.get("functions", 0.0) + own
        self.calls.append(
            {
                "call": call.raw[:1000],
                "function": call.name,
                "series": [given[0], len(result)],
                "points": [given[1], sum(grid.values.size for grid in result.grids)],
                "seconds": round(own, 6),
            }
        )

    def spent(self, seconds: float) -> None:
        """These seconds are no open call's own."""
        if self._inner:
            self._inner[-1] += seconds

    def warn(self, text: str) -> None:
        """Each text once."""
        self.warnings.setdefault(text)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "targets": self.trees,
            "patterns": self.patterns,
            "calls": self.calls,
            "seconds": {step: round(seconds, 6) for step, seconds in self.seconds.items()},
            "warnings": list(self.warnings),
        }


def _is_percentile(name: object) -> bool:
    return isinstance(name, str) and PERCENTILE.search(name) is not None


def tree_of(node: Node) -> dict[str, Any]:
    """A parsed target for JSON: ``{"path"}``, ``{"value"}`` or ``{"function", "args", "kwargs"}``."""
    if isinstance(node, Path):
        return {"path": node.text}
    if isinstance(node, Literal):
        value = node.value
        return {"value": str(value) if isinstance(value, float) and not np.isfinite(value) else value}
    tree: dict[str, Any] = {"function": node.name, "args": [tree_of(each) for each in node.args]}
    if node.kwargs:
        tree["kwargs"] = {name: tree_of(each) for name, each in node.kwargs}
    return tree
