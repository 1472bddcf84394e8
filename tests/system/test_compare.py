"""``python -m bench.compare`` runs without peers, and says so."""

import json
import re
import subprocess
import sys
from pathlib import Path

from bench.beside import UNITS
from ingestd import __version__

ROOT = Path(__file__).parents[2]


def test_absent_peers_are_skipped_and_the_table_is_printed(tmp_path):
    data, report = tmp_path / "data", tmp_path / "report.json"
    data.mkdir()
    command = [sys.executable, "-m", "bench.compare", "--quick", "--directory", str(data), "--json", str(report)]
    empty = {"PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT, env=empty)
    assert done.returncode == 0, done.stderr
    assert "carbon: skipped, there is no carbon-cache" in done.stderr
    assert "VictoriaMetrics: skipped, there is no victoria-metrics" in done.stderr
    assert not list(data.iterdir())
    found = json.loads(report.read_text())
    assert list(found["figures"]) == ["ingestd"]
    figures = {figure["name"]: figure for figure in found["figures"]["ingestd"]}
    assert figures.keys() >= UNITS.keys() - {"kept, of what it had read by then"}
    for name, figure in figures.items():
        assert re.search(rf"^{re.escape(name)} +ingestd", done.stdout, re.MULTILINE)
        assert figure["unit"] == UNITS[name]
        assert len(figure["runs"]) == 1
    assert figures["kept, kill -9 once it says it has all"]["runs"] == [100.0]
    assert found["peers"]["ingestd"] == {"version": __version__, "share": 1}
    assert found["machine"]["cores"]
