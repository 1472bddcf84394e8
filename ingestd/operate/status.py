"""How a cluster is: the map beside what the broker and the nodes say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import aiohttp

from ingestd.cluster.map import Map, MapError, Node
from ingestd.cluster.map_file import read_map
from ingestd.cluster.placement import plan
from ingestd.config_types import ConfigError
from ingestd.operate.broker import Operator, connected
from ingestd.operate.settings import Broker, BrokerError, Cluster, first_line
from ingestd.wire import topology

_BODY: Final = 16 << 20
"""Bytes of an answer that are read at most."""


@dataclass(slots=True)
class NodeState:
    """A node; None where it cannot be known."""

    name: str
    zone: str
    leaving: bool
    owned: int
    """Partitions."""
    arriving: int
    """Partitions that it owns and whose history it does not have yet."""
    departing: int
    """Partitions that are read from it and that it does not own any more."""
    lag: int | None = None
    """Messages that its queue holds and that it has not been given."""
    delay: float | None = None
    """Seconds between being published and being read, of the messages that it reads now."""
    unacked: int | None = None
    """Messages that it has been given and has not stored; known to the management API."""
    consumers: int | None = None
    health: str = ""
    """What ``/health`` says; empty where no url is known."""
    version: str = ""


@dataclass(slots=True)
class PartitionState:
    """Partitions that the same nodes own. A queue is in order, so each is as far behind at a node as the node is."""

    partitions: list[int]
    owners: tuple[str, ...]
    whole: tuple[str, ...]
    """Nodes that have all of their history: the least behind of them decides how old an answer is."""
    lag: int | None = None
    """Messages, of all partitions of that node."""
    delay: float | None = None
    """Seconds."""


@dataclass(slots=True)
class ClusterState:
    """All of it. Whatever is wrong is a sentence in ``problems``; ``notes`` are what is only worth to know."""

    version: int | None = None
    replication: int | None = None
    moving: int = 0
    dead: int | None = None
    """Messages that no store could read."""
    nodes: list[NodeState] = field(default_factory=list)
    partitions: list[PartitionState] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def look(settings: Cluster, lag: int) -> ClusterState:
    """Ask the broker and all nodes; more than ``lag`` messages in a queue are a problem.

    Raises MapError, ConfigError.
    """
    found = read_map(settings.map)
    if found is None:
        raise MapError(f"{settings.map}: there is no map yet: `ingestd cluster apply` makes it")
    state = ClusterState(found.version, found.replication, len(found.moving), nodes=_states(found))
    if found.moving:
        state.notes.append(f"{len(found.moving)} partitions are moving: their old owners are read too, until settled")
    try:
        if plan(found, settings.wanted()) is not found:
            state.notes.append("cluster.toml wants another map: `ingestd cluster plan` shows it")
    except MapError as error:
        state.problems.append(f"cluster.toml: {error}")
    token = first_line(settings.token_file)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(settings.timeout)) as session:
        await asyncio.gather(
            _ask_broker(settings, found, state, lag),
            *(
                _ask_node(session, settings, one, node, token, state)
                for one, node in zip(state.nodes, found.nodes, strict=True)
            ),
        )
        if settings.amqp.management:
            await _ask_management(session, settings.amqp, found, state)
    state.partitions = _partitions(found, {one.name: one for one in state.nodes})
    state.problems.sort()
    return state


def _states(found: Map) -> list[NodeState]:
    states = {one.name: NodeState(one.name, one.zone, one.leaving, 0, 0, 0) for one in found.nodes}
    for partition, owners in enumerate(found.owners):
        have = found.complete(partition)
        for name in owners:
            states[name].owned += 1
            states[name].arriving += name not in have
        for name in set(have).difference(owners):
            states[name].departing += 1
    return list(states.values())


def _partitions(found: Map, nodes: Mapping[str, NodeState]) -> list[PartitionState]:
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
    for partition, owners in enumerate(found.owners):
        groups.setdefault((tuple(owners), tuple(found.complete(partition))), []).append(partition)
    return [
        PartitionState(
            partitions,
            owners,
            whole,
            min((lag for name in whole if (lag := nodes[name].lag) is not None), default=None),
            min((delay for name in whole if (delay := nodes[name].delay) is not None), default=None),
        )
        for (owners, whole), partitions in groups.items()
    ]


async def _ask_broker(settings: Cluster, found: Map, state: ClusterState, lag: int) -> None:
    try:
        async with asyncio.timeout(2 * settings.timeout), connected(settings.amqp, settings.timeout) as broker:
            if not await broker.has_exchange():
                state.problems.append(f"exchange {settings.amqp.exchange} is missing: `ingestd cluster apply` makes it")
            for one in state.nodes:
                await _ask_queue(broker, one, state, lag)
            dead = await broker.depth(topology.dead_name(settings.amqp.exchange))
    except TimeoutError:
        state.problems.append(f"the broker has not answered for {2 * settings.timeout:g} seconds")
        return
    except BrokerError as error:
        state.problems.append(str(error))
        return
    state.dead = dead.ready if dead else None
    if dead is None:
        state.problems.append("the queue of dead messages is missing: `ingestd cluster apply` makes it")
    elif dead.ready:
        state.problems.append(f"{dead.ready} dead messages in {topology.dead_name(settings.amqp.exchange)}")


async def _ask_queue(broker: Operator, one: NodeState, state: ClusterState, lag: int) -> None:
    depth = await broker.depth(broker.queue(one.name))
    if depth is None:
        if one.owned or one.departing:
            state.problems.append(f"queue {broker.queue(one.name)} is missing: `ingestd cluster apply` makes it")
        return
    one.lag, one.consumers = depth
    if not depth.consumers and (one.owned or one.departing):
        state.problems.append(f"node {one.name} does not consume its queue")
    if depth.ready > lag:
        state.problems.append(f"node {one.name} is {depth.ready} messages behind")


def _delay(status: Any, queue: str) -> float | None:
    """What a node says in ``/status`` of its queue; None where it says nothing of it."""
    try:
        return float(status["amqp"]["queues"][queue]["delay"])
    except (LookupError, TypeError, ValueError):
        return None


def _misplaced(status: Any) -> int:
    """Messages with series of other partitions, by ``/status`` of a node; 0 where it says nothing of it."""
    try:
        return int(status["amqp"]["misplaced"])
    except (LookupError, TypeError, ValueError):
        return 0


async def _ask_node(
    session: aiohttp.ClientSession, settings: Cluster, one: NodeState, node: Node, token: str, state: ClusterState
) -> None:
    if not node.url:
        return
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with session.get(f"{node.url}/health", headers=headers) as answer:
            one.health = (await answer.content.read(200)).decode(errors="replace").strip() or str(answer.status)
            if answer.status != 200:
                state.problems.append(f"node {one.name} is not healthy: {one.health}")
        async with session.get(f"{node.url}/status", headers=headers) as answer:
            if answer.status != 200:
                state.notes.append(f"node {one.name}: /status answers {answer.status}; token_file names a token")
                return
            body = await answer.json(content_type=None)
            one.version = str(body.get("version", "")) if isinstance(body, Mapping) else ""
            one.delay = _delay(body, topology.queue_name(one.name, settings.amqp.exchange))
            if misplaced := _misplaced(body):
                state.problems.append(
                    f"node {one.name} has got {misplaced} messages with series of other partitions, which queries do "
                    "not find: is host_nodes of every relay that of cluster.toml?"
                )
    except (aiohttp.ClientError, OSError, ValueError) as error:
        one.health = one.health or "unreachable"
        state.problems.append(f"node {one.name} does not answer at {node.url}: {error or type(error).__name__}")


async def _ask_management(session: aiohttp.ClientSession, amqp: Broker, found: Map, state: ClusterState) -> None:
    """Compare all bindings of the exchange with those of the map, and get what is on its way to each node."""
    parts = urlsplit(amqp.url[0])
    host = quote(unquote(parts.path[1:]) or "/", safe="")
    exchange = quote(amqp.exchange, safe="")
    try:
        password = first_line(amqp.password_file) or unquote(parts.password or "guest")
        auth = aiohttp.encode_basic_auth(unquote(parts.username or "guest"), password)
        bindings = await _json(session, f"{amqp.management}/api/exchanges/{host}/{exchange}/bindings/source", auth)
        there = {(str(one["destination"]), str(one["routing_key"])) for one in bindings}
        queues = await _json(session, f"{amqp.management}/api/queues/{host}", auth)
        unacked = {str(one["name"]): one.get("messages_unacknowledged") for one in queues}
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError, ConfigError) as error:
        state.problems.append(f"the management API at {amqp.management}: {error or type(error).__name__}")
        return
    for one in state.nodes:
        one.unacked = unacked.get(topology.queue_name(one.name, amqp.exchange))
    wanted = {
        (topology.queue_name(name, amqp.exchange), topology.routing_key(partition))
        for name, partitions in found.bindings().items()
        for partition in partitions
    }
    state.problems += _counted(wanted - there, "lacks {} bindings of the map: `ingestd cluster apply` makes them")
    state.problems += _counted(there - wanted, "has {} bindings that the map does not know")


def _counted(pairs: set[tuple[str, str]], text: str) -> list[str]:
    """A sentence for each queue."""
    counts: dict[str, int] = {}
    for queue, _ in pairs:
        counts[queue] = counts.get(queue, 0) + 1
    return [f"queue {queue} {text.format(count)}" for queue, count in sorted(counts.items())]


async def _json(session: aiohttp.ClientSession, url: str, auth: str) -> Any:
    async with session.get(url, headers={"Authorization": auth}) as answer:
        answer.raise_for_status()
        return await answer.json(content_type=None)
