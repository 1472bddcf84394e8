"""Pieces over messages: what one store says another one takes; what is no question, or does not fit, is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from ingestd.cluster.map import Node
from ingestd.cluster.messages import Kind, PeerError, decode, encode
from ingestd.cluster.placement import Wanted, plan
from ingestd.index.names import Names
from ingestd.operate.moving import Block, Task, move_tasks, repair_tasks
from ingestd.storage.journal_thread import Durability
from ingestd.storage.schema import DEFAULT
from ingestd.storage.store import Store, StoreSettings
from ingestd.transfer import Transfer

ALL = np.arange(1024, dtype=np.uint32)
NOW = 1_800_000_000
"""A whole number of blocks of ten minutes."""
KEPT = "10:2160,60:10080,600:57600"


class Registrar:
    """Makes series at once."""

    def __init__(self, store: Store, names: Names) -> None:
        self.store, self.names = store, names

    async def register(self, paths: list[str]) -> list[str]:
        fresh = [path for path in paths if self.names.get(path.encode()) is None]
        if fresh:
            self.names.add(self.store.create(fresh, NOW), fresh)
        return list(paths)


class Side:
    """A store in a running loop."""

    def __init__(self, directory: Any) -> None:
        loop = asyncio.get_running_loop()
        rules = type("Rules", (), {"schemas": lambda self, paths: [DEFAULT] * len(paths)})()
        settings = StoreSettings(durability=Durability("never"), segment_bytes=1 << 16)
        self.store = Store(directory, rules, settings, loop.call_soon_threadsafe, loop.call_later)
        self.store.open()
        self.names = Names()
        self.transfer = Transfer(self.names, self.store, Registrar(self.store, self.names), lambda: NOW)  # type: ignore[arg-type]

    async def ask(self, kind: Kind, *values: Any) -> list[Any]:
        return decode(await self.transfer.answer(encode(kind, *values)))[1]

    async def put(self, paths: list[str], values: np.ndarray) -> None:
        block = NOW // 600
        await self.ask(Kind.PLACE, KEPT, 0, block, 0, paths, values)


@pytest.fixture
async def sides(tmp_path: Any) -> Any:
    made = [Side(tmp_path / name) for name in "ab"]
    yield made
    for one in made:
        one.store.close()


async def test_pieces_are_given_in_parts_and_say_the_same_when_taken(sides: list[Side]) -> None:
    a, b = sides
    paths = [f"web{n}.load" for n in range(7)] + ["ingestd.own"]
    values = np.arange(8 * 60, dtype=np.float64).reshape(8, 60)
    values[:, 40:] = np.nan
    await a.put(paths[::-1], values)
    changed, texts, _, archives, numbers, ends = await a.ask(Kind.HELD, 1, ALL)
    assert (changed, texts) == (0, [KEPT])
    assert (0, NOW // 600, NOW + 600) in zip(archives.tolist(), numbers.tolist(), ends.tolist(), strict=True)
    block = (KEPT, 0, NOW // 600)
    more, after, seen = 1, "", []
    while more:
        more, after, some, flat = await a.ask(Kind.PIECE, 1, ALL, *block, after, 3)
        seen += some
        assert len(some) <= 3
        (taken,) = await b.ask(Kind.PLACE, *block, 0, some, flat)
        assert taken == 40 * len(some)
    assert seen == paths[:7], "a node's own series are nobody else's"
    same = [await one.ask(Kind.DIGEST, 1, ALL, *block, NOW + 600) for one in sides]
    assert same[0] == same[1]
    assert same[0][0] == 7
    assert (await a.ask(Kind.DIGEST, 1, ALL, *block, NOW))[0] == 0
    assert (await a.ask(Kind.DIGEST, 1, ALL[:0], *block, NOW + 600))[0] == 0
    await b.put([paths[0]], np.full((1, 60), 5.0))
    assert await a.ask(Kind.DIGEST, 1, ALL, *block, NOW + 400) == await b.ask(Kind.DIGEST, 1, ALL, *block, NOW + 400)
    assert await a.ask(Kind.DIGEST, 1, ALL, *block, NOW + 410) != await b.ask(Kind.DIGEST, 1, ALL, *block, NOW + 410)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ((Kind.FIND, "a"), "not a question about pieces"),
        ((Kind.HELD, -1, ALL), "less than no nodes"),
        ((Kind.PIECE, 1, ALL, "1:1", 0, 0, "", 1), "the schemas of the nodes differ"),
        ((Kind.PIECE, 1, ALL, KEPT, 3, 0, "", 1), "the schemas of the nodes differ"),
        ((Kind.PLACE, KEPT, 0, 0, 0, ["a", "a"], np.zeros(120)), "stands there twice"),
        ((Kind.PLACE, KEPT, 0, 0, 0, ["a"], np.zeros(59)), "do not fill their rows"),
    ],
)
async def test_what_is_no_question_is_refused(sides: list[Side], question: tuple[Any, ...], message: str) -> None:
    await sides[0].put(["x"], np.zeros((1, 60)))
    with pytest.raises(PeerError, match=message):
        await sides[0].ask(*question)


async def test_bytes_that_are_no_message_are_refused(sides: list[Side]) -> None:
    with pytest.raises(PeerError):
        await sides[0].transfer.answer(b"\x94\x01\x0f")


def test_who_copies_from_whom() -> None:
    nodes = tuple(Node(name) for name in "abc")
    first = plan(None, Wanted(nodes[:2], 2))
    grown = plan(first, Wanted(nodes, 2))
    tasks = move_tasks(grown)
    assert {task.target for task in tasks} == {"c"}
    assert sorted(p for task in tasks for p in task.partitions) == sorted(grown.moving)
    assert move_tasks(first) == []
    assert repair_tasks(first) == [Task("a", "b", tuple(range(1024)))]
    three = repair_tasks(plan(None, Wanted(nodes, 3)))
    assert [task[:2] for task in three] == [("a", "b"), ("b", "c"), ("c", "a")]
    assert repair_tasks(plan(None, Wanted(nodes, 1))) == []


def test_blocks_that_one_node_may_have_dropped_are_not_compared() -> None:
    block = Block(KEPT, 0, 0, 600)
    assert not block.is_over(600 + 21600 - 121)
    assert block.is_over(600 + 21600 - 120)
    assert not Block(KEPT, 1, 0, 600).is_over(600 + 21600)
