"""The parameters of a request, as Graphite merges them, and the errors of this floor.

Graphite takes parameters from the query string and from a form and lets the form win: the last value of a name counts,
lists are joined. What a peer can grow is bounded here: fields and their size; the size of a body is bounded by the
application, that of a request line by the server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final
from urllib.parse import parse_qsl

from aiohttp import web

from ingestd.serve.multipart import CONTENT_TYPE as MULTIPART
from ingestd.serve.multipart import parse_multipart

FIELDS_MAX: Final = 2_000
"""Fields of one request: twice the targets of the largest request that is answered."""

FIELD_SIZE_MAX: Final = 65_536
"""Characters of one field: Grafana's longest targets, lists of hundreds of paths, have 20,000."""

BODY_SECONDS: Final = 30
"""Seconds for a body: a megabyte takes 10 s over the slowest mobile line."""

CALLBACK_MAX: Final = 128
_FORMS: Final = ("application/x-www-form-urlencoded", "application/octet-stream")
_CALLBACK: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$.]*", re.ASCII)


class ServeError(Exception):
    """A request that is answered with ``status``, one line of text and these headers."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = headers or {}


def invalid(error: Exception, targets: Sequence[str] = ()) -> ServeError:
    """The answer to a question that cannot be answered, in graphite-web's words: 400, what is wrong, and where."""
    where = f'; targets: "{", ".join(targets)}"' if targets else ""
    return ServeError(400, f"Invalid parameters ({error}){where}")


class Params:
    """Names and values of a request, in order."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        self._last = dict(pairs)

    def __contains__(self, name: str) -> bool:
        return name in self._last

    def get(self, name: str, default: str = "") -> str:
        """The last value of ``name``."""
        return self._last.get(name, default)

    def all(self, name: str) -> list[str]:
        """Every value of ``name``; those of ``name[]``, as some libraries write lists, if there are none."""
        for spelling in (name, name + "[]"):
            if spelling in self._last:
                return [value for key, value in self.pairs if key == spelling]
        return []

    def number(self, name: str, default: int = 0) -> int:
        """An integer.

        :raises ServeError: 400, it is none.
        """
        if name not in self._last:
            return default
        text = self._last[name].strip()
        if len(text) > 18 or not re.fullmatch(r"[-+]?[0-9]+", text):
            raise ServeError(400, f"{name} is not an integer")
        return int(text)

    def callback(self) -> str:
        """The name of the JSONP callback, or nothing. Only what can be a name: it is put into a script.

        :raises ServeError: 400, it is no name.
        """
        name = self.get("jsonp")
        if name and (len(name) > CALLBACK_MAX or not _CALLBACK.fullmatch(name)):
            raise ServeError(400, "jsonp is not the name of a function")
        return name


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """The fields of a query string or form.

    :raises ServeError: 400, too many or too long.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="replace")
    except ValueError:
        raise ServeError(400, f"a request has at most {FIELDS_MAX} fields") from None
    return _within_limits(pairs)


def _within_limits(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields themselves.

    :raises ServeError: 400, too many or too long.
    """
    if len(pairs) > FIELDS_MAX:
        raise ServeError(400, f"a request has at most {FIELDS_MAX} fields")
    if any(len(name) > FIELD_SIZE_MAX or len(value) > FIELD_SIZE_MAX for name, value in pairs):
        raise ServeError(400, f"a field has at most {FIELD_SIZE_MAX} characters")
    return pairs


class Bodies:
    """The bytes that all bodies together may take while they are read."""

    def __init__(self, room: int) -> None:
        self._room = room

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """``size`` bytes of the room.

        :raises ServeError: 503, there are not as many.
        """
        if size > self._room:
            raise ServeError(503, "too many bodies at once; send it again later")
        self._room -= size
        try:
            yield
        finally:
            self._room += size


BODIES: Final = web.AppKey("bodies", Bodies)


async def body_of(request: web.Request) -> bytes:
    """The body of a request, of which the application bounds the size.

    :raises ServeError: 408, it does not arrive; 413, it is too long; 503, too many arrive.
    """
    allowed = request.client_max_size
    length = request.content_length
    if length is not None and length > allowed:
        raise ServeError(413, f"the body has {length} bytes; the limit is {allowed} (http.body)")
    try:
        with request.app[BODIES].taken(allowed if length is None else length):
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
    except TimeoutError:
        raise ServeError(408, f"the body did not arrive within {BODY_SECONDS} s") from None


async def params_of(request: web.Request) -> Params:
    """The parameters of a request: query string, then form.

    :raises ServeError: 400, they cannot be read.
    """
    pairs = parse_pairs(request.rel_url.raw_query_string)
    if request.method == "POST" and request.content_type in _FORMS:
        pairs += parse_pairs((await body_of(request)).decode("utf-8", "replace"))
    elif request.method == "POST" and request.content_type == MULTIPART:
        try:
            pairs += parse_multipart(await body_of(request), request.headers["Content-Type"], FIELDS_MAX)
        except ValueError as error:
            raise ServeError(400, str(error)) from error
    return Params(_within_limits(pairs))
