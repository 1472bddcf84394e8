"""Three times what the daemon can take: TCP waits, UDP is dropped and counted, questions are answered, memory holds."""

import http.client
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

SERIES = 30_000
"""Of each sender."""
CONNECTIONS = {"tcp": 10, "udp": 1}
"""Of each sender."""
IN_FLIGHT, LATE_BUDGET = 32 << 20, 32 << 20
BASE = 250 << 20
"""The interpreter, its libraries, 120,000 names, and what a checkpoint and two answers take while they are made."""
CONFIG = f"""
[limits]
in_flight = {IN_FLIGHT}
[storage]
late_budget = {LATE_BUDGET}
[journal]
limit = "64 MiB"
[telemetry]
own_series_interval = 0
"""
SENDERS = (("tcp", "tcp0"), ("tcp", "tcp1"), ("tcp", "tcp2"), ("udp", "tcp0"))
"""Protocol and prefix. Who sends over UDP names no series of its own: which of them arrived would be chance."""


class Flood:
    """A flood.py in a process of its own."""

    def __init__(self, daemon, kind, prefix, **wish):
        wish |= {"connections": CONNECTIONS[kind]}
        wish |= {"kind": kind, "address": daemon.address(f"graphite/{kind}"), "prefix": prefix, "series": SERIES}
        command = [sys.executable, str(Path(__file__).with_name("flood.py")), json.dumps(wish)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.kind = kind

    def result(self):
        """What it sent; fails if it was cut off."""
        out, err = self._process.communicate()
        assert self._process.returncode == 0, err
        return json.loads(out)

    def kill(self):
        self._process.kill()
        self._process.communicate()


class Asker:
    """Asks one kind of question again and again; keeps how long each answer took."""

    def __init__(self, daemon, question, done):
        self._address = daemon.addresses["http"]
        self._question = question
        self._done = done
        self.seconds = []
        self.failures = []
        self.thread = threading.Thread(target=self._ask)

    def _ask(self):
        rnd = random.Random(1)
        while not self._done.wait(0.1):
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection(self._address, timeout=30)
                connection.request("GET", self._question(rnd))
                answer = connection.getresponse()
                answer.read()
                connection.close()
            except (OSError, http.client.HTTPException) as e:
                self.failures.append(repr(e))
                continue
            # Health says so, if it is overloaded.
            if answer.status == 200 or (answer.status == 503 and self._question is health):
                self.seconds.append(time.monotonic() - began)
            else:
                self.failures.append(answer.status)


def render(rnd):
    return f"/render?target=tcp{rnd.randrange(3)}.s{rnd.randrange(100):06d}.value&from=-10min&format=json"


def find(rnd):
    return f"/metrics/find?query=tcp{rnd.randrange(3)}.s00{rnd.randrange(10)}1*"


def health(rnd):
    return "/health"


class Watch:
    """Keeps what /status says, twice a second."""

    def __init__(self, daemon, done):
        self._daemon = daemon
        self._done = done
        self.seen = []
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        began = time.monotonic()
        while not self._done.wait(0.5):
            self.seen.append((time.monotonic() - began, self._daemon.status()))


def shown(name, seconds):
    cuts = statistics.quantiles(seconds, n=100)
    slow = sum(s > 1 for s in seconds)
    return (
        f"{name} {len(seconds)} answers, p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms, "
        f"longest {max(seconds) * 1000:.0f} ms, {slow} over 1 s"
    )


@pytest.mark.timeout(1800)
def test_three_times_what_it_can_take(daemon, tmp_path, effort, figure):
    (tmp_path / "ingestd.toml").write_text(CONFIG)
    d = daemon("--config", str(tmp_path / "ingestd.toml"))
    alone = Flood(d, "tcp", "tcp0", growth=0, seconds=effort(3, 20), rate=0).result()
    first, capacity = alone["points"], alone["points"] / alone["seconds"]
    assert d.settled(first)["stored"] == first

    seconds = effort(20, 600)
    done = threading.Event()
    askers = {question.__name__: Asker(d, question, done) for question in (render, find, health)}
    watch = Watch(d, done)
    floods = [
        Flood(d, kind, prefix, growth=seconds / 4, seconds=seconds, rate=3 * capacity if kind == "udp" else 0)
        for kind, prefix in SENDERS
    ]
    threads = [watch.thread, *(a.thread for a in askers.values())]
    for thread in threads:
        thread.start()
    try:
        results = [(flood.kind, flood.result()) for flood in floods]
    finally:
        done.set()
        for thread in threads:
            thread.join()
        for flood in floods:
            flood.kill()
    ledger = d.settled(first)

    tcp, udp = ledger["listeners"]["graphite/tcp"], ledger["listeners"]["graphite/udp"]
    offered = first + sum(sent["points"] for kind, sent in results if kind == "tcp")
    assert tcp["received"] == tcp["stored"] == offered
    datagrams = sum(sent["pieces"] for kind, sent in results if kind == "udp")
    assert udp["received"] + 30 * udp["kernel_drops"] == 30 * datagrams
    assert udp["stored"] + udp["rejected"].get("overload", 0) == udp["received"]
    assert d.status()["connections"] == {"open": 0, "refused": 0, "evicted": 0, "failed_handshakes": 0}

    for name, asker in askers.items():
        answers = len(asker.seconds)
        assert answers >= 0.95 * (answers + len(asker.failures)), asker.failures[:5]
        figure(shown(name, asker.seconds))
    for _, status in watch.seen:
        assert status["memory_bytes"] <= BASE + status["ring_bytes"] + IN_FLIGHT + LATE_BUDGET
    beside = [(at / seconds, status["memory_bytes"] - status["ring_bytes"]) for at, status in watch.seen]
    settled = max(size for at, size in beside if 1 / 3 < at < 2 / 3)
    late = max(size for at, size in beside if at > 2 / 3)
    most = max(status["memory_bytes"] for _, status in watch.seen)
    figure(
        f"at most {most >> 20} MiB of memory; without the ring and "
        f"mapped files {settled >> 20} MiB in the second third of the run and {late >> 20} MiB in the last one"
    )
    if seconds >= 300:
        # Checkpoints and answers come and go; in a short run they are all there is to see.
        assert late <= settled + IN_FLIGHT
    whole = max(sent["seconds"] for _, sent in results)
    stored = ledger["stored"] - first
    blocked = min(sent["blocked"] for kind, sent in results if kind == "tcp")
    figure(
        f"{seconds} s: capacity {capacity:,.0f} points/s; {stored / whole:,.0f} stored/s; TCP {offered:,} points, "
        f"all stored, senders held up {blocked:.0%} of the time or more; over UDP {30 * datagrams / seconds:,.0f} "
        f"points/s offered, {udp['kernel_drops'] / datagrams:.0%} of the datagrams dropped by the kernel and counted, "
        f"{udp['rejected'].get('overload', 0)} points rejected as overload"
    )
