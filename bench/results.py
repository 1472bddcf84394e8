"""The recorded figures in ``bench/results``, and the tables of the documents that are made from them.

A file there is ``{"name", "date", "commands", "bench", "compare"}``: what ``python -m bench --json`` and ``python -m
bench.compare --json`` wrote, with the commands and the day. A table stands between two comments of Markdown, so that
it can be written anew: ``<!-- begin: figures -->`` and ``<!-- end: figures -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from bench.figures import shown

ROOT: Final = Path(__file__).parents[1]
SHORT: Final = {
    "CPU until in files": "CPU until in files",
    "rate until in files": "Rate until in files",
    "a live fleet, CPU": "CPU of a live fleet",
    "memory, peak (VmHWM)": "Memory, peak",
    "disk of a whole block, without journal": "Disk",
    "kept, of what it had read by then": "Kept after `kill -9`",
    "sum of 1,000 series × 1 h, CPU": "Sum of 1,000 series × 1 h, CPU",
    "names of one leaf of every host, CPU": "Names of one leaf of every host, CPU",
}
"""Measures of a comparison that the README shows, as it calls them."""
PICTURE: Final = "![ingestd beside other stores](docs/benchmarks.svg)"

Report = dict[str, Any]


def newest(root: Path = ROOT) -> Report | None:
    """The recorded figures of the latest day, the last by name of one day; None where nothing is recorded."""
    found: list[Report] = [json.loads(path.read_text()) for path in (root / "bench" / "results").glob("*.json")]
    return max((one for one in found if "compare" in one), key=lambda one: (one["date"], one["name"]), default=None)


def rewritten(text: str, section: str, lines: Sequence[str]) -> str:
    """``text`` with ``lines`` between the comments of ``section``. Raises ValueError where it has not both."""
    begin, end = f"<!-- begin: {section} -->", f"<!-- end: {section} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"no comments {begin} and {end}, or several")
    return pattern.sub(lambda _: "\n".join((begin, "", *lines, "", end)), text)


def documents(report: Report) -> dict[str, dict[str, list[str]]]:
    """By file, then by section: the lines that stand there."""
    return {
        "README.md": {"compared": [*compared(report, SHORT), "", PICTURE]},
        "docs/benchmarks.md": {
            "compared": [about(report["compare"], report), "", *compared(report)],
            "figures": [about(report["bench"], report), "", *figures(report)],
        },
    }


def about(part: Report, report: Report) -> str:
    """Where one part of the report comes from, in a paragraph."""
    made, size, day = part["machine"], part["size"], date.fromisoformat(report["date"])
    load = f"{made['load'][0]:.1f}"
    where = f"{made['cores']} cores of {made['cpu']}, {made['memory_gib']:.0f} GiB, {made['system']}"
    what = f"Python {made['python']}, numpy {made['numpy']}, {made['kernels']} kernels, commit {made['commit']}"
    text = f"{day.day} {day:%B %Y}: {where}; {what}; a load of {load} at the end."
    much = f"{size['series']:,} series, {size['steps']} steps, {size['runs']} runs."
    others = [
        f"{name} {peer['version']}" + (f" with {size['series'] // peer['share']:,} series" if peer["share"] > 1 else "")
        for name, peer in part.get("peers", {}).items()
    ]
    return " ".join((text, much, *([f"{', '.join(others)}."] if others else [])))


def figures(report: Report) -> list[str]:
    """The table of all that ``python -m bench`` measured."""
    rows = [
        "| Figure | Median | Unit | Lowest to highest | Floor | Ratio |",
        "| --- | ---: | --- | --- | ---: | ---: |",
    ]
    for one in report["bench"]["figures"]:
        floor, ratio = ("" if one[key] is None else shown(one[key]) for key in ("floor_median", "ratio"))
        spread = f"{shown(one['min'])} to {shown(one['max'])}"
        rows.append(f"| {one['name']} | {shown(one['median'])} | {one['unit']} | {spread} | {floor} | {ratio} |")
    return rows


def compared(report: Report, names: dict[str, str] | None = None) -> list[str]:
    """The table of a comparison, a column a store: medians, behind each its ratio to ingestd's."""
    part = report["compare"]
    found = {peer: {one["name"]: one for one in made} for peer, made in part["figures"].items()}
    rows = ["| | Unit | " + " | ".join(found) + " |", "| --- | --- |" + " ---: |" * len(found)]
    for measure, own in found["ingestd"].items():
        if names is not None and measure not in names:
            continue
        cells = []
        for peer, made in found.items():
            one = made.get(measure)
            cell = "" if one is None else shown(one["median"])
            if one is not None and peer != "ingestd" and own["median"]:
                cell += f" ({shown(one['median'] / own['median'])} ×)"
            cells.append(cell)
        rows.append(f"| {(names or {}).get(measure, measure)} | {own['unit']} | " + " | ".join(cells) + " |")
    return rows
