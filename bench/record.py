"""``python -m bench.record``: measure everything, keep the figures, write the tables and the plot of the documents."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from bench.plot import TARGET, plot
from bench.results import ROOT, Report, documents, rewritten


def _measured(module: str, options: list[str], report: Path) -> dict[str, Any]:
    """What the command wrote; ends the program if it failed."""
    done = subprocess.run([sys.executable, "-m", module, *options, "--json", str(report)], check=False, cwd=ROOT)
    if done.returncode:
        raise click.ClickException(f"{module} ended with {done.returncode}: nothing is recorded")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def write_documents(root: Path, report: Report) -> None:
    """Tables and plot of ``report`` into the documents below ``root``."""
    for name, sections in documents(report).items():
        path = root / name
        text = path.read_text()
        for section, lines in sections.items():
            text = rewritten(text, section, lines)
        path.write_text(text)
    (root / TARGET).write_text(plot(report))


@click.command()
@click.option("--name", default=time.strftime("%Y-%m-%d"), show_default="the day", help="Of the file in bench/results.")
@click.option("--runs", type=click.IntRange(1), help="Runs of each measurement.")
@click.option("--quick", is_flag=True, help="Small and fast: its figures mean nothing, so give it a --root.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=ROOT, help="A copy of the project.")
def main(name: str, runs: int | None, quick: bool, directory: Path | None, root: Path) -> None:
    """Measure for a quarter of an hour; write bench/results/NAME.json, README.md, docs/benchmarks.md and its plot."""
    if quick and root == ROOT:
        raise click.UsageError("--quick needs a --root: its figures mean nothing")
    options = ["--quick"] if quick else []
    options += [] if runs is None else ["--runs", str(runs)]
    place = [] if directory is None else ["--directory", str(directory)]
    report: Report = {"name": name, "date": time.strftime("%Y-%m-%d"), "commands": []}
    with tempfile.TemporaryDirectory() as made:
        for key, module in (("bench", "bench"), ("compare", "bench.compare")):
            report["commands"].append(" ".join(("python", "-m", module, *options)))
            click.echo(report["commands"][-1], err=True)
            report[key] = _measured(module, [*options, *place], Path(made) / f"{key}.json")
    target = root / "bench" / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    write_documents(root, report)
    click.echo(target)


if __name__ == "__main__":
    main()
