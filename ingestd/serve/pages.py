"""A page to look at what is stored: a tree of the names, targets, their chart. What graphite-web has at the same paths.

It is plain files (``web/``), asks the API that everybody asks, and writes names as text only. Dashboards are not kept
here: graphite-web's own requests for them are answered as by one that has none.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

from aiohttp import web

from ingestd.serve.headers import PAGE_POLICY

PATHS: Final = ("/", "/composer", "/browser", "/dashboard")
"""Where the page is."""
_TYPES: Final = {"page.html": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
FILES: Final = {name: resources.files("ingestd.serve").joinpath("web", name).read_bytes() for name in _TYPES}


def _response(name: str) -> web.Response:
    headers = {"Content-Security-Policy": PAGE_POLICY}
    return web.Response(body=FILES[name], content_type=_TYPES[name], charset="utf-8", headers=headers)


async def page(_: web.Request) -> web.Response:
    """The handler of the page."""
    return _response("page.html")


async def file(request: web.Request) -> web.Response:
    """The handler of its script and its styles."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound
    return _response(name)


async def dashboards(_: web.Request) -> web.Response:
    """The handler of /dashboard/find: there are none."""
    return web.json_response({"dashboards": []})


async def dashboard(request: web.Request) -> web.Response:
    """The handler of /dashboard/load/NAME, with graphite-web's words for one that does not exist."""
    return web.json_response({"error": f"Dashboard '{request.match_info['name']}' does not exist. "})
