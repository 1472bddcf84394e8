"""The page, its files, and what graphite-web's dashboards ask for."""

import re

import pytest
from aiohttp.test_utils import TestClient, TestServer

from ingestd.serve.headers import PAGE_POLICY
from ingestd.serve.http import make_app
from ingestd.serve.pages import FILES, PATHS


@pytest.fixture
async def client(fakes):
    async with TestClient(TestServer(make_app(fakes.deps()))) as client:
        yield client


@pytest.mark.parametrize("path", [*PATHS, *(f"{path}/" for path in PATHS if path != "/")])
async def test_the_page_is_where_graphite_web_has_its_own(client, path):
    response = await client.get(path)
    assert (response.status, response.content_type) == (200, "text/html")
    assert response.headers["Content-Security-Policy"] == PAGE_POLICY
    assert b"<title>ingestd</title>" in await response.read()


async def test_what_the_page_asks_for_is_there(client):
    page = FILES["page.html"].decode()
    wanted = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert len(wanted) == 2
    for path in wanted:
        response = await client.get(path)
        assert response.status == 200
        assert response.content_type in ("text/css", "text/javascript")
    assert (await client.get("/web/nosuch.js")).status == 404
    assert (await client.get("/web/..%2Fpages.py")).status == 404
    script = FILES["page.js"].decode()
    for path in re.findall(r'["`](/[a-z/]+)\?', script):
        assert (await client.get(path, params={"query": "a", "target": "a", "format": "json"})).status == 200
    assert {f'id="{name}"' in page for name in re.findall(r'at\("(\w+)"\)', script)} == {True}


def test_nothing_in_the_page_runs_or_looks_other_than_by_its_files():
    page, script = (FILES[name].decode() for name in ("page.html", "page.js"))
    assert not re.search(r"<style|<script(?! src)|\son\w+=|style=|javascript:", page)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script)


async def test_there_are_no_dashboards(client):
    assert await (await client.get("/dashboard/find/?query=")).json() == {"dashboards": []}
    said = await (await client.get("/dashboard/load/none")).json()
    assert said == {"error": "Dashboard 'none' does not exist. "}
