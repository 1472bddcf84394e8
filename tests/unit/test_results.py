"""Tables and plots of recorded figures: the documents show the newest ones."""

import json
import subprocess
import sys
import xml.dom.minidom
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.figures import Figure
from bench.growth import Grown
from bench.model import PARTS
from bench.plot import plots
from bench.record import write_documents
from bench.results import about, compared, documents, figures, growth, newest, rewritten, scaled, soaked
from bench.scaling import Asked, Taken
from bench.svg import Bars, Lines, bar_chart, line_chart

ROOT = Path(__file__).parents[2]
MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "memory_gib": 23.4,
    "load": [0.12, 0.5, 0.9],
    "system": "Linux 6.1",
    "python": "3.11.7",
    "numpy": "2.4.6",
    "ingestd": "0.1.0",
    "kernels": "compiled",
    "commit": "abc",
}


def report(day="2026-02-03", name="first"):
    """What bench.record writes, of two stores."""
    size = {"series": 1000, "steps": 20, "runs": 3}
    speed = {
        peer: [Figure("CPU until in files", "µs/point", runs).as_dict()]
        for peer, runs in {"ingestd": [0.25, 0.2, 0.3], "<carbon>": [20.0, 10.0, 30.0]}.items()
    }
    speed["ingestd"].append(Figure("a live fleet, CPU", "µs/point", [0.0]).as_dict())
    peers = {"ingestd": {"version": "0.1.0", "share": 1}, "<carbon>": {"version": "1.1", "share": 9}}
    floor = Figure("parse: lines", "ns/point", [20.0, 21.0], "count of LFs", [40.0, 42.0])
    taken = [Taken(stores, 1, False, 1e6, 1000.0, 0.5, 0.5, 0.6, 1 / stores) for stores in (1, 2)]
    grown = [Grown(series, *([1.5] * 8)) for series in (10_000, 3_000_000)]
    return {
        "name": name,
        "date": day,
        "commands": [],
        "bench": {"machine": MACHINE, "size": size, "figures": [floor.as_dict()]},
        "compare": {"machine": MACHINE, "size": size, "peers": peers, "figures": speed},
        "growth": {"machine": MACHINE, "sizes": [{key: getattr(one, key) for key in Grown.__slots__} for one in grown]},
        "chain": {"machine": MACHINE, "size": size, "figures": [floor.as_dict()]},
        "soak": {
            "machine": MACHINE,
            "points": 900_000_000,
            "seconds": 1800.0,
            "ledger": {"received": 900_000_000, "stored": 900_000_000, "rejected": {}},
            "memory_bytes": [500e6, 510e6],
            "cpu_us_a_point": 0.31,
            "query_ms": {"0.5": 4.0, "0.99": 30.0, "1.0": 51.0},
            "write_ms": {"0.5": 1.0, "0.99": 2.0, "1.0": 3.0},
            "queries": 1_795,
            "failed_queries": 0,
            "faults": [],
        },
        "scaling": {
            "machine": MACHINE,
            "size": size,
            "series_bytes": 700.0,
            "costs": {part: {"message_us": 100.0, "point_us": 0.4} for part in PARTS},
            "taken": [asdict(one) for one in taken],
            "asked": [
                asdict(Asked(1, 1, "sum of all", 5.0, 2.0, 1.0)),
                asdict(Asked(2, 1, "sum of all", 5.0, 2.0, 2.0)),
            ],
        },
    }


def test_a_comparison_has_ratios_beside_its_medians():
    assert compared(report())[2:] == [
        "| CPU until in files | µs/point | 0.25 | 20.0 (80.0 ×) |",
        "| a live fleet, CPU | µs/point | 0.00 |  |",
    ]
    assert compared(report(), {"CPU until in files": "CPU"})[2:] == ["| CPU | µs/point | 0.25 | 20.0 (80.0 ×) |"]


def test_figures_stand_beside_their_floors():
    assert figures(report())[2:] == ["| parse: lines | 20.5 | ns/point | 20.0 to 21.0 | 41.0 | 0.50 |"]


def test_a_table_says_where_it_comes_from():
    text = about("compare", report())
    assert text.startswith("3 February 2026: 2 cores of a processor, 23 GiB, Linux 6.1; ")
    assert text.endswith("3 runs. ingestd 0.1.0, <carbon> 1.1 with 111 series.")
    assert about("growth", report()).endswith("at the end.")


def test_a_soak_says_what_held():
    rows = soaked(report()["soak"])
    assert rows[2] == "| points | 900,000,000 in 30 minutes, 500,000/s |"
    assert rows[-1] == "| did not hold | nothing |"
    assert soaked(report()["soak"] | {"faults": ["a", "b"]})[-1] == "| did not hold | a; b |"


def test_growth_has_a_row_a_size():
    assert growth(report())[2:] == [f"| {size} |" + " 1.50 |" * 8 for size in ("10,000", "3,000,000")]


def test_scaling_has_ratios_to_the_model():
    near = "0.50 (1.00 ×)"
    assert scaled(report()["scaling"])[2:] == [
        f"| {stores} | 1 | full | 1,000 | 1,000,000/s | {near} | {near} | 0.60 (1.20 ×) | {share} | {most}/s |"
        for stores, share, most in ((1, "100.0%", "1,666,667"), (2, "50.0%", "3,333,333"))
    ]


def test_only_what_stands_between_the_comments_is_rewritten():
    text = "a\n<!-- begin: x -->\nold\n<!-- end: x -->\nb\n"
    once = rewritten(text, "x", ["new"])
    assert once == "a\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nb\n"
    assert rewritten(once, "x", ["new"]) == once
    for broken in ("a\n", text + text, "<!-- end: x -->\n<!-- begin: x -->"):
        with pytest.raises(ValueError, match="begin: x"):
            rewritten(broken, "x", [])


def recorded(root, *reports):
    """A copy of the project with these reports."""
    place = root / "bench" / "results"
    place.mkdir(parents=True)
    (root / "docs").mkdir()
    for name in ("README.md", "docs/benchmarks.md", "docs/scaling.md"):
        (root / name).write_text((ROOT / name).read_text())
    for one in reports:
        (place / f"{one['name']}.json").write_text(json.dumps(one))
    return root


def test_the_newest_of_each_part_is_of_the_latest_day(tmp_path):
    assert newest("bench", tmp_path) is None
    days = (("2026-02-03", "z"), ("2026-02-04", "a"), ("2026-02-04", "b"))
    later = {key: value for key, value in report("2026-02-05", "c").items() if key != "compare"}
    root = recorded(tmp_path, *(report(*day) for day in days), later)
    assert newest("compare", root)["name"] == "b"
    assert newest("growth", root)["name"] == "c"


def test_documents_and_plots_are_written(tmp_path):
    root = recorded(tmp_path, report())
    write_documents(root)
    written = documents(root)
    assert {name: list(sections) for name, sections in written.items()} == {
        "README.md": ["compared"],
        "docs/benchmarks.md": ["compared", "figures", "chain", "growth", "soak"],
        "docs/scaling.md": ["points", "questions", "costs", "needs"],
    }
    for name, sections in written.items():
        for lines in sections.values():
            assert "\n".join(lines) in (root / name).read_text()
    drawn = plots(root)
    assert [path.name for path in drawn] == ["benchmarks.svg", "growth.svg", "scaling.svg"]
    for path, text in drawn.items():
        assert path.read_text() == text
        assert xml.dom.minidom.parseString(text).documentElement.tagName == "svg"


def test_the_documents_show_what_was_recorded_last():
    for name, sections in documents(ROOT).items():
        text = (ROOT / name).read_text()
        for section, lines in sections.items():
            assert rewritten(text, section, lines) == text, f"{name}: {section}"
    for path, text in plots(ROOT).items():
        assert path.read_text() == text


def test_charts_are_well_formed():
    bars = bar_chart(
        "a < b", [Bars("x & y", [("p", 3.0, "3"), ("q", 0.0, "0")]), Bars("none", [])], {"p": "#1", "q": "#2"}
    )
    widths = [float(r.getAttribute("width")) for r in xml.dom.minidom.parseString(bars).getElementsByTagName("rect")]
    assert widths[1] > widths[2] == 1.0
    lines = line_chart(
        "growth", [Lines("CPU", [1e4, 1e5, 3e6], {"a": [1.0, 2.0, 3.0]}), Lines("one", [5], {"b": [0.0]})]
    )
    drawn = xml.dom.minidom.parseString(lines)
    points = [p.split(",") for p in drawn.getElementsByTagName("polyline")[0].getAttribute("points").split()]
    assert [float(x) for x, _ in points] == sorted(float(x) for x, _ in points)
    assert [float(y) for _, y in points] == sorted((float(y) for _, y in points), reverse=True)
    assert {"10k", "100k", "3M"} <= {text.firstChild.data for text in drawn.getElementsByTagName("text")}


def test_figures_that_mean_nothing_are_not_recorded_here():
    command = [sys.executable, "-m", "bench.record", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2
    assert "--root" in done.stderr
