"""`ingestd cluster` and a real broker: bound is what the map says, at every step, and no message misses an owner."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections import Counter

import aio_pika
import pytest

from ingestd.cluster.map_file import read_map
from ingestd.operate import apply as applying
from ingestd.operate.settings import load_cluster
from ingestd.wire import topology
from ingestd.wire.batch import PARTITIONS


class Cluster:
    """A cluster.toml with an exchange of its own in the shared broker."""

    def __init__(self, directory, broker):
        self.broker = broker
        self.file = directory / "cluster.toml"
        self.exchange = f"x{directory.name}"[:60]
        self.map_file = directory / "cluster.map.json"

    def write(self, *nodes, replication=2):
        text = f'replication = {replication}\n[amqp]\nurl = "{self.broker.url}"\nexchange = "{self.exchange}"\n'
        self.file.write_text(text + "".join(f'[[nodes]]\nname = "{name}"\nzone = "{zone}"\n' for name, zone in nodes))

    def run(self, *arguments, code=0):
        done = subprocess.run(
            [sys.executable, "-m", "ingestd.cli", "cluster", *arguments],
            env=os.environ | {"INGESTD_CLUSTER": str(self.file)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def map(self):
        return read_map(self.map_file)

    def bindings(self):
        """(queue, routing key) of the exchange, as the broker has them."""
        rows = self.broker.ctl("list_bindings", "source_name", "destination_name", "routing_key").splitlines()
        return Counter(tuple(row.split("\t")[1:]) for row in rows if row.split("\t")[0] == self.exchange)

    def expected(self):
        return Counter(
            (topology.queue_name(name, self.exchange), topology.routing_key(partition))
            for name, partitions in self.map.bindings().items()
            for partition in partitions
        )

    async def publish(self, channel, bodies):
        """Messages (partition, body), each confirmed and none returned."""
        exchange = await channel.get_exchange(self.exchange)
        for partition, body in bodies:
            message = aio_pika.Message(body, delivery_mode=2)
            await exchange.publish(message, topology.routing_key(partition), mandatory=True)

    async def drain(self, channel, queue):
        """All messages of a queue."""
        found = []
        queue = await channel.get_queue(queue)
        while (message := await queue.get(fail=False)) is not None:
            found.append(message.body)
            await message.ack()
        return found


@pytest.fixture
def cluster(tmp_path, broker):
    return Cluster(tmp_path, broker)


@contextlib.asynccontextmanager
async def channel_of(broker):
    async with await aio_pika.connect(broker.url) as connection, connection.channel(on_return_raises=True) as channel:
        yield channel


THREE = (("a", "x"), ("b", "y"), ("c", "z"))


async def test_applied_twice_it_is_the_same_and_each_partition_reaches_its_owners(cluster, broker):
    cluster.write(*THREE)
    assert "version none -> 1" in cluster.run("apply")
    bound, text = cluster.bindings(), cluster.map_file.read_bytes()
    assert bound == cluster.expected()
    assert "version 1: nothing changes" in cluster.run("apply")
    assert (cluster.bindings(), cluster.map_file.read_bytes()) == (bound, text)
    async with channel_of(broker) as channel:
        await cluster.publish(channel, [(p, b"%d" % p) for p in range(PARTITIONS)])
        for name in "abc":
            got = [int(body) for body in await cluster.drain(channel, f"{cluster.exchange}.{name}")]
            assert got == [p for p in range(PARTITIONS) if name in cluster.map.owners[p]]


async def test_a_node_that_comes_and_goes_costs_no_message(cluster, broker):
    cluster.write(*THREE)
    cluster.run("apply")
    steps = [("apply", (*THREE, ("d", "x"))), ("settle", None), ("apply", (*THREE[1:], ("d", "x"))), ("settle", None)]
    sent = []
    stop = asyncio.Event()

    async def publish():
        async with channel_of(broker) as channel:
            while not stop.is_set():
                number = len(sent)
                # Odd factor: all partitions in turn, far apart.
                await cluster.publish(channel, [(number * 389 % PARTITIONS, b"%d" % number)])
                sent.append(cluster.map.owners[number * 389 % PARTITIONS])

    publisher = asyncio.create_task(publish())
    for command, nodes in steps:
        if nodes is not None:
            cluster.write(*nodes)
        before = cluster.map
        await asyncio.to_thread(cluster.run, command, *(["--copied"] if command == "settle" else []))
        assert cluster.map.version == before.version + 1
        if command == "apply":
            for partition, have in cluster.map.moving.items():
                assert have == before.owners[partition]
        assert cluster.bindings() == cluster.expected()
    stop.set()
    await publisher
    async with channel_of(broker) as channel:
        got = {name: {int(m) for m in await cluster.drain(channel, f"{cluster.exchange}.{name}")} for name in "abcd"}
    assert len(sent) > 100
    # Whoever owned a partition, by the map, when its message was confirmed has the message.
    for number, owners in enumerate(sent):
        assert all(number in got[name] for name in owners), (number, owners)
    # The first node is gone, and its queue was not: it had messages.
    assert "a" not in [one.name for one in cluster.map.nodes]
    assert not [queue for queue, _ in cluster.bindings() if queue.endswith(".a")]


async def test_an_empty_queue_of_a_node_that_left_goes_and_one_with_messages_stays(cluster, broker):
    cluster.write(*THREE, ("d", "x"), ("e", "y"))
    cluster.run("apply")
    cluster.write(*THREE)
    cluster.run("apply")
    assert [one.name for one in cluster.map.nodes if one.leaving] == ["d", "e"]
    partition = next(p for p, have in cluster.map.moving.items() if "d" in have and "e" not in have)
    async with channel_of(broker) as channel:
        await cluster.publish(channel, [(partition, b"kept")])
        output = cluster.run("settle", "--copied")
        assert f"queue {cluster.exchange}.d stays, unbound: 1 messages, 0 consumers" in output
        assert "node e: its queue was empty and is gone" in output
        queues = cluster.broker.ctl("list_queues", "name").splitlines()
        assert f"{cluster.exchange}.e" not in queues
        assert await cluster.drain(channel, f"{cluster.exchange}.d") == [b"kept"]


async def test_what_a_killed_run_left_is_ended_by_the_next(cluster, broker, monkeypatch):
    cluster.write(*THREE)
    cluster.run("apply")
    cluster.write(*THREE, ("d", "x"))
    cluster.run("apply")
    settings = load_cluster(cluster.file)

    class KilledError(Exception):
        pass

    def killed(*_):
        raise KilledError

    # Before the map is switched: bindings of both, and the old map.
    with monkeypatch.context() as patched:
        patched.setattr(applying, "write_map", killed)
        with pytest.raises(KilledError):
            await applying.settle_moves(settings)
    assert cluster.map.moving
    assert not cluster.expected() - cluster.bindings()
    # After it: the new map, and bindings that are too many.
    with monkeypatch.context() as patched:
        patched.setattr(applying.Operator, "unbind", killed)
        with pytest.raises(KilledError):
            await applying.settle_moves(settings)
    assert not cluster.map.moving
    assert cluster.bindings() - cluster.expected()
    assert "nothing changes" in cluster.run("apply")
    assert cluster.bindings() == cluster.expected()
    assert sorted(one.name for one in cluster.file.parent.iterdir()) == [
        "cluster.map.json",
        "cluster.map.json.lock",
        "cluster.toml",
    ]


async def test_messages_that_nobody_can_read_end_in_the_dead_queue(cluster, broker):
    cluster.write(*THREE)
    cluster.run("apply")
    async with channel_of(broker) as channel:
        await cluster.publish(channel, [(0, b"poison")])
        owner = cluster.map.owners[0][0]
        queue = await channel.get_queue(f"{cluster.exchange}.{owner}")
        deliveries = 0
        while (message := await queue.get(fail=False)) is not None:
            deliveries += 1
            await message.reject(requeue=True)
        assert deliveries == topology.DELIVERY_LIMIT + 1
        dead = await channel.get_queue(topology.dead_name(cluster.exchange))
        message = await anext(aiter(dead.iterator(timeout=60)))
        assert message.body == b"poison"
        assert message.headers["x-first-death-reason"] == "delivery_limit"
        await message.reject(requeue=True)
    output = cluster.run("status", code=1)
    assert f"PROBLEM: 1 dead messages in {cluster.exchange}.dead" in output


async def ignore(_):
    """Takes a message and says nothing of it."""


async def test_status_says_what_is_wrong(cluster, broker):
    cluster.write(*THREE)
    cluster.run("apply")
    async with channel_of(broker) as channel:
        names = [f"{cluster.exchange}.{name}" for name in "abc"]
        queues = [await channel.get_queue(name) for name in names]
        tags = [await queue.consume(ignore) for queue in queues]
        shown = json.loads(cluster.run("status", "--json"))
        assert shown["problems"] == []
        assert [one["consumers"] for one in shown["nodes"]] == [1, 1, 1]
        assert [one["owned"] for one in shown["nodes"]] == list(cluster.map.counts().values())
        await queues[0].cancel(tags[0])
        await cluster.publish(channel, [(p, b"") for p in range(20)])
        owned = sum("a" in cluster.map.owners[p] for p in range(20))
        shown = json.loads(cluster.run("status", "--json", "--lag", "1", code=1))
        assert shown["nodes"][0]["lag"] == owned
        assert shown["problems"] == ["node a does not consume its queue", f"node a is {owned} messages behind"]
        await channel.queue_delete(names[1])
        assert f"queue {names[1]} is missing" in cluster.run("status", code=1)


async def test_a_queue_with_other_arguments_is_refused_and_nothing_changes(cluster, broker):
    cluster.write(*THREE)
    async with channel_of(broker) as channel:
        await channel.declare_queue(f"{cluster.exchange}.b", durable=True)
    assert "PRECONDITION_FAILED" in await asyncio.to_thread(cluster.run, "apply", code=1)
    assert not cluster.map_file.exists()
