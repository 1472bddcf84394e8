"""``python -m bench.record``: measure everything, keep the figures, write the tables and the plot of the documents."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click

from bench.plot import plots
from bench.results import ROOT, Report, documents, rewritten

PARTS: Final = {
    "bench": "bench",
    "compare": "bench.compare",
    "growth": "bench.growth",
    "chain": "bench.chain",
    "scaling": "bench.scaling",
    "soak": "bench.soak",
}
"""Parts of a report with the module that measures each."""
LONG: Final = "soak"
"""Measured only where it is asked for. It is recorded with whatever did not hold."""


_FIXED: Final = frozenset({"growth", LONG})
"""Parts of a single run."""


def _measured(module: str, options: list[str], report: Path) -> dict[str, Any]:
    """What the command wrote; ends the program if it failed."""
    done = subprocess.run([sys.executable, "-m", module, *options, "--json", str(report)], check=False, cwd=ROOT)
    if done.returncode and not (module == PARTS[LONG] and report.exists()):
        raise click.ClickException(f"{module} ended with {done.returncode}: nothing is recorded")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def write_documents(root: Path) -> None:
    """Tables and plots of the newest figures into the documents below ``root``."""
    for name, sections in documents(root).items():
        path = root / name
        text = path.read_text()
        for section, lines in sections.items():
            text = rewritten(text, section, lines)
        path.write_text(text)
    for path, drawn in plots(root).items():
        path.write_text(drawn)


@click.command()
@click.option("--name", default=time.strftime("%Y-%m-%d"), show_default="the day", help="Of the file in bench/results.")
@click.option("--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="This alone (repeatable).")
@click.option("--runs", type=click.IntRange(1), help="Runs of each measurement, but of growth and soak.")
@click.option("--quick", is_flag=True, help="Small and fast: its figures mean nothing, so give it a --root.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=ROOT, help="A copy of the project.")
def main(name: str, parts: tuple[str, ...], runs: int | None, quick: bool, directory: Path | None, root: Path) -> None:
    """Measure for an hour; write bench/results/NAME.json, the tables of the documents and their plots."""
    if quick and root == ROOT:
        raise click.UsageError("--quick needs a --root: its figures mean nothing")
    counted = [] if runs is None else ["--runs", str(runs)]
    place = [] if directory is None else ["--directory", str(directory)]
    report: Report = {"name": name, "date": time.strftime("%Y-%m-%d"), "commands": []}
    with tempfile.TemporaryDirectory() as made:
        for part in parts or [part for part in PARTS if part != LONG]:
            options = [*(["--quick"] if quick and part != LONG else []), *(counted if part not in _FIXED else [])]
            report["commands"].append(" ".join(("python", "-m", PARTS[part], *options)))
            click.echo(report["commands"][-1], err=True)
            report[part] = _measured(PARTS[part], [*options, *place], Path(made) / f"{part}.json")
    target = root / "bench" / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(report, indent=1) + "\n")
    write_documents(root)
    click.echo(target)


if __name__ == "__main__":
    main()
