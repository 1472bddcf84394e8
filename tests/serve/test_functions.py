"""/functions as graphite-web 1.1.10 answers it."""

import json

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ingestd.query.functions import FUNCTIONS
from ingestd.query.functions.registry import Function
from ingestd.serve.functions import _described
from ingestd.serve.http import make_app, runner_options


@pytest.fixture
async def client(fakes, monkeypatch):
    extra = Function("extra", "Alias", (), FUNCTIONS["alias"].body, extension=True)
    monkeypatch.setitem(FUNCTIONS, "extra", extra)
    _described.cache_clear()
    async with TestClient(TestServer(make_app(fakes.deps()), **runner_options())) as client:
        yield client
    _described.cache_clear()


async def get(client, path, status=200):
    response = await client.get(path)
    assert response.status == status
    assert response.content_type == "application/json"
    return await response.text()


async def test_all_functions_but_extensions(client):
    names = {name for name, each in FUNCTIONS.items() if not each.extension}
    assert set(json.loads(await get(client, "/functions/"))) == names
    with_extensions = json.loads(await get(client, "/functions?extensions=1"))
    assert set(with_extensions) == set(FUNCTIONS)
    assert with_extensions["extra"]["extension"] is True


async def test_groups(client):
    groups = json.loads(await get(client, "/functions?grouped=true"))
    assert groups["Alias"]["alias"]["name"] == "alias"
    assert "alias" not in groups["Combine"]
    assert {each["group"] for each in json.loads(await get(client, "/functions?group=Sorting")).values()} == {"Sorting"}
    assert await get(client, "/functions?group=nosuch") == "{}"


async def test_one_function(client):
    assert json.loads(await get(client, "/functions/sumSeries"))["function"] == "sumSeries(*seriesLists)"
    assert json.loads(await get(client, "/functions/extra"))["extension"] is True
    assert json.loads(await get(client, "/functions/nosuch", 404)) == {"error": "Function not found: nosuch"}


async def test_functions_of_pies(client):
    assert set(json.loads(await get(client, "/functions?type=pie"))) == {"average", "maximum", "minimum"}
    assert json.loads(await get(client, "/functions/average?type=pie"))["group"] == "Pie"
    await get(client, "/functions/average", 404)


@pytest.mark.parametrize("query", ["", "?pretty=1"])
async def test_an_infinite_default_is_a_number_of_json(client, query):
    text = await get(client, f"/functions/keepLastValue{query}")
    assert '"default": 1e9999' in text
    assert json.loads(text, parse_constant=pytest.fail)["params"][1]["default"] == float("inf")


async def test_only_get(client):
    assert (await client.post("/functions")).status == 405
