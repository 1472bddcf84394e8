"""The ledger: what became of every point; its exposition, and the daemon's log.

For each listener ``received = stored + rejected (by reason) + in flight`` at any moment. The counters are written by
the event loop alone; other threads hand their results to it.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
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
    "quota": "over a limit of its source or its prefix",
    "forbidden": "a path that its sender may not write",
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


class Refusals:
    """Who caused the most rejections: points by name and reason, of a bounded number of names.

    Names come from peers, so the table is pruned to its heaviest half when it is full: one that is refused much stays.
    """

    def __init__(self, kept: int = 1000) -> None:
        self._kept = kept
        self._counts: dict[str, Counter[str]] = {}

    def add(self, name: str, reason: str, points: int) -> None:
        """``points`` of ``name`` were refused for ``reason``."""
        counter = self._counts.get(name)
        if counter is None:
            if len(self._counts) >= 2 * self._kept:
                self._counts = dict(self._heaviest(self._kept))
            counter = self._counts[name] = Counter()
        counter[reason] += points

    def _heaviest(self, n: int) -> list[tuple[str, Counter[str]]]:
        return sorted(self._counts.items(), key=lambda item: -item[1].total())[:n]

    def top(self, n: int = 10) -> list[dict[str, Any]]:
        """The ``n`` heaviest: ``{"name", "points", "reasons": {reason: points}}``, most points first."""
        return [{"name": k, "points": c.total(), "reasons": dict(c)} for k, c in self._heaviest(n)]


class Ledger:
    """All listeners' books and their sum."""

    def __init__(self) -> None:
        self.listeners: dict[str, Books] = {}
        self.sources = Refusals()
        """Rejections by source."""
        self.prefixes = Refusals()
        """Rejections by prefix of the path, of those that were refused for their path or its limits."""

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


def exposition(ledger: Ledger, gauges: Mapping[str, float], counters: Mapping[str, float] | None = None) -> str:
    """Ledger, gauges and counters in Prometheus' text format 0.0.4, both by name without the prefix ``ingestd_``."""
    lines = [
        "# HELP ingestd_points_received_total Points received, by listener.",
        "# TYPE ingestd_points_received_total counter",
        *(f'ingestd_points_received_total{{listener="{b.name}"}} {b.received}' for b in ledger.listeners.values()),
        "# HELP ingestd_points_stored_total Points written to the journal, by listener.",
        "# TYPE ingestd_points_stored_total counter",
        *(f'ingestd_points_stored_total{{listener="{b.name}"}} {b.stored}' for b in ledger.listeners.values()),
        "# HELP ingestd_points_rejected_total Points refused, by listener and reason.",
        "# TYPE ingestd_points_rejected_total counter",
        *(
            f'ingestd_points_rejected_total{{listener="{b.name}",reason="{reason}"}} {n}'
            for b in ledger.listeners.values()
            for reason, n in sorted(b.rejected.items())
        ),
        "# HELP ingestd_points_in_flight Points accepted and not yet in the journal, by listener.",
        "# TYPE ingestd_points_in_flight gauge",
        *(f'ingestd_points_in_flight{{listener="{b.name}"}} {b.in_flight}' for b in ledger.listeners.values()),
        "# HELP ingestd_kernel_drops_total Datagrams dropped by the kernel before they were read, by listener.",
        "# TYPE ingestd_kernel_drops_total counter",
        *(f'ingestd_kernel_drops_total{{listener="{b.name}"}} {b.kernel_drops}' for b in ledger.listeners.values()),
    ]
    for name, value in gauges.items():
        lines += [f"# TYPE ingestd_{name} gauge", f"ingestd_{name} {value:g}"]
    for name, value in (counters or {}).items():
        lines += [f"# TYPE ingestd_{name}_total counter", f"ingestd_{name}_total {value}"]
    return "\n".join(lines) + "\n"


class _Formatter(logging.Formatter):
    """One line a record: time, level, logger, message, and what stands in ``extra`` as key=value or JSON members."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        extra = {k: v for k, v in vars(record).items() if k not in _PLAIN}
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        members = {
            "time": when,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        if self._as_json:
            return json.dumps({**members, **extra}, default=str)
        text = f"{when} {members['level']} {record.name}: {_printable(members['message'])}"
        text += "".join(f" {k}={_printable(str(v))}" for k, v in extra.items())
        # A message inside a traceback may hold whole lines of a peer's making; indented, none of them is a record.
        return text + "".join(f"\n  {_printable(line)}" for line in members.get("exception", "").splitlines())


def _printable(text: str) -> str:
    """Text with control characters escaped: names in a log line cannot forge another line."""
    return text if text.isprintable() else text.encode("unicode_escape").decode()


_PLAIN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def set_up_logging(level: str, form: str) -> None:
    """Log to standard error, ``form`` "text" or "json", one line a record."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(form == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # The broker's client tells of each attempt as an error, with its traceback; who tries says it once, and then waits.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
