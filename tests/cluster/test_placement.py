"""Placement: every sequence of changes keeps replicas, zones and balance, and moves no more than it must."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.cluster.assignment import assign
from ingestd.cluster.map import Map, MapError, Node
from ingestd.cluster.placement import Wanted, moves, plan, settle, warnings
from ingestd.cluster.quotas import Quotas, quotas_of
from ingestd.wire.batch import PARTITIONS


def nodes_of(count: int, zones: int = 1, weight: float = 1.0) -> tuple[Node, ...]:
    return tuple(Node(f"n{n}", f"http://n{n}:8080", f"z{n % zones}", weight) for n in range(count))


def gained(before: Map, after: Map) -> int:
    return sum(one.gained for one in moves(before, after).values())


def needed(before: Map, after: Map) -> int:
    """Replicas that must move for the counts alone to become what they are."""
    counts = before.counts()
    return sum(max(0, count - counts.get(name, 0)) for name, count in after.counts().items())


def zones_of(found: Map, partition: int) -> Counter[str]:
    return Counter(found.node(name).zone for name in found.owners[partition])


_NODES = st.dictionaries(
    st.sampled_from([f"n{n}" for n in range(7)]),
    st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 1.0, 1.0, 1.0, 2.0, 10.0])),
    min_size=1,
    max_size=7,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(_NODES, st.integers(1, 3), st.booleans()), min_size=1, max_size=4))
def test_every_sequence_of_changes_keeps_what_a_map_promises(
    steps: list[tuple[dict[str, tuple[str, float]], int, bool]],
) -> None:
    found: Map | None = None
    for named, replication, settled in steps:
        wanted = Wanted(tuple(Node(name, "", *rest) for name, rest in named.items()), replication)
        placed = [one for one in wanted.nodes if one.weight > 0]
        if len(placed) < replication:
            with pytest.raises(MapError, match="needs"):
                plan(found, wanted)
            continue
        before, found = found, plan(found, wanted)
        assert found == plan(before, replace(wanted, nodes=wanted.nodes[::-1])), "the order of nodes counts"
        assert plan(found, wanted) is found
        _check(found, placed, replication)
        if before is not None:
            _check_step(before, found)
        if settled:
            found = settle(found)
            assert not found.moving
            assert {one.name for one in found.nodes} == set(named)
            assert plan(found, wanted) is found


def _check(found: Map, placed: list[Node], replication: int) -> None:
    zones = {one.zone for one in placed}
    for partition, owners in enumerate(found.owners):
        assert len(set(owners)) == replication
        assert len(zones_of(found, partition)) == min(replication, len(zones))
    counts = found.counts()
    if len(zones) == 1:
        # By weight, but for nodes that would own more partitions than there are.
        rest = [one for one in placed if counts[one.name] < PARTITIONS]
        left = PARTITIONS * (replication - len(placed) + len(rest))
        weight = sum(one.weight for one in rest)
        for one in rest:
            assert abs(counts[one.name] - left * one.weight / weight) < 1
    for zone in zones:
        within = [counts[one.name] / one.weight for one in placed if one.zone == zone and counts[one.name] < PARTITIONS]
        slack = max((1 / one.weight for one in placed if one.zone == zone), default=0)
        assert not within or max(within) - min(within) <= 2 * slack


def _check_step(before: Map, found: Map) -> None:
    assert (found.version == before.version) == (found is before)
    assert gained(before, found) >= needed(before, found)
    for partition in range(PARTITIONS):
        have, owners = before.complete(partition), found.owners[partition]
        assert found.complete(partition) == (owners if set(have) >= set(owners) else have)
        assert (partition in found.moving) == (not set(have) >= set(owners))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 9), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.5, 1.0, 3.0]))
def test_a_new_node_takes_its_share_and_others_take_nothing(
    count: int, zones: int, replication: int, weight: float
) -> None:
    zones = min(zones, count)
    replication = min(replication, count)
    before = plan(None, Wanted(nodes_of(count, zones), replication))
    new = Node("new", "", "z0", weight)
    after = plan(before, Wanted((*nodes_of(count, zones), new), replication))
    assert gained(before, after) == needed(before, after)
    if zones == 1 or replication < zones:
        share = PARTITIONS * replication * weight / (count + weight)
        assert after.counts()["new"] <= min(PARTITIONS, share + 1) or zones > 1
    if zones == 1:
        assert moves(before, after).pop("new").gained == gained(before, after)


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 8), st.integers(1, 2), st.integers(0, 7))
def test_what_a_removed_node_had_is_all_that_moves(count: int, replication: int, gone: int) -> None:
    nodes = nodes_of(count)
    left = tuple(one for place, one in enumerate(nodes) if place != gone % count)
    before = plan(None, Wanted(nodes, replication))
    after = plan(before, Wanted(left, replication))
    name = nodes[gone % count].name
    for partition in range(PARTITIONS):
        if name not in before.owners[partition]:
            assert after.owners[partition] == before.owners[partition]
            assert partition not in after.moving
        else:
            assert after.moving[partition] == before.owners[partition]
    assert after.node(name).leaving
    assert name not in [one.name for one in settle(after).nodes]


def test_a_move_that_is_taken_back_copies_nothing() -> None:
    before = plan(None, Wanted(nodes_of(4), 2))
    grown = plan(before, Wanted(nodes_of(5), 2))
    back = plan(grown, Wanted(nodes_of(4), 2))
    assert sorted(map(sorted, back.owners)) == sorted(map(sorted, before.owners))
    assert not back.moving
    assert sum(one.copied for one in moves(grown, back).values()) == 0


def test_a_second_change_still_reads_who_has_the_history() -> None:
    first = plan(None, Wanted(nodes_of(3), 2))
    second = plan(first, Wanted(nodes_of(4), 2))
    third = plan(second, Wanted(nodes_of(4)[1:], 2))
    for partition in range(PARTITIONS):
        assert third.complete(partition) in (first.owners[partition], third.owners[partition])
    assert third.node("n0").leaving
    half = settle(third, list(third.moving)[:100])
    assert len(half.moving) == len(third.moving) - 100
    assert half.version == third.version + 1
    assert settle(half, []) is half


def test_a_lost_node_is_not_read_any_more() -> None:
    before = plan(None, Wanted(nodes_of(4), 2))
    after = plan(before, Wanted(nodes_of(4)[1:], 2), lost=["n0"])
    assert "n0" not in [one.name for one in after.nodes]
    for partition in range(PARTITIONS):
        assert "n0" not in after.bound(partition)
        assert (
            set(after.complete(partition)) == set(before.owners[partition]) - {"n0"}
            or "n0" not in before.owners[partition]
        )
    assert warnings(before, after, ["n0"]) == []
    alone = plan(None, Wanted(nodes_of(4), 1))
    gone = plan(alone, Wanted(nodes_of(4)[1:], 1), lost=["n0"])
    assert not gone.moving
    assert any("the history of 256 partitions is lost" in one for one in warnings(alone, gone, ["n0"]))


def test_a_lower_replication_moves_nothing() -> None:
    before = plan(None, Wanted(nodes_of(6, 3), 3))
    after = plan(before, Wanted(nodes_of(6, 3), 2))
    assert gained(before, after) == 0
    assert not after.moving


def test_a_node_shares_partitions_with_all_others() -> None:
    """So that no single other node takes all reads of one that is away."""
    found = plan(None, Wanted(nodes_of(9), 2))
    with_first = Counter(name for owners in found.owners if "n0" in owners for name in owners if name != "n0")
    assert len(with_first) == 8
    assert max(with_first.values()) < 3 * with_first.total() / 8


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted((), 1), "1 to 256 nodes"),
        (Wanted(nodes_of(2), 3), "replication 3 needs 3 nodes with a weight, and there are 2"),
        (Wanted(nodes_of(2, weight=0.0), 1), "there are 0"),
        (Wanted(nodes_of(2), 0), "replication 0 is not between"),
        (Wanted((Node("a"), Node("a"))), "two of this name"),
        (Wanted((Node("dead"),), 1), "is not dead"),
        (Wanted((Node("a", weight=-1.0),), 1), "weight -1 is not between"),
        (Wanted((Node("a", weight=float("nan")),), 1), "weight nan"),
        (Wanted(nodes_of(2), 2, 129), "host_nodes 129"),
        (Wanted(nodes_of(3), 2, 2), "host_nodes is 1 in the map and 2 wanted"),
    ],
)
def test_what_cannot_be_is_refused(wanted: Wanted, message: str) -> None:
    previous = plan(None, Wanted(nodes_of(3), 2)) if wanted.host_nodes == 2 else None
    with pytest.raises(MapError, match=message):
        plan(previous, wanted)


def test_a_lost_node_cannot_be_wanted() -> None:
    with pytest.raises(MapError, match="n1: is lost, and wanted"):
        plan(None, Wanted(nodes_of(3), 2), lost=["n1"])


def test_zones_that_forbid_shares_are_warned_of() -> None:
    found = plan(None, Wanted((Node("a", zone="x"), Node("b", zone="x"), Node("c", zone="y")), 2))
    assert found.counts() == {"a": 512, "b": 512, "c": 1024}
    assert any("node c owns 1024 partitions, by its weight 683" in one for one in warnings(None, found))
    two = plan(None, Wanted(nodes_of(4, 2), 3))
    assert any("2 zones for 3 replicas" in one for one in warnings(None, two))


_TINY = st.integers(1, 4).flatmap(
    lambda count: st.tuples(
        st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([1.0, 2.0])), min_size=count, max_size=count),
        st.integers(1, min(count, 3)),
        st.lists(st.sets(st.integers(0, count - 1)), min_size=3, max_size=3),
        st.lists(st.sets(st.integers(0, count - 1)), min_size=3, max_size=3),
    )
)


@settings(max_examples=300, deadline=None)
@given(_TINY)
def test_no_assignment_with_these_quotas_copies_fewer(
    case: tuple[list[tuple[str, float]], int, list[set[int]], list[set[int]]],
) -> None:
    kinds, replication, owning, having = case
    nodes = [Node(f"n{place}", zone=zone, weight=weight) for place, (zone, weight) in enumerate(kinds)]
    owned = np.zeros((3, len(nodes)), np.bool_)
    for partition, places in enumerate(owning):
        owned[partition, list(places)[:replication]] = True
    free = owned.copy()
    for partition, places in enumerate(having):
        free[partition, list(places)] = True
    present = dict(zip((one.name for one in nodes), owned.sum(0).tolist(), strict=True))
    quotas = quotas_of(nodes, replication, 3, present)
    order = np.arange(owned.size).reshape(owned.shape)
    assign(owned, free, quotas, order)
    assert owned.sum(0).tolist() == list(quotas.counts)
    assert all(_fits(row, quotas) and row.sum() == replication for row in owned)
    assert int((owned & ~free).sum()) == _fewest(free, quotas, replication)


def _fits(row: np.ndarray, quotas: Quotas) -> bool:
    return all(zone.least <= row[list(zone.nodes)].sum() <= zone.most for zone in quotas.zones)


def _fewest(free: np.ndarray, quotas: Quotas, replication: int) -> int:
    count = free.shape[1]
    rows = [
        np.array([n in chosen for n in range(count)]) for chosen in itertools.combinations(range(count), replication)
    ]
    rows = [row for row in rows if _fits(row, quotas)]
    return min(
        sum(int((row & ~have).sum()) for row, have in zip(chosen, free, strict=True))
        for chosen in itertools.product(rows, repeat=len(free))
        if tuple(sum(chosen).tolist()) == quotas.counts
    )
