"""Replicas of partitions to nodes, so that every node has its quota and as few as possible move.

It is a flow of least cost (units of flow are replicas, costs replicas that are copied), from partitions through zones
to nodes, that begins with what is owned already. A path through it is a chain of nodes: the first gives one partition
to the second, which gives another one to the third, until one is reached that has too few. As each path is one of
least cost, so is the whole: no other assignment with these quotas copies fewer replicas (successive shortest paths:
Ahuja, Magnanti and Orlin, "Network Flows", chapter 9).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.cluster.quotas import Quotas

_FAR: Final = 1 << 30
"""Beyond all paths: of 1,000 nodes they cost at most a million."""


def assign(owned: NDArray[np.bool_], free: NDArray[np.bool_], quotas: Quotas, order: NDArray[np.integer]) -> None:
    """Change ``owned``, bool[partitions, nodes], to an assignment with these quotas that copies the fewest replicas.

    ``free`` (of the same shape) says what a node has already and need not copy; all that is owned is free. Where many
    partitions would do, the lowest of ``order`` (of the same shape) are taken: it decides which nodes share partitions.
    """
    flow = _Flow(owned, free, quotas, order)
    flow.trim()
    while path := flow.shortest():
        flow.augment(path)


class _Flow:
    """The flow so far. Replicas in a zone beyond the zone's ``least`` are extra ones, of which a partition has few."""

    def __init__(
        self, owned: NDArray[np.bool_], free: NDArray[np.bool_], quotas: Quotas, order: NDArray[np.integer]
    ) -> None:
        self._owned, self._free, self._order = owned, free, order
        self._quota = np.array(quotas.counts)
        partitions, self._nodes = owned.shape
        self._zone_of = np.zeros(self._nodes, np.intp)
        for number, zone in enumerate(quotas.zones):
            self._zone_of[list(zone.nodes)] = number
        self._same_zone = self._zone_of[:, None] == self._zone_of
        self._least = np.array([zone.least for zone in quotas.zones])
        self._most = np.array([zone.most for zone in quotas.zones])
        self._extra = sum(zone.total for zone in quotas.zones) // partitions - int(self._least.sum())

    def trim(self) -> None:
        """Take away replicas that cannot stay wherever others go: too many in a zone, or extra ones in all zones."""
        over = self._owned.sum(0) - self._quota
        present, extra = self._present()
        crowded = (present > self._most).any(1) | (extra.sum(1) > self._extra)
        for partition in np.flatnonzero(crowded).tolist():
            while len(losing := self._losing(partition)):
                # Of who has too many.
                loser = losing[np.lexsort((self._order[partition, losing], -over[losing]))[0]]
                self._owned[partition, loser] = False
                over[loser] -= 1

    def _losing(self, partition: int) -> NDArray[np.intp]:
        """The nodes of which one has to lose a partition; none if it is well placed so far."""
        present = np.bincount(self._zone_of[self._owned[partition]], minlength=len(self._least))
        bad = present > self._most
        if not bad.any():
            bad = (present > self._least) & (np.maximum(present - self._least, 0).sum() > self._extra)
        return np.flatnonzero(self._owned[partition] & bad[self._zone_of])

    def _present(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Replicas, and extra ones among them, by partition and zone."""
        zones = np.eye(len(self._least), dtype=np.int64)[self._zone_of]
        present = self._owned.astype(np.int64) @ zones
        return present, np.maximum(present - self._least, 0)

    def shortest(self) -> list[tuple[int, int, int]]:
        """Steps (giver, taker, cost) of a path of least cost, and of these of one with the fewest steps.

        It leads from a node that has too many, or from the number of nodes, which stands for replicas that are nowhere,
        to one that has too few. Empty where all have their quotas.
        """
        have = self._owned.sum(0)
        short = np.flatnonzero(have < self._quota)
        if not len(short):
            return []
        costs = self._costs()
        # Fewest steps: such a path never uses a partition twice where one use rules out the other.
        lengths = np.where(costs < _FAR, costs * (self._nodes + 2) + 1, _FAR)
        distance = np.full(self._nodes + 1, _FAR)
        distance[:-1][have > self._quota] = 0
        distance[-1] = 0
        before = np.full(self._nodes + 1, -1)
        while True:
            through = distance[:, None] + lengths
            best = through.min(0)
            better = np.flatnonzero(best < distance[:-1])
            if not len(better):
                break
            distance[better] = best[better]
            before[better] = through[:, better].argmin(0)
        path = []
        taker = int(short[distance[short].argmin()])
        while (giver := int(before[taker])) >= 0:
            path.append((giver, taker, int(costs[giver, taker])))
            taker = giver
        return path[::-1]

    def augment(self, path: list[tuple[int, int, int]]) -> None:
        """Move a partition along each step of a path; of a path of one step, as many as there are to be moved."""
        most = 1
        if len(path) == 1:
            ((giver, taker, _),) = path
            over = np.append(self._owned.sum(0) - self._quota, -_FAR)
            most = min(-over[taker], abs(over[giver]))
        chosen = [self._chosen(giver, taker, cost, most) for giver, taker, cost in path]
        for (giver, taker, _), partitions in zip(path, chosen, strict=True):
            if giver < self._nodes:
                self._owned[partitions, giver] = False
            self._owned[partitions, taker] = True

    def _chosen(self, giver: int, taker: int, cost: int, most: int) -> NDArray[np.intp]:
        """Up to ``most`` partitions that the one can give to the other at this cost."""
        present, extra = self._present()
        to = self._zone_of[taker]
        room = present[:, to] < self._most[to]
        if giver == self._nodes:
            could = room & ((present[:, to] < self._least[to]) | (extra.sum(1) < self._extra))
            price = (~self._free[:, taker]).astype(np.int64)
        else:
            source = self._zone_of[giver]
            could = self._owned[:, giver] & (source == to or (room & (extra[:, source] > 0)))
            price = self._free[:, giver].astype(np.int64) - self._free[:, taker]
        found = np.flatnonzero(could & ~self._owned[:, taker] & (price == cost))
        return found[np.argsort(self._order[found, taker], kind="stable")[:most]]

    def _costs(self) -> NDArray[np.int64]:
        """The least cost of a step from each giver (and, last, from nowhere) to each taker; _FAR where there is none.

        1 for a partition that the taker has to copy, less 1 if the giver would have had to.
        """
        present, extra = self._present()
        owned = self._owned
        leaves = owned & (extra > 0)[:, self._zone_of]
        room = ~owned & (present < self._most)[:, self._zone_of]
        costs = np.full((self._nodes + 1, self._nodes), _FAR)
        lacking = (present < self._least)[:, self._zone_of] | (extra.sum(1) < self._extra)[:, None]
        for cost, pairs in ((1, ((True, False),)), (0, ((True, True), (False, False))), (-1, ((False, True),))):
            for giver_has, taker_has in pairs:
                given, taken = self._free == giver_has, self._free == taker_has
                within = _together(owned & given, ~owned & taken)
                across = _together(leaves & given, room & taken)
                costs[:-1][np.where(self._same_zone, within, across)] = cost
        costs[-1][(room & lacking & ~self._free).any(0)] = 1
        costs[-1][(room & lacking & self._free).any(0)] = 0
        return costs


def _together(givers: NDArray[np.bool_], takers: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of bool[partitions, nodes] both: whether a giver and a taker have a partition in common."""
    # Words of bits, and no product of matrices: its threads spin for seconds where other processes have the cores.
    found = np.zeros((givers.shape[1], takers.shape[1]), np.bool_)
    for some, others in zip(_words(givers), _words(takers), strict=True):
        found |= (some[:, None] & others) != 0
    return found


def _words(marks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The partitions of each node as bits: uint64[words, nodes]."""
    filled = np.zeros((marks.shape[1], -(-len(marks) // 64) * 64), np.bool_)
    filled[:, : len(marks)] = marks.T
    return np.packbits(filled, 1).view(np.uint64).T
