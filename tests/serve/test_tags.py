import json

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ingestd.serve.http import make_app
from ingestd.serve.tags import path_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TAGGED = ["cpu;dc=a;host=x", "cpu;dc=b;host=x", "disk;dc=a;host=y;rack=r.1"]


@pytest.fixture
async def ask(fakes):
    """``await ask("GET /tags?...", status, form)``: what the JSON of an answer holds."""
    fakes.tagged = TAGGED
    async with TestClient(TestServer(make_app(fakes.deps()))) as client:

        async def asked(question, status=200, form=None):
            method, url = question.split(" ", 1)
            response = await client.request(method, url, data=form, headers=FORM if form is not None else None)
            assert response.status == status, await response.text()
            assert response.content_type == ("text/plain" if status == 405 else "application/json")
            return None if status == 405 else json.loads(await response.text())

        yield asked


async def test_tags_and_their_values(ask):
    assert [one["tag"] for one in await ask("GET /tags/")] == ["dc", "host", "name", "rack"]
    assert [one["tag"] for one in await ask("GET /tags?filter=h")] == ["host"]
    assert [one["tag"] for one in await ask("GET /tags?limit=1")] == ["dc"]
    found = await ask("GET /tags/dc")
    assert {"tag": "dc", "id": found["id"]} | {"values": found["values"]} == found
    assert [(one["value"], one["count"]) for one in found["values"]] == [("a", 2), ("b", 1)]
    assert len({one["id"] for one in found["values"]} | {found["id"]}) == 3
    assert [one["value"] for one in (await ask("GET /tags/host/?limit=1"))["values"]] == ["x"]
    assert [one["value"] for one in (await ask("GET /tags/host?filter=y"))["values"]] == ["y"]
    assert (await ask("GET /tags/host?filter=z"))["values"] == []
    assert await ask("GET /tags/nosuch") is None


async def test_series_are_found_by_their_tags(ask):
    assert await ask("GET /tags/findSeries?expr=name=cpu&expr=dc=b") == ["cpu;dc=b;host=x"]
    assert await ask("GET /tags/findSeries?expr[]=rack=&expr[]=dc=a") == ["cpu;dc=a;host=x"]
    assert await ask("POST /tags/findSeries", form="expr=host%3D~%5B xy%5D&expr=dc!=b") == [TAGGED[0], TAGGED[2]]


async def test_tags_and_values_are_completed(ask):
    assert await ask("GET /tags/autoComplete/tags?tagPrefix=d") == ["dc"]
    assert await ask("GET /tags/autoComplete/tags?expr=name=cpu&limit=10000") == ["dc", "host"]
    assert await ask("POST /tags/autoComplete/tags", form="limit=1") == ["dc"]
    assert await ask("GET /tags/autoComplete/values?tag=host&valuePrefix=&limit=") == ["x", "y"]
    assert await ask("POST /tags/autoComplete/values", form="tag=host&expr=name=disk") == ["y"]
    assert await ask("GET /tags/autoComplete/values?tag=dc&limit=0") == []


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("GET /tags/findSeries", "no tag expressions specified"),
        ("GET /tags/findSeries?expr=bogus", "Invalid tagspec bogus"),
        ("GET /tags/findSeries?expr=dc!=a", "At least one tagspec must not match the empty string"),
        ("GET /tags/findSeries?expr=dc=~(", "the regular expression '^(()' is not supported"),
        ("GET /tags/findSeries?" + "expr=dc=a&" * 6, "the limit is 5 (limits.tag_expressions)"),
        ("GET /tags/autoComplete/values", "no tag specified"),
        ("GET /tags?filter=(", "is not supported"),
        ("POST /tags/tagSeries", "no path specified"),
        ("POST /tags/tagSeries?path=bad", "'bad' is no path"),
        ("POST /tags/tagMultiSeries?path=", "no paths specified"),
        ("POST /tags/tagMultiSeries?" + "path=a&" * 1001, "a request has at most 1000 paths"),
        ("POST /tags/delSeries", "no path specified"),
    ],
)
async def test_what_is_refused_says_why(ask, question, reason):
    assert reason in (await ask(question, 400))["error"]


async def test_series_are_registered_and_deleted(ask, fakes):
    assert await ask("POST /tags/tagSeries", form="path=a;x=1") == "A;X=1"
    assert await ask("POST /tags/tagMultiSeries/", form="path=a&path=b%7Bx=%222%22%7D") == ["A", "B;X=2"]
    assert fakes.registered == ["a;x=1", "a", "b;x=2"]
    assert await ask("POST /tags/delSeries", form="path[]=a;x=1&path[]=c") is True
    assert fakes.gone == ["a;x=1", "c"]
    for path in ("tagSeries", "tagMultiSeries", "delSeries"):
        await ask(f"GET /tags/{path}?path=a", 405)


def test_paths_may_be_spelt_as_openmetrics_does():
    assert path_of('a.b{x="1",y="q\\"\\\\;"}') == 'a.b;x=1;y=q"\\;'
    for path in ("a.b", "a;b=c", "a{b}", 'a{b="}', "a{}", '{a="b"}', ""):
        assert path_of(path) == path
