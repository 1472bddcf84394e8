"""``python -m bench.compare``: peers beside ingestd on the same stream, run by run, and the ratio of each."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from bench.beside import FULL, GROUPS, ONCE, QUICK, UNITS, Scale
from bench.daemon import BenchError
from bench.figures import Series, shown
from bench.machine import machine
from bench.peer import Peer
from bench.peers import PEERS, Ingestd
from ingestd.load.workloads import LoadError

Results = dict[str, dict[str, Series]]
"""By peer, then by measure."""


@click.command()
@click.option("--series", type=click.IntRange(10, 1_000_000), default=FULL.series, show_default=True)
@click.option("--steps", type=click.IntRange(1, 1000), default=FULL.steps, show_default=True)
@click.option("--runs", type=click.IntRange(1), default=FULL.runs, show_default=True)
@click.option("--quick", is_flag=True, help="1,000 series, 5 steps, 1 run: shows that everything runs.")
@click.option("--only", multiple=True, type=click.Choice(list(GROUPS)), help="Measure these alone (repeatable).")
@click.option("--peer", "named", multiple=True, type=click.Choice([kind.name for kind in PEERS]), help="And these.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option("--json", "report", type=click.Path(path_type=Path, dir_okay=False), help="Write all runs to this file.")
def main(
    series: int,
    steps: int,
    runs: int,
    quick: bool,
    only: tuple[str, ...],
    named: tuple[str, ...],
    directory: Path | None,
    report: Path | None,
) -> None:
    """Peers beside ingestd: what a point costs until it is in files, what a crash takes, what lies on disk."""
    scale = QUICK if quick else Scale(series, steps, runs)
    kinds = [kind for kind in PEERS if kind.found() and (not named or kind.name in named)]
    for kind in PEERS:
        if not kind.found():
            click.echo(f"{kind.name}: skipped, there is no {kind.program}", err=True)
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-compare-") as made:
        results, failed = _measure(kinds, [*(only or GROUPS)], scale, Path(made))
    click.echo(f"{scale.series:,} series, {scale.steps} steps, {scale.runs} runs; ratios to ingestd")
    for kind in kinds:
        less = f", {scale.series // kind.share:,} series" if kind.share > 1 else ""
        click.echo(f"{kind.name} {kind.version()}{less}")
    for line in _rows(results):
        click.echo(line)
    if report is not None:
        report.write_text(json.dumps(_report(kinds, scale, results), indent=1) + "\n")
    sys.exit(failed)


def _measure(kinds: list[type[Peer]], groups: list[str], scale: Scale, place: Path) -> tuple[Results, bool]:
    """The runs of all, in turn, a failed one once more; whether any failed twice."""
    results: Results = {kind.name: {} for kind in kinds}
    failed = False
    for run in range(scale.runs):
        for group in [group for group in groups if not (run and group in ONCE)]:
            for kind in kinds:
                click.echo(f"run {run + 1}: {group} of {kind.name}", err=True)
                found = _tried(kind, group, scale, place)
                if found is None:
                    found = _tried(kind, group, scale, place)
                failed |= found is None
                for measure, value in found or ():
                    results[kind.name].setdefault(measure, Series(measure, UNITS[measure])).runs.append(value)
    return results, failed


def _tried(kind: type[Peer], group: str, scale: Scale, place: Path) -> list[tuple[str, float]] | None:
    """What one run found; None where it failed."""
    try:
        return list(GROUPS[group](kind, scale, place))
    except (BenchError, LoadError, OSError) as e:
        click.echo(f"{kind.name}: {e}", err=True)
        return None


def _rows(results: Results) -> Iterator[str]:
    for measure, unit in UNITS.items():
        own = results.get(Ingestd.name, {}).get(measure)
        base = statistics.median(own.runs) if own else 0.0
        for name, gathered in results.items():
            if measure not in gathered:
                continue
            found = gathered[measure].runs
            median = statistics.median(found)
            ratio = f"{shown(median / base)} x" if base else ""
            spread = f"{shown(min(found))} to {shown(max(found))}"
            yield f"{measure:48}  {name:16} {shown(median):>12} {unit:12} {spread:24} {ratio:>9}".rstrip()


def _report(kinds: list[type[Peer]], scale: Scale, results: Results) -> dict[str, object]:
    return {
        "machine": machine(),
        "size": {key: getattr(scale, key) for key in Scale.__slots__},
        "peers": {kind.name: {"version": kind.version(), "share": kind.share} for kind in kinds},
        "figures": {name: [one.figure().as_dict() for one in made.values()] for name, made in results.items()},
    }


if __name__ == "__main__":
    main()
