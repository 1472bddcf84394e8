"""``python -m bench``: measures, prints a table, and writes JSON where told to."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from bench import drawing, making, parsing, storing, whole, workloads
from bench.daemon import BenchError
from bench.figures import Figure, table
from bench.machine import machine
from bench.material import QUICK, Size

GROUPS: Final[dict[str, Callable[[Size, Path], Iterator[Figure]]]] = {
    "lines": lambda size, _: parsing.lines(size),
    "collectd": lambda size, _: parsing.collectd(size),
    "journal": storing.journal,
    "store": storing.store,
    "rollup": lambda size, _: storing.rollup(size),
    "daemon": whole.ingest,
    "workloads": workloads.workloads,
    "restart": whole.restart,
    "connections": whole.connections,
    "queries": whole.queries,
    "charts": lambda size, _: drawing.charts(size),
    "load": lambda size, _: making.load(size),
}


@click.command()
@click.option("--quick", is_flag=True, help="Small and fast: shows that everything runs, its figures mean nothing.")
@click.option("--only", multiple=True, type=click.Choice(list(GROUPS)), help="Measure these alone (repeatable).")
@click.option("--runs", type=click.IntRange(1), help="Runs of each measurement.")
@click.option("--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write all runs to this file.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
def main(quick: bool, only: tuple[str, ...], runs: int | None, target: Path | None, directory: Path | None) -> None:
    """CPU time a point of each floor and of the whole daemon."""
    full = QUICK if quick else Size()
    size = Size(full.series, full.steps, runs or full.runs, full.connections, full.idle_seconds)
    figures: list[Figure] = []
    failed = False
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-bench-") as made:
        for name in only or GROUPS:
            click.echo(f"measuring {name}", err=True)
            try:
                figures += GROUPS[name](size, Path(made))
            except BenchError as e:
                click.echo(f"{name}: {e}", err=True)
                failed = True
    about = machine()
    click.echo(", ".join(f"{key} {value}" for key, value in about.items()))
    click.echo(f"{size.series:,} series, {size.steps} steps, {size.runs} runs")
    click.echo(table(figures))
    if target is not None:
        report = {"machine": about, "size": {k: getattr(size, k) for k in Size.__slots__}}
        target.write_text(json.dumps({**report, "figures": [f.as_dict() for f in figures]}, indent=1) + "\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
