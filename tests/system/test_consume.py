"""Queues of a real RabbitMQ, consumed by a real daemon: every form, crashes, brokers and queues that go."""

import asyncio
import ctypes.util
import gzip
import json
import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import aio_pika
import numpy as np
import pytest

from ingestd.wire import topology
from ingestd.wire.batch import encode_batch

GOLDEN = Path(__file__).parents[1] / "golden" / "collectd"
FORMS = {
    "amqp_command.jsonl.gz": "write_graphite.norates.txt.gz",
    "amqp_json.jsonl.gz": "write_graphite.txt.gz",
    "amqp_graphite.jsonl.gz": None,
}

pytestmark = pytest.mark.services


def lines_of(name):
    return gzip.decompress((GOLDEN / name).read_bytes()).decode().splitlines()


def shifted(text, start):
    """The seconds of the capture as seconds from ``start`` on."""
    return re.sub(r"17953808(\d\d)", lambda found: str(start + int(found[1])), text)


class Broker:
    """A broker as a publisher sees it, with a queue of this test's own."""

    def __init__(self, broker):
        self.broker = broker
        self.exchange = "x" + secrets.token_hex(6)
        self.queue = self.exchange + ".raw"

    def do(self, action):
        """What ``action(channel)`` gives, a coroutine function."""

        async def run():
            connection = await aio_pika.connect(self.broker.url)
            async with connection:
                return await action(await connection.channel())

        return asyncio.run(run())

    def declare(self):
        async def action(channel):
            await channel.declare_queue(self.queue, durable=True, arguments={"x-queue-type": "quorum"})

        self.do(action)
        return self

    def publish(self, bodies, content_type, queue=None, **properties):
        """Publish to a queue and wait for the confirms."""

        async def action(channel):
            exchange = channel.default_exchange
            waiting = []
            for body in bodies:
                message = aio_pika.Message(body, content_type=content_type, delivery_mode=2, **properties)
                waiting.append(exchange.publish(message, queue or self.queue))
            await asyncio.gather(*waiting)

        self.do(action)

    def depth(self, queue=None):
        """Messages of a queue that nobody has, or -1 without it."""

        async def action(channel):
            found = await channel.declare_queue(queue or self.queue, passive=True)
            return found.declaration_result.message_count

        try:
            return self.do(action)
        except aio_pika.exceptions.ChannelNotFoundEntity:
            return -1

    def take(self, queue, count):
        """Messages of a queue, taken away."""

        async def action(channel):
            found = await channel.get_queue(queue)
            got = []
            while len(got) < count:
                message = await found.get(timeout=30, fail=False)
                if message is None:
                    await asyncio.sleep(0.1)
                    continue
                await message.ack()
                got.append(message)
            return got

        return self.do(action)

    def delete(self, queue=None):
        self.do(lambda channel: channel.queue_delete(queue or self.queue))


@pytest.fixture
def rabbit(broker):
    return Broker(broker).declare()


def settings(tmp_path, rabbit, text="", *, node="", queues=None):
    """A file of settings."""
    queues = [rabbit.queue] if queues is None else queues
    file = tmp_path / "ingestd.toml"
    file.write_text(
        f'[amqp]\nurl = "{rabbit.broker.url}"\nexchange = "{rabbit.exchange}"\nretry = 1.0\n'
        f"[amqp.consume]\nqueues = {json.dumps(queues)}\nnode = {json.dumps(node)}\n{text}"
    )
    return "--config", str(file)


def batch(producer, sequence, paths, stamp, value):
    count = len(paths)
    columns = np.arange(count), np.full(count, stamp), np.full(count, float(value))
    return encode_batch(producer, sequence, 7, paths, *columns)


def amqp(daemon):
    return daemon.status()["amqp"]


def acknowledged(daemon, count):
    """Wait until so many messages are acknowledged; the status of AMQP."""
    deadline = time.monotonic() + 60
    while amqp(daemon)["acknowledged"] < count:
        assert time.monotonic() < deadline, amqp(daemon)
        time.sleep(0.05)
    return amqp(daemon)


@pytest.mark.parametrize("name", FORMS)
def test_what_collectd_published_is_read_back(name, rabbit, daemon, tmp_path):
    start = int(time.time()) - 60
    schemas = tmp_path / "schemas.conf"
    schemas.write_text("[all]\npattern = .*\nretentions = 1s:1h\n")
    messages = [json.loads(line) for line in lines_of(name)]
    form = messages[0]["properties"]["content_type"]
    rates = "" if name == "amqp_json.jsonl.gz" else "[collectd]\nstore_rates = false\n"
    one = daemon(*settings(tmp_path, rabbit, rates), "--schemas", str(schemas))
    rabbit.publish([shifted(message["body"], start).encode() for message in messages], form, app_id="collectd")
    acknowledged(one, len(messages))
    assert one.settled()["listeners"]["amqp"]["stored"] > 2600
    assert rabbit.depth() == 0
    if FORMS[name] is None:
        return
    expected = {}
    for line in lines_of(FORMS[name]):
        path, value, stamp = line.rsplit(" ", 2)
        expected[path, int(shifted(stamp, start))] = value
    wanted = [f"lab1_example_com.{what}" for what in ("load.load.shortterm", "cpu-0.cpu-user", "memory.memory-used")]
    rendered = one.render(*wanted, start=start - 1, end=start + 40, now=start + 60)
    for path in wanted:
        points = [(stamp, value) for value, stamp in rendered[path] if value is not None]
        assert points
        for stamp, value in points:
            assert expected[path, stamp] in {f"{value:.15g}", f"{value:f}"}


def test_batches_of_producers_are_stored_once(rabbit, daemon, tmp_path):
    """A node's own queue, which the daemon declares."""
    one = daemon(*settings(tmp_path, rabbit, node="n1", queues=[]))
    queue = topology.queue_name("n1", rabbit.exchange)
    now = int(time.time())
    bodies = [batch(b"relay", i, [b"a.b", b"c.d"], now - 100 + 10 * (i % 10), i) for i in range(10)]
    while rabbit.depth(queue) < 0:
        time.sleep(0.1)
    rabbit.publish(bodies, topology.CONTENT_TYPE, queue)
    acknowledged(one, 10)
    rabbit.publish(bodies, topology.CONTENT_TYPE, queue)
    counts = acknowledged(one, 20)
    assert counts["duplicates"] == 10
    assert one.settled()["listeners"]["amqp"]["received"] == 20
    # Through a crash, too.
    one.kill()
    again = one.start()
    rabbit.publish([*bodies, batch(b"relay", 10, [b"a.b"], now, 10)], topology.CONTENT_TYPE, queue)
    counts = acknowledged(again, 11)
    assert counts["duplicates"] == 10
    assert again.settled()["listeners"]["amqp"]["received"] == 1
    found = again.render("a.b", start=now - 200, end=now + 10, now=now + 10)
    assert [v for v, _ in found["a.b"] if v is not None] == [float(v) for v in range(11)]


def test_dead_messages_have_their_reason(rabbit, daemon, tmp_path):
    one = daemon(*settings(tmp_path, rabbit))
    rabbit.publish([b"PUTVAL nonsense"], "text/collectd", headers={"mine": 1}, message_id="m7")
    rabbit.publish([b"{}"], "text/html")
    rabbit.publish([b"not a batch"], topology.CONTENT_TYPE)
    rabbit.publish([b"x" * (2 << 20)], "text/graphite")
    rabbit.publish([b"a.b 1 1700000000"], None)
    rabbit.publish([f"a.b 1 {int(time.time())}\nnonsense".encode()], "text/graphite")
    counts = acknowledged(one, 6)
    assert counts["dead"] == counts["dead_kept"] == 5
    dead = rabbit.take(topology.dead_name(rabbit.exchange), 5)
    reasons = {str(message.headers["x-ingestd-reason"]) for message in dead}
    assert reasons == {
        "malformed: not text/collectd",
        "content_type: text/html",
        "malformed: not application/vnd.ingestd.batch",
        "too_long: 2097152 bytes",
        "content_type: none",
    }
    [first] = [message for message in dead if message.message_id == "m7"]
    assert first.body == b"PUTVAL nonsense"
    assert first.content_type == "text/collectd"
    assert first.headers["mine"] == 1
    assert first.headers["x-ingestd-queue"] == first.headers["x-ingestd-routing-key"] == rabbit.queue
    assert first.headers["x-ingestd-exchange"] == ""
    books = one.settled()["listeners"]["amqp"]
    assert books["rejected"] == {"malformed": 5, "too_long": 1}
    assert books["stored"] == 1
    status, metrics = one.get("/metrics", decode=False)
    assert status == 200
    assert "ingestd_amqp_dead_total 5" in metrics


def test_a_queue_that_goes_and_comes_is_consumed_again(rabbit, daemon, tmp_path, wait_until):
    one = daemon(*settings(tmp_path, rabbit))
    line = f"a.b 1 {int(time.time())}".encode()
    rabbit.publish([line], "text/graphite")
    acknowledged(one, 1)
    rabbit.delete()
    wait_until(lambda: amqp(one)["queues"][rabbit.queue]["error"], "the cancel notice")
    assert amqp(one)["cancelled"] == 1
    assert amqp(one)["connected"]
    rabbit.declare()
    rabbit.publish([line], "text/graphite")
    acknowledged(one, 2)
    queue = amqp(one)["queues"][rabbit.queue]
    assert (queue["consumed"], queue["under_way"], queue["error"]) == (True, 0, None)


def test_a_queue_of_ones_own_is_bound_to_an_exchange_of_others(rabbit, daemon, tmp_path, wait_until):
    queue = rabbit.exchange + ".bound"
    tables = [{"name": queue, "exchange": "amq.topic", "routing_key": f"{rabbit.exchange}.#"}]
    text = "".join(
        f"[[amqp.consume.queues]]\n{key}" for key in ("\n".join(f'{k} = "{v}"' for k, v in t.items()) for t in tables)
    )
    file = tmp_path / "ingestd.toml"
    file.write_text(f'[amqp]\nurl = "{rabbit.broker.url}"\nexchange = "{rabbit.exchange}"\n{text}\n')
    one = daemon("--config", str(file))
    wait_until(lambda: amqp(one)["queues"][queue]["consumed"], "the queue to be consumed")

    async def action(channel):
        exchange = await channel.get_exchange("amq.topic")
        message = aio_pika.Message(f"a.b 1 {int(time.time())}".encode(), content_type="text/graphite; charset=x")
        await exchange.publish(message, f"{rabbit.exchange}.web01")

    rabbit.do(action)
    acknowledged(one, 1)
    assert one.settled(1)["listeners"]["amqp"]["stored"] == 1


def test_sigterm_acknowledges_what_was_read(rabbit, daemon, tmp_path):
    now = int(time.time())
    rabbit.publish([f"a.b{i} {i} {now}".encode() for i in range(2000)], "text/graphite")
    one = daemon(*settings(tmp_path, rabbit, "ack_interval = 5.0"))
    while not amqp(one)["messages"]:
        time.sleep(0.01)
    assert one.stop() == 0
    left = rabbit.depth()
    again = one.start()
    acknowledged(again, left)
    assert rabbit.depth() == 0
    assert len(again.get("/metrics/find", {"query": "a.*"})[1]) == 2000


def test_collectd_itself(rabbit, daemon, tmp_path, require, wait_until):
    """The real one's amqp plugin, from its host to a graph."""
    program = require("collectd")
    if not (ctypes.util.find_library("rabbitmq") and ctypes.util.find_library("yajl")):
        missing = "librabbitmq4 and libyajl2, which collectd's amqp plugin needs, are not installed"
        (pytest.fail if os.environ.get("INGESTD_REQUIRE_SERVICES") == "1" else pytest.skip)(missing)
    queue = rabbit.exchange + ".collectd"
    host, port = "127.0.0.1", rabbit.broker.port
    configuration = tmp_path / "collectd.conf"
    configuration.write_text(
        f'Hostname "realhost"\nFQDNLookup false\nInterval 1\nBaseDir "{tmp_path}"\nPIDFile "{tmp_path}/pid"\n'
        "LoadPlugin load\nLoadPlugin amqp\n<Plugin amqp>\n"
        + "".join(
            f'<Publish "{form}">\nHost "{host}"\nPort "{port}"\nUser "guest"\nPassword "guest"\nExchange "amq.topic"\n'
            f'RoutingKey "{rabbit.exchange}.{form}"\nFormat "{form}"\nPersistent true\nStoreRates {rates}\n{more}'
            "</Publish>\n"
            for form, rates, more in (
                ("Command", "false", ""),
                ("JSON", "false", ""),
                ("Graphite", "true", 'GraphitePrefix "lines."\n'),
            )
        )
        + "</Plugin>\n"
    )
    file = tmp_path / "ingestd.toml"
    file.write_text(
        f'[amqp]\nurl = "{rabbit.broker.url}"\nexchange = "{rabbit.exchange}"\n[[amqp.consume.queues]]\n'
        f'name = "{queue}"\nexchange = "amq.topic"\nrouting_key = "{rabbit.exchange}.*"\n'
    )
    one = daemon("--config", str(file))
    wait_until(lambda: amqp(one)["queues"][queue]["consumed"], "the queue to be consumed")
    process = subprocess.Popen([shutil.which(program) or program, "-f", "-C", str(configuration)])
    try:
        acknowledged(one, 9)
    finally:
        process.terminate()
        process.wait(30)
    now = int(time.time())
    found = one.render("realhost.load.load.*term", "lines.realhost.load.load.*term", start=now - 120, end=now, now=now)
    assert len(found) == 6
    assert all(any(v is not None for v, _ in points) for points in found.values())
    assert amqp(one)["dead"] == 0
