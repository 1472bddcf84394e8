"""History from node to node: block by block, compared by checksums, from whoever runs ``ingestd cluster``.

A move copies what old owners have to new ones, and is settled when both say the same of every block. A repair copies
between replicas, both ways, what one of them lacks. Both can be ended at any time and run again: what is there already
is not copied twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import numpy as np

from ingestd.cluster.map import Map, MapError, Names
from ingestd.cluster.map_file import read_map
from ingestd.cluster.messages import Kind, PeerError, decode, encode
from ingestd.operate.apply import settle_moves
from ingestd.operate.broker import connected
from ingestd.operate.settings import Cluster, NodeError, first_line
from ingestd.points import Ids

_T = TypeVar("_T")

AT_ONCE: Final = 8
"""Blocks on their way between two nodes."""
ROUNDS: Final = 3
"""Copies of a block that go on differing: points come meanwhile, late ones too."""
BEHIND: Final = 120
"""Seconds before now from which slots are not compared: what a node has not consumed yet."""
_LOOK: Final = 0.5
_SERIES: Final = 1 << 20


class Block(NamedTuple):
    """A block of a node."""

    retentions: str
    archive: int
    number: int
    end: int
    """The first second after it."""

    @property
    def name(self) -> tuple[str, int, int]:
        """What both sides call it."""
        return self[:3]

    def is_over(self, now: int) -> bool:
        """Whether its archive keeps nothing of it: one node may have dropped it before the other."""
        step, slots = map(int, self.retentions.split(",")[self.archive].split(":"))
        return self.end <= now - step * slots + BEHIND


class Task(NamedTuple):
    """What one node is to have of another."""

    source: str
    target: str
    partitions: tuple[int, ...]

    def turned(self) -> Task:
        """What the other one is to have."""
        return Task(self.target, self.source, self.partitions)


@dataclass(slots=True)
class Outcome:
    """What came of a task."""

    task: Task
    points: int = 0
    """That were taken."""
    different: int = 0
    """Blocks that still differ."""
    behind: int = 0
    """Messages that the target's queue goes on holding, which it may lack."""
    changed: int = 0
    """Series whose retentions were changed once: what is kept by earlier ones is not copied."""


class Nodes:
    """The nodes of a map over HTTP. All methods raise :class:`NodeError`."""

    def __init__(self, session: aiohttp.ClientSession, found: Map, token: str) -> None:
        self._session = session
        self._map = found
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(self, name: str, kind: Kind, *values: Any) -> list[Any]:
        """The values of a node's answer."""
        url = f"{self._map.node(name).url}/cluster/pieces"
        try:
            message = encode(kind, *values)
            async with self._session.post(url, data=message, headers=self._headers) as answer:
                body = await answer.read()
                if answer.status != 200:
                    raise NodeError(f"node {name}: {answer.status}: {body[:300].decode(errors='replace').strip()}")
            return decode(body)[1]
        except (aiohttp.ClientError, OSError, PeerError) as error:
            raise NodeError(f"node {name} at {url}: {error or type(error).__name__}") from error

    async def blocks(self, task: Task) -> tuple[int, list[Block]]:
        """Series that had other retentions once, and the blocks of the source."""
        changed, texts, which, *columns = await self.ask(task.source, Kind.HELD, *self.share(task))
        rows = zip(which.tolist(), *(column.tolist() for column in columns), strict=True)
        return changed, [Block(texts[place], *numbers) for place, *numbers in rows]

    def share(self, task: Task) -> tuple[int, Ids]:
        """The first two values of a question."""
        return self._map.host_nodes, np.array(task.partitions, np.uint32)

    async def copy(self, task: Task, block: Block, over: bool) -> int:
        """Give the target what the source has of a block; how many points it took."""
        taken, after, more = 0, "", 1
        while more:
            more, after, paths, values = await self.ask(
                task.source, Kind.PIECE, *self.share(task), *block.name, after, _SERIES
            )
            if paths:
                (points,) = await self.ask(task.target, Kind.PLACE, *block.name, int(over), paths, values)
                taken += points
        return taken

    async def same(self, task: Task, block: Block, until: int) -> bool:
        """Whether both say the same of a block, up to the second ``until``."""
        asked = (Kind.DIGEST, *self.share(task), *block.name, until)
        one, other = await asyncio.gather(self.ask(task.source, *asked), self.ask(task.target, *asked))
        return one == other


def move_tasks(found: Map) -> list[Task]:
    """What new owners are to get, each partition from the first who has its whole history."""
    pairs: dict[tuple[str, str], list[int]] = {}
    for partition in sorted(found.moving):
        have = found.complete(partition)
        for name in found.owners[partition]:
            if name not in have:
                pairs.setdefault((have[0], name), []).append(partition)
    return [Task(*pair, tuple(partitions)) for pair, partitions in sorted(pairs.items())]


def repair_tasks(found: Map) -> list[Task]:
    """Each two replicas that are to have the same."""
    groups: dict[Names, list[int]] = {}
    for partition in range(len(found.owners)):
        groups.setdefault(tuple(sorted(found.complete(partition))), []).append(partition)
    return [
        Task(source, target, tuple(partitions))
        for names, partitions in sorted(groups.items())
        for source, target in _pairs(names)
    ]


def _pairs(names: Names) -> Iterator[tuple[str, str]]:
    """Neighbours are enough for all to get what any of them has; the first once more at the end."""
    if len(names) == 2:
        yield names[0], names[1]
    elif len(names) > 2:
        yield from zip(names, (*names[1:], names[0]), strict=True)


async def move(settings: Cluster, say: Callable[[str], None], wait: float) -> list[Outcome]:
    """Copy the history of what is moving, and settle the partitions of which all is there.

    New owners whose queues hold messages are waited for, ``wait`` seconds: once settled, nobody else is read.
    Raises MapError, BrokerError, ConfigError and NodeError; what was settled by then is.
    """
    found = _map(settings)
    outcomes = []
    left = {
        partition: sum(name not in found.complete(partition) for name in found.owners[partition])
        for partition in found.moving
    }
    async with _session() as session:
        nodes = Nodes(session, found, first_line(settings.token_file))
        for task in move_tasks(found):
            outcome = await _carry_out(nodes, task, move=True)
            outcomes.append(outcome)
            say(_sentence(outcome))
    behind = await _behind(settings, {one.task.target for one in outcomes if not one.different}, wait)
    for outcome in outcomes:
        outcome.behind = behind.get(outcome.task.target, 0)
        for partition in outcome.task.partitions if not (outcome.different or outcome.behind) else ():
            left[partition] -= 1
    for name, messages in behind.items():
        say(f"node {name} is {messages} messages behind: what it is to own is not settled")
    ready = [partition for partition, missing in left.items() if not missing]
    if ready:
        applied = await settle_moves(settings, ready)
        say(f"version {applied.after.version}: {len(ready)} partitions are settled")
        for line in applied.left:
            say(line)
    return outcomes


async def repair(settings: Cluster, say: Callable[[str], None]) -> list[Outcome]:
    """Give each replica what another has and it lacks. Raises MapError, ConfigError and NodeError."""
    found = _map(settings)
    outcomes = []
    async with _session() as session:
        nodes = Nodes(session, found, first_line(settings.token_file))
        for task in repair_tasks(found):
            outcomes.append(await _carry_out(nodes, task, move=False))
            say(_sentence(outcomes[-1]))
    return outcomes


async def _behind(settings: Cluster, names: set[str], wait: float) -> dict[str, int]:
    """Messages in the queues of those nodes that do not empty theirs within ``wait`` seconds. Raises BrokerError."""
    found: dict[str, int] = {}
    if not names:
        return found
    deadline = time.monotonic() + wait
    async with connected(settings.amqp, settings.timeout) as broker:
        while True:
            for name in sorted(names):
                depth = await broker.depth(broker.queue(name))
                if depth is not None and depth.ready:
                    found[name] = depth.ready
                else:
                    names.discard(name)
                    found.pop(name, None)
            if not names or time.monotonic() > deadline:
                return found
            await asyncio.sleep(_LOOK)


async def _carry_out(nodes: Nodes, task: Task, *, move: bool) -> Outcome:
    outcome = Outcome(task)
    outcome.changed, blocks = await nodes.blocks(task)
    if not move:
        blocks += (await nodes.blocks(task.turned()))[1]
    blocks = sorted(set(blocks))
    todo = blocks if move else await _differing(nodes, task, blocks)
    for _ in range(ROUNDS):
        outcome.points += await _copy(nodes, task, todo, move=move)
        todo = await _differing(nodes, task, blocks)
        if not todo:
            break
    outcome.different = len(todo)
    return outcome


async def _copy(nodes: Nodes, task: Task, blocks: list[Block], *, move: bool) -> int:
    """Copy blocks, in one direction or in both; how many points were taken."""

    async def copy(block: Block) -> int:
        taken = await nodes.copy(task, block, over=move and block.archive > 0)
        return taken if move else taken + await nodes.copy(task.turned(), block, over=False)

    points = 0
    # Finer archives first: what coarser ones have is computed from them where it can be.
    for archive in sorted({one.archive for one in blocks}):
        points += sum(await _each([one for one in blocks if one.archive == archive], copy))
    return points


async def _differing(nodes: Nodes, task: Task, blocks: list[Block]) -> list[Block]:
    """The blocks of which the two nodes do not say the same."""
    now = int(time.time())

    async def differs(block: Block) -> bool:
        return not block.is_over(now) and not await nodes.same(task, block, now - BEHIND)

    return [one for one, different in zip(blocks, await _each(blocks, differs), strict=True) if different]


async def _each(blocks: list[Block], do: Callable[[Block], Awaitable[_T]]) -> list[_T]:
    """What ``do`` gives for each block, some at a time: a node syncs what several of them brought at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(block: Block) -> _T:
        async with slots:
            return await do(block)

    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(one(block)) for block in blocks]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]


def _map(settings: Cluster) -> Map:
    found = read_map(settings.map)
    if found is None:
        raise MapError(f"{settings.map}: there is no map yet")
    if bad := [one.name for one in found.nodes if not one.url]:
        raise MapError(f"node {bad[0]} has no url")
    return found


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600, sock_connect=10))


def _sentence(outcome: Outcome) -> str:
    task = outcome.task
    text = f"{task.source} -> {task.target}, {len(task.partitions)} partitions: {outcome.points} points taken"
    if outcome.different:
        text += f"; {outcome.different} blocks still differ"
    if outcome.changed:
        text += f"; {outcome.changed} series had other retentions once, what is kept by these is not copied"
    return text
