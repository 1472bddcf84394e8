"""Daemons and relays in processes of their own, as a user starts them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from ingestd.wire.partition import partition_of

PATIENCE = 60.0
"""Seconds after which something that must happen counts as not happening."""

PARTITIONS = sorted({partition_of(f"host{number}.cpu.user", 1) for number in range(50)})
"""Of all series that go through relays here: to bind all 1,024 takes seconds."""


def until(condition, what):
    """Poll ``condition`` until it is truthy; its value. Fails with ``what`` when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s for {what}")
        time.sleep(0.02)


class Daemon:
    """``ingestd serve`` on free ports of loopback with data in ``directory``."""

    COMMAND = "serve"

    def __init__(self, directory: Path, *options: str):
        self.directory = directory
        self.options = options
        self.process = None
        self.addresses = {}

    def start(self, *options: str):
        """Start and wait until it listens."""
        command = [sys.executable, "-m", "ingestd.cli", self.COMMAND, "--data", str(self.directory)]
        for listener in ("graphite", "pickle", "collectd", "http"):
            command += [f"--{listener}", "127.0.0.1:0"]
        for listener in ("statsd", "opentsdb"):
            command += [f"--{listener}", "off"]
        log = (self.directory.parent / f"{self.directory.name}.log").open("ab")
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [*command, *self.options, *options], stdout=log, stderr=log, env=environment, start_new_session=True
        )
        log.close()
        until(self._listens, "the daemon to listen")
        return self

    @property
    def log(self) -> str:
        return (self.directory.parent / f"{self.directory.name}.log").read_text()

    def _listens(self):
        if self.process.poll() is not None:
            pytest.fail(f"the daemon ended with {self.process.returncode}:\n{self.log[-4000:]}")
        try:
            self.addresses = json.loads((self.directory / "listeners.json").read_text())
        except FileNotFoundError:
            return False
        try:
            return self.get("/health", decode=False)[0] in (200, 503)
        except OSError:
            return False

    def address(self, listener):
        host, port = self.addresses[listener].rsplit(":", 1)
        return host.strip("[]"), int(port)

    def get(self, path, parameters=(), *, decode=True, data=None):
        """(status, body) of a request; the body as JSON if ``decode``."""
        url = "http://" + self.addresses["http"] + path
        if parameters:
            url += "?" + urllib.parse.urlencode(parameters)
        request = urllib.request.Request(url, data=data, method="GET" if data is None else "POST")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                body, status = answer.read(), answer.status
        except urllib.error.HTTPError as e:
            body, status = e.read(), e.code
        return status, json.loads(body) if decode else body.decode()

    def status(self):
        return self.get("/status")[1]

    @property
    def ledger(self):
        return self.status()["ledger"]

    def send(self, data: bytes):
        """Send over TCP and wait until the daemon has read all and closed its side."""
        with socket.create_connection(self.address("graphite/tcp"), timeout=PATIENCE) as s:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            assert s.recv(1) == b""

    def settled(self, received=None):
        """The ledger once nothing is in flight (and ``received`` points were seen); it balances."""

        def rest():
            ledger = self.ledger
            enough = received is None or ledger["received"] >= received
            return ledger if enough and ledger["in_flight"] == 0 else None

        ledger = until(rest, "the journal to catch up")
        assert ledger["received"] == ledger["stored"] + sum(ledger["rejected"].values())
        for books in ledger["listeners"].values():
            assert books["received"] == books["stored"] + sum(books["rejected"].values())
        return ledger

    def render(self, *targets, start, end, now, **options):
        """{name: [[value, timestamp], …]}."""
        query = [("target", t) for t in targets]
        query += [("from", start), ("until", end), ("now", now), ("format", "json"), *options.items()]
        status, body = self.get("/render", query)
        assert status == 200, body
        return {s["target"]: s["datapoints"] for s in body}

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


class Relay(Daemon):
    """``ingestd relay`` on free ports of loopback."""

    COMMAND = "relay"

    @property
    def relay(self):
        return self.status()["relay"]


class Front:
    """``ingestd query`` on a free port of loopback."""

    def __init__(self, map_, log):
        self.log = log
        command = [sys.executable, "-m", "ingestd.cli", "query", "--map", str(map_), "--http", "127.0.0.1:0"]
        with log.open("wb") as out:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)

    @property
    def url(self):
        found = re.search(r"^listening http (\S+)$", self.log.read_text(), re.MULTILINE)
        assert self.process.poll() is None, self.log.read_text()
        return found and f"http://{found[1]}"

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
