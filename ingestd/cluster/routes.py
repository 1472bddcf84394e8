"""Which nodes a question is for: what a map says, as columns over the 1024 partitions."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import product
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd.cluster.map import Map
from ingestd.cluster.merging import NOBODY
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.partition import partition_of, partition_of_key, partitions_of

Partitions: TypeAlias = NDArray[np.bool_]
"""bool[1024]: some of the partitions."""

KEYS_MAX: Final = 1_000
"""Keys that a pattern may list for its owners alone to be asked: beyond, all nodes are."""
KNOWN_MAX: Final = 100_000
"""Paths whose partitions are remembered: 20 MB."""
_TAGGED: Final = b"_tagged."
_WILD: Final = re.compile(r"[*?[{}]")
_LIST: Final = re.compile(r"([^*?[{}]*)\{([^*?[{}]*)\}([^*?[{}]*)")
_HOST: Final = re.compile(r"host=([^~;][^;]*)")


class Routes:
    """A map, for whoever asks by it."""

    def __init__(self, found: Map) -> None:
        self.map = found
        self.host_nodes = found.host_nodes
        self.rank: dict[str, NDArray[np.uint8]] = {}
        """By node, uint8[1024]: the place of the node among those that are asked for a partition, or NOBODY.

        Those that have all of it come first, in the order of the map: what a new owner has in its coarse archives is
        made of the points that it has seen alone.
        """
        self.complete: dict[str, Partitions] = {}
        """By node: the partitions of which it has everything."""
        self._known: dict[str, int] = {}
        for partition in range(PARTITIONS):
            whole = found.complete(partition)
            rest = [name for name in found.bound(partition) if name not in whole]
            for rank, name in enumerate([*whole, *rest]):
                self._row(name)[partition] = rank
                self.complete[name][partition] = rank < len(whole)

    def _row(self, name: str) -> NDArray[np.uint8]:
        if name not in self.rank:
            self.rank[name] = np.full(PARTITIONS, NOBODY, np.uint8)
            self.complete[name] = np.zeros(PARTITIONS, np.bool_)
        return self.rank[name]

    def partitions(self, paths: Sequence[str]) -> NDArray[np.uint16]:
        """The partition of each of ``paths``, uint16[n]; they are remembered, for dashboards ask for the same ones."""
        known = self._known
        found = list(map(known.get, paths))
        if None in found:
            new = [path for path, partition in zip(paths, found, strict=True) if partition is None]
            if len(known) + len(new) > KNOWN_MAX:
                known = self._known = {}
                new = list(paths)
            known.update(zip(new, partitions_of(list(map(_plain, new)), self.host_nodes).tolist(), strict=True))
            found = [known[path] for path in paths]
        return np.array(found, np.uint16)

    def nodes(self, partitions: Partitions) -> list[str]:
        """The nodes that are asked for some of these partitions."""
        return [name for name, rank in self.rank.items() if bool((rank[partitions] != NOBODY).any())]

    def lacking(self, partitions: Partitions, answered: Collection[str]) -> Partitions:
        """Those of the partitions of which nobody who answered has everything."""
        lacking = partitions.copy()
        for name in answered:
            if name in self.complete:
                lacking &= ~self.complete[name]
        return lacking

    def of_pattern(self, pattern: str, below: bool = False) -> Partitions:
        """The partitions in which the series of a pattern can be; ``below``: those below its nodes, too."""
        pattern = pattern.replace("\\", "")
        if ";" in pattern and not pattern.startswith("_tagged."):
            return _some([partition_of(pattern, self.host_nodes)])
        parts = [part for part in pattern.split(".") if part]
        whole = self.host_nodes == 0 or len(parts) < self.host_nodes
        keys = parts if whole else parts[: self.host_nodes]
        if not parts or parts[0] == "_tagged" or (whole and below):
            return everything()
        choices = [_choices(part) for part in keys]
        count = 1
        for choice in choices:
            count *= len(choice)
        if not 0 < count <= KEYS_MAX:
            return everything()
        return _some([partition_of_key(".".join(key).encode()) for key in product(*choices)])

    def of_expressions(self, expressions: Sequence[str]) -> Partitions:
        """The partitions in which the series of tag expressions can be."""
        for expression in expressions:
            host = _HOST.fullmatch(expression)
            if host and self.host_nodes:
                return _some([partition_of_key(host[1].encode())])
        return everything()


def everything() -> Partitions:
    """All partitions."""
    return np.ones(PARTITIONS, np.bool_)


def _some(partitions: Sequence[int]) -> Partitions:
    found = np.zeros(PARTITIONS, np.bool_)
    found[list(partitions)] = True
    return found


def _choices(part: str) -> list[str]:
    """The names that a part of a pattern lists; empty where it may mean others."""
    if not _WILD.search(part):
        return [part]
    listed = _LIST.fullmatch(part)
    if listed is None:
        return []
    names = [listed[1] + name + listed[3] for name in listed[2].split(",")]
    # An empty part means nothing in between: the key is then made of other parts.
    return names if all(names) else []


def _plain(path: str) -> bytes:
    """A path as it is partitioned: a tagged one may come as it stands in the tree, as carbon's TaggedSeries.encode."""
    key = path.encode()
    if not key.startswith(_TAGGED) or b";" not in key:
        return key
    return key.split(b".", 3)[-1].replace(b"_DOT_", b".")
