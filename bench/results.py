"""The recorded figures in ``bench/results``, and the tables of the documents that are made from them.

A file there is ``{"name", "date", "commands"}`` with one or more parts, ``bench``, ``compare``, ``growth``, ``chain``,
``scaling`` and ``soak``: what each wrote with ``--json``. A table stands between two comments of Markdown, so that it
can be written anew, such as ``<!-- begin: figures -->`` and ``<!-- end: figures -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

from bench.figures import shown
from bench.growth import COLUMNS
from bench.model import PARTS, SITES, costs_of, table
from bench.scaling import Taken, predicted

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

Report = dict[str, Any]


def newest(part: str, root: Path = ROOT) -> Report | None:
    """The report with that part of the latest day, the last by name of one day; None where nothing is recorded."""
    found: list[Report] = [json.loads(path.read_text()) for path in (root / "bench" / "results").glob("*.json")]
    return max((one for one in found if part in one), key=lambda one: (one["date"], one["name"]), default=None)


def rewritten(text: str, section: str, lines: Sequence[str]) -> str:
    """``text`` with ``lines`` between the comments of ``section``. Raises ValueError where it has not both."""
    begin, end = f"<!-- begin: {section} -->", f"<!-- end: {section} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise ValueError(f"no comments {begin} and {end}, or several")
    return pattern.sub(lambda _: "\n".join((begin, "", *lines, "", end)), text)


def documents(root: Path = ROOT) -> dict[str, dict[str, list[str]]]:
    """By file, then by section: the lines that stand there, of the newest figures."""
    found: dict[str, dict[str, list[str]]] = {"README.md": {}, "docs/benchmarks.md": {}, "docs/scaling.md": {}}
    if report := newest("compare", root):
        found["README.md"]["compared"] = [*compared(report, SHORT), "", _picture("docs/benchmarks.svg")]
        found["docs/benchmarks.md"]["compared"] = [about("compare", report), "", *compared(report)]
    for part, section in (("bench", "figures"), ("chain", "chain")):
        if report := newest(part, root):
            found["docs/benchmarks.md"][section] = [about(part, report), "", *figures(report, part)]
    if report := newest("growth", root):
        lines = [about("growth", report), "", *growth(report), "", _picture("growth.svg")]
        found["docs/benchmarks.md"]["growth"] = lines
    if report := newest("soak", root):
        found["docs/benchmarks.md"]["soak"] = [about("soak", report), "", *soaked(report["soak"])]
    if report := newest("scaling", root):
        part = report["scaling"]
        found["docs/scaling.md"] = {
            "points": [about("scaling", report), "", *scaled(part), "", _picture("scaling.svg")],
            "questions": asked(part),
            "costs": costs(part),
            "needs": list(table(SITES, costs_of(part), part["series_bytes"])),
        }
    return found


def _picture(target: str) -> str:
    return f"![The figures as a plot]({target})"


def about(part: str, report: Report) -> str:
    """Where one part of the report comes from, in a paragraph."""
    made, day = report[part]["machine"], date.fromisoformat(report["date"])
    load = f"{made['load'][0]:.1f}"
    where = f"{made['cores']} cores of {made['cpu']}, {made['memory_gib']:.0f} GiB, {made['system']}"
    what = f"Python {made['python']}, numpy {made['numpy']}, {made['kernels']} kernels, commit {made['commit']}"
    texts = [f"{day.day} {day:%B %Y}: {where}; {what}; a load of {load} at the end."]
    if size := report[part].get("size"):
        texts.append(f"{size['series']:,} series, {size['steps']} steps, {size['runs']} runs.")
    if peers := report[part].get("peers"):
        names = (
            f"{name} {peer['version']}"
            + (f" with {size['series'] // peer['share']:,} series" if peer["share"] > 1 else "")
            for name, peer in peers.items()
        )
        texts.append(f"{', '.join(names)}.")
    return " ".join(texts)


def figures(report: Report, part: str = "bench") -> list[str]:
    """The table of all that ``python -m bench`` or ``bench.chain`` measured."""
    rows = [
        "| Figure | Median | Unit | Lowest to highest | Floor | Ratio |",
        "| --- | ---: | --- | --- | ---: | ---: |",
    ]
    for one in report[part]["figures"]:
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


def soaked(part: dict[str, Any]) -> list[str]:
    """What a soak saw, and what did not hold."""
    ledger, (earlier, later) = part["ledger"], (size / 1e6 for size in part["memory_bytes"])
    points, minutes, rate = part["points"], part["seconds"] / 60, part["points"] / part["seconds"]
    query, write = ([shown(part[kind][share]) for share in ("0.5", "0.99", "1.0")] for kind in ("query_ms", "write_ms"))
    return [
        "| What | Seen |",
        "| --- | --- |",
        f"| points | {points:,} in {minutes:.0f} minutes, {rate:,.0f}/s |",
        f"| ledger | {ledger['received']:,} received, {ledger['stored']:,} stored |",
        f"| CPU | {shown(part['cpu_us_a_point'])} µs a point |",
        f"| memory, at most | {earlier:,.0f} MB in the second third, {later:,.0f} MB in the last |",
        f"| query | {part['queries']:,} answers, {part['failed_queries']} failed; "
        f"p50 {query[0]} ms, p99 {query[1]} ms, most {query[2]} ms |",
        f"| write of a piece | p50 {write[0]} ms, p99 {write[1]} ms, most {write[2]} ms |",
        f"| did not hold | {'; '.join(part['faults']) or 'nothing'} |",
    ]


def growth(report: Report) -> list[str]:
    """The table of what grows, a row a number of series."""
    rows = ["| Series | " + " | ".join(COLUMNS.values()) + " |", "| ---: |" + " ---: |" * len(COLUMNS)]
    for one in report["growth"]["sizes"]:
        rows.append(f"| {one['series']:,} | " + " | ".join(shown(one[key]) for key in COLUMNS) + " |")
    return rows


def scaled(part: dict[str, Any]) -> list[str]:
    """The table of what points cost with more and more stores; in brackets the ratio to what the model says."""
    rows = [
        "| Stores | Copies | Speed | Points of a message | Rate | "
        + " | ".join(f"{name}, µs a point" for name in PARTS)
        + " | Busiest store | Stores could take |",
        "| ---: | ---: | --- |" + " ---: |" * 7,
    ]
    of = costs_of(part)
    for one in (Taken(**fields) for fields in part["taken"]):
        model = predicted(one, of)
        cells = []
        for name in PARTS:
            found = getattr(one, f"{name}_us")
            cells.append(f"{shown(found)} ({shown(found / model[name])} ×)" if model[name] else shown(found))
        speed = "a fleet's pace" if one.paced else "full"
        rows.append(
            f"| {one.stores} | {one.copies} | {speed} | {one.message:,.0f} | {one.rate:,.0f}/s | {' | '.join(cells)} | "
            f"{one.busiest:.1%} | {one.capacity:,.0f}/s |"
        )
    return rows


def asked(part: dict[str, Any]) -> list[str]:
    """The table of questions to a query front, a row a number of stores and copies."""
    rows = ["| Question | Stores | Copies | Answer, ms | CPU of the front, ms | CPU of all stores, ms |"]
    rows.append("| --- |" + " ---: |" * 5)
    for one in sorted(part["asked"], key=lambda one: (one["question"], one["copies"], one["stores"])):
        times = " | ".join(shown(one[key]) for key in ("passed_ms", "front_ms", "stores_ms"))
        rows.append(f"| {one['question']} | {one['stores']} | {one['copies']} | {times} |")
    return rows


def costs(part: dict[str, Any]) -> list[str]:
    """The table of the model's costs."""
    rows = ["| Part | µs a message | µs a point |", "| --- | ---: | ---: |"]
    rows += [f"| {name} | {shown(c.message_us)} | {shown(c.point_us)} |" for name, c in costs_of(part).items()]
    return rows
