"""/metrics/find, /metrics/expand and /metrics/index.json, as graphite-web 1.1.10 answers them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from operator import itemgetter
from typing import Any, Final
from urllib.parse import unquote_plus

from aiohttp import web

from ingestd.query.limits import QueryError
from ingestd.serve.binary import BINARY, msgpack_bytes, pickle_bytes
from ingestd.serve.deps import Deps, Match
from ingestd.serve.params import Params, ServeError, invalid, params_of
from ingestd.serve.partial import whole
from ingestd.serve.render import time_of, zone_of
from ingestd.serve.workers import Workers

Handler = Callable[[web.Request], Any]
FORMATS: Final = ("treejson", "completer", "json", "nodelist", "pickle", "msgpack")
QUERIES_MAX: Final = 100
_LEAF: Final = '"allowChildren": 0, "expandable": 0, "leaf": 1}'
_BRANCH: Final = '"allowChildren": 1, "expandable": 1, "leaf": 0}'


class Written(str):
    """Data that is JSON already: an object for each name, to be encoded then, takes ten times as long."""

    __slots__ = ()


def tree(found: list[Match], base: str, wildcards: bool) -> Written:
    """treejson: branches, then leaves; of equal names the first. Ids begin with the query's own beginning."""
    first: list[str] = []
    if wildcards and len(found) > 1:
        first.append(_node("*", base, all(leaf for _, _, leaf in found)))
    leaves: list[str] = []
    branches: list[str] = []
    seen = set()
    for name, _, leaf in found:
        if name not in seen:
            seen.add(name)
            (leaves if leaf else branches).append(_node(name, base, leaf))
    return _list([*first, *branches, *leaves])


def _node(name: str, base: str, leaf: bool) -> str:
    return f'{{"text": {quoted(unquote_plus(name))}, "id": {quoted(base + name)}, {_LEAF if leaf else _BRANCH}'


def _list(items: list[str]) -> Written:
    return Written(f"[{', '.join(items)}]")


def completions(found: list[Match], wildcards: bool) -> dict[str, Any]:
    """completer: paths, those of branches with a dot."""
    lines = [
        {"path": path if leaf else path + ".", "name": name, "is_leaf": str(int(leaf))} for name, path, leaf in found
    ]
    if wildcards and len(lines) > 1:
        lines.append({"name": "*"})
    return {"metrics": lines}


def completer_query(query: str, automatic_variants: bool) -> str:
    """The pattern of a completer's query: everything that begins so."""
    query = query.replace("..", "*.")
    if not query.endswith("*"):
        query += "*"
    if automatic_variants:
        parts = query.split(".")
        query = ".".join("{" + part + "}" if "," in part and "{" not in part else part for part in parts)
    return query


def plain(found: list[Match], until: int) -> Written:
    """json: paths in order. The store keeps no record of when a series was written: leaves claim all time."""
    # What is a branch and a leaf comes as both, in this order, which sorting keeps.
    leaf_end = f', "is_leaf": true, "intervals": [{{"start": 0, "end": {until}}}]}}'
    return _list(
        [
            f'{{"path": {quoted(path)}{leaf_end if leaf else _PLAIN_BRANCH}'
            for _, path, leaf in sorted(found, key=itemgetter(1))
        ]
    )


_CARBONAPI: Final = "application/x-protobuf"
_PLAIN_BRANCH: Final = ', "is_leaf": false}'


def records(found: list[Match], until: int, carbonapi: bool = False) -> list[dict[str, Any]]:
    """pickle and msgpack: nodes in order; the times of leaves as in :func:`plain`.

    ``carbonapi`` looks for graphite-web 1.0's "isLeaf", and without it takes every series for a branch.
    """
    leaf = {"intervals": [[0, until]]}
    nodes = [{"path": path, "is_leaf": is_leaf, **(leaf if is_leaf else {})} for _, path, is_leaf in found]
    return [{**node, "isLeaf": node["is_leaf"]} for node in nodes] if carbonapi else nodes


def nodes_at(found: list[Match], position: int) -> dict[str, Any]:
    """nodelist: the names at one position of the paths.

    :raises ServeError: 400, a path has no such position.
    """
    try:
        return {"nodes": sorted({path.split(".")[position] for _, path, _ in found})}
    except IndexError:
        raise ServeError(400, "position is beyond the end of a path") from None


def respond(params: Params, data: object) -> web.Response:
    """Data as JSON, in a callback if one is asked for."""
    callback = params.callback()
    return _response(callback, _json(callback, data, bool(params.get("pretty"))))


async def respond_with(deps: Deps, params: Params, workers: Workers, answer: Callable[[], object]) -> web.Response:
    """What ``answer`` gives, as JSON, in a callback if one is asked for; all made in a worker thread."""
    callback, pretty = params.callback(), bool(params.get("pretty"))
    body, headers = await workers.run(whole, deps, params, lambda: _json(callback, answer(), pretty))
    response = _response(callback, body)
    response.headers.update(headers)
    return response


def _json(callback: str, data: object, pretty: bool) -> bytes:
    if isinstance(data, Written):
        text = json.dumps(json.loads(data), indent=2) if pretty else data
    else:
        text = json.dumps(data, indent=2 if pretty else None)
    return (f"{callback}({text})" if callback else text).encode()


def _response(callback: str, body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/javascript" if callback else "application/json", charset="utf-8")


@dataclass(frozen=True, slots=True)
class _Query:
    """A request to /metrics/find."""

    pattern: str
    base: str
    form: str
    wildcards: bool
    leaves_only: bool
    position: int
    now: int
    carbonapi: bool
    """Whether carbonapi asks: of what it reads only its own protocol is named in Accept, whichever it asks for."""

    def answer(self, deps: Deps) -> object:
        """The data of the answer; made in a worker thread."""
        found = deps.finder.find_matches(self.pattern, self.leaves_only)
        if self.form == "treejson":
            return tree(found, self.base, self.wildcards)
        if self.form == "completer":
            return completions(found, self.wildcards)
        if self.form == "json":
            return plain(found, self.now)
        if self.form == "nodelist":
            return nodes_at(found, self.position)
        return records(found, self.now, self.carbonapi)

    def written(self, deps: Deps) -> bytes:
        """The body of an answer in pickle or msgpack; made in a worker thread."""
        return (pickle_bytes if self.form == "pickle" else msgpack_bytes)(self.answer(deps))


def query_of(deps: Deps, params: Params, accept: str = "") -> _Query:
    """What a request to /metrics/find asks; ``accept`` is its header of that name.

    :raises QueryError: a parameter is none.
    """
    clock = int(deps.clock())
    tz = zone_of(params)
    now = time_of(params, "now", clock, clock, tz)
    for name in ("from", "until"):
        # Read for their errors: names are not kept by time.
        if params.get(name) != "-1":
            time_of(params, name, now, now, tz)
    query = params.get("query")
    if not query:
        raise QueryError("the parameter query is missing or empty")
    form = params.get("format", "treejson")
    if form not in FORMATS:
        raise ServeError(400, f"this format is not served; served are {', '.join(FORMATS)}")
    base = query.rsplit(".", 1)[0] + "." if "." in query else ""
    if form == "completer":
        query = completer_query(query, bool(params.number("automatic_variants")))
    wildcards, leaves_only = bool(params.number("wildcards")), bool(params.number("leavesOnly"))
    position = params.number("position", -1)
    return _Query(query, base, form, wildcards, leaves_only, position, now, accept == _CARBONAPI)


def find_handler(deps: Deps, workers: Workers) -> Handler:
    """The handler of /metrics/find."""

    async def find(request: web.Request) -> web.Response:
        params = await params_of(request)
        try:
            query = query_of(deps, params, request.headers.get("Accept", ""))
            if query.form in BINARY:
                body, headers = await workers.run(whole, deps, params, partial(query.written, deps))
                return web.Response(body=body, content_type=BINARY[query.form], headers=headers)
            return await respond_with(deps, params, workers, partial(query.answer, deps))
        except deps.blames as error:
            raise invalid(error) from error

    return find


def expand_handler(deps: Deps, workers: Workers) -> Handler:
    """The handler of /metrics/expand."""

    async def expand(request: web.Request) -> web.Response:
        params = await params_of(request)
        params.callback()
        by_query, leaves_only = bool(params.number("groupByExpr")), bool(params.number("leavesOnly"))
        queries = params.all("query")
        if len(queries) > QUERIES_MAX:
            raise ServeError(400, f"a request has at most {QUERIES_MAX} queries")

        given_up = threading.Event()

        def expanded(query: str) -> list[str]:
            if given_up.is_set():
                raise ServeError(503, "the request was given up")
            return sorted({path for _, path, _ in deps.finder.find_matches(query, leaves_only)})

        def answer() -> dict[str, Any]:
            results = {query: expanded(query) for query in queries}
            return {"results": results if by_query else sorted(set().union(*results.values()))}

        try:
            return await respond_with(deps, params, workers, answer)
        finally:
            given_up.set()

    return expand


def index_handler(deps: Deps, workers: Workers) -> Handler:
    """The handler of /metrics/index.json."""

    async def index(request: web.Request) -> web.Response:
        params = await params_of(request)
        return await respond_with(deps, params, workers, deps.finder.paths)

    return index
