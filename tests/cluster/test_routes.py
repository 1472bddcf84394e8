"""Which nodes a question is for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cluster import routes as module
from ingestd.cluster.map import Map, Node
from ingestd.cluster.merging import NOBODY
from ingestd.cluster.routes import Routes, everything
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.partition import partition_of

NODES = tuple(Node(name) for name in "abc")


def routes(host_nodes=1, moving=None):
    owners = tuple(tuple("abc"[(partition + at) % 3] for at in range(2)) for partition in range(PARTITIONS))
    return Routes(Map(1, host_nodes, 2, NODES, owners, moving or {}))


def of(*paths, host_nodes=1):
    return {partition_of(path, host_nodes) for path in paths}


@pytest.mark.parametrize(
    ("pattern", "host_nodes", "expected"),
    [
        ("web1.*", 1, of("web1")),
        ("web1.{a,b}.*", 1, of("web1")),
        ("{web1,web2}.load", 1, of("web1", "web2")),
        ("web{1,2,3}.load", 1, of("web1", "web2", "web3")),
        (r"we\b1..load", 1, of("web1")),
        ("web1", 1, of("web1")),
        ("dc.web1.*", 2, of("dc.web1.x", host_nodes=2)),
        ("{a,b}.{c,d}.*", 2, of("a.c.x", "a.d.x", "b.c.x", "b.d.x", host_nodes=2)),
        ("dc", 2, of("dc", host_nodes=2)),
        ("a.b.c", 0, of("a.b.c", host_nodes=0)),
        ("disk;dc=a;host=web1", 1, of("disk;dc=a;host=web1")),
        ("disk;dc=a", 1, of("disk;dc=a")),
        ("web*.load", 1, None),
        ("{,web1}.load", 1, None),
        ("{web{1,2}}.load", 1, None),
        ("web1}.load", 1, None),
        ("{web1.load", 1, None),
        ("web[12].load", 1, None),
        ("**", 1, None),
        ("a.*.c", 0, None),
        ("_tagged.abc.def.disk;dc=a", 1, None),
        ("{" + ",".join(map(str, range(2000))) + "}.x", 1, None),
        ("", 1, None),
    ],
)
def test_a_pattern_is_for_the_owners_of_its_keys(pattern, host_nodes, expected):
    found = routes(host_nodes).of_pattern(pattern)
    assert set(np.flatnonzero(found).tolist()) == (set(range(PARTITIONS)) if expected is None else expected)


def test_what_is_below_a_short_pattern_may_be_anywhere():
    assert routes(2).of_pattern("dc", below=True).all()
    assert routes(0).of_pattern("a.b", below=True).all()
    assert routes(1).of_pattern("web1", below=True).sum() == 1


@pytest.mark.parametrize(
    ("expressions", "host"),
    [(["dc=a", "host=web1"], "web1"), (["host=~web1"], None), (["host!=web1"], None), (["host="], None), ([], None)],
)
def test_expressions_with_a_host_are_for_its_owners(expressions, host):
    found = routes().of_expressions(expressions)
    assert set(np.flatnonzero(found).tolist()) == (of(host) if host else set(range(PARTITIONS)))
    assert routes(0).of_expressions(expressions).all()


def test_who_has_everything_comes_first():
    found = routes(moving={3: ("c",), 4: ("a", "c")})
    rank = {name: column[3] for name, column in found.rank.items()}
    assert rank == {"c": 0, "a": 1, "b": 2}
    assert [name for name in "abc" if found.complete[name][3]] == ["c"]
    one = np.zeros(PARTITIONS, np.bool_)
    one[3] = True
    assert found.nodes(one) == ["a", "b", "c"]
    assert found.lacking(one, {"a", "b"})[3]
    assert not found.lacking(one, {"c"}).any()
    assert found.lacking(everything(), {"a", "stranger"}).sum() < PARTITIONS
    assert routes().rank["c"][0] == NOBODY


paths = st.lists(st.sampled_from([f"h{n}.x" for n in range(20)] + ["a;dc=1;host=h3", "b;k=v"]), max_size=30)


@given(st.lists(paths, max_size=6))
def test_partitions_are_those_that_were_not_remembered(asked):
    module.KNOWN_MAX, kept = 8, module.KNOWN_MAX
    try:
        found = routes()
        for one in asked:
            assert found.partitions(one).tolist() == [partition_of(path, 1) for path in one]
    finally:
        module.KNOWN_MAX = kept


def test_a_tagged_path_in_the_tree_is_where_its_series_is():
    found = routes().partitions(["_tagged.2e5.f0a.disk_DOT_used;dc=a", "_tagged.2e5.f0a.x;host=web1"])
    assert found.tolist() == [partition_of("disk.used;dc=a", 1), partition_of("x;host=web1", 1)]
