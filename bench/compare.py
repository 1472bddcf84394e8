"""``python -m bench.compare``: peers beside ingestd on the same stream, run by run, and the ratio of each."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from bench.__main__ import machine
from bench.daemon import BenchError, Daemon, cpu_seconds, resident_bytes
from bench.figures import Series, shown
from bench.material import Fleet
from bench.peers import PEERS, Peer

STEP: Final = 10
MEASURES: Final = (
    ("CPU until in files", "µs/point"),
    ("rate until in files", "points/s"),
    ("VmRSS after it", "MB"),
    ("disk allocated", "bytes/point"),
    ("kept after kill -9", "%"),
)


def _send(target: Daemon | Peer, fleet: Fleet, steps: int) -> None:
    first = int(time.time()) // STEP * STEP - STEP * steps
    with target.connect() as sock:
        for step in range(steps):
            sock.sendall(fleet.step(first + STEP * step))


def _allocated(directory: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())


def _measure_ingestd(fleet: Fleet, steps: int, target: Path) -> list[float]:
    points = fleet.series * steps
    with Daemon(target) as daemon:
        before, begun = cpu_seconds(daemon.pid), time.monotonic()
        _send(daemon, fleet, steps)
        daemon.wait_stored(points)
        daemon.flush()
        took = time.monotonic() - begun
        found = [(cpu_seconds(daemon.pid) - before) * 1e6 / points, points / took, resident_bytes(daemon.pid) / 1e6]
        found.append(_allocated(target) / points)
    shutil.rmtree(target)
    with Daemon(target) as daemon:
        _send(daemon, fleet, steps)
        daemon.kill()
        daemon.start()
        # What the journal had is in memory again, and nothing else.
        found.append(100 * min(1.0, daemon.status()["unflushed"] / points))
    shutil.rmtree(target)
    return found


def _measure_peer(kind: type[Peer], fleet: Fleet, steps: int, target: Path) -> list[float]:
    points = fleet.series * steps
    with kind(target) as peer:
        peer.rest()
        before, begun = cpu_seconds(peer.pid), time.monotonic()
        _send(peer, fleet, steps)
        drained = peer.rest()
        # The quiet second that shows a peer to be done is not time that it took.
        took, flushing = drained - begun, time.monotonic()
        peer.flush()
        took += peer.rest() - flushing
        found = [
            (cpu_seconds(peer.pid) - before) * 1e6 / points,
            points / took,
            resident_bytes(peer.pid) / 1e6,
        ]
        if (kept := peer.points()) < points:
            raise BenchError(f"{peer.name} has {kept:,} of {points:,} points")
        found.append(_allocated(target / "data") / points)
    shutil.rmtree(target)
    with kind(target) as peer:
        _send(peer, fleet, steps)
        peer.kill()
        peer.start()
        found.append(100 * peer.points() / points)
    shutil.rmtree(target)
    return found


@click.command()
@click.option("--series", type=click.IntRange(10, 1_000_000), default=180_000, show_default=True)
@click.option("--steps", type=click.IntRange(1, 60), default=20, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--quick", is_flag=True, help="1,000 series, 5 steps, 1 run: shows that everything runs.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Write all runs to this file.")
def main(series: int, steps: int, runs: int, quick: bool, directory: Path | None, report: Path | None) -> None:
    """Peers beside ingestd: every series new, all steps over one connection, until everything is in files."""
    if quick:
        series, steps, runs = 1_000, 5, 1
    kinds = [kind for kind in PEERS if kind.found()]
    for kind in PEERS:
        if kind not in kinds:
            click.echo(f"{kind.name}: skipped, there is no {kind.program}", err=True)
    results = {name: [Series(*m) for m in MEASURES] for name in ("ingestd", *(k.name for k in kinds))}
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-compare-") as made:
        failed = _measure(kinds, Fleet(series), steps, runs, Path(made), results)
    click.echo(f"{series:,} series, {steps} steps, {runs} runs; ratios to ingestd")
    for line in _rows(results):
        click.echo(line)
    if report is not None:
        figures = {name: [one.figure().as_dict() for one in made if one.runs] for name, made in results.items()}
        size = {"series": series, "steps": steps, "runs": runs}
        report.write_text(json.dumps({"machine": machine(), "size": size, "figures": figures}, indent=1) + "\n")
    sys.exit(failed)


def _measure(
    kinds: list[type[Peer]], fleet: Fleet, steps: int, runs: int, place: Path, results: dict[str, list[Series]]
) -> bool:
    """Add the runs of all, in turn, to ``results``; whether any of them failed."""
    failed = False
    for _ in range(runs):
        for kind in (None, *kinds):
            name = kind.name if kind else "ingestd"
            target = place / name
            try:
                found = _measure_peer(kind, fleet, steps, target) if kind else _measure_ingestd(fleet, steps, target)
            except (BenchError, OSError) as e:
                click.echo(f"{name}: {e}", err=True)
                shutil.rmtree(target, ignore_errors=True)
                failed = True
            else:
                for one, value in zip(results[name], found, strict=True):
                    one.runs.append(value)
    return failed


def _rows(results: dict[str, list[Series]]) -> Iterator[str]:
    for number, (measure, unit) in enumerate(MEASURES):
        own = results["ingestd"][number].runs
        for name, gathered in results.items():
            if not (found := gathered[number].runs):
                continue
            median = statistics.median(found)
            base = statistics.median(own) if own else 0.0
            ratio = f"{shown(median / base)} x" if base else ""
            spread = f"{shown(min(found))} to {shown(max(found))}"
            yield f"{measure:20}  {name:16} {shown(median):>12} {unit:12} {spread:24} {ratio:>9}".rstrip()


if __name__ == "__main__":
    main()
