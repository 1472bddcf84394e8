"""One answer of many nodes is that of a single one that has everything."""

from contextlib import suppress
from datetime import UTC

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.cluster.scatter import Gather
from ingestd.query.evaluate import Request, run
from ingestd.query.missing import watched
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.partition import partition_of

NOW = 1_800_000_000
HOSTS = ("web1", "web2", "web3", "db1", "db2", "mail")
PATHS = [f"{host}.{rest}" for host in HOSTS for rest in ("load", "cpu.user", "cpu.idle", "disk.sda.read")]
TAGGED = [f"disk.used;dc={dc};host={host}" for host, dc in zip(HOSTS, "ababca", strict=True)] + ["plain;dc=a", "up;x=1"]
TARGETS = (
    "*.load",
    "web1.*",
    "web1.cpu.*",
    "{web1,db2}.load",
    "web?.cpu.{user,idle}",
    "**",
    "nothing.*",
    "web1.load",
    "plain;dc=a",
    "sumSeries(*.*)",
    "sumSeries(*.load)",
    "averageSeries(*.cpu.*)",
    "maxSeries(*.cpu.*,*.load)",
    "minSeries(web*.cpu.*)",
    "sumSeries(*.cpu.*, web1.cpu.user)",
    "groupByNode(*.cpu.*, 0, 'sum')",
    "movingAverage(web*.load, 3)",
    "timeShift(*.load, '2min')",
    "summarize(*.load, '1min', 'max')",
    "highestMax(*.cpu.user, 3)",
    "asPercent(*.load)",
    "seriesByTag('dc=a')",
    "seriesByTag('host=web1')",
    "sumSeries(seriesByTag('name=disk.used', 'dc!=c'))",
    "aliasByTags(seriesByTag('host=~web.*'), 'dc')",
)
PATTERNS = ("*", "*.*", "web1", "web1.*", "web1.cpu.", "**", "{web1,web2}.*", "disk*", "_tagged.*", "db?.load", "x")
WINDOWS = ((300, 0), (200, 50), (3000, 0), (36_000, 0))


def ask(reader, target, back=300, until=0):
    request = Request((target,), NOW - back, NOW - until, NOW, UTC)
    return [
        (one.name, one.path_expression, one.tags, one.start, one.end, one.step, [repr(v) for v in one.values.tolist()])
        for one in run(request, reader)
    ]


@st.composite
def clusters(draw):
    """Nodes, replication, owners of all partitions, those that are moving, who is dead, and a seed for the points."""
    count = draw(st.integers(1, 5))
    replication = draw(st.integers(1, min(3, count)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = [f"n{number}" for number in range(count)]
    owners = [tuple(rng.permutation(names)[:replication].tolist()) for _ in range(PARTITIONS)]
    moving = {}
    if draw(st.booleans()):
        moving = {p: tuple(rng.permutation(names)[:replication].tolist()) for p in range(0, PARTITIONS, 2)}
    whole = [moving.get(p, owners[p]) for p in range(PARTITIONS)]
    dead = set(draw(st.lists(st.sampled_from(names), unique=True, max_size=2)))
    own = draw(st.sampled_from([None, *range(count)]))
    dead -= {f"n{own}"}
    # As many are dead as leave one of each partition, of all of them: a pattern may mean any.
    while any(dead.issuperset(whole[p]) for p in range(PARTITIONS)):
        dead.pop()
    return count, owners, moving, dead, own, rng


@pytest.fixture
def single(tmp_path_factory):
    """A node that has everything, of its own."""
    made = []

    def make(stand):
        made.append(stand(tmp_path_factory.mktemp("single") / "node"))
        return made[-1]

    yield make
    for one in made:
        with suppress(Exception):
            one.close()


def fill(path, rng, alone, stands, whole, owners):
    """Points of one series: all of them to who has the whole partition, half of them to its other owners."""
    times = NOW - 10 * rng.permutation(200)[: int(rng.integers(1, 40))]
    # Means of up to six of them are whole numbers, so that sums do not depend on their order.
    points = [(path, int(when), 60.0 * rng.integers(-50, 50)) for when in times]
    alone.put(points)
    for number, stand in enumerate(stands):
        if f"n{number}" in whole:
            stand.put(points)
        elif f"n{number}" in owners:
            stand.put(points[: len(points) // 2])


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=clusters(), tagged_first=st.booleans())
def test_the_answer_is_that_of_a_single_store(nodes, single, made, tagged_first):
    count, owners, moving, dead, own, rng = made
    stands = nodes(count)
    alone = single(type(stands[0]))
    for path in sorted(PATHS + TAGGED, reverse=tagged_first):
        partition = partition_of(path, 1)
        fill(path, rng, alone, stands, moving.get(partition, owners[partition]), owners[partition])
    for stand in (alone, *stands):
        for host in HOSTS[:2]:
            stand.events.add(NOW - 60, f"deploy {host}", ["deploy", host], "")
    cluster = nodes.cluster(nodes.map(owners, moving, dead), own)
    with watched() as missing:
        for target in TARGETS:
            back, until = WINDOWS[int(rng.integers(len(WINDOWS)))]
            gather = Gather(cluster, cluster.routes)
            assert ask(gather, target, back, until) == ask(alone.reader, target, back, until), target
        gather = Gather(cluster, cluster.routes)
        for pattern in PATTERNS:
            for leaves_only in (False, True):
                assert gather.find_matches(pattern, leaves_only) == alone.globs.find_matches(pattern, leaves_only)
        assert gather.paths() == alone.globs.paths()
        assert gather.tags() == alone.tags.tags()
        assert gather.tags("d") == alone.tags.tags("d")
        for tag in ("dc", "host", "name", "nothing"):
            assert gather.values(tag) == alone.tags.values(tag)
        assert gather.values("host", "web") == alone.tags.values("host", "web")
        assert gather.complete_tags(["dc=a"], "", 10) == alone.tags.complete_tags(["dc=a"], "", 10)
        assert gather.complete_tags([], "h", 1) == alone.tags.complete_tags([], "h", 1)
        assert gather.complete_values(["dc!=c"], "host", "w", 2) == alone.tags.complete_values(
            ["dc!=c"], "host", "w", 2
        )
    assert missing.reasons == []
    with watched() as missing:
        events = gather.query(NOW - 100, NOW, ["web1"], None)
        assert [event["what"] for event in events] == ["deploy web1"]
        assert gather.get(events[0]["id"])["what"] == "deploy web1"
        assert gather.events([], 0, NOW) == [NOW - 60, NOW - 60]
    assert bool(missing) == bool(dead)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(made=clusters())
def test_replicas_that_lack_points_make_one_that_lacks_none(nodes, single, made):
    count, owners, _, dead, own, rng = made
    stands = nodes(count)
    alone = single(type(stands[0]))
    for path in PATHS + TAGGED:
        living = [int(name[1:]) for name in owners[partition_of(path, 1)] if name not in dead]
        if not living:
            continue
        sent = {number: [] for number in living}
        # Within the finest archive: what a coarse one makes of some of its points is another value.
        for when in NOW - 10 * rng.permutation(55)[: int(rng.integers(1, 30))]:
            point = (path, int(when), float(rng.integers(-50, 50)))
            alone.put([point])
            share = int(rng.choice([1, len(living), len(living)]))
            for number in rng.permutation(living)[:share]:
                sent[int(number)].append(point)
        for number, points in sent.items():
            stands[number].put(points)
    cluster = nodes.cluster(nodes.map(owners, dead=dead), own)
    for target in TARGETS:
        back = int(rng.choice([60, 120, 300]))
        assert ask(Gather(cluster, cluster.routes), target, back) == ask(alone.reader, target, back), target
    assert cluster.differences == 0
