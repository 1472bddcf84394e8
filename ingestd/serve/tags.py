"""/tags: which tags, values and tagged series there are, as graphite-web 1.1.10 answers; series registered, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final
from zlib import crc32

from aiohttp import web

from ingestd.serve.deps import Deps
from ingestd.serve.find import respond, respond_with
from ingestd.serve.params import Params, params_of
from ingestd.serve.workers import Workers

PATHS_MAX: Final = 1_000
"""Paths of one request to register or delete."""
COMPLETIONS: Final = 100
"""Tags or values that are suggested where nobody says how many: graphite-web's TAGDB_AUTOCOMPLETE_LIMIT."""
_CHANGING: Final = frozenset({"tagSeries", "tagMultiSeries", "delSeries"})
_OPEN_METRICS: Final = re.compile(r'([^{]+)\{((?:[^="]+="(?:[^"\\]|\\.)+",?)+)\}')
_OPEN_METRICS_TAG: Final = re.compile(r'([^="]+)="((?:[^"\\]|\\.)+)",?')


def path_of(spelling: str) -> str:
    """A path as carbon spells it, ``name;tag=value``, also of OpenMetrics' spelling, ``name{tag="value"}``."""
    found = _OPEN_METRICS.fullmatch(spelling)
    if found is None:
        return spelling
    tags = [(tag, re.sub(r"\\(.)", r"\1", value)) for tag, value in _OPEN_METRICS_TAG.findall(found[2])]
    return ";".join([found[1], *(f"{tag}={value}" for tag, value in tags)])


class TagHandlers:
    """Handlers of /tags. Searches run in worker threads; what is refused gets 400 and ``{"error": reason}``."""

    def __init__(self, deps: Deps, workers: Workers) -> None:
        self._deps = deps
        self._tags = deps.tags
        self._workers = workers

    async def tags(self, request: web.Request) -> web.StreamResponse:
        """GET /tags: all tags, or those that ``filter`` fits."""
        params = await params_of(request)

        def answer() -> list[dict[str, Any]]:
            return [{"id": _id(tag), "tag": tag} for tag in _cut(self._tags.tags(params.get("filter")), params)]

        return await self._answered(params, answer)

    async def tag(self, request: web.Request) -> web.StreamResponse:
        """GET /tags/TAG: its values, all or those that ``filter`` fits, and how many series have each."""
        tag = request.match_info["tag"].rstrip("/")
        if tag in _CHANGING:
            raise web.HTTPMethodNotAllowed("GET", ["POST"])
        params = await params_of(request)

        def answer() -> dict[str, Any] | None:
            counts = self._tags.values(tag, params.get("filter"))
            if not counts and not (params.get("filter") and self._tags.values(tag)):
                return None
            values = [{"id": _id(f"{tag}={value}"), "value": value, "count": n} for value, n in counts.items()]
            return {"id": _id(tag), "tag": tag, "values": _cut(values, params)}

        return await self._answered(params, answer)

    async def find_series(self, request: web.Request) -> web.StreamResponse:
        """/tags/findSeries: the paths of the series that satisfy all of ``expr``."""
        params = await params_of(request)
        expressions = params.all("expr")
        if not expressions:
            return _error("no tag expressions specified")
        return await self._answered(params, lambda: [path for path, _ in self._tags.find(expressions)])

    async def complete_tags(self, request: web.Request) -> web.StreamResponse:
        """/tags/autoComplete/tags: tags that begin with ``tagPrefix``, of the series that satisfy ``expr``."""
        params = await params_of(request)
        expressions, prefix, limit = params.all("expr"), params.get("tagPrefix"), _completions(params)
        return await self._answered(params, lambda: self._tags.complete_tags(expressions, prefix, limit))

    async def complete_values(self, request: web.Request) -> web.StreamResponse:
        """/tags/autoComplete/values: values of ``tag`` that begin with ``valuePrefix``, as :meth:`complete_tags`."""
        params = await params_of(request)
        tag, prefix, limit = params.get("tag"), params.get("valuePrefix"), _completions(params)
        if not tag:
            return _error("no tag specified")
        expressions = params.all("expr")
        return await self._answered(params, lambda: self._tags.complete_values(expressions, tag, prefix, limit))

    async def tag_series(self, request: web.Request) -> web.StreamResponse:
        """POST /tags/tagSeries: register the series of ``path``; its canonical path."""
        return await self._changed(request, "no path specified", self._register_one)

    async def tag_multi_series(self, request: web.Request) -> web.StreamResponse:
        """POST /tags/tagMultiSeries: register the series of each ``path``; their canonical paths."""
        return await self._changed(request, "no paths specified", self._deps.register)

    async def delete_series(self, request: web.Request) -> web.StreamResponse:
        """POST /tags/delSeries: forget the series of each ``path``, points and all; true, whether there was one or not.

        graphite-web forgets its tags alone and leaves its file to whoever can log in to the machine.
        """
        return await self._changed(request, "no path specified", self._forget)

    async def _register_one(self, paths: list[str]) -> str:
        return (await self._deps.register(paths[-1:]))[0]

    async def _forget(self, paths: list[str]) -> bool:
        await self._deps.forget(paths)
        return True

    async def _changed(
        self, request: web.Request, without: str, change: Callable[[list[str]], Any]
    ) -> web.StreamResponse:
        params = await params_of(request)
        paths = params.all("path")
        if not paths or not all(paths):
            return _error(without)
        if len(paths) > PATHS_MAX:
            return _error(f"a request has at most {PATHS_MAX} paths")
        try:
            return respond(params, await change([path_of(path) for path in paths]))
        except self._deps.blames as error:
            return _error(str(error))

    async def _answered(self, params: Params, answer: Callable[[], object]) -> web.StreamResponse:
        try:
            return await respond_with(self._deps, params, self._workers, answer)
        except self._deps.blames as error:
            return _error(str(error))


def _error(text: str) -> web.Response:
    return web.json_response({"error": text}, status=400)


def _id(text: str) -> int:
    """A number that graphite-web's database would give; here it follows from the text, after every start."""
    return crc32(text.encode("utf-8", "surrogatepass"))


def _completions(params: Params) -> int:
    return max(params.number("limit", COMPLETIONS), 0) if params.get("limit") else COMPLETIONS


def _cut(found: list[Any], params: Params) -> list[Any]:
    limit = params.number("limit", -1) if params.get("limit") else -1
    return found if limit < 0 else found[:limit]
