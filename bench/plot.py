"""``python -m bench.plot``: docs/benchmarks.svg from the newest figures in bench/results."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from bench.figures import shown
from bench.results import ROOT, Report, newest
from bench.svg import COLOURS, Bars, bar_chart

TARGET: Final = Path("docs") / "benchmarks.svg"
_PANELS: Final = {
    "CPU until in files": "CPU of a point until it is in files, µs",
    "a live fleet, CPU": "CPU of a point of a live fleet, µs",
    "memory, peak (VmHWM)": "Memory, peak, MB",
    "kept, of what it had read by then": "Kept after kill -9, % of what was read",
    "sum of 1,000 series × 1 h, CPU": "CPU of a sum of 1,000 series × 1 h, ms",
    "names of one leaf of every host, CPU": "CPU of names of one leaf of every host, ms",
}


def plot(report: Report) -> str:
    """The chart of a comparison as SVG."""
    part = report["compare"]
    found = {peer: {one["name"]: one["median"] for one in made} for peer, made in part["figures"].items()}
    panels = []
    for measure, title in _PANELS.items():
        bars = [(peer, made[measure], shown(made[measure])) for peer, made in found.items() if measure in made]
        panels.append(Bars(title, bars))
    series = part["size"]["series"]
    title = f"ingestd beside other stores on one machine, {series:,} series; shorter is better but for what is kept"
    return bar_chart(title, panels, dict(zip(found, COLOURS, strict=False)))


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=ROOT, help="A copy of the project.")
def main(root: Path) -> None:
    """Draw docs/benchmarks.svg from the newest figures in bench/results."""
    report = newest(root)
    if report is None:
        raise click.ClickException("no figures are recorded: python -m bench.record")
    (root / TARGET).write_text(plot(report))
    click.echo(root / TARGET)


if __name__ == "__main__":
    main()
