"""From lines at a relay through a broker to a store: what the relay called stored is answered by the store, once."""

import asyncio
import time

import aio_pika
import pytest
from processes import PARTITIONS, Relay, until

from ingestd.wire import topology

pytestmark = pytest.mark.services

SERIES = 50
STEP = 10
START = int(time.time()) // STEP * STEP - 1200


def steps(first, n):
    """``n`` steps of all series: every point has a slot and a value of its own."""
    return b"".join(
        b"host%d.cpu.user %d %d\n" % (series, step * SERIES + series, START + step * STEP)
        for step in range(first, first + n)
        for series in range(SERIES)
    )


async def bind(url):
    """The queue of a store, bound for what is sent here."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(topology.EXCHANGE, topology.EXCHANGE_TYPE, durable=True)
        arguments = topology.queue_arguments()
        queue = await channel.declare_queue(topology.queue_name("store1"), durable=True, arguments=arguments)
        for partition in PARTITIONS:
            await queue.bind(topology.EXCHANGE, topology.routing_key(partition))


@pytest.fixture
def chain(brokers, daemon, tmp_path):
    """(broker, a factory of relays, a factory of stores); each factory goes on with what the last one left."""
    broker = brokers()
    asyncio.run(bind(broker.url))
    head = f'[amqp]\nurl = "{broker.url}"\nheartbeat = 1\nretry = 1\n'
    (tmp_path / "relay.toml").write_text(head + "[relay]\npatience = 1\n")
    (tmp_path / "store.toml").write_text(head + '[amqp.consume]\nnode = "store1"\n')
    relays = []

    def relay():
        relays.append(Relay(tmp_path / "relay", "--config", str(tmp_path / "relay.toml")))
        return relays[-1].start()

    def store():
        return daemon("--config", str(tmp_path / "store.toml"))

    yield broker, relay, store
    for one in relays:
        if one.process.poll() is None:
            one.kill()


def found(store, n):
    """{(series, step): value} of what the store answers."""
    until_ = START + n * STEP
    answer = store.render("host*.cpu.user", start=START - 1, end=until_, now=until_)
    return {
        (int(name.split(".")[0][4:]), (time - START) // STEP): value
        for name, points in answer.items()
        for value, time in points
        if value is not None
    }


def test_kills_of_all_three_lose_nothing(chain):
    broker, make_relay, make_store = chain
    relay, store = make_relay(), make_store()
    sent = []
    uncertain = set()
    for step, what in zip(range(0, 60, 10), ["relay", "store", "broker", "relay", "store", "relay"], strict=True):
        relay.send(steps(step, 8))
        relay.settled()
        relay.send(steps(step + 8, 2))
        sent += range(step, step + 10)
        match what:
            case "relay":
                # What was on its way is nobody's promise.
                uncertain |= {step + 8, step + 9}
                relay.kill()
                relay = make_relay()
            case "store":
                store.kill()
                store = make_store()
            case "broker":
                broker.kill()
                broker.start()
    relay.settled()
    until(lambda: relay.relay["spool_messages"] == 0, "the relay's spool to be sent")
    certain = [step for step in sent if step not in uncertain]
    wanted = {(series, step): float(step * SERIES + series) for step in certain for series in range(SERIES)}
    until(lambda: found(store, 60).items() >= wanted.items(), "the store to have all points")
    ledger = store.settled()
    assert not ledger["rejected"]
    everything = {(series, step): float(step * SERIES + series) for step in sent for series in range(SERIES)}
    assert found(store, 60).items() <= everything.items()
