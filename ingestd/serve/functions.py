"""/functions: what there is to call, as graphite-web 1.1.10 tells it. Grafana's editor is made of this.

The list is graphite-web's own; functions that it does not have are in it only with ``extensions=1``, each marked
``"extension": true``. Each can be asked for by its name in any case.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

from aiohttp import web

from ingestd.query.functions import FUNCTIONS
from ingestd.query.functions.pie import PIES
from ingestd.serve.params import Params, params_of

_TRUE: Final = ("1", "true")
_INFINITE: Final = re.compile(r'(?<="default": )Infinity\b')
"""Python's spelling, which is no JSON; within a string the quotes before it would be escaped."""


@cache
def _described(pie: bool) -> dict[str, dict[str, Any]]:
    return {name: each.describe() for name, each in (PIES if pie else FUNCTIONS).items()}


def _respond(params: Params, data: object, status: int = 200) -> web.Response:
    pretty = bool(params.get("pretty"))
    text = json.dumps(data, indent=2 if pretty else None, sort_keys=pretty)
    return web.Response(status=status, text=_INFINITE.sub("1e9999", text), content_type="application/json")


def _is_set(params: Params, name: str) -> bool:
    return params.get(name).lower() in _TRUE


async def function_list(request: web.Request) -> web.Response:
    """All functions by name, or by group and name with ``grouped``; of one ``group`` only if it is given."""
    params = await params_of(request)
    extensions = _is_set(params, "extensions")
    found = {
        name: each
        for name, each in _described(params.get("type") == "pie").items()
        if ("group" not in params or each["group"] == params.get("group")) and (extensions or "extension" not in each)
    }
    if not _is_set(params, "grouped"):
        return _respond(params, found)
    groups: dict[str, dict[str, Any]] = {}
    for name, each in found.items():
        groups.setdefault(each["group"], {})[name] = each
    return _respond(params, groups)


async def function_details(request: web.Request) -> web.Response:
    """One function."""
    params = await params_of(request)
    name = request.match_info["name"]
    found = _described(params.get("type") == "pie").get(name)
    if found is None:
        return _respond(params, {"error": f"Function not found: {name}"}, 404)
    return _respond(params, found)
