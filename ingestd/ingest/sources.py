"""Who sends, what each sender may write, and how much of it. The lowest module of the floor.

A source is an address, together with the collectd user or the common name of the certificate that it has shown. Its
buckets and counts live as long as it is heard of: who has been silent for longest makes room when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import UNKNOWN, Ids

SOURCES_MAX: Final = 65_536
"""Sources remembered, 0.5 KB each: more than three times the largest fleet in mind."""
BURST_SECONDS: Final = 60
"""A bucket holds what its rate gives in this time: agents send every 10 to 60 seconds, and then all at once."""


class IngestError(Exception):
    """Base of the errors of this floor: a listener that cannot start."""


class Bucket:
    """A token bucket: ``rate`` a second in the long run, a minute's worth at once."""

    __slots__ = ("_rate", "_refilled", "_tokens")

    def __init__(self, rate: float, clock: int) -> None:
        self._rate = rate
        self._tokens = max(1.0, rate * BURST_SECONDS)
        self._refilled = clock

    def take(self, wanted: int, clock: int) -> int:
        """How many of ``wanted`` there are at ``clock`` (seconds); they are taken."""
        if clock > self._refilled:
            full = max(1.0, self._rate * BURST_SECONDS)
            self._tokens = min(full, self._tokens + (clock - self._refilled) * self._rate)
        # Also back: after a clock that had leapt ahead the bucket would stay empty.
        self._refilled = clock
        taken = min(wanted, int(self._tokens))
        self._tokens -= taken
        return taken


class Grant:
    """Path prefixes that a sender may write; each series is looked at once."""

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._prefixes = tuple(prefixes)
        self._verdicts: NDArray[np.int8] = np.zeros(0, np.int8)
        """By series id: 1 allowed, -1 not, 0 not asked yet. Ids are never reused."""

    def allows(self, path: str) -> bool:
        """Whether ``path`` may be written."""
        return path.startswith(self._prefixes)

    def mask(self, ids: Ids, path_of: Callable[[int], str]) -> NDArray[np.bool_]:
        """Which rows may be written: bool[n]; rows of unknown series not."""
        known: NDArray[np.bool_] = ids != UNKNOWN
        if not known.any():
            return known
        wanted: Ids = np.where(known, ids, 0)
        top = int(wanted.max())
        if top >= len(self._verdicts):
            grown = np.zeros(max(top + 1, len(self._verdicts) * 5 // 4), np.int8)
            grown[: len(self._verdicts)] = self._verdicts
            self._verdicts = grown
        fresh = ids[known & (self._verdicts[wanted] == 0)]
        for series in np.unique(fresh).tolist():
            self._verdicts[series] = 1 if self.allows(path_of(series)) else -1
        allowed: NDArray[np.bool_] = known & (self._verdicts[wanted] > 0)
        return allowed


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Limits of each source; 0 = none."""

    series: int = 0
    """Series that it creates in all, since it was first heard of."""
    series_per_second: float = 0.0
    points_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Access:
    """Path prefixes by sender; ``"*"`` stands for all who are not named. An empty mapping allows everything."""

    anonymous: tuple[str, ...] = ("",)
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    certificates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Source:
    """One sender."""

    __slots__ = ("grant", "name", "new_series", "points", "series")

    def __init__(self, name: str, grant: Grant | None, limits: SourceLimits, clock: int) -> None:
        self.name = name
        self.grant = grant
        """What it may write; None = everything."""
        self.series = 0
        """Series that it has created."""
        self.new_series = Bucket(limits.series_per_second, clock) if limits.series_per_second else None
        self.points = Bucket(limits.points_per_second, clock) if limits.points_per_second else None


class Sources:
    """All senders heard of lately."""

    def __init__(self, limits: SourceLimits, access: Access, clock: Callable[[], int]) -> None:
        self.limits = limits
        self._access = access
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], Source] = OrderedDict()
        self._grants: dict[tuple[str, ...], Grant | None] = {}
        self.nobody = Source("", None, SourceLimits(), 0)
        """Who stands for senders inside the process: no limits."""

    def __len__(self) -> int:
        return len(self._known)

    def address(self, host: str) -> Source:
        """The sender at an address, who has shown no name."""
        return self._get("", host, self._access.anonymous)

    def user(self, name: str, host: str) -> Source:
        """The verified collectd user ``name`` at an address: hosts may share a user, and do not share its limits."""
        return self._get(f"user {name} at ", host, self._named(self._access.users, name))

    def certificate(self, name: str, host: str) -> Source:
        """The client at an address whose verified certificate has the common name ``name``."""
        return self._get(f"certificate {name} at ", host, self._named(self._access.certificates, name))

    @staticmethod
    def _named(table: Mapping[str, tuple[str, ...]], name: str) -> tuple[str, ...]:
        return table.get(name, table.get("*", ())) if table else ("",)

    def _get(self, shown: str, host: str, prefixes: tuple[str, ...]) -> Source:
        key = shown, host
        source = self._known.get(key)
        if source is None:
            source = self._known[key] = Source(shown + host, self._grant(prefixes), self.limits, self._clock())
            if len(self._known) > SOURCES_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return source

    def _grant(self, prefixes: tuple[str, ...]) -> Grant | None:
        """One for all who may write the same."""
        if prefixes not in self._grants:
            self._grants[prefixes] = None if "" in prefixes else Grant(prefixes)
        return self._grants[prefixes]
