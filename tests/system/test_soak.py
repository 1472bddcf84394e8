"""``python -m bench.soak`` in a tiny form, and what it calls a fault."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.soak import Outcome, Watch
from ingestd.load.figures import Report

ROOT = Path(__file__).parents[2]


def test_a_tiny_soak_loses_nothing_and_says_what_it_saw(tmp_path):
    data, target = tmp_path / "data", tmp_path / "outcome.json"
    data.mkdir()
    options = (
        "--minutes",
        "0.05",
        "--rate",
        "5000",
        "--series",
        "1000",
        "--directory",
        str(data),
        "--json",
        str(target),
    )
    command = [sys.executable, "-m", "bench.soak", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    found = json.loads(target.read_text())
    assert found["points"] > 0
    assert found["ledger"] == {"received": found["points"], "stored": found["points"], "rejected": {}}
    assert found["queries"] > 0
    assert found["failed_queries"] == 0
    # How fast the machine of the tests is says nothing: only what the status means.
    assert done.returncode == bool(found["faults"])
    assert done.stdout.count("FAILED") == len(found["faults"])
    assert not list(data.iterdir())


def outcome(**changed):
    """A soak in which all held, but for what is ``changed``."""
    report = Report(points=1000, seconds=10.0)
    for _ in range(100):
        report.queries.add(changed.get("query", 0.01))
    report.failures = changed.get("failures", 0)
    ledger = {"received": changed.get("received", 1000), "stored": changed.get("stored", 1000), "rejected": {}}
    return Outcome(changed.get("rate", 100.0), report, ledger, changed.get("memory", (10**9, 10**9)), 1.0)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"stored": 999}, "of 1,000 points sent 1,000 were received, 999 stored"),
        ({"received": 1001}, "of 1,000 points sent 1,001 were received, 1,000 stored"),
        ({"rate": 110.0}, "100 points a second were taken of 110"),
        ({"memory": (10**9, 11 * 10**8)}, "memory grew from 1,000 to 1,100 MB"),
        ({"failures": 1}, "1 queries failed, 100 were answered"),
        ({"query": 0.051}, "p99 of the query was 51.0 ms, not under 50"),
    ],
)
def test_each_fault_is_seen(changed, fault):
    assert outcome(**changed).faults() == [fault]


def test_what_held_has_no_fault():
    assert outcome().faults() == []
    assert outcome(memory=(10**9, 104 * 10**7), rate=101.0).faults() == []


def test_memory_is_compared_by_thirds():
    assert Watch(0, [9, 9, 1, 2, 3, 1]).thirds() == (2, 3)
