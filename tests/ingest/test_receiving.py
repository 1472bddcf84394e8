"""What a receiver of messages promises, with a broker, a store and crashes made up: nothing lost, batches once."""

import asyncio
from collections import Counter, deque
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.ingest.bodies import Bodies, BodyLimits
from ingestd.ingest.receiving import Receiver
from ingestd.ingest.subscription import Orphans, QueueSettings, Subscription
from ingestd.points import Parsed
from ingestd.storage.files import Files
from ingestd.storage.marks import Marks
from ingestd.telemetry import Books
from ingestd.wire import topology
from ingestd.wire.batch import encode_batch
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.collectd_text import CollectdTexts
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.seal import Security
from ingestd.wire.typesdb import builtin_types

NOW = 1_700_000_000


class Disk:
    """What outlives a crash: the points that were synced, and the file of marks."""

    def __init__(self, path):
        self.path: Path = path
        self.synced = []


class World:
    """A receiver of one life of the process, its store and its channel; the queue belongs to the test."""

    def __init__(self, disk, queue, dead):
        self.disk = disk
        self.queue = queue
        self.accepted = []
        self.syncs = []
        self.saturated = False
        self.wall = lambda: float(NOW)
        self.sources = SimpleNamespace(nobody=None)
        self.marks = Marks(Files(), disk.path)
        texts = CollectdTexts(CollectdParser(builtin_types(), NamingOptions(), Security()))
        bodies = Bodies(dict, lambda: float(NOW), texts, BodyLimits(message=10_000))
        self.receiver = Receiver(self, Books("amqp"), bodies, self.marks, self.settled, dead, 0.0, 3)
        self.one = None
        self.tags = 0
        self.out = {}
        self.task = asyncio.get_running_loop().create_task(self.receiver.run())

    # As the pipeline and the store.
    def accept(self, books, parts):
        for parsed, _ in parts:
            assert isinstance(parsed, Parsed)
            self.accepted += [(new.path, stamp, value) for new, stamp, value in rows(parsed)]

    def settled(self):
        future = Future()
        self.syncs.append((len(self.accepted), future))
        return future

    def sync(self):
        """The disk has all that was accepted when this was asked for."""
        if self.syncs:
            count, future = self.syncs.pop(0)
            self.disk.synced += self.accepted[:count]
            del self.accepted[:count]
            self.syncs = [(max(0, n - count), f) for n, f in self.syncs]
            future.set_result(None)

    # As the broker.
    def connect(self):
        self.tags, self.out = 0, {}
        channel = SimpleNamespace(basic_ack=self.ack)
        self.one = Subscription(QueueSettings("q"), channel)
        self.receiver.open(self.one)

    async def ack(self, tag, *, multiple, wait):
        assert multiple
        assert tag in self.out
        for number in [number for number in self.out if number <= tag]:
            del self.out[number]

    async def deliver(self):
        if self.queue and self.one is not None:
            body, content_type, again = self.queue.popleft()
            self.tags += 1
            self.out[self.tags] = body, content_type
            await self.receiver.deliver(self.one, message(self.tags, body, content_type, again))

    def lose_channel(self):
        """What is not acknowledged comes again, before all else."""
        if self.one is not None:
            self.receiver.close(self.one)
            self.queue.extendleft(reversed([(body, form, True) for body, form in self.out.values()]))
            self.one, self.out = None, {}

    async def crash(self):
        self.lose_channel()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.marks.close()


class Dead:
    """The exchange of dead messages."""

    def __init__(self):
        self.kept = []
        self.open = asyncio.Event()
        self.open.set()

    async def publish(self, message, queue, reason):
        await self.open.wait()
        self.kept.append((message.body, reason))


def rows(parsed):
    return zip(parsed.unknown, parsed.batch.timestamps.tolist(), parsed.batch.values.tolist(), strict=True)


def message(tag, body, content_type, again, published=None):
    properties = SimpleNamespace(content_type=content_type, timestamp=published)
    return SimpleNamespace(
        body=body,
        header=SimpleNamespace(properties=properties),
        delivery=SimpleNamespace(delivery_tag=tag, redelivered=again),
        routing_key="q",
        exchange="",
    )


def batch(producer, number):
    columns = np.array([0]), np.array([NOW - number]), np.array([float(number)])
    return encode_batch(producer, number, 0, [b"b." + producer], *columns)


BODIES = (
    [(batch(producer, number), topology.CONTENT_TYPE) for producer in (b"p", b"q") for number in range(4)]
    + [(b"l.a%d %d %d" % (i, i, NOW), "text/graphite") for i in range(4)]
    + [(b"nonsense", "text/collectd"), (b"x", "text/html")]
)
STEPS = st.lists(
    st.sampled_from(
        ["deliver", "deliver", "deliver", "turn", "sync", "sync", "ack", "channel", "crash", "hold", "dead"]
    ),
    max_size=60,
)


async def breathe():
    for _ in range(12):
        await asyncio.sleep(0)


async def act(world, step, dead):
    """One thing that can happen in a life of the process."""
    if step == "deliver":
        await world.deliver()
    elif step == "turn":
        world.receiver._turn()
    elif step == "sync":
        world.sync()
    elif step == "ack":
        await world.one.acknowledge()
    elif step == "channel":
        world.lose_channel()
        world.connect()
    elif step == "hold":
        world.receiver.pause()
    elif step == "dead":
        (dead.open.clear if dead.open.is_set() else dead.open.set)()
    await breathe()


async def live(path, published, steps):
    """All steps, then whatever it takes until the queue is empty."""
    disk, queue, dead = Disk(path), deque((*body, False) for body in published), Dead()
    world = World(disk, queue, dead)
    world.connect()
    for step in steps:
        if step == "crash":
            await world.crash()
            world = World(disk, queue, dead)
            world.connect()
        await act(world, step, dead)
    dead.open.set()
    world.receiver.resume()
    while queue or world.out:
        for step in ("deliver", "turn", "sync", "ack"):
            await act(world, step, dead)
        await asyncio.sleep(0.001)
    assert not world.receiver._pending
    await world.crash()
    return disk, dead, "crash" in steps


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(BODIES), max_size=12), STEPS)
def test_nothing_is_lost_and_batches_are_stored_once(tmp_path_factory, published, steps):
    path = tmp_path_factory.mktemp("marks") / "marks.log"
    disk, dead, crashed = asyncio.run(live(path, published, steps))
    stored = Counter(disk.synced)
    wanted = Counter()
    for body, form in published:
        if form == topology.CONTENT_TYPE:
            number = BODIES.index((body, form))
            producer = "pq"[number // 4]
            # Published twice, it is one message of its producer all the same.
            wanted["b." + producer, NOW - number % 4, float(number % 4)] = 1
        elif form == "text/graphite":
            name, value, stamp = body.decode().split()
            wanted[name, int(stamp), float(value)] += 1
    assert set(stored) == set(wanted)
    for point, count in wanted.items():
        assert stored[point] >= count
        if not crashed:
            assert stored[point] == count
    nonsense = Counter(body for body, _ in dead.kept)
    for body, form in published:
        if form in ("text/collectd", "text/html"):
            assert nonsense[body] >= 1


def test_a_mark_that_is_on_disk_makes_a_batch_a_duplicate(tmp_path):
    """However often the process dies after the sync."""

    async def run():
        disk, queue, dead = Disk(tmp_path / "marks.log"), deque([(*BODIES[0], False)]), Dead()
        for _ in range(3):
            world = World(disk, queue, dead)
            world.connect()
            await world.deliver()
            world.receiver._turn()
            await breathe()
            world.sync()
            await breathe()
            # Marked, not acknowledged.
            assert world.out
            await world.crash()
        return disk.synced

    assert len(asyncio.run(run())) == 1


def test_the_delay_is_that_of_what_is_read_or_waits():
    one = Subscription(QueueSettings("q"), None)

    def of(second):
        return message(1, b"", "", False, datetime.fromtimestamp(second, UTC))

    assert one.delay(NOW) == 0
    one.read(of(NOW - 7), NOW)
    assert one.delay(NOW + 5) == 7
    assert one.delay(NOW + 10) == 0, "a queue that has brought nothing for long is not behind"
    one.deliveries.append(of(NOW - 3))
    assert one.delay(NOW + 20) == 23, "what waits to be read goes on being late"
    one.read(of(NOW + 100), NOW + 20)
    one.read(message(1, b"", "", False), NOW + 20)
    one.deliveries.clear()
    assert one.delay(NOW + 20) == 0, "a clock ahead, and a message without a time, say nothing"


def test_orphans_are_known_once():
    orphans = Orphans()
    entries = deque(
        [SimpleNamespace(digest=(1, 2, "q"), kept=None), SimpleNamespace(digest=(3, 4, "q"), kept=object())]
    )
    orphans.add(entries)
    assert orphans.take((1, 2, "q"))
    assert not orphans.take((1, 2, "q"))
    assert not orphans.take((3, 4, "q")), "a dead message that nobody has kept is to be read again"
