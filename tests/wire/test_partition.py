"""Partitions of paths: values that must never change, and the rule of the key."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire import topology
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.lines import PathLimits, canonical_path
from ingestd.wire.partition import key_of, partition_of, partition_of_key, partitions_of

_PATHS = st.text("ab.;=é", min_size=1, max_size=20).map(str.encode) | st.from_regex(
    re.compile(rb"[a-c]{1,3}(\.[a-c]{1,3}){0,4}(;(dc|host|zone)=[a-c]{1,3}){0,3}"), fullmatch=True
)


@pytest.mark.parametrize(
    ("path", "host_nodes", "key"),
    [
        ("web01.load.load.shortterm", 1, b"web01"),
        ("collectd.web01.load", 2, b"collectd.web01"),
        ("collectd.web01.load", 0, b"collectd.web01.load"),
        ("web01", 1, b"web01"),
        ("web01.load", 3, b"web01.load"),
        ("disk.used;dc=a;host=web01", 1, b"web01"),
        ("disk.used;dc=a;host=web01;zone=b", 2, b"web01"),
        ("disk.used;dc=a;host=web01", 0, b"disk.used;dc=a;host=web01"),
        ("disk.used;dc=a;hostname=web01", 1, b"disk"),
        ("disk.used;dc=a", 2, b"disk.used"),
        ("disk.used.now;dc=a.b", 2, b"disk.used"),
    ],
)
def test_the_key_is_the_host(path: str, host_nodes: int, key: bytes) -> None:
    assert key_of(path.encode(), host_nodes) == key
    assert partition_of(path, host_nodes) == partition_of_key(key)


@pytest.mark.parametrize(
    ("key", "partition"),
    [(b"web01", 909), (b"web02", 121), (b"collectd.web01", 179), ("é".encode(), 476), (b"", 0), (b"123456789", 643)],
)
def test_partitions_never_change(key: bytes, partition: int) -> None:
    """What was published yesterday lies in a queue, and what was stored last year on a node: by these numbers."""
    assert partition_of_key(key) == partition


@given(st.lists(_PATHS, max_size=20), st.integers(0, 4))
def test_many_paths_are_as_each_alone(paths: list[bytes], host_nodes: int) -> None:
    found = partitions_of(paths, host_nodes)
    assert found.dtype == np.uint16
    assert found.tolist() == [partition_of(path, host_nodes) for path in paths]
    assert all(0 <= one < PARTITIONS for one in found.tolist())


@given(_PATHS, st.integers(1, 4))
def test_series_of_a_host_stay_together(spelling: bytes, host_nodes: int) -> None:
    path = canonical_path(spelling, PathLimits())
    if path is None or ";" in path or path.count(".") + 1 < host_nodes:
        return
    host = ".".join(path.split(".")[:host_nodes])
    assert partition_of(f"{host}.some.other", host_nodes) == partition_of(path, host_nodes)
    tagged = f"name;dc=x;host={host}"
    assert partition_of(tagged, host_nodes) == partition_of_key(host.encode())


def test_hosts_spread_over_all_partitions() -> None:
    counts = np.bincount(partitions_of([b"web%05d.load" % n for n in range(18_000)], 1), minlength=PARTITIONS)
    assert counts.min() > 0
    assert counts.max() < 3 * counts.mean()


def test_names_in_the_broker() -> None:
    assert topology.queue_name("a") == "ingestd.a"
    assert topology.queue_name("a", "metrics") == "metrics.a"
    assert topology.dead_name() == "ingestd.dead"
    assert topology.routing_keys()[::1023] == ["0", "1023"]
    assert topology.queue_arguments() == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 20,
        "x-dead-letter-exchange": "ingestd.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    assert topology.message_id(b"ab" * 16, 7) == "ab" * 16 + ":7"


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("a", True),
        ("store-1.dc_2", True),
        ("dead", False),
        ("", False),
        ("a b", False),
        ("-a", False),
        ("a" * 65, False),
    ],
)
def test_names_of_nodes(name: str, good: bool) -> None:
    assert topology.is_node_name(name) is good
