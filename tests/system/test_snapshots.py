"""ingestd snapshot against a running daemon, and another daemon on the copy."""

import re
import threading
import time

from click.testing import CliRunner

from ingestd.cli import main


def test_a_snapshot_of_a_daemon_under_load_is_served_by_another(daemon, tmp_path):
    d = daemon()
    now = int(time.time())
    before = {f"before.s{i}": float(i) for i in range(500)}
    d.send("".join(f"{path} {value} {now - 60}\n" for path, value in before.items()).encode())
    d.settled(500)
    stop = threading.Event()

    def load():
        n = 0
        while not stop.is_set():
            d.send("".join(f"load.s{i} {i} {now - 30 + n % 30}\n" for i in range(200)).encode())
            n += 1

    sender = threading.Thread(target=load)
    sender.start()
    try:
        url = "http://" + d.addresses["http"]
        asked = CliRunner().invoke(main, ["snapshot", "--url", url, str(tmp_path / "copy")])
        again = CliRunner().invoke(main, ["snapshot", "--url", url, str(tmp_path / "copy")])
        held = CliRunner().invoke(main, ["snapshot", "--data", str(d.directory), str(tmp_path / "held")])
        inside = CliRunner().invoke(main, ["snapshot", "--url", url, str(d.directory / "inside")])
    finally:
        stop.set()
        sender.join()
    assert asked.exit_code == 0, asked.output
    blocks, linked = re.search(r"(\d+) blocks, (\d+) of them hard links", asked.output).groups()
    assert blocks == linked != "0"
    assert held.exit_code == 0, held.output
    assert CliRunner().invoke(main, ["check", str(tmp_path / "held")]).exit_code == 0
    assert (again.exit_code, "there already" in again.output) == (1, True)
    assert (inside.exit_code, "inside" in inside.output) == (1, True)
    other = daemon(directory="copy")
    found = other.render("before.*", start=now - 300, end=now, now=now)
    assert {path: next(v for v, _ in points if v is not None) for path, points in found.items()} == before
    for path, points in other.render("load.*", start=now - 300, end=now, now=now).items():
        assert {v for v, _ in points} <= {float(path.rpartition("s")[2]), None}
    assert other.status()["damage"] == []
    other.settled()
    assert other.stop() == 0
    d.settled()
    assert d.stop() == 0
    offline = CliRunner().invoke(main, ["snapshot", "--data", str(d.directory), str(tmp_path / "offline")])
    assert offline.exit_code == 0, offline.output
    assert CliRunner().invoke(main, ["check", str(tmp_path / "offline")]).exit_code == 0
