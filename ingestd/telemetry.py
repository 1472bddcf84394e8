"""The ledger: what became of every point.

For each listener ``received = stored + rejected (by reason) + in flight`` at any moment. The counters are written by
the event loop alone; other threads hand their results to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

REASONS: Final[dict[str, str]] = {
    "malformed": "not in the protocol's grammar, or the undecodable rest of a datagram",
    "too_long": "a line or frame over its limit",
    "path": "a name that cannot be a path",
    "nan": "not a number: no value was measured",
    "infinite": "an infinite value",
    "no_rate": "a counter without a predecessor, or outside its bounds: no rate can be computed",
    "too_old": "older than the last archive of its schema",
    "too_new": "further ahead of the clock than limits.future",
    "unknown_type": "a collectd type that no types.db defines, or with another number of data sources",
    "security": "below the security level, an unknown user, a wrong signature or checksum",
    "limit": "over a limit on series",
    "overload": "a datagram read while the store could not keep up",
}
"""The closed list of reasons for a rejection."""


class Books:
    """The ledger of one listener, in points; ``kernel_drops`` stands beside it, in datagrams."""

    __slots__ = ("kernel_drops", "name", "received", "rejected", "stored")

    def __init__(self, name: str) -> None:
        self.name = name
        self.received = 0
        self.stored = 0
        self.rejected: Counter[str] = Counter()
        self.kernel_drops = 0

    @property
    def in_flight(self) -> int:
        """Points accepted and not yet written to the journal."""
        return self.received - self.stored - self.rejected.total()

    def reject(self, reason: str, points: int = 1) -> None:
        """Count ``points`` (already counted as received) as refused for ``reason``."""
        if reason not in REASONS:
            raise KeyError(reason)
        self.rejected[reason] += points

    def as_dict(self) -> dict[str, Any]:
        return {
            "received": self.received,
            "stored": self.stored,
            "rejected": dict(self.rejected),
            "in_flight": self.in_flight,
            "kernel_drops": self.kernel_drops,
        }


class Ledger:
    """All listeners' books and their sum."""

    def __init__(self) -> None:
        self.listeners: dict[str, Books] = {}

    def open(self, name: str) -> Books:
        """The books of listener ``name``, created at first use."""
        return self.listeners.setdefault(name, Books(name))

    def as_dict(self) -> dict[str, Any]:
        """The ledger as ``/status`` shows it."""
        books: Iterable[Books] = self.listeners.values()
        rejected: Counter[str] = Counter()
        for b in books:
            rejected.update(b.rejected)
        return {
            "received": sum(b.received for b in books),
            "stored": sum(b.stored for b in books),
            "rejected": dict(rejected),
            "in_flight": sum(b.in_flight for b in books),
            "listeners": {b.name: b.as_dict() for b in books},
        }
