"""Grafana and carbonapi ask as they ask graphite-web, and find in the answers what they look for."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request

import msgpack
import pytest

LOADS = "collectd.*.load.shortterm"


class Client:
    """Requests as a Grafana or carbonapi writes them; answers as bytes or JSON."""

    def __init__(self, daemon, now):
        self.base = "http://" + daemon.addresses["http"]
        self.now = now

    def ask(self, path, pairs=(), *, form=None, accept="application/json, text/plain, */*"):
        """The body of an answer with status 200: a GET with ``pairs``, or a POST of the pairs ``form``."""
        url = self.base + path + ("?" + urllib.parse.urlencode(pairs) if pairs else "")
        headers = {"Accept": accept, "X-Grafana-Org-Id": "1", "X-Datasource-Uid": "P1"}
        data = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            data = urllib.parse.urlencode(form, quote_via=urllib.parse.quote).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            assert answer.status == 200
            return answer.read()

    def json(self, path, pairs=(), *, form=None):
        return json.loads(self.ask(path, pairs, form=form))

    def panel(self, *targets, **more):
        """What a panel sends for its queries: [{target, datapoints, tags}, ...]."""
        pairs = [("target", target) for target in targets]
        pairs += [("from", self.now - 600), ("until", self.now), ("format", "json"), ("maxDataPoints", 1200)]
        return self.json("/render", form=[*pairs, *more.items()])


@pytest.fixture
def client(daemon):
    """Over two hosts' loads, three tagged disks and an event, the newest point 10 s old."""
    d = daemon()
    now = int(time.time()) // 10 * 10
    lines = [
        f"collectd.{host}.load.shortterm {at + offset} {now - 600 + 10 * at}\n"
        for offset, host in enumerate(("web01", "web02"))
        for at in range(60)
    ]
    lines += [f"disk.used;host={host};dc={dc} 5 {now - 20}\n" for host, dc in (("a", "x"), ("b", "x"), ("c", "y"))]
    d.send("".join(lines).encode())
    event = {"what": "deploy", "tags": ["release", "web"], "when": now - 100, "data": "build 7"}
    assert d.get("/events/", data=json.dumps(event).encode(), decode=False)[0] == 200
    d.settled(len(lines))
    yield Client(d, now)
    d.settled(len(lines))
    assert d.stop() == 0


def test_grafana_tests_its_data_source(client):
    (line,) = client.json(
        "/render",
        form=[("target", "constantLine(100)"), ("from", "-1h"), ("until", "now"), ("format", "json")],
    )
    assert line["target"] == "100.0"
    assert {value for value, _ in line["datapoints"]} == {100}
    assert "collectd" in [node["text"] for node in client.json("/metrics/find", [("query", "*")])]
    assert client.ask("/version") == b"1.1.10"
    functions = json.loads(client.ask("/functions").replace(b'"default": Infinity', b'"default": 1e9999'))
    assert {"name", "group", "params", "description"} <= functions["sumSeries"].keys()


def test_grafana_draws_panels(client):
    wrapped = [f'aliasSub({target}, "(^.*$)", "\\1 {ref}")' for target, ref in ((LOADS, "A"), (f"sum({LOADS})", "B"))]
    found = client.panel(*wrapped)
    names = ["collectd.web01.load.shortterm A", "collectd.web02.load.shortterm A", f"sumSeries({LOADS}) B"]
    assert [series["target"] for series in found] == names
    for series in found:
        assert series.keys() == {"target", "tags", "datapoints"}
        values = {when: value for value, when in series["datapoints"]}
        assert all(type(when) is int for when in values)
    assert [values[client.now - 100 + offset] for offset in (0, 10)] == [101.0, 103.0]
    # A relative range, as the browser writes one, and the milliseconds' worth of a cache timeout.
    relative = [("target", LOADS), ("from", "-10min"), ("until", "now"), ("format", "json"), ("cacheTimeout", "60")]
    assert [one["target"] for one in client.json("/render", form=relative)] == [name[:-2] for name in names[:2]]
    # Queries that refer to others are put together by Grafana; hidden ones are not sent.
    (ratio,) = client.panel(f"alias(divideSeries(collectd.web01.load.shortterm, sumSeries({LOADS})), 'ratio')")
    assert ratio["target"] == "ratio"
    few = client.panel(LOADS, maxDataPoints=7)
    assert [len(series["datapoints"]) <= 7 for series in few] == [True, True]


def test_grafana_shows_what_is_wrong(client):
    with pytest.raises(urllib.error.HTTPError) as caught:
        client.panel("nosuch(collectd.*)")
    assert caught.value.code == 400
    assert "nosuch" in caught.value.read().decode()
    assert client.panel("no.such.series") == []


def test_grafana_completes_names_and_variables(client):
    window = [("from", client.now - 600), ("until", client.now)]
    found = client.json("/metrics/find", [("query", "collectd.*"), *window])
    assert [(node["text"], node["expandable"]) for node in found] == [("web01", 1), ("web02", 1)]
    posted = client.json("/metrics/find", window, form=[("query", "collectd.web01.load.*")])
    assert [(node["text"], node["expandable"]) for node in posted] == [("shortterm", 0)]
    expanded = client.json("/metrics/expand", [("query", "collectd.*.load"), *window])
    assert expanded == {"results": ["collectd.web01.load", "collectd.web02.load"]}
    tags = client.json("/tags/autoComplete/tags", [("expr", "name=disk.used"), ("limit", 10000), *window])
    assert tags == ["dc", "host"]
    values = [("expr", "name=disk.used"), ("expr", "dc=x"), ("tag", "host"), ("valuePrefix", ""), ("limit", 10000)]
    assert client.json("/tags/autoComplete/values", [*values, *window]) == ["a", "b"]
    assert client.json("/tags/autoComplete/values", [("tag", "host"), ("valuePrefix", "c")]) == ["c"]
    assert {one["tag"] for one in client.json("/tags")} == {"dc", "host", "name"}
    (series,) = client.panel("seriesByTag('name=disk.used', 'dc=y')")
    assert series["tags"] == {"name": "disk.used", "host": "c", "dc": "y"}


def test_grafana_annotates(client):
    window = [("from", client.now - 600), ("until", client.now)]
    (event,) = client.json("/events/get_data", [*window, ("tags", "release")])
    assert (event["what"], event["data"], event["when"]) == ("deploy", "build 7", client.now - 100)
    assert event["tags"] == ["release", "web"]
    assert client.json("/events/get_data", [*window, ("tags", "release other")]) == []
    (line,) = client.panel("drawAsInfinite(events('release'))", maxDataPoints=100)
    assert [value for value, _ in line["datapoints"] if value] == [1]


def test_carbonapi_takes_the_daemon_for_a_backend(client):
    def ask(path, *pairs):
        # This header comes with each of its protocols.
        return msgpack.unpackb(client.ask(path, [*pairs, ("format", "msgpack")], accept="application/x-protobuf"))

    nodes = ask("/metrics/find/", ("query", "collectd.*"))
    assert [(node["path"], node["isLeaf"]) for node in nodes] == [("collectd.web01", False), ("collectd.web02", False)]
    (leaf,) = ask("/metrics/find/", ("query", "collectd.web01.load.*"))
    assert (leaf["path"], leaf["isLeaf"]) == ("collectd.web01.load.shortterm", True)
    found = ask("/render/", ("target", LOADS), ("from", client.now - 600), ("until", client.now))
    assert [series["name"] for series in found] == [f"collectd.web0{n}.load.shortterm" for n in (1, 2)]
    for series in found:
        assert series["pathExpression"] == LOADS
        assert series["end"] - series["start"] == series["step"] * len(series["values"])
        # It takes whatever is no 64-bit float for a missing value.
        assert {type(value) for value in series["values"]} <= {float, type(None)}
        assert sum(value is not None for value in series["values"]) >= 58
    expanded = client.json("/metrics/expand/", [("query", "collectd.*")])
    assert expanded == {"results": ["collectd.web01", "collectd.web02"]}
