"""Nodes that are away, hang, lie or differ: the answer is made of the rest, and says what it lacks."""

import threading
from datetime import UTC

import numpy as np
import pytest

from ingestd.cluster.messages import Kind, decode, encode
from ingestd.cluster.peers import Peer, PeerSettings
from ingestd.cluster.scatter import Gather
from ingestd.points import Rows, Window
from ingestd.query.evaluate import Request, run
from ingestd.query.limits import QueryError
from ingestd.query.missing import watched
from ingestd.serve.tokens import parse_tokens
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.partition import partition_of

NOW = 1_800_000_000
PATHS = [f"h{number}.load" for number in range(20)]


def points(path, values):
    return [(path, NOW - 10 * age, value) for age, value in enumerate(values) if value is not None]


def ask(gather, target):
    """{name: last values}, and why the answer is partial."""
    with watched() as missing:
        found = run(Request((target,), NOW - 40, NOW, NOW, UTC), gather)
    return {one.name: [None if np.isnan(v) else v for v in one.values.tolist()] for one in found}, missing.reasons


@pytest.fixture
def pair(nodes):
    """Two nodes that have all: the map, and ``values`` of all series."""
    for stand in nodes(2):
        for path in PATHS:
            stand.put(points(path, [4.0, 3.0, 2.0, 1.0]))
    return [("n0", "n1")] * PARTITIONS


@pytest.fixture
def halves(nodes):
    """Two nodes that have every other partition."""
    owners = [(f"n{partition % 2}",) for partition in range(PARTITIONS)]
    stands = nodes(2)
    for path in PATHS:
        stands[partition_of(path, 1) % 2].put(points(path, [4.0, 3.0, 2.0, 1.0]))
    return owners


def test_points_of_replicas_fill_each_other(nodes):
    one, two = nodes(2)
    one.put(points("h.a", [None, 3.0, 9.0, None]))
    two.put(points("h.a", [4.0, None, 2.0, None]))
    two.put(points("h.b", [1.0]))
    for owners, both in ((("n0", "n1"), 9.0), (("n1", "n0"), 2.0)):
        cluster = nodes.cluster(nodes.map([owners] * PARTITIONS))
        found, missing = ask(Gather(cluster, cluster.routes), "h.*")
        assert found == {"h.a": [None, both, 3.0, 4.0], "h.b": [None, None, None, 1.0]}
        assert missing == []
        assert cluster.differences == 1


def test_a_replica_that_is_away_is_not_missed(nodes, pair):
    cluster = nodes.cluster(nodes.map(pair, dead={"n0"}))
    for target in ("*.load", "sumSeries(*.load)", "h3.*"):
        found, missing = ask(Gather(cluster, cluster.routes), target)
        assert found
        assert missing == []
    status = cluster.status()["nodes"]["n0"]
    assert (status["healthy"], status["problem"]) == (False, "connection refused")
    assert cluster.gauges()["cluster_nodes_down"] == 1
    assert cluster.problem() is None


def test_what_nobody_has_is_labelled(nodes, halves):
    cluster = nodes.cluster(nodes.map(halves, dead={"n0"}))
    found, missing = ask(Gather(cluster, cluster.routes), "*.load")
    assert list(found) == sorted(path for path in PATHS if partition_of(path, 1) % 2)
    assert missing[0] == "512 of 1024 partitions have no whole answer (n0: connection refused)"
    with watched() as missing:
        assert len(Gather(cluster, cluster.routes).find_matches("*")) == len(found)
    assert "left alone after a failure" in str(missing)
    there = next(path for path in PATHS if partition_of(path, 1) % 2)
    assert ask(Gather(cluster, cluster.routes), there)[1] == []
    assert ask(Gather(cluster, cluster.routes), "{h1,h2,h3}.load")[1]


def test_a_node_that_fails_between_two_questions_is_replaced(nodes, pair, servers):
    cluster = nodes.cluster(nodes.map(pair))
    whole = ask(Gather(cluster, cluster.routes), "sumSeries(*.load)")
    answer = servers.answers[0]

    def fails(message):
        if decode(message)[0] in (Kind.TOTAL, Kind.FETCH):
            raise RuntimeError("broken")
        return answer(message)

    servers.answers[0] = fails
    assert ask(Gather(cluster, cluster.routes), "sumSeries(*.load)") == whole
    assert ask(Gather(nodes.cluster(nodes.map(pair)), cluster.routes), "*.load")[1] == []
    alone = nodes.cluster(nodes.map([("n0",)] * PARTITIONS))
    found, missing = ask(Gather(alone, alone.routes), "*.load")
    assert found == {}
    assert missing[0].startswith("20 of 20 series have no whole answer (n0: status 500")


def test_a_node_that_hangs_is_not_waited_for(nodes, pair, halves, servers):
    over = threading.Event()
    answer = servers.answers[1]
    servers.answers[1] = lambda message: over.wait(30) and answer(message)
    try:
        for stand in nodes.stands:
            for path in PATHS:
                stand.put(points(path, [4.0, 3.0, 2.0, 1.0]))
        cluster = nodes.cluster(nodes.map([("n1", "n0")] * PARTITIONS), patience=0.05)
        for target in ("*.load", "sumSeries(*.load)"):
            found, missing = ask(Gather(cluster, cluster.routes), target)
            assert found
            assert missing == []
        assert cluster.status()["nodes"]["n1"]["late"] == 1
        cluster = nodes.cluster(nodes.map(halves), deadline=0.2)
        _, missing = ask(Gather(cluster, cluster.routes), "*.load")
        assert missing[0] == "512 of 1024 partitions have no whole answer (n1: no answer in time)"
    finally:
        over.set()


def test_the_deadline_is_one_for_all_questions_of_a_request(nodes, pair):
    cluster = nodes.cluster(nodes.map(pair))
    gather = Gather(cluster, cluster.routes)
    gather._until = cluster.clock() - 1.0
    found, missing = ask(gather, "*.load")
    assert found == {}
    assert "no time is left" in missing[0]
    assert cluster.status()["nodes"]["n0"]["healthy"]


LIES = {
    "nothing": lambda kind: b"",
    "noise": lambda kind: b"\x93\x01\x02" * 50,
    "another kind": lambda kind: encode(Kind.EVENT, 7),
    "unequal columns": lambda kind: encode(Kind.SERIES, np.zeros(3, np.uint32), ["a"]),
    "rows of others": lambda kind: encode(Kind.ROWS, [Rows(Window(0, 10, 10), np.array([10**6]), np.ones((1, 1)))]),
    "a row twice": lambda kind: encode(Kind.ROWS, [Rows(Window(0, 10, 10), np.array([0, 0]), np.ones((2, 1)))]),
    "a total of no window": lambda kind: encode(Kind.TOTALS, 1, 0, 10, 10, np.zeros(7), np.zeros(7)),
    "a window that cannot be": lambda kind: encode(Kind.TOTALS, 1, 0, 10, 0, np.zeros(7), np.zeros(7)),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("target", ["*.load", "sumSeries(*.load)", "sumSeries(seriesByTag('a=b'))"])
def test_a_node_that_lies_is_a_node_that_is_away(nodes, pair, servers, lie, target):
    answer = servers.answers[0]
    truth = ask(nodes.gather(nodes.map([("n1", "n0")] * PARTITIONS)), target)
    servers.answers[0] = lambda message: (
        LIES[lie](decode(message)[0]) if decode(message)[0] in (Kind.FETCH, Kind.TOTAL) else answer(message)
    )
    assert ask(nodes.gather(nodes.map(pair)), target) == truth
    servers.answers[0] = lambda message: LIES[lie](decode(message)[0])
    assert ask(nodes.gather(nodes.map(pair)), target) == truth


def test_who_asks_too_much_is_told(nodes, pair):
    gather = nodes.gather(nodes.map(pair))
    with pytest.raises(QueryError, match="braces of a node expand"):
        gather.find("{" + ",".join(map(str, range(5000))) + "}*.x")
    with pytest.raises(QueryError, match="Invalid tagspec"):
        gather.find_tagged(["nonsense"])
    with pytest.raises(QueryError, match="Invalid tagspec"):
        nodes.gather(nodes.map(pair), own=0).find_tagged(["nonsense"])


def test_the_token_of_nodes_is_shown(nodes, pair, servers):
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    servers.token = parse_tokens(f"query read {digest}\n")
    found, missing = ask(nodes.gather(nodes.map(pair)), "*.load")
    assert found == {}
    assert "status 401: a token is needed" in missing[0]
    assert ask(nodes.gather(nodes.map(pair), token=lambda: "secret"), "*.load")[1] == []


def test_an_answer_that_is_too_long_is_none(nodes, halves):
    _, missing = ask(nodes.gather(nodes.map(halves), answer=100), "*.load")
    assert "the limit is 100 (query.answer)" in missing[0]


def test_a_node_is_left_alone_and_tried_again():
    now = 100.0
    peer = Peer("a", "http://127.0.0.1:1", PeerSettings(), lambda: now)
    assert peer.let()
    peer.failed("gone")
    assert not peer.let()
    now += 1.0
    assert peer.let(), "one request tries it"
    assert not peer.let(), "the others do not"
    for pause in (2.0, 4.0, 8.0, 8.0):
        peer.failed("gone")
        now += pause - 0.1
        assert not peer.let()
        now += 0.2
        assert peer.let()


@pytest.mark.parametrize("url", ["", "store1:8080", "ftp://a", "http://"])
def test_a_node_needs_a_url(url):
    with pytest.raises(ValueError, match="is no http"):
        Peer("a", url, PeerSettings(), lambda: 0.0)


def test_a_map_may_change_between_two_questions(nodes, pair):
    cluster = nodes.cluster(nodes.map(pair))
    gather = Gather(cluster, cluster.routes)
    with watched() as missing:
        found = gather.find("*.load")
        cluster.take(nodes.map([("n1", "n1")] * PARTITIONS, version=2))
        rows = gather.fetch(np.array([number for _, number in found], np.uint32), NOW - 40, NOW, NOW)
    assert sum(len(each.positions) for each in rows) == len(PATHS)
    assert missing.reasons == []
