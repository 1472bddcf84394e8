"""What an operator meets: check, inspect, the daemon's own series, drains under load."""

import json
import subprocess
import sys
import time


def ingestd(*arguments):
    command = [sys.executable, "-m", "ingestd.cli", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_check_finds_a_flipped_last_byte_of_a_block_file(daemon):
    d = daemon()
    now = int(time.time())
    d.send(b"".join(b"s%d.v %d %d\n" % (i, i, now - 7200 + 10 * j) for i in range(20) for j in range(300)))
    d.settled(6000)
    assert d.stop() == 0
    assert ingestd("check", d.directory).returncode == 0
    files = [f for f in sorted(d.directory.rglob("*.blk")) if f.stat().st_size]
    for file in files[:3]:
        found = ingestd("inspect", file, "--json")
        assert found.returncode == 0, found.stderr
        assert json.loads(found.stdout)
        whole = bytearray(file.read_bytes())
        whole[-1] ^= 1
        file.write_bytes(whole)
        assert ingestd("check", d.directory).returncode == 1, file
        whole[-1] ^= 1
        file.write_bytes(whole)
    assert ingestd("check", d.directory).returncode == 0
    assert files


def test_check_of_no_store_is_a_usage_error(tmp_path):
    assert ingestd("check", tmp_path / "absent").returncode == 2


def test_own_series_are_readable_and_not_in_the_ledger(daemon, tmp_path, wait_until):
    config = tmp_path / "own.toml"
    config.write_text("[telemetry]\nown_series_interval = 1\n")
    d = daemon("--config", str(config))

    def own():
        now = int(time.time())
        return d.render("ingestd.*", start=now - 600, end=now, now=now)

    assert "ingestd.series" in wait_until(own, "the daemon's own series")
    assert d.ledger["received"] == 0


def test_events_survive_a_kill(daemon):
    d = daemon()
    body = json.dumps({"what": "deploy", "tags": ["a"], "data": "x"}).encode()
    assert d.get("/events", data=body, decode=False)[0] == 200
    before = d.get("/events/get_data")[1]
    assert [e["what"] for e in before] == ["deploy"]
    d.kill()
    d.start()
    assert d.get("/events/get_data")[1] == before
