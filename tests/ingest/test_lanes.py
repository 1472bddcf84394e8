"""The way to the broker: every message that counts as stored is confirmed in the end, and none overtakes another."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.ingest import lanes as module
from ingestd.ingest.lanes import Lanes, LaneSettings, Outcome, Outgoing
from ingestd.ingest.spool import Spool
from ingestd.telemetry import Books
from tests.ingest.test_spool import Quick

SMALL = 4096
QUICK = LaneSettings(window=8, window_bytes=2000, memory=3000, patience=0.02, catch_up=1e6)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.002)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.002)
    monkeypatch.setattr(module, "LAST_PAUSE", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0.002)


class FakeBroker:
    """Answers after some turns of the loop, as ``random`` will have it."""

    def __init__(self, random: Random, trouble: float) -> None:
        self.usable = True
        self.trouble = trouble
        self.taken: dict[int, list[int]] = defaultdict(list)
        """Sequence numbers that it has, by partition, in the order of their arrival."""
        self.bodies: dict[int, bytes] = {}
        self.silent = False
        self._random = random

    def send(self, partition: int, sequence: int, body: bytes) -> asyncio.Future[Outcome]:
        return asyncio.ensure_future(self._answer(partition, sequence, body))

    async def _answer(self, partition: int, sequence: int, body: bytes) -> Outcome:
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if not self.usable:
            return Outcome.LOST
        outcome = Outcome.CONFIRMED
        if self._random.random() < self.trouble:
            outcome = self._random.choice([Outcome.LOST, Outcome.REFUSED, Outcome.RETURNED])
        if outcome is Outcome.CONFIRMED or (outcome is Outcome.LOST and self._random.random() < 0.5):
            self.taken[partition].append(sequence)
            self.bodies[sequence] = body
        await until(lambda: not self.silent)
        return outcome


class Link:
    """What one life of a relay has of the broker."""

    def __init__(self, broker: FakeBroker) -> None:
        self.alive = True
        self._broker = broker

    @property
    def usable(self) -> bool:
        return self.alive and self._broker.usable

    def send(self, partition: int, sequence: int, body: bytes) -> asyncio.Future[Outcome]:
        assert self.alive
        return self._broker.send(partition, sequence, body)


def outgoing(partition: int, sequence: int, books: Books) -> Outgoing:
    books.received += 1
    born = asyncio.get_running_loop().time()
    return Outgoing(partition, sequence, 1, ((books, 1),), b"%d" % sequence * 20, born)


def lanes_at(path: Path, broker: FakeBroker | Link, limits: LaneSettings = QUICK, limit: int = 1 << 20) -> Lanes:
    return Lanes(broker, Spool(path / "spool", Quick(), limit, SMALL), limits)


def in_order(taken: dict[int, list[int]]) -> bool:
    """Whether no message came for the first time after a later one."""
    return all(list(dict.fromkeys(numbers)) == sorted(set(numbers)) for numbers in taken.values())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("give"), st.integers(0, 3)),
        st.tuples(st.sampled_from(["turn", "wait", "down", "up", "kill"]), st.just(0)),
    ),
    max_size=60,
)


@given(steps, st.sampled_from([0.0, 0.2, 0.6]), st.integers(0, 999))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_all_that_is_stored_arrives_in_order(tmp_path_factory, given_steps, trouble, seed) -> None:
    path = tmp_path_factory.mktemp("lanes")
    asyncio.run(_run(path, given_steps, trouble, Random(seed)))


async def _run(path: Path, given_steps, trouble: float, random: Random) -> None:
    broker = FakeBroker(random, trouble)
    books = Books("test")
    link = Link(broker)
    lanes = lanes_at(path, link)
    await lanes.start()
    sequence = 0
    stored: set[int] = set()
    sent: list[Outgoing] = []
    for step, partition in given_steps:
        if step == "give":
            sent.append(outgoing(partition, sequence, books))
            lanes.give(sent[-1])
            sequence += 1
        elif step == "down":
            broker.usable = False
            lanes.lost_broker()
        elif step == "up":
            broker.usable = True
        elif step == "kill":
            # As kill -9: what is on disk stays, everything else is gone.
            link.alive = False
            for task in (lanes._ticking, lanes._writing, lanes._loading):
                if task is not None:
                    task.cancel()
            lanes._thread.shutdown()
            stored |= {message.sequence for message in sent if not message.shares}
            sent = []
            link = Link(broker)
            lanes = lanes_at(path, link)
            await lanes.start()
        else:
            await asyncio.sleep(0.004 if step == "wait" else 0)
        assert books.in_flight >= 0
    broker.usable, broker.trouble = True, 0.0
    await until(lambda: not (lanes.memory or lanes.spooled))
    stored |= {message.sequence for message in sent}
    assert all(not message.shares for message in sent)
    arrived = {number for numbers in broker.taken.values() for number in numbers}
    assert arrived >= stored
    assert all(broker.bodies[number] == b"%d" % number * 20 for number in arrived)
    assert in_order(broker.taken)
    await lanes.close(1.0)
    assert list((path / "spool").iterdir()) == []


async def test_without_a_broker_points_are_stored_in_the_spool(tmp_path: Path) -> None:
    broker = FakeBroker(Random(1), 0.0)
    broker.usable = False
    books = Books("test")
    lanes = lanes_at(tmp_path, broker)
    await lanes.start()
    for number in range(50):
        lanes.give(outgoing(number % 5, number, books))
    await asyncio.wait_for(lanes._empty.wait(), 10)
    assert books.stored == books.received == 50
    assert lanes.spooled == 50
    assert lanes.problem is None
    await lanes.close(1.0)
    again = lanes_at(tmp_path, broker)
    broker.usable = True
    await again.start()
    await until(lambda: not (again.spooled))
    assert {number for numbers in broker.taken.values() for number in numbers} == set(range(50))
    assert in_order(broker.taken)
    await again.close(1.0)


async def test_a_silent_broker_does_not_keep_points_in_memory(tmp_path: Path) -> None:
    """As one that is blocked by an alarm: what it does not confirm in a moment is spooled, and sent once."""
    broker = FakeBroker(Random(1), 0.0)
    broker.silent = True
    books = Books("test")
    lanes = lanes_at(tmp_path, broker)
    await lanes.start()
    for number in range(30):
        lanes.give(outgoing(number % 10, number, books))
    await asyncio.wait_for(lanes._empty.wait(), 10)
    assert books.stored == 30
    broker.silent = False
    await until(lambda: not (lanes.spooled))
    assert sorted(number for numbers in broker.taken.values() for number in numbers) == list(range(30))
    await lanes.close(1.0)


async def test_a_partition_that_nobody_takes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    class Picky(FakeBroker):
        async def _answer(self, partition: int, sequence: int, body: bytes) -> Outcome:
            return Outcome.RETURNED if partition == 3 else await super()._answer(partition, sequence, body)

    broker = Picky(Random(1), 0.0)
    books = Books("test")
    lanes = lanes_at(tmp_path, broker)
    await lanes.start()
    for number in range(100):
        lanes.give(outgoing(number % 5, number, books))
        await asyncio.sleep(0)
    await until(lambda: not (sum(map(len, broker.taken.values())) < 80 or books.in_flight))
    assert books.stored == 100
    assert lanes.spooled == 20
    assert lanes.counts.returned > 0
    await lanes.close(1.0)


async def test_a_full_spool_says_so_first_and_then_makes_senders_wait(tmp_path: Path) -> None:
    broker = FakeBroker(Random(1), 0.0)
    broker.usable = False
    books = Books("test")
    lanes = lanes_at(tmp_path, broker, limit=4 * SMALL)
    relieved = asyncio.Event()
    lanes.on_relief = relieved.set
    await lanes.start()
    number = 0
    while lanes.problem is None:
        lanes.give(outgoing(1, number, books))
        number += 1
        await asyncio.sleep(0.003)
    assert not lanes.saturated
    assert not lanes.full
    while not lanes.saturated:
        lanes.give(outgoing(1, number, books))
        number += 1
        await asyncio.sleep(0.003)
    assert lanes.full
    assert books.in_flight > 0
    broker.usable = True
    await asyncio.wait_for(relieved.wait(), 10)
    await until(lambda: not (lanes.spooled or lanes.memory))
    assert books.stored == books.received == number
    assert broker.taken[1] == list(range(number))
    assert lanes.problem is None
    await lanes.close(1.0)
