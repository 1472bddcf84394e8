"""A cluster gets a node and loses one while points come and graphs are looked at: none is wrong at any step."""

import json
import threading
import time
import urllib.parse
import urllib.request

import pytest
from processes import Front, Relay, until
from test_cluster_move import DAY, HOSTS, HOUR, Cluster, lines, points

from ingestd.wire.partition import partition_of

pytestmark = pytest.mark.services

AGES = (2 * HOUR, DAY)
"""Of the finest archive, and of the next."""


class Feeding(threading.Thread):
    """Sends a point of each host every ten seconds of the last hour, which passes in two minutes."""

    def __init__(self, relay, now):
        super().__init__(daemon=True)
        self.relay = relay
        self.sent = {}
        self.first = self._at = now - HOUR
        self._now = now
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.wait(0.3) and self._at < self._now:
            step = {(host, self._at): float(self._at // 10 % 977) for host in HOSTS}
            self.relay.send(b"".join(b"%s.fed %d %d\n" % (h.encode(), value, at) for (h, at), value in step.items()))
            self.sent |= step
            self._at += 10

    def stop(self):
        self._stopping.set()
        self.join()


class Watching(threading.Thread):
    """Asks the front for all that was there before, again and again; keeps each answer that was another one."""

    def __init__(self, front, now, expected):
        super().__init__(daemon=True)
        self.wrong = []
        self.asked = 0
        self._front = front
        self._now = now
        self._expected = expected
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.is_set():
            try:
                found = answers(self._front, self._now)
            except OSError as error:
                found = error
            if found != self._expected:
                self.wrong.append(found)
            self.asked += 1

    def more(self, asked=3):
        """Wait for whole rounds from now on."""
        enough = self.asked + 1 + asked
        until(lambda: self.asked >= enough, "answers")
        assert not self.wrong

    def stop(self):
        self._stopping.set()
        self.join()
        assert not self.wrong


def ask(front, target, start, end, now):
    query = [("target", target), ("from", start), ("until", end), ("now", now), ("format", "json"), ("strict", 1)]
    with urllib.request.urlopen(f"{front.url}/render?{urllib.parse.urlencode(query)}", timeout=60) as answer:
        assert "X-Ingestd-Partial" not in answer.headers
        return {one["target"]: [p for p in one["datapoints"] if p[0] is not None] for one in json.load(answer)}


def answers(front, now):
    """History alone: what is in it does not change."""
    return [ask(front, "*.load", now - age, now - 200, now) for age in AGES]


def test_no_graph_is_wrong_at_any_step(tmp_path, daemon, broker):
    now = int(time.time()) // 600 * 600
    exchange = tmp_path.name[:50]

    def config(name, table):
        file = tmp_path / f"{name}.toml"
        amqp = f'[amqp]\nurl = "{broker.url}"\nexchange = "{exchange}"\n'
        file.write_text(f"{amqp}{table}[telemetry]\nown_series_interval = 0\n")
        return "--config", str(file)

    cluster = Cluster(tmp_path, broker.url)
    stores = {n: daemon(*config(n, f'[amqp.consume]\nnode = "{n}"\n'), directory=n) for n in ("old", "new")}
    cluster.write(1, old=stores["old"])
    cluster.run("apply")
    front = Front(tmp_path / "cluster.map.json", tmp_path / "query.log")
    relay = Relay(tmp_path / "relay", *config("relay", "[relay]\nhost_nodes = 1\n")).start()
    feeding = watching = None
    try:
        until(lambda: front.url, "the front to listen")
        history = {key: value for key, value in points(HOSTS, now).items() if key[1] < now - 200}
        relay.send(lines(history))
        until(lambda: stores["old"].ledger["stored"] == len(history), "the history")
        expected = answers(front, now)
        assert {len(found) for found in expected} == {len(HOSTS)}
        feeding, watching = Feeding(relay, now), Watching(front, now, expected)
        feeding.start()
        watching.start()
        watching.more()
        for nodes in (("old", "new"), ("new",)):
            cluster.write(1, **{name: stores[name] for name in nodes})
            cluster.run("apply")
            watching.more()
            assert cluster.map.moving
            cluster.run("move")
            assert not cluster.map.moving
            until(lambda wanted=cluster.map.version: version(front) == wanted, "the front to read the map again")
            watching.more()
            owned = [host for host in HOSTS if cluster.map.owners[partition_of(f"{host}.load", 1)] == ("new",)]
            assert 0 < len(owned) < len(HOSTS) or nodes == ("new",)
        assert stores["old"].stop() == 0
        watching.more()
        feeding.stop()
        watching.stop()
        until(lambda: relay.ledger["in_flight"] == 0 and not relay.relay["spool_messages"], "the relay to be empty")
        until(lambda: arrived(front, feeding.first, now) == feeding.sent, "all points that came meanwhile")
        ledger = relay.ledger
        assert ledger["received"] == ledger["stored"] == len(history) + len(feeding.sent)
    finally:
        for thread in (feeding, watching):
            if thread is not None:
                thread._stopping.set()
        assert front.stop() == 0
        relay.kill()


def version(front):
    with urllib.request.urlopen(f"{front.url}/status", timeout=60) as answer:
        return json.load(answer)["cluster"]["map_version"]


def arrived(front, first, now):
    found = ask(front, "*.fed", first - 1, now, now)
    return {(name.partition(".")[0], t): value for name, rows in found.items() for value, t in rows}
