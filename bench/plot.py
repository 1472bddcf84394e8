"""``python -m bench.plot``: benchmarks.svg, growth.svg and scaling.svg of ``docs`` from the figures recorded last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bench.figures import shown
from bench.results import ROOT, Report, newest
from bench.scaling import Taken
from bench.svg import COLOURS, Bars, Lines, bar_chart, line_chart

_PANELS: Final = {
    "CPU until in files": "CPU of a point until it is in files, µs",
    "a live fleet, CPU": "CPU of a point of a live fleet, µs",
    "memory, peak (VmHWM)": "Memory, peak, MB",
    "kept, of what it had read by then": "Kept after kill -9, % of what was read",
    "sum of 1,000 series × 1 h, CPU": "CPU of a sum of 1,000 series × 1 h, ms",
    "names of one leaf of every host, CPU": "CPU of names of one leaf of every host, ms",
}


_GROWN: Final = {
    "CPU of a point, µs": {"new_us": "new series", "random_us": "random order", "known_us": "in order"},
    "Memory of a series, bytes": {"block_bytes": "with a whole block", "first_bytes": "with one point"},
    "CPU of writing a point to a file, µs": {"flush_us": "flush"},
    "Start with all in files, s": {"start_seconds": "until /health says 200"},
}


def comparison(report: Report) -> str:
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


def growth(report: Report) -> str:
    """The chart of growth as SVG."""
    sizes = report["growth"]["sizes"]
    series = [one["series"] for one in sizes]
    panels = [
        Lines(title, series, {label: [one[key] for one in sizes] for key, label in lines.items()})
        for title, lines in _GROWN.items()
    ]
    return line_chart("What grows with the number of series", panels)


def scaling(report: Report) -> str:
    """The chart of more and more stores as SVG."""
    part = report["scaling"]
    taken = [one for one in (Taken(**fields) for fields in part["taken"]) if not one.paced]
    panels = []
    for copies in sorted({one.copies for one in taken}):
        found = [one for one in taken if one.copies == copies]
        lines: dict[str, Sequence[float]] = {
            "what stores could take": [one.capacity / 1e6 for one in found],
            "in proportion": [found[0].capacity / 1e6 * one.stores / found[0].stores for one in found],
        }
        title = f"M points/s, a core a store, {copies} {'copy' if copies == 1 else 'copies'}"
        panels.append(Lines(title, [one.stores for one in found], lines))
    asked = [one for one in part["asked"] if one["copies"] == 1]
    stores = sorted({one["stores"] for one in asked})
    for key, title in (("passed_ms", "An answer, ms"), ("front_ms", "CPU of the query front, ms")):
        questions: dict[str, list[float]] = {one["question"]: [] for one in asked}
        for one in asked:
            questions[one["question"]].append(one[key])
        panels.append(Lines(title, stores, {name.split(" of ")[0]: values for name, values in questions.items()}))
    return line_chart("More and more stores on one machine", panels)


def plots(root: Path) -> dict[Path, str]:
    """By file: the SVG of the newest figures."""
    drawn = {}
    if report := newest("compare", root):
        drawn[root / "docs" / "benchmarks.svg"] = comparison(report)
    if report := newest("growth", root):
        drawn[root / "docs" / "growth.svg"] = growth(report)
    if report := newest("scaling", root):
        drawn[root / "docs" / "scaling.svg"] = scaling(report)
    return drawn


@click.command()
@click.option("--root", type=click.Path(path_type=Path, exists=True), default=ROOT, help="A copy of the project.")
def main(root: Path) -> None:
    """Draw benchmarks.svg, growth.svg and scaling.svg of docs from the newest figures in bench/results."""
    drawn = plots(root)
    if not drawn:
        raise click.ClickException("no figures are recorded: python -m bench.record")
    for path, text in drawn.items():
        path.write_text(text)
        click.echo(path)


if __name__ == "__main__":
    main()
