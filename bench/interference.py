"""``python -m bench.interference``: what heavy questions do to the points that arrive meanwhile.

A sender delivers ten lines on a connection of their own, every 20 ms: the latency is that from connecting until the
daemon has read all and closed its side, after which the points are on their way to the journal. First nobody asks
anything; then clients ask one heavy question after another, so that the worker threads are never idle.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np

from bench.daemon import BenchError, Daemon
from bench.machine import machine

QUESTIONS: Final = {
    "json": "load.*.value",
    "sum": "sumSeries(load.*.value)",
    "median": 'movingMedian(load.*.value, "10min")',
    "deviation": "sortByMaxima(stdev(load.*.value, 30))",
    "groups": 'groupByNode(summarize(load.*.value, "5min", "max"), 1, "averageSeries")',
    "regex": 'aliasSub(load.*.value, "([a-z]+[0-9]+)+x?$", "_")',
    "picture": "load.*.value",
}
"""By what they weigh upon: the writer of JSON, kernels, numpy, Python's objects, regular expressions, and a
library that draws lines."""
_ASKED: Final = (("from", "-2h"), ("width", "800"), ("height", "400"))
_SHARES: Final = (0.5, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies of deliveries in milliseconds, and how many questions were answered meanwhile."""

    quiet: list[float]
    busy: list[float]
    answered: Counter[str]
    sent: int
    stored: int

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        quiet, busy = (dict(zip(map(str, _SHARES), _quantiles(each), strict=True)) for each in (self.quiet, self.busy))
        return {"quiet_ms": quiet, "busy_ms": busy, "answered": self.answered, "sent": self.sent, "stored": self.stored}

    def lines(self) -> Iterator[str]:
        """As text."""
        for name, values in (("nobody asks", self.quiet), ("heavy questions", self.busy)):
            p50, p99, most = _quantiles(values)
            yield f"{name:16} {len(values):>5} deliveries   p50 {p50:6.2f}   p99 {p99:6.2f}   most {most:6.2f} ms"
        yield "answered meanwhile: " + ", ".join(f"{name} {count}" for name, count in sorted(self.answered.items()))
        yield f"{self.sent:,} points sent, {self.stored:,} stored"


def _quantiles(values: list[float]) -> list[float]:
    return [float(value) for value in np.quantile(values, _SHARES)]


def fill(daemon: Daemon, series: int, points: int, now: int) -> int:
    """A point every 10 s of each series up to ``now``; how many."""
    for at in range(points):
        when = now - (points - at) * 10
        daemon.send(
            [b"".join(b"load.host%05d.value %d %d\n" % (each, (each + at) % 97, when) for each in range(series))]
        )
    return series * points


def deliver(daemon: Daemon, seconds: float, first: int) -> list[float]:
    """Deliveries until ``seconds`` have gone; milliseconds each."""
    latencies: list[float] = []
    ends = time.monotonic() + seconds
    while (begun := time.monotonic()) < ends:
        at = first + len(latencies)
        daemon.send([b"".join(b"probe.n%d.value %d %d\n" % (each, at, time.time()) for each in range(10))])
        latencies.append((time.monotonic() - begun) * 1e3)
        time.sleep(0.02)
    return latencies


def ask(daemon: Daemon, stop: threading.Event, answered: Counter[str], failed: list[str], first: int) -> None:
    """Heavy questions one after another until ``stop`` is set; in a thread."""
    names = list(QUESTIONS)
    while not stop.is_set():
        name = names[first % len(names)]
        first += 1
        try:
            form = "png" if name == "picture" else "json"
            daemon.get("/render", [("target", QUESTIONS[name]), ("format", form), *_ASKED])
        except urllib.error.URLError as e:
            failed.append(f"{name}: {e}")
            return
        answered[name] += 1


def interference(directory: Path, series: int, points: int, seconds: float, clients: int) -> Outcome:
    """Run it. Raises :class:`BenchError` where the daemon breaks."""
    with Daemon(directory / "data") as daemon:
        sent = fill(daemon, series, points, int(time.time()) // 10 * 10)
        daemon.settle()
        quiet = deliver(daemon, seconds, 0)
        stop, answered, failed = threading.Event(), Counter[str](), list[str]()
        threads = [
            threading.Thread(target=ask, args=(daemon, stop, answered, failed, at), daemon=True)
            for at in range(clients)
        ]
        for thread in threads:
            thread.start()
        busy = deliver(daemon, seconds, len(quiet))
        stop.set()
        for thread in threads:
            thread.join()
        if failed:
            raise BenchError("; ".join(failed))
        daemon.settle()
        sent += 10 * (len(quiet) + len(busy))
        return Outcome(quiet, busy, answered, sent, daemon.status()["ledger"]["stored"])


@click.command()
@click.option("--series", type=click.IntRange(10), default=1_000, show_default=True, help="Of each question.")
@click.option("--points", type=click.IntRange(1), default=360, show_default=True, help="Of each series.")
@click.option("--seconds", type=click.FloatRange(0.1), default=20.0, show_default=True, help="Of each half.")
@click.option("--clients", type=click.IntRange(1), default=4, show_default=True)
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the outcome to this file."
)
def main(series: int, points: int, seconds: float, clients: int, target: Path | None) -> None:
    """The latency of points with and without heavy questions beside them."""
    place = Path(tempfile.mkdtemp(prefix="ingestd-interference-"))
    try:
        outcome = interference(place, series, points, seconds, clients)
    except BenchError as e:
        raise click.ClickException(str(e)) from e
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for line in outcome.lines():
        click.echo(line)
    if target is not None:
        target.write_text(json.dumps({"machine": machine(), **outcome.as_dict()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
