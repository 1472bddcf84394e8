"""How many partitions each node is to own: by weight, as far as replicas in different zones allow.

All sums are of whole numbers and fractions, so that the same input gives the same quotas on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import NamedTuple

from ingestd.cluster.map import MapError, Node


class Zone(NamedTuple):
    """What a zone takes."""

    nodes: tuple[int, ...]
    """Its nodes, as their places in the list of nodes."""
    least: int
    """Replicas of each partition that are here always."""
    most: int
    """And that may be: ``least`` or one more."""
    total: int
    """Replicas of all partitions together."""


class Quotas(NamedTuple):
    """How many partitions each node owns, and what binds the zones."""

    zones: tuple[Zone, ...]
    counts: tuple[int, ...]
    """By node."""


def quotas_of(nodes: Sequence[Node], replication: int, partitions: int, present: Mapping[str, int]) -> Quotas:
    """The quotas of ``nodes``, all with a weight: each has its share of all replicas, rounded down or up.

    A partition's replicas are in as many zones as there are, as evenly as can be. Where that keeps a node or a zone
    from its share, it gets what it can take, and the others the rest in proportion. ``present`` says how many
    partitions each owns now: who has more is rounded up, so that quotas alone move nothing. Raises :class:`MapError`.
    """
    if len(nodes) < replication:
        raise MapError(f"replication {replication} needs {replication} nodes with a weight, and there are {len(nodes)}")
    members: dict[str, list[int]] = {}
    for place, one in enumerate(nodes):
        members.setdefault(one.zone, []).append(place)
    names = sorted(members)
    sizes = [len(members[name]) for name in names]
    level = next(k for k in range(1, replication + 1) if sum(min(size, k) for size in sizes) >= replication)
    least = [min(size, level - 1) for size in sizes]
    most = [min(size, level) for size in sizes]
    weights = [Fraction(one.weight) for one in nodes]
    owned = [present.get(one.name, 0) for one in nodes]
    totals = _rounded(
        _filled(
            [sum((weights[place] for place in members[name]), Fraction(0)) for name in names],
            [Fraction(partitions * one) for one in least],
            [Fraction(partitions * one) for one in most],
            Fraction(partitions * replication),
        ),
        [sum(owned[place] for place in members[name]) for name in names],
    )
    counts = [0] * len(nodes)
    for name, total in zip(names, totals, strict=True):
        places = members[name]
        top = [Fraction(partitions)] * len(places)
        shares = _filled([weights[place] for place in places], [Fraction(0)] * len(places), top, Fraction(total))
        for place, count in zip(places, _rounded(shares, [owned[place] for place in places]), strict=True):
            counts[place] = count
    zones = [Zone(tuple(members[name]), *bounds) for name, *bounds in zip(names, least, most, totals, strict=True)]
    return Quotas(tuple(zones), tuple(counts))


def _filled(
    weights: Sequence[Fraction], least: Sequence[Fraction], most: Sequence[Fraction], total: Fraction
) -> list[Fraction]:
    """Shares of ``total`` in proportion to ``weights``, each within its bounds: one factor for all, then the bounds."""

    def at(factor: Fraction) -> list[Fraction]:
        return [min(max(w * factor, a), b) for w, a, b in zip(weights, least, most, strict=True)]

    # The sum grows with the factor, in pieces that are straight between the factors at which a bound is met.
    bends = sorted({bound / w for w, *bounds in zip(weights, least, most, strict=True) for bound in bounds})
    low = bends[0]
    for high in bends:
        if sum(at(high)) >= total:
            break
        low = high
    bottom, top = sum(at(low)), sum(at(high))
    factor = high if top == bottom else low + (high - low) * (total - bottom) / (top - bottom)
    return at(factor)


def _rounded(shares: Sequence[Fraction], owned: Sequence[int]) -> list[int]:
    """Whole numbers of the same sum, each rounded down or up: up first where more is owned, then the larger rests."""
    down = [floor(share) for share in shares]
    rests = [share - low for share, low in zip(shares, down, strict=True)]
    left = int(sum(rests))
    order = sorted(
        (place for place, rest in enumerate(rests) if rest),
        key=lambda place: (owned[place] <= down[place], -rests[place], place),
    )
    for place in order[:left]:
        down[place] += 1
    return down
