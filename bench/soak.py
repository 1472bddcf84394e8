"""``python -m bench.soak``: a daemon under a steady load for long; exit status 0 if it held, 1 if it did not.

Every series gets a point a second, each into a slot of its own, for the schema keeps seconds: blocks are written and
rolled up all the time. Meanwhile a dashboard asks for a sum of a hundred series over the last quarter of an hour, once
a second.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

from bench.daemon import BenchError, Daemon, cpu_seconds, resident_bytes
from bench.machine import machine
from ingestd.load.figures import Report
from ingestd.load.run import prepare, run
from ingestd.load.workloads import Load, LoadError

QUERY_P99: Final = 0.050
"""Seconds."""
_HELD: Final = 0.98
"""Of the rate: a sender that waits for the daemon sends less."""
_GROWTH: Final = 1.05
"""Of the memory of the second third, in the last: open blocks differ from minute to minute."""
_SLACK: Final = 16 << 20
_SCHEMAS: Final = "[seconds]\npattern = ^load\\.\nretentions = 1s:6h,1m:7d\n"
_SUMMED: Final = "sumSeries(load.host0000[0-9][0-9].load-0.load.shortterm)"
_SAMPLE: Final = 1.0


@dataclass(slots=True)
class Watch:
    """Samples of a process, once a second in a thread of its own: anonymous memory, bytes."""

    pid: int
    memory: list[int] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(_SAMPLE):
            try:
                self.memory.append(resident_bytes(self.pid, "RssAnon"))
            except OSError:
                return

    def thirds(self) -> tuple[int, int]:
        """The most memory in the second third of the time and in the last; bytes."""
        third = len(self.memory) // 3
        if not third:
            raise BenchError("the soak was too short to see its memory")
        return max(self.memory[third : 2 * third]), max(self.memory[2 * third :])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a soak has shown."""

    rate: float
    """Points a second that were asked for."""
    report: Report
    ledger: dict[str, Any]
    memory: tuple[int, int]
    cpu: float
    """Seconds."""

    def faults(self) -> list[str]:
        """What did not hold, a line each."""
        sent, took = self.report.points, self.report.seconds
        found = []
        if (self.ledger["received"], self.ledger["stored"]) != (sent, sent):
            received, stored = self.ledger["received"], self.ledger["stored"]
            found.append(f"of {sent:,} points sent {received:,} were received, {stored:,} stored")
        if sent < _HELD * self.rate * took:
            found.append(f"{sent / took:,.0f} points a second were taken of {self.rate:,.0f}")
        if self.memory[1] > _GROWTH * self.memory[0] + _SLACK:
            found.append(f"memory grew from {self.memory[0] / 1e6:,.0f} to {self.memory[1] / 1e6:,.0f} MB")
        if self.report.failures or not self.report.queries.count:
            found.append(f"{self.report.failures} queries failed, {self.report.queries.count} were answered")
        if (p99 := self.report.queries.percentile(0.99)) >= QUERY_P99:
            found.append(f"p99 of the query was {p99 * 1e3:.1f} ms, not under {QUERY_P99 * 1e3:.0f}")
        return found

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        queries, writes = self.report.queries, self.report.latencies
        return {
            "rate": self.rate,
            "points": self.report.points,
            "seconds": self.report.seconds,
            "ledger": {key: self.ledger[key] for key in ("received", "stored", "rejected")},
            "memory_bytes": list(self.memory),
            "cpu_us_a_point": self.cpu * 1e6 / self.report.points,
            "query_ms": {str(share): queries.percentile(share) * 1e3 for share in (0.5, 0.99, 1.0)},
            "write_ms": {str(share): writes.percentile(share) * 1e3 for share in (0.5, 0.99, 1.0)},
            "queries": queries.count,
            "failed_queries": self.report.failures,
            "faults": self.faults(),
        }

    def lines(self) -> list[str]:
        """As text."""
        before, after = (size / 1e6 for size in self.memory)
        return [
            *self.report.lines(),
            f"stored   {self.ledger['stored']:,} points, rejected {self.ledger['rejected'] or 'none'}",
            f"memory   {before:,.0f} MB at most in the second third, {after:,.0f} in the last",
            f"CPU      {self.cpu * 1e6 / self.report.points:.2f} µs a point",
        ]


def soak(directory: Path, series: int, rate: float, seconds: float) -> Outcome:
    """Run it. Raises :class:`BenchError` or :class:`LoadError` where daemon or sender break."""
    schemas = directory / "schemas.conf"
    schemas.write_text(_SCHEMAS)
    load = Load(series=series, rate=rate, seconds=seconds)
    material = prepare(load)
    told = time.monotonic()

    def tell(points: int, gone: float) -> None:
        nonlocal told
        if time.monotonic() - told >= 60:
            told = time.monotonic()
            click.echo(f"{gone / 60:.0f} minutes, {points:,} points", err=True)

    with Daemon(directory / "data", "--schemas", str(schemas)) as daemon:
        query = {"target": _SUMMED, "from": "-15min", "format": "json", "maxDataPoints": 1000}
        url = f"{daemon.url}/render?{urllib.parse.urlencode(query)}"
        before = cpu_seconds(daemon.pid)
        with Watch(daemon.pid) as watch:
            report = run(load, material, f"127.0.0.1:{daemon.graphite_port}", url, tell)
        daemon.settle()
        cpu = cpu_seconds(daemon.pid) - before
        return Outcome(rate, report, daemon.status()["ledger"], watch.thirds(), cpu)


@click.command()
@click.option("--minutes", type=click.FloatRange(0.05), default=30.0, show_default=True, envvar="SOAK_MINUTES")
@click.option("--rate", type=click.FloatRange(1), default=500_000.0, show_default=True, help="Points a second.")
@click.option("--series", type=click.IntRange(1_000), default=500_000, show_default=True)
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the outcome to this file."
)
def main(minutes: float, rate: float, series: int, directory: Path | None, target: Path | None) -> None:
    """A steady load with a dashboard beside it: nothing lost, memory flat, p99 of its query under 50 ms."""
    place = Path(tempfile.mkdtemp(dir=directory, prefix="ingestd-soak-"))
    try:
        outcome = soak(place, series, rate, minutes * 60)
    except (BenchError, LoadError) as e:
        raise click.ClickException(str(e)) from e
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for line in outcome.lines():
        click.echo(line)
    if target is not None:
        target.write_text(json.dumps({"machine": machine(), **outcome.as_dict()}, indent=1) + "\n")
    for fault in outcome.faults():
        click.echo(f"FAILED: {fault}")
    sys.exit(bool(outcome.faults()))


if __name__ == "__main__":
    main()
