"""Placement: the next map of a cluster, from the last one and from the nodes that are wanted.

A pure function: the same input gives the same map, on any machine. Replicas of a partition are in different zones as
far as there are zones, nodes own partitions by their weight, and no more of them move than that takes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ingestd.cluster.assignment import assign
from ingestd.cluster.map import HOST_NODES_MAX, Map, MapError, Names, Node, check_map, check_nodes
from ingestd.cluster.quotas import quotas_of
from ingestd.wire.batch import PARTITIONS

REPLICATION_MAX: Final = 16
NODES_MAX: Final = 256
"""Below four partitions of 1024 each, shares are too coarse to be even."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a cluster is to be."""

    nodes: tuple[Node, ...]
    replication: int = 2
    host_nodes: int = 1


class Moves(NamedTuple):
    """What is different between two maps for a node, in partitions."""

    owned: int
    """Now."""
    gained: int
    """Owned now and not before."""
    copied: int
    """Of these, those whose history it has to copy."""
    given: int
    """Owned before and not now."""


def plan(previous: Map | None, wanted: Wanted, lost: Collection[str] = ()) -> Map:
    """The map that has the wanted nodes: ``previous`` itself if that is as wanted already, else of the next version.

    Nodes that are no longer wanted own nothing. They stay in the map, leaving, while it takes their history to fill the
    new owners. Of ``lost`` nodes nothing is left to read: they are gone at once, and so is the history of partitions
    that nobody else had. Raises :class:`MapError`.
    """
    nodes = _checked(previous, wanted)
    if bad := set(lost) & {one.name for one in nodes}:
        raise MapError(f"node {min(bad)}: is lost, and wanted as well; a new one in its place needs a new name")
    placed = [one for one in nodes if one.weight > 0]
    complete = _complete(previous, set(lost))
    owners = _owners(previous, complete, placed, wanted.replication)
    moving = {
        partition: have
        for partition, (have, names) in enumerate(zip(complete, owners, strict=True))
        if have and not set(have).issuperset(names)
    }
    kept = {name for have in moving.values() for name in have} - {one.name for one in nodes}
    if previous is not None:
        nodes += [replace(one, leaving=True) for one in previous.nodes if one.name in kept]
    nodes.sort(key=lambda one: one.name)
    version = 1 if previous is None else previous.version
    found = check_map(Map(version, wanted.host_nodes, wanted.replication, tuple(nodes), tuple(owners), moving))
    if previous is None:
        return found
    return previous if found == previous else replace(found, version=version + 1)


def settle(previous: Map, partitions: Collection[int] | None = None) -> Map:
    """The map without what is moving: the owners of these partitions (None = of all) have their whole history.

    ``previous`` itself if none of them is moving. Raises :class:`MapError`.
    """
    settled = set(previous.moving) if partitions is None else set(partitions)
    if bad := [partition for partition in settled if not 0 <= partition < PARTITIONS]:
        raise MapError(f"partition {bad[0]}: there is none")
    moving = {partition: names for partition, names in previous.moving.items() if partition not in settled}
    if len(moving) == len(previous.moving):
        return previous
    kept = {name for names in moving.values() for name in names}
    nodes = tuple(one for one in previous.nodes if not one.leaving or one.name in kept)
    return check_map(replace(previous, version=previous.version + 1, nodes=nodes, moving=moving))


def moves(previous: Map | None, found: Map) -> dict[str, Moves]:
    """What each node of either map owns, gains and gives when the one becomes the other."""
    names = {one.name for one in found.nodes} | ({one.name for one in previous.nodes} if previous else set())
    gained, copied, given, owned = (dict.fromkeys(sorted(names), 0) for _ in range(4))
    for partition, owners in enumerate(found.owners):
        before = previous.owners[partition] if previous else ()
        have = found.complete(partition)
        for name in owners:
            owned[name] += 1
            gained[name] += name not in before
            copied[name] += name not in before and name not in have
        for name in set(before).difference(owners):
            given[name] += 1
    return {name: Moves(owned[name], gained[name], copied[name], given[name]) for name in owned}


def warnings(previous: Map | None, found: Map, lost: Collection[str] = ()) -> list[str]:
    """What whoever applies a map should know, a sentence each."""
    said = []
    zones = {one.zone for one in found.nodes if one.weight > 0 and not one.leaving}
    if 1 < len(zones) < found.replication:
        said.append(f"{len(zones)} zones for {found.replication} replicas: a zone has more than one of a partition")
    if found.replication == 1:
        said.append(
            "replication is 1: a node that is away takes its partitions with it, one that is lost their history"
        )
    gone = [partition for partition, have in enumerate(_complete(previous, set(lost))) if previous and not have]
    if gone:
        said.append(f"the history of {len(gone)} partitions is lost: no node is left that has it")
    counts = found.counts()
    total = sum(one.weight for one in found.nodes if not one.leaving)
    for one in found.nodes:
        share = PARTITIONS * found.replication * one.weight / total
        if not one.leaving and abs(counts[one.name] - share) > max(1.0, 0.1 * share):
            said.append(
                f"node {one.name} owns {counts[one.name]} partitions, by its weight {share:.0f}: zones forbid it"
            )
    if previous and (again := sum(1 for partition in previous.moving if partition in found.moving)):
        said.append(f"{again} partitions were moving already and still are")
    return said


def _checked(previous: Map | None, wanted: Wanted) -> list[Node]:
    """The wanted nodes. Raises MapError for what cannot be."""
    check_nodes(wanted.nodes)
    if not 1 <= len(wanted.nodes) <= NODES_MAX:
        raise MapError(f"a cluster has 1 to {NODES_MAX} nodes, and not {len(wanted.nodes)}")
    if not 1 <= wanted.replication <= REPLICATION_MAX:
        raise MapError(f"replication {wanted.replication} is not between 1 and {REPLICATION_MAX}")
    if not 0 <= wanted.host_nodes <= HOST_NODES_MAX:
        raise MapError(f"host_nodes {wanted.host_nodes} is not between 0 and {HOST_NODES_MAX}")
    if previous is not None and previous.host_nodes != wanted.host_nodes:
        raise MapError(
            f"host_nodes is {previous.host_nodes} in the map and {wanted.host_nodes} wanted: every series would be in "
            "another partition than its history"
        )
    return [replace(one, leaving=False) for one in wanted.nodes]


def _complete(previous: Map | None, lost: set[str]) -> list[Names]:
    """Who has all of each partition."""
    if previous is None:
        return [()] * PARTITIONS
    return [tuple(one for one in previous.complete(p) if one not in lost) for p in range(PARTITIONS)]


def _owners(previous: Map | None, complete: Sequence[Names], placed: Sequence[Node], replication: int) -> list[Names]:
    """The owners of each partition: those who stay, in their order, then new ones."""
    placed = sorted(placed, key=lambda one: one.name)
    place_of = {one.name: place for place, one in enumerate(placed)}
    owned = np.zeros((PARTITIONS, len(placed)), np.bool_)
    free = np.zeros_like(owned)
    for partition, names in enumerate(previous.owners if previous else ()):
        owned[partition, [place_of[name] for name in names if name in place_of]] = True
        free[partition, [place_of[name] for name in complete[partition] if name in place_of]] = True
    free |= owned
    order = np.array([_order(one.name) for one in placed]).T
    present = dict(zip(place_of, owned.sum(0).tolist(), strict=True))
    assign(owned, free, quotas_of(placed, replication, PARTITIONS, present), order)
    owners = []
    for partition in range(PARTITIONS):
        found = {placed[place].name for place in np.flatnonzero(owned[partition]).tolist()}
        stay = [name for name in (previous.owners[partition] if previous else ()) if name in found]
        new = sorted(found.difference(stay), key=lambda name: order[partition, place_of[name]])
        owners.append((*stay, *new))
    return owners


def _order(name: str) -> NDArray[np.int64]:
    """A number for each partition, as if drawn for this node: which partitions it takes where it may choose.

    Thus a node shares partitions with all others, and when it is away, its reads fall on all of them.
    """
    start = crc32c(name.encode())
    mixed = (np.arange(1, PARTITIONS + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(start)
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(33)).astype(np.int64)
