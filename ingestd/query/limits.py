"""The errors of the query floor and the limits of one query."""

from __future__ import annotations

from dataclasses import dataclass


class QueryError(Exception):
    """The query cannot be answered and its author is to blame; the message is one line for a 400."""


class LimitError(QueryError):
    """The query asks for more than a setting allows; the message names the number and the setting."""

    def __init__(self, setting: str, wanted: str, allowed: int) -> None:
        super().__init__(f"{wanted}; the limit is {allowed} ({setting})")
        self.setting = setting


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one request may cost."""

    series: int = 100_000
    """Series of a request, counted wherever a path is evaluated. A label takes 0.4 KB, and Python in every function."""
    points: int = 20_000_000
    """Their points, and those of finer buckets that functions make: 160 MB a copy, and a function holds up to three."""
    scanned: int = 1_000_000_000
    """Points that sums and their like read without keeping them: 1.5 s of one core, and no memory."""
    patterns: int = 1_000
    """Different path expressions of a request, each of which walks the index once. Dashboards have under 100."""
    calls: int = 10_000
    """Function calls of a request, those included that movingAverage and its kin cause: they evaluate their argument
    twice, so 64 of them in one another would be 2 ** 64. A dashboard's panel has under 200."""
    depth: int = 64
    """Calls within calls. A level costs 6 Python frames, so 64 stay below the interpreter's 1,000; people write 10."""
    target_length: int = 65_536
    """Characters of one target. Grafana's longest, lists of hundreds of paths, have 20,000."""
    window: int = 20 * 365 * 86_400
    """Seconds by which a function may read before or after the request's window; no store keeps more."""
    targets: int = 1_000
    """Targets of one request. A dashboard's panel has up to 26 (its refIds are letters)."""


def charge(used: int, more: int, allowed: int, setting: str, what: str) -> int:
    """``used + more``, or :class:`LimitError` if that is over ``allowed``."""
    total = used + more
    if total > allowed:
        raise LimitError(f"limits.query_{setting}", f"the query needs {total} {what}", allowed)
    return total
