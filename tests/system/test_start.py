"""Starts that cannot be say why and leave nothing behind; SIGTERM under load loses nothing."""

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest


def serve(*options):
    command = [sys.executable, "-m", "ingestd.cli", "serve", *options]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("options", "files", "status", "said"),
    [
        (["--config", "c.toml"], {"c.toml": "[limits]\nlines = 3\n"}, 2, "limits.lines"),
        (["--schemas", "s.conf"], {"s.conf": "[a]\npattern = .*\nretentions = 7s:1m,10s:1h\n"}, 2, "s.conf"),
        (["--collectd-security", "sign"], {}, 1, "AuthFile"),
        (["--statsd", "127.0.0.1:8125"], {}, 2, "does not serve"),
    ],
)
def test_a_bad_start_says_why(tmp_path, options, files, status, said):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    options = [str(tmp_path / o) if o in files else o for o in options]
    free = ["--graphite", "127.0.0.1:0", "--pickle", "off", "--collectd", "127.0.0.1:0", "--http", "127.0.0.1:0"]
    ended = serve("--data", str(tmp_path / "data"), *free, *options)
    assert ended.returncode == status
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data" / "listeners.json").exists()


def test_a_port_in_use_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = ["--pickle", "off", "--collectd", "off", "--http", "off"]
        ended = serve("--data", str(tmp_path / "data"), "--graphite", address, *others)
    assert ended.returncode == 1
    assert address in ended.stderr


def test_sigterm_under_load_keeps_what_was_stored(daemon, wait_until):
    d = daemon()
    now = int(time.time()) // 10 * 10
    stop = threading.Event()

    def load():
        number = 0
        try:
            with socket.create_connection(d.address("graphite/tcp")) as s:
                while not stop.is_set():
                    s.sendall(b"".join(b"load.n%d 1 %d\n" % ((number + i) % 20_000, now) for i in range(100)))
                    number += 100
        except OSError:
            pass  # the daemon has gone

    thread = threading.Thread(target=load)
    thread.start()
    try:
        stored = wait_until(lambda: d.ledger["stored"], "the first points")
        d.process.send_signal(signal.SIGTERM)
        assert d.process.wait(60) == 0
    finally:
        stop.set()
        thread.join()
    d.start()
    assert len(d.render("load.*", start=now - 10, end=now, now=now)) >= min(stored, 20_000)
    assert d.status()["replayed"] == 0
