"""The benchmarks run: their quick form, of what needs no daemon. What they measure is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GROUPS = ("lines", "collectd", "journal", "store", "rollup", "charts", "load")


def test_the_quick_form_measures_every_floor(tmp_path):
    target = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(target), "--directory", str(tmp_path)]
    for group in GROUPS:
        command += ["--only", group]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(target.read_text())
    assert report["size"]["runs"] == 2
    assert {figure["name"].partition(":")[0] for figure in report["figures"]} == {
        "parse",
        "journal",
        "ring",
        "flush",
        "rollup",
        "chart",
        "make",
    }
    for figure in report["figures"]:
        assert len(figure["runs"]) == 2
        assert len(figure["floor_runs"]) == (2 if figure["floor"] else 0)
        assert figure["min"] <= figure["median"] <= figure["max"]
        assert figure["name"] in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_an_unknown_measurement_is_refused():
    command = [sys.executable, "-m", "bench", "--only", "everything"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2
