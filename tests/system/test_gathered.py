"""Three stores and a query front: one answer of all, that of a single store which has everything."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from processes import Front

from ingestd.cluster.map import Map, Node, encode_map
from ingestd.wire.batch import PARTITIONS
from ingestd.wire.partition import partition_of

NOW = int(time.time()) // 60 * 60
PATHS = [f"web{host}.{rest}" for host in range(12) for rest in ("load", "cpu.user", "cpu.idle")]
TAGGED = [f"disk.used;dc={'ab'[host % 2]};host=web{host}" for host in range(12)]
TARGETS = (
    "*.load",
    "web3.*",
    "sumSeries(*.*.*)",
    "movingMax(web?.load, 3)",
    "seriesByTag('dc=a')",
    "highestMax(*.load, 2)",
)


def lines(path):
    return b"".join(b"%s %d %d\n" % (path.encode(), len(path) + age * 7 % 13, NOW - 10 * age) for age in range(30))


def get(url, path, *parameters):
    """Status, partial header and body of a request."""
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{url}{path}?{query}", timeout=60) as answer:
            return answer.status, answer.headers.get("X-Ingestd-Partial"), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("X-Ingestd-Partial"), error.read()


def answers(url):
    """What a node says of everything that is asked here, and why it is partial."""
    window = [("from", NOW - 300), ("until", NOW), ("now", NOW)]
    asked = [("/render", *((("target", target), ("format", "json"), *window))) for target in TARGETS]
    asked += [("/metrics/find", ("query", pattern)) for pattern in ("*", "web1.*", "*.cpu")]
    asked += [("/metrics/expand", ("query", "*.cpu.*")), ("/metrics/index.json",), ("/tags",), ("/tags/dc",)]
    asked += [("/tags/findSeries", ("expr", "dc=b")), ("/tags/autoComplete/values", ("tag", "host"))]
    found = [get(url, path, *parameters) for path, *parameters in asked]
    assert {status for status, _, _ in found} == {200}, found
    return [json.loads(body) for _, _, body in found], [why for _, why, _ in found if why]


@pytest.fixture
def cluster(daemon, tmp_path, wait_until):
    """``cluster(replication)``: three stores, one with all points, the front's URL, and what starts a store again."""
    fronts = []

    def make(replication):
        map_, version = tmp_path / "map.json", 1
        names = ("a", "b", "c")
        owners = [tuple(names[(p + n) % 3] for n in range(replication)) for p in range(PARTITIONS)]

        def write(urls):
            nonlocal version
            nodes = tuple(Node(name, url) for name, url in zip(names, urls, strict=True))
            map_.with_suffix(".new").write_text(encode_map(Map(version, 1, replication, nodes, tuple(owners))))
            map_.with_suffix(".new").replace(map_)
            version += 1

        write(["http://127.0.0.1:1"] * 3)
        quiet, knowing = tmp_path / "quiet.toml", tmp_path / "knowing.toml"
        quiet.write_text("[telemetry]\nown_series_interval = 0\n")
        knowing.write_text(f'{quiet.read_text()}[cluster]\nmap = "{map_}"\nnode = "a"\n')
        configs = dict.fromkeys(("a", "b", "c", "single"), quiet) | {"a": knowing}
        *stores, single = (daemon("--config", str(file), directory=name) for name, file in configs.items())
        write(["http://" + store.addresses["http"] for store in stores])
        for path in PATHS + TAGGED:
            single.send(lines(path))
            for store, name in zip(stores, names, strict=True):
                if name in owners[partition_of(path, 1)]:
                    store.send(lines(path))
        for one in (*stores, single):
            one.settled()
        fronts.append(Front(map_, tmp_path / "query.log"))
        wait_until(lambda: fronts[-1].url, "the front to listen")
        wait_until(lambda: stores[0].status()["cluster"]["map_version"] == 2, "the map to be read again")
        return stores, "http://" + single.addresses["http"], fronts[-1]

    yield make
    for front in fronts:
        assert front.stop() == 0


def test_all_nodes_answer_as_one(cluster):
    stores, single, front = cluster(2)
    truth = answers(single)
    assert (all(truth[0]), truth[1]) == (True, [])
    assert answers(front.url) == truth
    assert answers("http://" + stores[0].addresses["http"]) == truth
    stores[1].kill()
    assert answers(front.url) == truth
    assert answers("http://" + stores[0].addresses["http"]) == truth
    status = json.loads(get(front.url, "/status")[2])
    assert status["cluster"]["nodes"]["b"]["problem"] == "connection refused"
    assert status["healthy"]


def test_what_one_node_alone_has_is_missed_when_it_is_gone(cluster):
    stores, single, front = cluster(1)
    assert answers(front.url) == answers(single)
    stores[1].kill()
    path = "/render", ("target", "*.load"), ("format", "json"), ("from", NOW - 300), ("until", NOW), ("now", NOW)
    status, why, body = get(front.url, *path)
    assert (status, why) == (200, "341 of 1024 partitions have no whole answer (b: connection refused)")
    left = [series["target"] for series in json.loads(body)]
    assert left == sorted(f"web{host}.load" for host in range(12) if partition_of(f"web{host}", 1) % 3 != 1)
    status, why, body = get(front.url, *path, ("strict", "1"))
    assert status == 503
    assert b"the answer would be partial: 341 of 1024" in body
    assert get(front.url, "/metrics/find", ("query", "*"))[1].startswith("341 of 1024")
    whole = next(host for host in range(12) if partition_of(f"web{host}", 1) % 3 == 0)
    assert get(front.url, "/metrics/find", ("query", f"web{whole}.*"), ("strict", "1"))[:2] == (200, None)
    assert json.loads(get(front.url, *path, ("explain", "1"))[2])["partial"]
    assert get(front.url, "/events/")[0] in (404, 405)
