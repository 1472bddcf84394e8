"""The map of a cluster: which nodes own each partition, and its file (``docs/format/map.md``).

A map is a value: a change makes another one, of a higher version. Stores need none, relays neither: the broker's
bindings say the same. Queries ask by it, and ``ingestd cluster`` makes the bindings of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from crc32c import crc32c

from ingestd.wire.batch import PARTITIONS
from ingestd.wire.topology import is_node_name

FORMAT: Final = "ingestd map 1"
WEIGHT_MAX: Final = 1_000_000.0
HOST_NODES_MAX: Final = 128
_TOP: Final = frozenset(["format", "version", "host_nodes", "replication", "nodes", "owners", "moving", "checksum"])
_NODE: Final = frozenset(["name", "zone", "url", "weight", "leaving"])

Names: TypeAlias = tuple[str, ...]


class MapError(Exception):
    """A map that cannot be, or a file that is none; the message says what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Node:
    """A store of the cluster."""

    name: str
    url: str = ""
    """Where it answers HTTP: ``http://store1:8080``."""
    zone: str = ""
    """What fails together: a rack, a room, a datacenter."""
    weight: float = 1.0
    """Its share beside the others' weights; 0 = it owns nothing."""
    leaving: bool = False
    """No longer wanted, and still read until what it owned has moved."""


@dataclass(frozen=True, slots=True)
class Map:
    """Partitions to owners. ``owners[p]`` are to have all of partition p, the longest there first."""

    version: int
    host_nodes: int
    """How many nodes of a path are its key (:func:`ingestd.wire.partition.key_of`); never changes."""
    replication: int
    """Owners of each partition."""
    nodes: tuple[Node, ...]
    """By name."""
    owners: tuple[Names, ...]
    moving: Mapping[int, Names] = field(default_factory=dict)
    """Of each partition that has a new owner: those who have its whole history. They are bound and read until it is
    settled that the new owner has it too."""

    def complete(self, partition: int) -> Names:
        """The nodes that have all of a partition: one of them is enough to read."""
        return self.moving.get(partition, self.owners[partition])

    def bound(self, partition: int) -> Names:
        """The nodes whose queues get what is published for a partition, and whom a read may ask: owners, then others
        that still have its history."""
        owners = self.owners[partition]
        return owners + tuple(name for name in self.moving.get(partition, ()) if name not in owners)

    def node(self, name: str) -> Node:
        """The node of this name. Raises KeyError."""
        for one in self.nodes:
            if one.name == name:
                return one
        raise KeyError(name)

    def bindings(self) -> dict[str, set[int]]:
        """The partitions that are bound to each node's queue; of all nodes, also of those without one."""
        found: dict[str, set[int]] = {one.name: set() for one in self.nodes}
        for partition in range(len(self.owners)):
            for name in self.bound(partition):
                found[name].add(partition)
        return found

    def counts(self) -> dict[str, int]:
        """How many partitions each node owns."""
        found = {one.name: 0 for one in self.nodes}
        for names in self.owners:
            for name in names:
                found[name] += 1
        return found


def check_nodes(nodes: tuple[Node, ...]) -> None:
    """Raises :class:`MapError` for a node that cannot be, or two of one name."""
    seen: set[str] = set()
    for one in nodes:
        if not is_node_name(one.name):
            raise MapError(f"node {one.name!r}: a name has 1 to 64 letters, digits, _ . - and is not dead")
        if one.name in seen:
            raise MapError(f"node {one.name}: there are two of this name")
        if not math.isfinite(one.weight) or not 0 <= one.weight <= WEIGHT_MAX:
            raise MapError(f"node {one.name}: weight {one.weight:g} is not between 0 and {WEIGHT_MAX:g}")
        seen.add(one.name)


def check_map(found: Map) -> Map:
    """The map, if all of its parts agree. Raises :class:`MapError`."""
    check_nodes(found.nodes)
    if list(found.nodes) != sorted(found.nodes, key=lambda one: one.name):
        raise MapError("nodes are not sorted by name")
    if found.version < 1 or not 0 <= found.host_nodes <= HOST_NODES_MAX or found.replication < 1:
        raise MapError("version, host_nodes or replication out of range")
    if len(found.owners) != PARTITIONS:
        raise MapError(f"{len(found.owners)} partitions, and not {PARTITIONS}")
    names = {one.name for one in found.nodes}
    placed = {one.name for one in found.nodes if one.weight > 0 and not one.leaving}
    for partition, owners in enumerate(found.owners):
        if len(owners) != found.replication or len(set(owners)) != len(owners):
            raise MapError(f"partition {partition}: not {found.replication} different owners")
        if not placed.issuperset(owners):
            raise MapError(f"partition {partition}: an owner that is no node, is leaving or has no weight")
    for partition, old in found.moving.items():
        if not 0 <= partition < PARTITIONS:
            raise MapError(f"moving partition {partition}: there is none")
        if not old or len(set(old)) != len(old) or not names.issuperset(old):
            raise MapError(f"moving partition {partition}: its old owners are none, are no nodes or stand there twice")
    return found


def encode_map(found: Map) -> str:
    """The file of a map: JSON, a line for each node and partition, which people read and compare."""
    body = _body(found)
    body["checksum"] = _checksum(body)
    parts = []
    for key, value in body.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {_json(one)}" for one in value) + "\n ]"
        elif isinstance(value, dict) and value:
            text = "{\n" + ",\n".join(f"  {_json(name)}: {_json(one)}" for name, one in value.items()) + "\n }"
        else:
            text = _json(value)
        parts.append(f" {_json(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def decode_map(text: str) -> Map:
    """The map of a file. Raises :class:`MapError`."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MapError(f"not JSON: {error}") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise MapError(f"not a map of this format ({FORMAT})")
    if set(body) != _TOP:
        raise MapError(f"keys that are missing or unknown: {', '.join(sorted(map(str, set(body) ^ _TOP)))}")
    checksum = body.pop("checksum")
    try:
        found = _map(body)
        if _checksum(_body(found)) != checksum:
            raise MapError("wrong checksum: the file is damaged, or was changed by hand")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MapError(f"a value of another type: {error}") from None
    return check_map(found)


def _map(body: dict[str, Any]) -> Map:
    nodes = []
    for one in body["nodes"]:
        if set(one) != _NODE:
            raise ValueError("a node with keys that are missing or unknown")
        weight = float(one["weight"])
        nodes.append(Node(_text(one["name"]), _text(one["url"]), _text(one["zone"]), weight, bool(one["leaving"])))
    return Map(
        _whole(body["version"]),
        _whole(body["host_nodes"]),
        _whole(body["replication"]),
        tuple(nodes),
        tuple(tuple(map(_text, names)) for names in body["owners"]),
        {int(partition): tuple(map(_text, names)) for partition, names in body["moving"].items()},
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _body(found: Map) -> dict[str, Any]:
    nodes = [
        {"name": one.name, "zone": one.zone, "url": one.url, "weight": float(one.weight), "leaving": one.leaving}
        for one in found.nodes
    ]
    return {
        "format": FORMAT,
        "version": found.version,
        "host_nodes": found.host_nodes,
        "replication": found.replication,
        "nodes": nodes,
        "owners": list(map(list, found.owners)),
        "moving": {str(partition): list(found.moving[partition]) for partition in sorted(found.moving)},
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _checksum(body: Mapping[str, Any]) -> str:
    """CRC32C of the body as JSON without white space, keys sorted, ASCII alone."""
    return f"{crc32c(json.dumps(body, sort_keys=True, separators=(',', ':')).encode()):08x}"
