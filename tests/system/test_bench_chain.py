"""The quick form of the benchmark of a relay, a broker and a store runs, whatever it measures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.services
def test_the_quick_form_measures_all_parts(tmp_path, require):
    require("rabbitmq-server")
    target = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.chain", "--quick", "--json", str(target), "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(target.read_text())["figures"]
    assert [figure["name"] for figure in figures if "CPU" in figure["name"]] == [
        "full speed: relay, CPU",
        "full speed: broker, CPU",
        "full speed: store, CPU",
    ]
    assert all(len(figure["runs"]) == 2 for figure in figures)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


@pytest.mark.services
def test_the_quick_form_of_scaling_measures_stores_and_copies(tmp_path, require):
    require("rabbitmq-server")
    target = tmp_path / "figures.json"
    command = [sys.executable, "-m", "bench.scaling", "--quick", "--json", str(target), "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(target.read_text())
    assert [(one["stores"], one["copies"]) for one in found["taken"] if not one["paced"]] == [(1, 1), (2, 1), (2, 2)]
    assert sum(one["paced"] for one in found["taken"]) == 2
    assert len(found["asked"]) == 9
    assert set(found["costs"]) == {"relay", "broker", "store"}
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
