import json
import pickle
import threading
from dataclasses import replace
from typing import NamedTuple

import msgpack
import pytest
from aiohttp.test_utils import TestClient, TestServer

from ingestd.serve.deps import Limits
from ingestd.serve.find import completer_query
from ingestd.serve.http import make_app, runner_options
from ingestd.serve.params import FIELDS_MAX

NOW = 1_795_389_600
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Node(NamedTuple):
    path: str
    is_leaf: bool
    is_branch: bool


@pytest.fixture
async def client(fakes):
    async with TestClient(TestServer(make_app(fakes.deps(), Limits(body=200_000))), auto_decompress=False) as client:
        yield client


async def answer(response, status=200):
    assert response.status == status, await response.text()
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Server"] == "ingestd"
    return await response.text()


# --- render --------------------------------------------------------------------------------------------------------


async def test_render_reads_query_and_form(client, fakes):
    response = await client.post(
        "/render?target=a&from=1&format=csv",
        data={"target": "b", "from": "-1h", "until": "now", "format": "json", "maxDataPoints": "-5"},
    )
    assert [one["target"] for one in json.loads(await answer(response))] == ["a", "b"]
    (request,) = fakes.requests
    assert (request.start, request.until, request.now) == (NOW - 3600, NOW, NOW)
    assert request.max_data_points is None
    assert request.x_files_factor is None


async def test_render_defaults_to_a_day_and_takes_targets_with_brackets(client, fakes):
    await answer(await client.get("/render/?target[]=a&target[]=b&format=json&xFilesFactor=0.5&maxDataPoints=7"))
    (request,) = fakes.requests
    assert request.targets == ("a", "b")
    assert (request.start, request.until) == (NOW - 86400, NOW)
    assert (request.x_files_factor, request.max_data_points) == (0.5, 7)


async def test_variables_of_templates(client, fakes):
    await answer(await client.get("/render?target=a&format=json&template[h]=x&template[h]=y&template[n]=3&template=q"))
    (request,) = fakes.requests
    assert request.template == (("h", "y"), ("n", "3"))


async def test_now_shifts_times_and_swapped_ones_are_exchanged(client, fakes):
    await answer(await client.get("/render?target=a&format=json&now=1000000&from=now&until=-1h&tz=Asia/Kolkata"))
    (request,) = fakes.requests
    assert (request.start, request.until, request.now) == (1_000_000 - 3600, 1_000_000, 1_000_000)
    assert str(request.tz) == "Asia/Kolkata"


@pytest.mark.parametrize("zone", ["No/Where", "../../etc/passwd", "", "Europe", "x" * 99, "/etc/localtime"])
async def test_an_unknown_zone_is_utc(client, fakes, zone):
    await answer(await client.get("/render", params={"target": "a", "format": "json", "tz": zone}))
    assert str(fakes.requests[0].tz) == "UTC"


async def test_formats(client):
    response = await client.get("/render?target=a&format=csv&from=0&until=100")
    assert (await answer(response)).startswith("a,1970-01-01 00:00:00,1.0\r\n")
    assert response.content_type == "text/csv"
    response = await client.get("/render?target=a&rawData=1&from=0&until=100")
    assert await answer(response) == "a,0,40,10|1.0,2.0,None,4.0\n"
    assert response.content_type == "text/plain"
    response = await client.get("/render?target=a&format=json&from=0&until=100&jsonp=cb&noNullPoints=1")
    assert (await answer(response)).endswith('"datapoints": [[1.0,0],[2.0,10],[4.0,30]]}])')
    assert response.content_type == "text/javascript"
    response = await client.get("/render?target=a&format=json&from=0&until=100&maxDataPoints=1")
    assert json.loads(await answer(response))[0]["datapoints"] == [[7 / 3, 0]]
    assert json.loads(await answer(await client.get("/render?target=a&format=json&pretty=1")))[0]["target"] == "a"


async def test_formats_of_other_programs(client):
    response = await client.get("/render?target=a&target=b&format=dygraph&from=0&until=100&jsonp=cb")
    assert response.content_type == "text/javascript"
    assert (await answer(response)).startswith('cb({"labels" : ["Time", "a", "b"], "data" : [[0000, 1.0, 1.0]')
    response = await client.get("/render?target=a&format=rickshaw&from=0&until=100&jsonp=cb&pretty=1")
    assert (await answer(response)).startswith('cb([{"target": "a", "datapoints": [{"x": 0, "y": 1.0}')
    for query, kind, read in (
        ("pickle=1&jsonp=cb", "application/pickle", pickle.loads),
        ("format=msgpack", "application/x-msgpack", msgpack.unpackb),
    ):
        response = await client.get("/render?target=a&from=0&until=100&local=1&noCache=1&" + query)
        assert (response.status, response.headers["Content-Type"]) == (200, kind)
        (one,) = read(await response.read())
        assert (one["start"], one["end"], one["values"]) == (0, 40, [1.0, 2.0, None, 4.0])


async def test_a_bad_question_is_told_in_graphites_words(client):
    text = await answer(await client.get("/render?target=bad&target=x&format=pickle"), 400)
    assert text == 'Invalid parameters (no such function); targets: "bad, x"'
    text = await answer(await client.get("/render?target=a&format=json&from=5&until=5"), 400)
    assert text == "Invalid parameters (Invalid empty time range)"
    text = await answer(await client.get("/metrics/find?query=too.much"), 400)
    assert text == "Invalid parameters (the pattern means more than 10 names)"


async def test_no_target_is_no_series(client, fakes):
    assert await answer(await client.get("/render?format=json")) == "[]"
    assert await answer(await client.get("/render?format=json&target=")) == "[]"
    assert fakes.requests == []


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("target=a&format=png&lineMode=wavy", "lineMode is none of slope, staircase, connected"),
        ("target=a&width=3000&height=3000", "(http.chart_pixels)"),
        ("target=a&format=json&graphType=bars", "graphType is none of line, pie"),
        ("target=a&format=json&from=5&until=5", "Invalid empty time range"),
        ("target=a&format=json&from=bogus", "bogus"),
        ("target=a&format=json&xFilesFactor=x", "xFilesFactor"),
        ("target=a&format=json&xFilesFactor=nan", "xFilesFactor"),
        ("target=bad&format=json", "no such function"),
        ("target=a&format=json&jsonp=alert(1)//", "jsonp"),
        ("target=a&format=json&jsonp=<b>", "jsonp"),
        ("target=a&format=json&maxDataPoints=0", "maxDataPoints"),
        ("&".join(["target=a"] * (FIELDS_MAX + 1)), "fields"),
        ("format=json&target=" + "a" * 7000 + "&x=" + "%41" * 10, None),
    ],
)
async def test_bad_questions_get_one_line(client, query, words):
    response = await client.post("/render", data=query, headers=FORM)
    if words is None:
        await answer(response)
        return
    text = await answer(response, 400)
    assert words in text
    assert "\n" not in text
    assert response.content_type == "text/plain"


async def test_a_long_field_and_a_long_body_are_refused(client):
    assert "characters" in await answer(await client.post("/render", data={"target": "a" * 70_000}), 400)
    await answer(await client.post("/render", data={"target": "a" * 210_000}), 413)


async def test_a_failure_tells_nothing(client):
    assert "secret" not in await answer(await client.get("/render?target=boom&format=json"), 500)
    await answer(await client.get("/nothing"), 404)
    await answer(await client.put("/render"), 405)


async def test_a_question_that_takes_too_long_or_waits_too_long_is_given_up(fakes):
    release = threading.Event()

    def stuck(request):
        release.wait(60)
        return []

    app = make_app(replace(fakes.deps(), run=stuck), Limits(workers=1, waiting=0, timeout=0.05))
    async with TestClient(TestServer(app)) as client:
        try:
            assert "no answer" in await answer(await client.get("/render?target=a&format=json"), 503)
            response = await client.get("/render?target=a&format=json")
            assert "too many" in await answer(response, 503)
            assert response.headers["Retry-After"] == "1"
        finally:
            release.set()


# --- names ---------------------------------------------------------------------------------------------------------

TREE = [Node("a.b%20c", True, False), Node("a.both", True, True), Node("a.x", False, True)]


async def test_find_lists_branches_then_leaves(client, fakes):
    fakes.nodes = TREE
    leaf = {"allowChildren": 0, "expandable": 0, "leaf": 1}
    branch = {"allowChildren": 1, "expandable": 1, "leaf": 0}
    lines = [
        {"text": "both", "id": "a.both", **branch},
        {"text": "x", "id": "a.x", **branch},
        {"text": "b c", "id": "a.b%20c", **leaf},
    ]
    assert json.loads(await answer(await client.get("/metrics/find?query=a.*"))) == lines
    assert json.loads(await answer(await client.get("/metrics?query=a.*"))) == lines
    wild = json.loads(
        await answer(await client.post("/metrics/find/?wildcards=1&from=-1h", data="query=a.*", headers=FORM))
    )
    assert wild == [{"text": "*", "id": "a.*", **branch}, *lines]
    leaves = json.loads(await answer(await client.get("/metrics/find?query=a.*&leavesOnly=1&wildcards=1")))
    assert [line["id"] for line in leaves] == ["a.*", "a.b%20c", "a.both"]
    assert leaves[0]["leaf"] == 1
    assert fakes.patterns == ["a.*"] * 4


async def test_find_completes(client, fakes):
    fakes.nodes = TREE
    found = json.loads(await answer(await client.get("/metrics/find?query=a.&format=completer&wildcards=1")))
    assert found["metrics"][:2] == [
        {"path": "a.b%20c", "name": "b%20c", "is_leaf": "1"},
        {"path": "a.both.", "name": "both", "is_leaf": "0"},
    ]
    assert found["metrics"][-1] == {"name": "*"}
    assert fakes.patterns == ["a.*"]
    assert completer_query("a..b,c.{d,e}", True) == "a*.{b,c}.{d,e}*"


async def test_find_as_json_and_as_a_list_of_nodes(client, fakes):
    fakes.nodes = TREE
    found = json.loads(await answer(await client.get("/metrics/find?query=a.*&format=json")))
    assert [(line["path"], line["is_leaf"]) for line in found] == [
        ("a.b%20c", True),
        ("a.both", False),
        ("a.both", True),
        ("a.x", False),
    ]
    assert found[0]["intervals"] == [{"start": 0, "end": NOW}]
    text = await answer(await client.get("/metrics/find?query=a.*&format=json&pretty=1&jsonp=f"))
    assert json.loads(text.removeprefix("f(").removesuffix(")")) == found
    assert '\n  {\n    "path": "a.b%20c"' in text
    found = json.loads(await answer(await client.get("/metrics/find?query=a.*&format=nodelist&position=0")))
    assert found == {"nodes": ["a"]}


async def test_find_for_another_graphite_web(client, fakes):
    fakes.nodes = TREE
    for name, kind, read in (
        ("pickle", "application/pickle", pickle.loads),
        ("msgpack", "application/x-msgpack", msgpack.unpackb),
    ):
        response = await client.get(f"/metrics/find/?local=1&format={name}&query=a.*&from=0&until=60")
        assert (response.status, response.headers["Content-Type"]) == (200, kind)
        assert read(await response.read()) == [
            {"path": "a.b%20c", "is_leaf": True, "intervals": [[0, NOW]]},
            {"path": "a.both", "is_leaf": False},
            {"path": "a.both", "is_leaf": True, "intervals": [[0, NOW]]},
            {"path": "a.x", "is_leaf": False},
        ]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "query=",
        "query=a&from=bogus",
        "query=a&wildcards=x",
        "query=a&format=nosuch",
        "query=too.much",
        "query=a&jsonp=1(",
        "query=a&format=nodelist&position=7",
        "query=a&position=" + "9" * 40,
    ],
)
async def test_bad_finds_get_one_line(client, fakes, query):
    fakes.nodes = TREE
    await answer(await client.get("/metrics/find?" + query), 400)


async def test_expand(client, fakes):
    fakes.nodes = TREE
    text = await answer(await client.get("/metrics/expand?query=a.*&query=b"))
    assert json.loads(text) == {"results": ["a.b%20c", "a.both", "a.x"]}
    text = await answer(
        await client.post("/metrics/expand/", data="query=a.*&groupByExpr=1&leavesOnly=1", headers=FORM)
    )
    assert json.loads(text) == {"results": {"a.*": ["a.b%20c", "a.both"]}}
    assert json.loads(await answer(await client.get("/metrics/expand"))) == {"results": []}
    await answer(await client.get("/metrics/expand?" + "&".join(["query=a"] * 101)), 400)


async def test_index(client):
    assert json.loads(await answer(await client.get("/metrics/index.json"))) == ["a.b", "c"]
    response = await client.get("/metrics/index.json?jsonp=a.b")
    assert await answer(response) == 'a.b(["a.b", "c"])'
    assert response.content_type == "text/javascript"


# --- events --------------------------------------------------------------------------------------------------------


async def test_events_are_kept_and_found(client, fakes):
    posted = await client.post("/events/", json={"what": "deploy", "tags": ["web", "two words"], "when": NOW - 5.5})
    assert await answer(posted) == ""
    await answer(await client.post("/events", data=json.dumps({"what": "x", "tags": "a  b", "data": {"k": 1}})))
    assert fakes.events == [
        {"id": 1, "when": NOW - 6, "what": "deploy", "tags": ["web", "two", "words"], "data": ""},
        {"id": 2, "when": NOW, "what": "x", "tags": ["a", "b"], "data": '{"k": 1}'},
    ]
    found = await client.get("/events/get_data?from=-1h&until=now&tags=a+b&set=union")
    assert json.loads(await answer(found)) == fakes.events
    await answer(await client.get("/events/get_data/"))
    assert fakes.patterns == [(NOW - 3600, NOW, ["a", "b"], "union"), (0, NOW, None, None)]
    assert json.loads(await answer(await client.get("/events/2"))) == fakes.events[1]
    await answer(await client.get("/events/3"), 404)
    await answer(await client.get("/events/" + "9" * 30), 404)
    await answer(await client.get("/events/get_data?from=bogus"), 400)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "nonsense",
        "[" * 100_000,
        '{"tags": 5}',
        '{"tags": [5]}',
        '{"when": "x"}',
        '{"when": true}',
        '{"when": -1}',
        '{"when": NaN}',
        '{"when": 1e300}',
        '{"when": 1%s}' % ("0" * 400),
        '{"what": "' + "x" * 70_000 + '"}',
        json.dumps({"tags": ["x"] * 1001}),
    ],
)
async def test_what_is_no_event_is_refused(client, fakes, body):
    await answer(await client.post("/events/", data=body), 400)
    assert fakes.events == []


# --- status --------------------------------------------------------------------------------------------------------


async def test_status_health_version_and_metrics(client, fakes):
    status = json.loads(await answer(await client.get("/status")))
    assert status.pop("http").keys() == {"connections", "streams", "access"}
    assert status == {"version": "0.1", "series": 3}
    assert await answer(await client.get("/health")) == "accepting"
    fakes.healthy = False
    assert await answer(await client.get("/health/"), 503) == "draining"
    assert await answer(await client.get("/version")) == "1.1.10"
    response = await client.get("/metrics")
    assert await answer(response) == "up 1\n"
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_flush_is_for_this_machine_only(client, fakes):
    assert await answer(await client.post("/flush")) == "flushed"
    for header in ("Origin", "X-Forwarded-For", "Forwarded", "Via"):
        await answer(await client.post("/flush", headers={header: "127.0.0.1"}), 403)
    await answer(await client.get("/flush"), 405)
    assert fakes.flushed == 1


async def test_the_runner_takes_its_options(fakes):
    from aiohttp import web

    runner = web.AppRunner(make_app(fakes.deps()), **runner_options(idle=5, line=10_000))
    await runner.setup()
    await runner.cleanup()


# --- start ---------------------------------------------------------------------------------------------------------


async def test_while_it_starts_health_says_so_and_nothing_else_is_asked(fakes):
    starting = True
    fakes.healthy = False
    app = make_app(replace(fakes.deps(), starting=lambda: starting))
    async with TestClient(TestServer(app)) as client:
        assert await answer(await client.get("/health"), 503) == "draining"
        for path in ("/render?target=a", "/metrics/find?query=*", "/status", "/metrics", "/events/get_data"):
            response = await client.get(path)
            assert await answer(response, 503) == "starting"
            assert response.headers["Retry-After"] == "1"
        starting = False
        await answer(await client.get("/status"))
