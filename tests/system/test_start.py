"""Starts that cannot be say why and leave nothing behind; SIGTERM under load loses nothing."""

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from ingestd.app import Daemon
from ingestd.config import Settings
from ingestd.storage.store import Store


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


def ask(address, path):
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answered:
            return answered.status, answered.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


async def test_http_answers_while_the_store_recovers(tmp_path, monkeypatch):
    """A load balancer's check is told to wait; nothing listens for points before they can be taken."""
    reached, go_on = threading.Event(), threading.Event()

    class Slow(Store):
        def open(self):
            reached.set()
            assert go_on.wait(60)
            return super().open()

    monkeypatch.setattr("ingestd.app.Store", Slow)
    free = {name: {"listen": ["127.0.0.1:0"]} for name in ("graphite", "collectd", "http")}
    daemon = Daemon(Settings.model_validate({"server": {"data": tmp_path / "data"}, "pickle": {"listen": []}, **free}))
    start = asyncio.create_task(daemon.start())
    await asyncio.to_thread(reached.wait, 60)
    ((name, address),) = daemon.listening
    assert name == "http"
    assert await asyncio.to_thread(ask, address, "/health") == (503, "starting")
    assert await asyncio.to_thread(ask, address, "/render?target=a") == (503, "starting")
    assert not (tmp_path / "data" / "listeners.json").exists()
    go_on.set()
    await start
    try:
        assert await asyncio.to_thread(ask, address, "/health") == (200, "ok")
    finally:
        await daemon.drain()


async def test_a_flush_that_takes_long_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("ingestd.app.FLUSH_SECONDS", 0.0)
    free = {name: {"listen": ["127.0.0.1:0"]} for name in ("graphite", "http")}
    off = {name: {"listen": []} for name in ("pickle", "collectd")}
    daemon = Daemon(Settings.model_validate({"server": {"data": tmp_path / "data"}, **off, **free}))
    await daemon.start()
    try:
        request = urllib.request.Request(f"http://{dict(daemon.listening)['http']}/flush", method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            await asyncio.to_thread(urllib.request.urlopen, request)
        assert refused.value.code == 503
        assert b"takes long; it goes on" in refused.value.read()
        refused.value.close()
    finally:
        await daemon.drain()
