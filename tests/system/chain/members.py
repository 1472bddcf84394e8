"""The parts of a chain as processes: relays, stores, the query front, and three brokers that are one cluster."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import aio_pika
import pytest
from broker import Broker, free_port

PATIENCE = 240.0
"""Seconds after which what must happen counts as not happening: a broker may need 30 to find its cluster again."""
SETTINGS = (
    "cluster_partition_handling = pause_minority\n"
    # A broker that stood still for longer is held for gone by the others.
    "net_ticktime = 8\n"
)


def until(condition, what, pause=0.05):
    """Poll ``condition`` until it is truthy; its value. Fails with ``what`` when patience ends."""
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"waited {PATIENCE:.0f} s for {what() if callable(what) else what}")
        time.sleep(pause)


def all_at_once(*calls):
    """Run them in threads; raises the first error."""
    errors = []

    def run(call):
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class Nursery:
    """Starts members from one process that has imported everything."""

    def __init__(self):
        self._lock = threading.Lock()
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
        )

    def ask(self, *command):
        with self._lock:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Member:
    """One ``ingestd COMMAND``, again and again, on one port for HTTP."""

    def __init__(self, nursery: Nursery, directory: Path, name: str, command: str, *options: str):
        self.name = name
        self.directory = directory / name
        self.http = f"127.0.0.1:{free_port()}"
        self.addresses = {}
        self.process = None
        self._file = directory / f"{name}.log"
        self._nursery = nursery
        self.command = [command, "--http", self.http, *options]
        if command != "query":
            self.command += ["--data", str(self.directory)]

    @property
    def log(self):
        return self._file.read_text()

    def start(self):
        """Start it; :meth:`ready` says when it has come up."""
        (self.directory / "listeners.json").unlink(missing_ok=True)
        self.process = self._nursery.ask("start", str(self._file), *self.command)
        return self

    def ready(self):
        """Wait until it listens."""
        until(self._listens, lambda: f"{self.name} to listen:\n{self.log[-3000:]}")
        return self

    def _listens(self):
        if self._nursery.ask("ended", self.process):
            pytest.fail(f"{self.name} ended by itself:\n{self.log[-4000:]}")
        try:
            if self.command[0] != "query":
                self.addresses = json.loads((self.directory / "listeners.json").read_text())
            return self.ask("/health")[0] in (200, 503)
        except OSError:
            return False

    def connect(self):
        """A connection to the listener of lines."""
        host, port = self.addresses["graphite/tcp"].rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=PATIENCE)

    def ask(self, path, *parameters):
        """Status, headers and body of an answer. OSError or HTTPException where it is dead."""
        host, port = self.http.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
        try:
            connection.request("GET", path + ("?" + urllib.parse.urlencode(parameters) if parameters else ""))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def get(self, path, *parameters):
        """The JSON of an answer that must be 200 and whole."""
        status, headers, body = self.ask(path, *parameters)
        if (status, body) == (503, b"starting"):
            raise ConnectionError(f"{self.name} has just been started again")
        assert (status, headers.get("X-Ingestd-Partial")) == (200, None), (self.name, path, body[:1000])
        return json.loads(body)

    def status(self):
        """Its status; the ledger in it balances, and nothing is rejected."""
        status = self.get("/status")
        if "ledger" in status:
            for books in (status["ledger"], *status["ledger"]["listeners"].values()):
                in_flight = books.get("in_flight", books["received"] - books["stored"])
                assert books["rejected"] == {}, (self.name, books)
                assert books["received"] == books["stored"] + in_flight, (self.name, books)
                assert in_flight >= 0, (self.name, books)
        return status

    def kill(self):
        if self.process is not None:
            self._end(signal.SIGKILL)

    def stop(self):
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number):
        process, self.process = self.process, None
        os.kill(process, number)
        until(lambda: self._nursery.ask("ended", process), lambda: f"{self.name} to end:\n{self.log[-3000:]}", 0.02)
        return self._nursery.ask("wait", process)


class Brokers:
    """``count`` brokers that are one cluster."""

    def __init__(self, directory: Path, count: int):
        self.all = []
        peer, settings = None, SETTINGS
        for number in range(count):
            self.all.append(Broker(directory / f"broker{number}", f"b{number}", peer, settings))
            peer = self.all[0]
            # A new broker joins the first, as one that is rolled out does.
            settings = SETTINGS + (
                "cluster_formation.peer_discovery_backend = classic_config\n"
                f"cluster_formation.classic_config.nodes.1 = {peer.node}\n"
            )

    def start(self):
        first, *others = self.all
        first.start()
        all_at_once(*(one.start for one in others))
        return self

    def restart(self):
        """``kill -9`` of all at once, then all at once again."""
        for one in self.all:
            one.kill()
        all_at_once(*(one.start for one in self.all))

    @property
    def urls(self):
        return [one.url for one in self.all]

    def leader(self, queue):
        """The broker that leads a queue; None while there is none."""
        for line in self.all[0].ctl("list_queues", "name", "leader").splitlines():
            name, _, node = line.partition("\t")
            if name == queue:
                return next((one for one in self.all if one.node == node.strip()), None)
        return None

    def unacknowledged(self):
        """Messages in all queues, those included that are on their way to a store. Slow, and certain."""
        return sum(int(line) for line in self.all[0].ctl("list_queues", "messages").splitlines() if line.isdigit())

    def depth(self, *queues):
        """Messages in queues that no store has been given."""
        return asyncio.run(self._depth(queues))

    async def _depth(self, queues):
        async with await aio_pika.connect(self.all[0].url) as connection:
            channel = await connection.channel()
            found = [await channel.declare_queue(queue, passive=True) for queue in queues]
            return sum(queue.declaration_result.message_count for queue in found)

    def isolate(self, one):
        """Cut one broker off from the others, who still have each other: neither side's handshake is accepted."""
        self._each_other(one, "erlang:set_cookie({0}, cut), erlang:disconnect_node({0})")

    def reunite(self, one):
        """Undo :meth:`isolate`, and wait until it takes connections again."""
        cookie = (one.directory / "home" / ".erlang.cookie").read_text()
        self._each_other(one, f"erlang:set_cookie({{0}}, '{cookie}'), net_adm:ping({{0}})")
        until(one._answers, "the broker to come back from its partition", 0.2)

    def _each_other(self, one, do):
        """Do something on one broker with each of the others."""
        one.ctl("eval", ", ".join(do.format(f"'{other.node}'") for other in self.all if other is not one) + ".")

    def close(self):
        for one in self.all:
            one.close()
