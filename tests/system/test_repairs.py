"""A daemon that refuses to start on a damaged directory, the repair that it names, and the daemon after it."""

import subprocess
import sys
import time

from click.testing import CliRunner

from ingestd.cli import main


def test_a_refused_start_names_the_repair_and_works_after_it(daemon):
    d = daemon()
    now = int(time.time())
    d.send("".join(f"a.s{i} {i} {now - 60}\n" for i in range(300)).encode())
    d.settled(300)
    busy = CliRunner().invoke(main, ["check", "--repair", str(d.directory)])
    assert (busy.exit_code, "in use" in busy.output) == (2, True)
    d.get("/flush", decode=False, data=b"")
    d.send("".join(f"b.s{i} {i} {now - 30}\n" for i in range(300)).encode())
    d.settled(600)
    d.kill()
    (d.directory / "manifest.log").unlink()
    command = [sys.executable, "-m", "ingestd.cli", "serve", "--data", str(d.directory), "--http", "127.0.0.1:0"]
    command += ["--graphite", "127.0.0.1:0", "--collectd", "off"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 1
    assert f"ingestd check --repair {d.directory}" in refused.stdout + refused.stderr
    done = CliRunner().invoke(main, ["check", "--repair", str(d.directory)])
    assert done.exit_code == 0, done.output
    assert "manifest.log: rebuilt" in done.output
    d.start()
    for branch in "ab":
        found = d.render(f"{branch}.*", start=now - 300, end=now, now=now)
        values = {name: next(v for v, _ in points if v is not None) for name, points in found.items()}
        assert values == {f"{branch}.s{i}": float(i) for i in range(300)}
    assert d.status()["damage"] == []
    d.settled()
    assert d.stop() == 0
