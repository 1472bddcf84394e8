"""The benchmarks that start a daemon run, in their quick form. What they measure is nobody's business here."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GROUPS = ("daemon", "workloads", "restart", "connections", "queries")


def test_the_quick_form_measures_the_whole_daemon(tmp_path):
    target = tmp_path / "figures.json"
    command = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--runs",
        "1",
        "--json",
        str(target),
        "--directory",
        str(tmp_path),
    ]
    for group in GROUPS:
        command += ["--only", group]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(target.read_text())["figures"]
    kinds = {figure["name"].partition(":")[0] for figure in figures}
    assert kinds == {"daemon", "workload", "idle connections", "query"}
    for figure in figures:
        assert figure["runs"]
        assert len(figure["floor_runs"]) == (len(figure["runs"]) if figure["floor"] else 0)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]
