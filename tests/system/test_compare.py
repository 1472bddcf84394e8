"""``python -m bench.compare`` runs without peers, and says so."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_absent_peers_are_skipped_and_the_table_is_printed(tmp_path):
    data, report = tmp_path / "data", tmp_path / "report.json"
    data.mkdir()
    command = [sys.executable, "-m", "bench.compare", "--quick", "--directory", str(data), "--json", str(report)]
    empty = {"PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=empty)
    assert done.returncode == 0, done.stderr
    assert "carbon: skipped, there is no carbon-cache" in done.stderr
    assert "VictoriaMetrics: skipped, there is no victoria-metrics" in done.stderr
    for measure in ("CPU until in files", "rate until in files", "VmRSS", "disk allocated", "kept after kill -9"):
        assert measure in done.stdout
    assert not list(data.iterdir())
    found = json.loads(report.read_text())
    assert len(found["figures"]["ingestd"]) == 5
    assert found["machine"]["cores"]
