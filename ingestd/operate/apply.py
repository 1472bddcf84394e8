"""From one map to the next: broker and file, in an order in which no point misses its owners.

1. Queues and bindings of the next map, beside those of the last: from now on both kinds of owners get everything.
2. What is to be unbound afterwards is noted beside the map, so that the next run ends what a killed one began.
3. The map's file: queries read by the next map.
4. Bindings that it does not have go.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ingestd.cluster.map import Map, MapError
from ingestd.cluster.map_file import held_map, read_map, replace_file, write_map
from ingestd.cluster.placement import plan, settle
from ingestd.operate.broker import Operator, connected
from ingestd.operate.settings import Cluster

Bindings = dict[str, set[int]]


@dataclass(slots=True)
class Applied:
    """What was done."""

    before: Map | None
    after: Map
    dropped: list[str] = field(default_factory=list)
    """Nodes whose queues are gone."""
    left: list[str] = field(default_factory=list)
    """Sentences about queues that nobody owns any more and that are not empty."""


async def apply(settings: Cluster, lost: Collection[str] = ()) -> Applied:
    """Bring the cluster to what the settings want. Raises MapError, BrokerError, ConfigError."""
    with held_map(settings.map):
        before = read_map(settings.map)
        return await _switch(settings, before, plan(before, settings.wanted(), lost))


async def settle_moves(settings: Cluster, partitions: Collection[int] | None = None) -> Applied:
    """End moves (of all partitions if None): their new owners have the whole history. Raises as :func:`apply`."""
    with held_map(settings.map):
        before = read_map(settings.map)
        if before is None:
            raise MapError(f"{settings.map}: there is no map yet")
        return await _switch(settings, before, settle(before, partitions))


async def _switch(settings: Cluster, before: Map | None, after: Map) -> Applied:
    wanted = after.bindings()
    unwanted = _merged(_noted(settings.map), before.bindings() if before else {})
    gone = unwanted.keys() - wanted.keys()
    unwanted = {name: rest for name, bound in unwanted.items() if (rest := bound - wanted.get(name, set()))}
    applied = Applied(before, after)
    async with connected(settings.amqp, settings.timeout) as broker:
        await broker.declare(list(wanted))
        await broker.bind(wanted)
        if unwanted:
            _note(settings.map, unwanted)
        if after is not before:
            write_map(settings.map, after)
        await broker.unbind(unwanted)
        await _drop(broker, gone, applied)
    _notes(settings.map).unlink(missing_ok=True)
    return applied


async def _drop(broker: Operator, names: Collection[str], applied: Applied) -> None:
    for name in sorted(names):
        depth = await broker.drop(name)
        if depth is None:
            applied.dropped.append(name)
        else:
            applied.left.append(
                f"queue {broker.queue(name)} stays, unbound: {depth.ready} messages, {depth.consumers} consumers"
            )


def _merged(some: Bindings, others: Bindings) -> Bindings:
    return {name: some.get(name, set()) | others.get(name, set()) for name in some.keys() | others.keys()}


def _notes(file: Path) -> Path:
    return file.with_name(file.name + ".unbinding")


def _note(file: Path, unwanted: Bindings) -> None:
    """Keep what is to be unbound. Raises MapError."""
    replace_file(_notes(file), json.dumps({name: sorted(unwanted[name]) for name in sorted(unwanted)}))


def _noted(file: Path) -> Bindings:
    """What a run that did not end had still to unbind. Raises MapError."""
    notes = _notes(file)
    try:
        return {str(name): set(map(int, partitions)) for name, partitions in json.loads(notes.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise MapError(f"{notes}: {error}") from error
