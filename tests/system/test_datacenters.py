"""Two datacenters, a broker and a store each, joined by the commands of docs/deploy/datacenters.md."""

import asyncio
import contextlib
import json
import re
import select
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import aio_pika
import numpy as np
import pytest
from broker import free_port

from ingestd.wire import topology
from ingestd.wire.batch import encode_batch
from ingestd.wire.partition import partition_of

pytestmark = pytest.mark.services

DOCUMENT = (Path(__file__).parents[2] / "docs" / "deploy" / "datacenters.md").read_text()
PATH = "host1.cpu.user"
STEP = 10


def commands(section):
    """The arguments of each rabbitmqctl of a section."""
    text = DOCUMENT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    block = "\n".join(line for line in text.split("\n") if line.startswith("    ")).replace("\\\n", "")
    words = shlex.split(
        re.sub(r"<<'END'.*?END\n", "\n", block, flags=re.DOTALL).replace("\n    rabbitmq", "\n; rabbitmq")
    )
    found = [[]]
    for word in words:
        if word == ";":
            found.append([])
        else:
            found[-1].append(word)
    return [command[1:] for command in found if command and command[0] == "rabbitmqctl"]


class Line:
    """A line to a port of loopback that can be cut: nothing answers, what was connected is closed."""

    def __init__(self, port):
        self.port = free_port()
        self._to = port
        self._threads = []
        self.mend()

    def mend(self):
        self._whole = True
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._server.settimeout(0.1)
        self._start(self._accept)

    def cut(self):
        self._whole = False
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _start(self, *call):
        self._threads.append(threading.Thread(target=call[0], args=call[1:]))
        self._threads[-1].start()

    def _accept(self):
        with self._server:
            while self._whole:
                with contextlib.suppress(TimeoutError):
                    self._start(self._carry, self._server.accept()[0])

    def _carry(self, here):
        with contextlib.suppress(OSError), here, socket.create_connection(("127.0.0.1", self._to)) as there:
            while self._whole:
                for source in select.select([here, there], [], [], 0.1)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (there if source is here else here).sendall(data)


class Datacenter:
    """A broker, a store that owns everything, and a producer."""

    def __init__(self, name, broker, daemon, directory):
        self.name, self.broker = name, broker
        self.line = Line(broker.port)
        self._sent = 0
        (directory / f"{name}.cluster.toml").write_text(
            f'map = "{name}.map"\nreplication = 1\n[amqp]\nurl = "{broker.url}"\n[[nodes]]\nname = "{name}1"\n'
        )
        self.ingestd("cluster", "apply", "--config", str(directory / f"{name}.cluster.toml"))
        (directory / f"{name}.toml").write_text(f'[amqp]\nurl = "{broker.url}"\nheartbeat = 2\nretry = 1.0\n')
        self.store = daemon("--config", str(directory / f"{name}.toml"), "--node", f"{name}1", directory=name)

    @staticmethod
    def ingestd(*arguments):
        subprocess.run([sys.executable, "-m", "ingestd.cli", *arguments], check=True, timeout=120)

    @property
    def url(self):
        """Its broker, by the line from the other datacenter."""
        return f"amqp://guest:guest@127.0.0.1:{self.line.port}/%2f"

    def publish(self, start, slots):
        """A batch with a point for each of the slots, confirmed."""
        partition = partition_of(PATH, 1)

        async def run():
            async with await aio_pika.connect(self.broker.url) as connection:
                exchange = await (await connection.channel()).get_exchange(topology.EXCHANGE)
                for slot in slots:
                    times, values = np.array([start + slot * STEP]), np.array([float(slot)])
                    body = encode_batch(
                        self.name.encode(), self._sent, partition, [PATH.encode()], np.array([0]), times, values
                    )
                    self._sent += 1
                    message = aio_pika.Message(body, content_type=topology.CONTENT_TYPE, delivery_mode=2)
                    await exchange.publish(message, topology.routing_key(partition))

        asyncio.run(run())

    def stored(self):
        return self.store.ledger["listeners"]["amqp"]["stored"]

    def values(self, start):
        """{slot: value} of what the store answers."""
        end = start + 100 * STEP
        points = self.store.render(PATH, start=start - 1, end=end, now=end).get(PATH, [])
        return {(stamp - start) // STEP: value for value, stamp in points if value is not None}


@pytest.fixture
def datacenters(brokers, daemon, tmp_path):
    """(A, B), not joined yet."""
    plugins = ("rabbitmq_federation", "rabbitmq_shovel")
    made = [Datacenter(name, brokers(plugins=plugins), daemon, tmp_path) for name in ("a", "b")]
    yield made
    for one in made:
        one.line.cut()


def of_slots(*ranges):
    return {slot: float(slot) for each in ranges for slot in each}


def test_federation_brings_everything_to_both_once_and_outlives_the_line(datacenters, wait_until):
    a, b = datacenters
    for here, there in ((a, b), (b, a)):
        for kind, *arguments in commands("Federation"):
            if kind == "set_parameter":
                upstream = json.loads(arguments[-1])
                assert upstream["max-hops"] == 1
                arguments[-1] = json.dumps(upstream | {"uri": there.url, "reconnect-delay": 1})
            here.broker.ctl(kind, *arguments)
    for one in datacenters:
        wait_until(lambda one=one: "running" in one.broker.ctl("federation_status"), "the federation")
        listed = one.broker.ctl("list_queues", "name", "policy")
        assert re.search(r"^federation: ingestd.*\tingestd-wan$", listed, re.MULTILINE), listed

    start = int(time.time()) // STEP * STEP - 100 * STEP
    a.publish(start, range(10))
    b.publish(start, range(10, 20))
    for one in datacenters:
        wait_until(lambda one=one: one.stored() == 20, "what both took")
        assert one.values(start) == of_slots(range(20))
        assert one.store.status()["amqp"]["duplicates"] == 0  # nothing came back round

    for one in datacenters:
        one.line.cut()
    a.publish(start, range(20, 30))
    b.publish(start, range(30, 40))
    for one, own in ((a, range(20, 30)), (b, range(30, 40))):
        wait_until(lambda one=one: one.stored() == 30, "what its own relays bring")
        assert one.values(start) == of_slots(range(20), own)
    for one in datacenters:
        one.line.mend()
    for one in datacenters:
        wait_until(lambda one=one: one.stored() == 40, "what the other one took meanwhile")
        assert one.values(start) == of_slots(range(40))
        one.store.settled(40)


def test_what_is_shovelled_twice_is_stored_once(datacenters, wait_until, tmp_path):
    a, b = datacenters
    script = re.search(r"<<'END'\n(.*?)    END\n", DOCUMENT, re.DOTALL)[1].replace("\n    ", "\n").removeprefix("    ")
    definitions = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for name in ("to-b", "again"):
        for kind, *arguments in commands("Shovel"):
            if kind == "import_definitions":
                (tmp_path / f"{name}.json").write_text(definitions.replace("to-b", name))
                arguments[0] = str(tmp_path / f"{name}.json")
            else:
                shovel = json.loads(arguments[-1].replace("to-b", name))
                arguments[1] = name
                arguments[-1] = json.dumps(shovel | {"dest-uri": b.url, "reconnect-delay": 1})
            a.broker.ctl(kind, *arguments)
    wait_until(lambda: a.broker.ctl("shovel_status").count("running") == 2, "both shovels")

    start = int(time.time()) // STEP * STEP - 100 * STEP
    a.publish(start, range(20))
    wait_until(lambda: b.store.status()["amqp"]["acknowledged"] >= 40, "both copies")
    assert b.store.status()["amqp"]["duplicates"] == 20
    assert b.store.settled(20)["received"] == 20
    assert a.values(start) == b.values(start) == of_slots(range(20))
