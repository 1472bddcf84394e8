"""Limits of path prefixes: how many series begin so, how fast new ones and points may come.

The first nodes of a path are its prefix, or the longest prefix that has limits of its own. One application that
explodes then fills its own prefix and nobody else's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.ingest.sources import BURST_SECONDS
from ingestd.points import Ids

_NONE: Final = 0xFFFFFFFF
"""In the column of prefixes: a series that was never adopted."""


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one prefix; 0 = none."""

    series: int = 0
    series_per_second: float = 0.0
    points_per_second: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.series or self.series_per_second or self.points_per_second)


class Prefixes:
    """Counts and buckets of all prefixes, as columns by number of the prefix."""

    def __init__(self, nodes: int = 1, common: Quota | None = None, named: Mapping[str, Quota] | None = None) -> None:
        """``nodes`` of a path that make a prefix under the ``common`` limits; ``named`` prefixes have their own."""
        self._nodes = nodes
        self._common = common or Quota()
        self._named = sorted((named or {}).items(), key=lambda item: -len(item[0]))
        self.active = bool(self._common) or bool(self._named)
        """Whether there is any limit to keep."""
        self._paced = any(q.points_per_second for q in (self._common, *(named or {}).values()))
        self._numbers: dict[str, int] = {}
        self._texts: list[str] = []
        self._of: NDArray[np.uint32] = np.zeros(0, np.uint32)
        self._clock = 0
        self._series = np.zeros(0, np.int64)
        self._room = np.zeros(0)
        self._rates = np.zeros((2, 0))
        """New series and points a second: float64[2, prefixes]."""
        self._tokens = np.zeros((2, 0))

    def of(self, path: str) -> str:
        """The prefix of ``path``."""
        for prefix, _ in self._named:
            if path.startswith(prefix):
                return prefix
        return ".".join(path.partition(";")[0].split(".", self._nodes)[: self._nodes])

    def _number(self, prefix: str) -> int:
        number = self._numbers.get(prefix)
        if number is None:
            number = self._numbers[prefix] = len(self._texts)
            self._texts.append(prefix)
            self._grow(number + 1)
            quota = next((q for p, q in self._named if p == prefix), self._common)
            self._room[number] = quota.series or np.inf
            self._rates[:, number] = quota.series_per_second or np.inf, quota.points_per_second or np.inf
            self._tokens[:, number] = self._full(self._rates[:, number])
        return number

    @staticmethod
    def _full(rates: NDArray[np.float64]) -> NDArray[np.float64]:
        full: NDArray[np.float64] = np.maximum(1.0, rates * BURST_SECONDS)
        return full

    def _grow(self, n: int) -> None:
        if n > len(self._series):
            extra = max(n, len(self._series) * 5 // 4) + 16 - len(self._series)
            self._series = np.concatenate([self._series, np.zeros(extra, np.int64)])
            self._room = np.concatenate([self._room, np.full(extra, np.inf)])
            self._rates = np.concatenate([self._rates, np.full((2, extra), np.inf)], axis=1)
            self._tokens = np.concatenate([self._tokens, np.full((2, extra), np.inf)], axis=1)

    def adopt(self, ids: Ids, paths: Sequence[str]) -> None:
        """Count series that exist: ``paths`` of ``ids`` (uint32[n])."""
        if not self.active or not len(ids):
            return
        top = int(ids.max())
        if top >= len(self._of):
            grown = np.full(max(top + 1, len(self._of) * 5 // 4), _NONE, np.uint32)
            grown[: len(self._of)] = self._of
            self._of = grown
        numbers = np.array([self._number(self.of(path)) for path in paths], np.uint32)
        self._of[ids] = numbers
        np.add.at(self._series, numbers, 1)

    def forget(self, ids: Ids) -> None:
        """Series ``ids`` (uint32[n]) are no more."""
        if self.active:
            numbers = self._of[ids[ids < len(self._of)]]
            np.subtract.at(self._series, numbers[numbers != _NONE], 1)

    def _refill(self, clock: int) -> None:
        if clock > self._clock:
            passed, self._clock = clock - self._clock, clock
            with np.errstate(invalid="ignore"):
                np.minimum(self._full(self._rates), self._tokens + passed * self._rates, out=self._tokens)
        # Also back: after a clock that had leapt ahead the buckets would stay empty.
        self._clock = clock

    def admit(self, path: str, pending: Mapping[str, int], clock: int) -> bool:
        """Whether one more series may begin with the prefix of ``path``; it is taken out of the bucket.

        ``pending``: series admitted, not adopted yet, by prefix.
        """
        self._refill(clock)
        prefix = self.of(path)
        number = self._number(prefix)
        if self._series[number] + pending.get(prefix, 0) >= self._room[number] or self._tokens[0, number] < 1:
            return False
        self._tokens[0, number] -= 1
        return True

    def within_rate(self, ids: Ids, clock: int) -> NDArray[np.bool_] | None:
        """Which of the points of series ``ids`` (uint32[n], adopted) are within the rates of their prefixes.

        bool[n], the first ones of each prefix; None: all of them are.
        """
        if not self._paced:
            return None
        self._refill(clock)
        numbers = self._of[ids]
        counts = np.bincount(numbers, minlength=len(self._series))
        tokens = self._tokens[1]
        if (counts <= tokens).all():
            tokens -= counts
            return None
        # The rank of each row among those of its prefix, in order of arrival.
        order = np.argsort(numbers, kind="stable")
        firsts = np.cumsum(counts) - counts
        ranks = np.empty(len(ids), np.int64)
        ranks[order] = np.arange(len(ids)) - firsts[numbers[order]]
        allowed = np.minimum(counts, np.floor(tokens))
        tokens -= allowed
        kept: NDArray[np.bool_] = ranks < allowed[numbers]
        return kept

    def refused(self, ids: Ids) -> dict[str, int]:
        """Points by prefix, of rows that :meth:`within_rate` left out."""
        numbers, counts = np.unique(self._of[ids], return_counts=True)
        return {self._texts[n]: c for n, c in zip(numbers.tolist(), counts.tolist(), strict=True)}
