"""What a load has shown: latencies, and a dashboard that asks while points are written."""

from __future__ import annotations

import http.client
import math
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Final

_FINE: Final = 64
"""Buckets of latencies from one power of two to the next: a percentile is right to 1.1 %."""
_PATIENCE: Final = 30.0
"""Seconds after which a query has failed."""


class Latencies:
    """How long things took, in seconds, in buckets of a logarithmic scale: memory does not grow with their number."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        bucket = math.ceil(math.log2(max(seconds, 1e-9)) * _FINE)
        self._buckets[bucket] = self._buckets.get(bucket, 0) + 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float:
        """Seconds within which that ``share`` (0 to 1) was done; 0 where nothing was."""
        left = math.ceil(share * self.count)
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(float(2.0 ** (bucket / _FINE)), self.longest)
        return self.longest

    def __str__(self) -> str:
        p50, p99 = self.percentile(0.5), self.percentile(0.99)
        return f"p50 {p50 * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms, max {self.longest * 1e3:.2f} ms"


@dataclass(slots=True)
class Report:
    """What was sent, and how it went."""

    points: int = 0
    size: int = 0
    """Bytes."""
    seconds: float = 0.0
    """From the first byte until the target has read and closed all connections, or the last was sent."""
    blocked: float = 0.0
    """Share of the time that a connection waited for the target to take more, the mean of all."""
    latencies: Latencies = field(default_factory=Latencies)
    """From when a write was due until the kernel had it."""
    queries: Latencies = field(default_factory=Latencies)
    failures: int = 0
    """Queries that were not answered with a 2xx."""

    def lines(self) -> list[str]:
        """The report as text."""
        rate = self.points / self.seconds if self.seconds else 0.0
        found = [
            f"sent     {self.points:,} points, {self.size:,} bytes, in {self.seconds:.2f} s",
            f"rate     {rate:,.0f} points/s",
            f"blocked  {100 * self.blocked:.1f} % of the time",
            f"writes   {self.latencies}",
        ]
        if self.queries.count or self.failures:
            found.append(f"queries  {self.queries}, {self.queries.count} answered, {self.failures} failed")
        return found


class Dashboard:
    """Asks for ``url`` once a second in a thread of its own, from :meth:`start` to :meth:`stop`."""

    def __init__(self, url: str, report: Report, *, every: float = 1.0) -> None:
        self._url = url
        self._report = report
        self._every = every
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def start(self) -> None:
        """Ask for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more; what is on its way is waited for."""
        self._stopped.set()
        self._thread.join(2 * _PATIENCE)

    def _run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                with urllib.request.urlopen(self._url, timeout=_PATIENCE) as answer:
                    answer.read()
            except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
                self._report.failures += 1
            else:
                self._report.queries.add(time.monotonic() - begun)
            if self._stopped.wait(max(0.0, begun + self._every - time.monotonic())):
                return
