"""A relay and a real broker: what goes in as lines comes out as messages, whatever happens to either."""

import asyncio
import json
import secrets
import socket
import sys

import aio_pika
import pytest
from processes import PARTITIONS, PATIENCE, Relay, until

from ingestd.wire import topology
from ingestd.wire.batch import BatchLimits, parse_batch

pytestmark = pytest.mark.services

POINTS = 2000


class Queue:
    """A store's queue that nobody consumes: what a relay has published, to be looked at."""

    def __init__(self, url):
        self.url = url
        self.exchange = f"test-{secrets.token_hex(4)}"
        self.name = topology.queue_name("store", self.exchange)
        self.messages = []
        """(producer, sequence, partition, {path: [(timestamp, value)]}), in the order of their arrival."""

    async def _declare(self, partitions):
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            exchange = await channel.declare_exchange(self.exchange, topology.EXCHANGE_TYPE, durable=True)
            queue = await channel.declare_queue(self.name, durable=True, arguments={"x-queue-type": "quorum"})
            for partition in partitions:
                await queue.bind(exchange, topology.routing_key(partition))

    def declare(self, partitions=PARTITIONS):
        asyncio.run(self._declare(partitions))
        return self

    async def _take(self):
        async with await aio_pika.connect(self.url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1000)
            queue = await channel.declare_queue(self.name, passive=True)
            left = queue.declaration_result.message_count
            if not left:
                return
            async for message in queue.iterator():
                assert message.content_type == topology.CONTENT_TYPE
                assert message.delivery_mode == 2
                read = parse_batch(message.body, {}, 0, BatchLimits())
                assert not read.rejected
                assert message.routing_key == str(read.partition)
                assert message.message_id == f"{read.producer.decode()}:{read.sequence}"
                points = {}
                times, values = read.batch.timestamps.tolist(), read.batch.values.tolist()
                for name in read.unknown:
                    points.setdefault(name.path, []).append((times[name.row], values[name.row]))
                self.messages.append((read.producer, read.sequence, read.partition, points))
                left -= 1
                if left % 500 == 0:
                    await message.ack(multiple=True)
                if left == 0:
                    break

    def take(self):
        """Take all messages that there are; all points, each message counted once."""
        asyncio.run(self._take())
        return self.points

    @property
    def points(self):
        found = {}
        for *_, points in {message[:2]: message for message in self.messages}.values():
            for path, rows in points.items():
                found.setdefault(path, []).extend(rows)
        return found


def lines(first, n, series=50):
    """``n`` points of ``series`` series, each with a value of its own."""
    return b"".join(
        b"host%d.cpu.user %d %d\n" % (number % series, number, 1_700_000_000 + number)
        for number in range(first, first + n)
    )


def expected(n, series=50):
    found = {}
    for number in range(n):
        found.setdefault(f"host{number % series}.cpu.user", []).append((1_700_000_000 + number, float(number)))
    return found


@pytest.fixture
def own_broker(brokers):
    """A broker that this test may stop."""
    return brokers()


@pytest.fixture
def relay(tmp_path):
    """A factory of relays."""
    made = []

    def make(queue, *options, directory="relay", **table):
        config = tmp_path / f"{directory}.toml"
        table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
        config.write_text(
            f'[amqp]\nurl = ["amqp://guest:guest@127.0.0.1:1/", "{queue.url}"]\nretry = 1\n'
            f'exchange = "{queue.exchange}"\nheartbeat = 1\n[relay]\n{table}\n'
            '[limits]\nin_flight = "1 MiB"\n'
        )
        made.append(Relay(tmp_path / directory, "--config", str(config), *options))
        return made[-1].start()

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


def connected(relay):
    until(lambda: relay.status()["broker"]["connected"], "the relay to connect")
    return relay


def test_lines_come_out_once(relay, broker):
    queue = Queue(broker.url).declare()
    one = connected(relay(queue))
    assert one.get("/health", decode=False)[0] == 200
    for first in range(0, POINTS, 500):
        one.send(lines(first, 500))
    ledger = one.settled(POINTS)
    assert ledger["stored"] == POINTS
    assert queue.take() == expected(POINTS)
    assert len({message[:2] for message in queue.messages}) == len(queue.messages)
    assert one.relay["spool_messages"] == 0
    assert "ingestd_relay_confirmed" in one.get("/metrics", decode=False)[1]
    assert one.get("/render", decode=False)[0] == 404
    assert one.stop() == 0
    assert not (one.directory / "listeners.json").exists()


def test_sigterm_sends_what_was_read(relay, broker):
    queue = Queue(broker.url).declare()
    one = connected(relay(queue, linger=5, linger_max=10))
    one.send(lines(0, POINTS))
    assert one.stop() == 0
    assert queue.take() == expected(POINTS)


def test_without_a_broker_the_spool_takes_all(relay, own_broker):
    queue = Queue(own_broker.url).declare()
    one = connected(relay(queue))
    one.send(lines(0, 500))
    one.settled(500)
    own_broker.stop()
    one.send(lines(500, 500))
    assert one.settled(1000)["stored"] == 1000
    assert one.relay["spool_messages"] > 0
    assert one.get("/health", decode=False)[0] == 200
    one.kill()
    again = relay(queue)
    again.send(lines(1000, 1000))
    again.settled(1000)
    own_broker.start()
    until(lambda: again.relay["spool_messages"] == 0, "the spool to be sent")
    found = queue.take()
    assert found == expected(POINTS)
    assert len({message[0] for message in queue.messages}) == 1


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_broker_goes_and_comes_while_points_arrive(relay, own_broker, how):
    queue = Queue(own_broker.url).declare()
    one = connected(relay(queue))
    sent = 0
    for turn in range(20):
        if turn == 5:
            getattr(own_broker, how)()
        if turn == 10:
            own_broker.start()
        one.send(lines(sent, 200))
        sent += 200
    one.settled(sent)
    until(lambda: one.relay["spool_messages"] == 0 and one.relay["in_flight"] == 0, "all to be confirmed")
    assert queue.take() == expected(sent)


def test_a_broker_that_is_short_of_memory_blocks_and_nothing_is_lost(relay, own_broker):
    queue = Queue(own_broker.url).declare()
    one = connected(relay(queue, patience=0.5))
    own_broker.ctl("set_vm_memory_high_watermark", "0.0000001")
    # A broker blocks those who publish.
    one.send(lines(0, 500))
    until(lambda: one.status()["broker"]["blocked"], "the broker to say that it blocks")
    one.send(lines(500, 500))
    assert one.settled(1000)["stored"] == 1000
    assert one.relay["spool_messages"] > 0
    own_broker.ctl("set_vm_memory_high_watermark", "0.8")
    until(lambda: one.relay["spool_messages"] == 0, "the spool to be sent")
    until(lambda: not one.status()["broker"]["blocked"], "the broker to take messages again")
    assert queue.take() == expected(1000)


def test_kill_of_the_relay_loses_nothing_that_it_called_stored(relay, broker):
    queue = Queue(broker.url).declare()
    sent = 0
    stored = 0
    for _ in range(4):
        one = relay(queue)
        for _ in range(5):
            one.send(lines(sent, 200))
            sent += 200
        stored += one.ledger["stored"]
        one.kill()
    last = relay(queue)
    until(lambda: last.status()["broker"]["connected"] and last.relay["spool_messages"] == 0, "the spool to be sent")
    found = queue.take()
    assert sum(map(len, found.values())) >= stored
    everything = expected(sent)
    assert all(set(rows) <= set(everything[path]) for path, rows in found.items())
    assert len({message[0] for message in queue.messages}) == 1


def test_a_partition_without_a_queue_waits_in_the_spool(relay, broker):
    queue = Queue(broker.url).declare(PARTITIONS[:20])
    one = connected(relay(queue))
    one.send(lines(0, POINTS))
    assert one.settled(POINTS)["stored"] == POINTS
    until(lambda: one.relay["returned"] > 0, "messages to be returned")
    queue.declare(PARTITIONS[20:])
    until(lambda: one.relay["spool_messages"] == 0, "the rest to be taken")
    assert queue.take() == expected(POINTS)


def test_a_full_spool_is_said_before_senders_have_to_wait(relay, own_broker):
    """503 while points are still taken; then the connection is no longer read; and in the end nothing is missing."""
    queue = Queue(own_broker.url).declare()
    one = connected(relay(queue, spool_limit=8 << 20))
    own_broker.stop()
    with socket.create_connection(one.address("graphite/tcp"), timeout=2) as s:
        sent = 0
        stuck = False
        while not stuck and sent < 40_000_000:
            data = lines(sent, 20_000, 20)
            left = memoryview(data)
            try:
                while left:
                    left = left[s.send(left) :]
            except TimeoutError:
                stuck = True
                assert one.get("/health", decode=False)[0] == 503
                # The rest goes when the broker is there again.
                own_broker.start()
                s.settimeout(PATIENCE)
                s.sendall(left)
            sent += 20_000
        assert stuck
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
    ledger = one.settled(sent)
    assert ledger["stored"] == sent
    until(lambda: one.relay["spool_messages"] == 0, "the spool to be sent")
    assert one.get("/health", decode=False)[0] == 200
    found = queue.take()
    assert sum(map(len, found.values())) == sent


def test_it_needs_a_broker_and_its_directory(relay, broker, tmp_path):
    import subprocess

    command = [sys.executable, "-m", "ingestd.cli", "relay", "--data", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert "amqp.url" in done.stderr
    one = relay(Queue(broker.url))
    done = subprocess.run(
        [*command[:-1], str(one.directory), "--config", str(tmp_path / "relay.toml"), "--graphite", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert "in use" in done.stderr
