"""Kills of the daemon and of the broker while queues are consumed: nothing is lost, nothing old comes back."""

import asyncio
import random
import secrets
import threading
import time

import aio_pika
import numpy as np
import pytest

from ingestd.wire import topology
from ingestd.wire.batch import encode_batch

pytestmark = pytest.mark.services
SLOTS = 30
PATHS = [b"fault.p%d" % i for i in range(20)]


class Publisher(threading.Thread):
    """Publishes numbered batches to a node's queue, each again until it is confirmed, as a relay does.

    Batch ``i`` gives every path the value ``i`` in slot ``i % SLOTS``: what came last stays.
    """

    def __init__(self, broker, exchange, start):
        super().__init__()
        self._broker = broker
        self._queue = topology.queue_name("n1", exchange)
        self._start = start
        self._ended = threading.Event()
        self.confirmed = 0

    def run(self):
        asyncio.run(self._publish())

    def end(self):
        self._ended.set()
        self.join()

    async def _publish(self):
        while not self._ended.is_set():
            try:
                connection = await aio_pika.connect(self._broker.url)
                async with connection:
                    channel = await connection.channel()
                    while not self._ended.is_set():
                        message = aio_pika.Message(
                            self._body(self.confirmed), content_type=topology.CONTENT_TYPE, delivery_mode=2
                        )
                        await asyncio.wait_for(channel.default_exchange.publish(message, self._queue), 10)
                        self.confirmed += 1
            except (OSError, aio_pika.exceptions.AMQPError, TimeoutError, RuntimeError):
                await asyncio.sleep(0.2)

    def _body(self, number):
        count = len(PATHS)
        stamps = np.full(count, self._start + 10 * (number % SLOTS))
        return encode_batch(b"relay", number, 0, PATHS, np.arange(count), stamps, np.full(count, float(number)))

    def expected(self):
        """The value of each slot: the last batch that was confirmed for it."""
        return [float(max(range(slot, self.confirmed, SLOTS), default=-1)) for slot in range(SLOTS)]


def started(daemon, tmp_path, broker, text=""):
    exchange = "x" + secrets.token_hex(6)
    file = tmp_path / "ingestd.toml"
    file.write_text(
        f'[amqp]\nurl = "{broker.url}"\nexchange = "{exchange}"\nretry = 1.0\n[amqp.consume]\nnode = "n1"\n{text}'
    )
    return daemon("--config", str(file)), exchange


def amqp(daemon):
    return daemon.status()["amqp"]


def caught_up(daemon, publisher, wait_until):
    """All that was confirmed is stored, the last value of each slot in its place."""
    expected = publisher.expected()
    now = publisher._start + 10 * SLOTS

    def there():
        found = daemon.render("fault.p*", start=publisher._start - 1, end=now - 10, now=now)
        return len(found) == len(PATHS) and all([v for v, _ in points] == expected for points in found.values())

    wait_until(there, "the last value of each slot")
    wait_until(lambda: sum(q["under_way"] for q in amqp(daemon)["queues"].values()) == 0, "all acks")
    daemon.settled()


def consumed(daemon):
    return all(queue["consumed"] for queue in amqp(daemon)["queues"].values())


@pytest.mark.parametrize("interval", [0.05, 1.0])
def test_kills_of_the_store(interval, broker, daemon, tmp_path, wait_until, effort, figure):
    one, exchange = started(daemon, tmp_path, broker, f"ack_interval = {interval}\n")
    wait_until(lambda: consumed(one), "the queue")
    publisher = Publisher(broker, exchange, int(time.time()) // 10 * 10 - 10 * SLOTS)
    publisher.start()
    dice = random.Random(7)
    again = kills = 0
    try:
        for _ in range(effort(4, 100)):
            time.sleep(dice.uniform(0.1, 1.0))
            wait_until(lambda: amqp(one)["messages"], "messages")
            again += amqp(one)["redelivered"]
            one.kill()
            kills += 1
            one.start()
    finally:
        publisher.end()
    caught_up(one, publisher, wait_until)
    figure(f"{kills} kills, {publisher.confirmed} messages, {again + amqp(one)['redelivered']} delivered again")


def test_kills_of_the_broker(brokers, daemon, tmp_path, wait_until, effort):
    own = brokers()
    one, exchange = started(daemon, tmp_path, own)
    wait_until(lambda: consumed(one), "the queue")
    publisher = Publisher(own, exchange, int(time.time()) // 10 * 10 - 10 * SLOTS)
    publisher.start()
    try:
        for number in range(effort(2, 10)):
            before = publisher.confirmed
            wait_until(lambda before=before: publisher.confirmed > before + 20, "confirms")
            own.kill() if number % 2 else own.stop()
            wait_until(lambda: amqp(one)["connected"] is None, "the loss to be noticed")
            assert one.get("/health", decode=False)[0] == 200
            own.start()
            wait_until(lambda: consumed(one), "the queue")
    finally:
        publisher.end()
    caught_up(one, publisher, wait_until)
    assert amqp(one)["connections"] > 1
    own.close()


def test_a_broker_that_comes_later(brokers, daemon, tmp_path, wait_until):
    own = brokers()
    own.stop()
    one, exchange = started(daemon, tmp_path, own)
    assert "Connect" in amqp(one)["error"] or "refused" in amqp(one)["error"]
    own.start()
    wait_until(lambda: consumed(one), "the queue")
    publisher = Publisher(own, exchange, int(time.time()) // 10 * 10 - 10 * SLOTS)
    publisher.start()
    wait_until(lambda: publisher.confirmed > 50, "confirms")
    publisher.end()
    caught_up(one, publisher, wait_until)
    assert one.stop() == 0
    own.close()
