"""What arrives over HTTP: parameters, events, whole questions, and requests to the handlers themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
from base64 import b64decode, b64encode
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

import msgpack
import numpy as np
from aiohttp import web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.test_utils import make_mocked_request
from fuzz_mutate import Mutator
from fuzz_query import LITERALS, NOW, PATHS, WORDS, Times, golden_targets, target_text
from fuzz_target import Target, dice

from ingestd.index.names import NameIndexError, Names
from ingestd.index.tags import TagLimits, Tags
from ingestd.points import Ids, Rows, Window
from ingestd.query.consolidate import consolidate
from ingestd.query.evaluate import Request, run
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.query.substitute import Search
from ingestd.serve.access import Access
from ingestd.serve.binary import msgpack_bytes, pickle_bytes, series_records
from ingestd.serve.deps import Deps, Guard, Limits
from ingestd.serve.events import read_event
from ingestd.serve.find import query_of
from ingestd.serve.formats import to_csv, to_dygraph, to_json, to_raw, to_rickshaw
from ingestd.serve.http import make_app
from ingestd.serve.multipart import parse_multipart
from ingestd.serve.params import Params, ServeError, parse_pairs
from ingestd.serve.render import request_of
from ingestd.serve.tokens import SCOPES, TokenError, parse_tokens

LIMITS: Final = QueryLimits(series=200, points=20_000, patterns=20, calls=60, depth=12, target_length=1_500, targets=8)
"""Narrow ones: inputs reach them, and none is slow because it asks for much."""
SERIES: Final = (
    "a.b.c",
    "a.b.d",
    "a.c.c",
    "a.c.d",
    "ä.ö",
    "test.odd.a",
    "collectd.web01.cpu-0.cpu-user",
    "=cmd()",
    "x<y>",
    "cpu;dc=a;host=b",
    "cpu;dc=b;host=b",
    "disk;dc=a;rack=r.1",
)
"""Enough names for functions to have one, two or several series of different steps."""
_NAMES = Names()
_NAMES.add(np.arange(len(SERIES), dtype=np.uint32), SERIES)
TAGS: Final = Tags(_NAMES, Search, TagLimits(expressions=4, length=400, values=50, results=10))
NAMES: Final = tuple(
    b"target target target[] from until tz format maxDataPoints jsonp noNullPoints xFilesFactor now pretty rawData "
    b"query pickle position wildcards leavesOnly groupByExpr automatic_variants path set tags cacheTimeout "
    b"expr expr[] tag tagPrefix valuePrefix filter limit".split(b" ")
)
VALUES: Final = (
    b"json", b"csv", b"raw", b"png", b"pickle", b"msgpack", b"dygraph", b"rickshaw",
    b"treejson", b"completer", b"nodelist", b"-1h", b"now", b"0", b"1", b"-1", b"1e9",
    b"%00", b"%ff", b"a.*", b"a.b.c", b"Europe/Berlin", b"../../etc/passwd", b"UTC", b"f(", b"alert",
    b"a.b%0d%0aX:%201", b"dc%3Da", b"dc!%3D", b"name%3D~c.*", b"host!%3D~(a%2B)%2B$", b"dc", b"host", b"rack%3D",
    b"m%7Ba%3D%22b%22%7D",
    b"9999999999999999999", b"nan", b"inf", b"0.5", b"%u1234", b"+", b"true", b"%d9%a1",
)  # fmt: skip
EVENT_TOKENS: Final = (
    b'"what"', b'"when"', b'"tags"', b'"data"', b":", b",", b"{", b"}", b"[", b"]", b"null", b"true", b"1e999", b"NaN",
    b"Infinity", b'"\\ud800"', b'"\\u0000"', b"-1", b"1099511627776", b'"a b c"', b"[[[[[[[[", b'{"a":' * 8,
    b"1" * 5000,
)  # fmt: skip


class Memory:
    """A reader of a few series in memory, of steps 10 and 60."""

    def find(self, pattern: str) -> list[tuple[str, int]]:
        first = pattern.partition("*")[0]
        return sorted((path, number) for number, path in enumerate(SERIES) if path.startswith(first))

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        return TAGS.find(expressions)

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        del now
        rows = []
        for step in (10, 60):
            positions = np.flatnonzero(ids % 3 == 0) if step == 60 else np.flatnonzero(ids % 3 != 0)
            first, last = start - start % step + step, until - until % step + step
            slots = min(max((last - first) // step, 1), 60)
            if len(positions):
                values = np.arange(len(positions) * slots, dtype=np.float64).reshape(len(positions), slots) % 7
                values[values == 3] = np.nan
                rows.append(Rows(Window(first, first + slots * step, step), positions, values))
        return rows


class Node(NamedTuple):
    path: str
    is_leaf: bool
    is_branch: bool


class Behind:
    """What stands behind the HTTP face."""

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[tuple[str, str, bool]]:
        found = [(number, path) for number, path in enumerate(SERIES) if pattern[:1] in path[:1] + "*"]
        return [(path, path, bool(number % 3) or leaves_only) for number, path in found]

    def paths(self) -> list[str]:
        return sorted(SERIES)

    def add(self, when: int, what: str, tags: list[str], data: str) -> int:
        json.dumps([when, what, tags, data]).encode()
        return 1

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        del start, until, tags, set_operation
        return []

    def get(self, id: int) -> dict[str, Any] | None:  # noqa: A002
        return {"id": id} if id % 2 else None

    async def flush(self) -> None:
        return None

    async def register(self, paths: Sequence[str]) -> list[str]:
        return [path.encode("utf-8", "replace").decode() for path in paths]

    async def forget(self, paths: Sequence[str]) -> None:
        await self.register(paths)


def deps() -> Deps:
    behind = Behind()
    return Deps(
        run=partial(run, reader=Memory()),
        finder=behind,
        events=behind,
        tags=TAGS,
        register=behind.register,
        forget=behind.forget,
        status=dict,
        health=lambda: (True, "ok"),
        prometheus=str,
        flush=behind.flush,
        clock=lambda: float(NOW),
        version="0",
        refusals=(NameIndexError,),
        query_limits=LIMITS,
    )


def form(mutator: Mutator) -> bytes:
    """A query string."""
    fields = []
    for _ in range(1 + mutator.below(6)):
        name = mutator.pick(NAMES)
        if name in {b"from", b"until", b"now"} and mutator.chance(0.7):
            value = quote_plus(mutator.pick(Times.tokens)).encode()
        elif name.startswith((b"target", b"query")) and mutator.chance(0.7):
            value = quote_plus(target_text(mutator, mutator.pick(golden_targets()), 300)).encode()
        else:
            value = mutator.pick(VALUES)
        fields.append(name + b"=" + value)
    return b"&".join(fields)


class Parameters(Target):
    """Parameters of /render and /metrics/find: a question, or one of the two errors that are answered."""

    name = "params"
    tokens = (*NAMES, *VALUES, b"&", b"=", b"%", b"+", b";", b"&target=", b"target=a&" * 10, b"&&&&", b"[]")

    def seeds(self) -> list[bytes]:
        return [
            b"target=a.b.c&from=-1h&until=now&format=json&maxDataPoints=100",
            b"target=alias(a.*,'x')&tz=Europe%2FBerlin&from=noon+yesterday&jsonp=f&pretty=1",
            b"query=a.*&format=completer&automatic_variants=1&from=-1h&until=-1&position=2",
        ]

    def begin(self) -> None:
        self._deps = deps()

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.3):
            return mutator.changed(seed, self.largest)
        data = form(mutator)
        return mutator.changed(data, self.largest) if mutator.chance(0.4) else data

    def run(self, data: bytes) -> Hashable:
        try:
            params = Params(parse_pairs(data.decode("utf-8", "replace")))
            callback = params.callback()
            assert not set("<>\"'&;(\n") & set(callback)
            if "query" in params:
                query_of(self._deps, params)
                return ("find", len(params.pairs))
            asked = request_of(self._deps, params)
        except (ServeError, QueryError) as error:
            str(error).encode()
            return str(error)[:14]
        assert asked.start < asked.until
        assert all(asked.targets)
        assert asked.max_data_points is None or asked.max_data_points >= 0
        return (len(asked.targets), asked.max_data_points is None, callback == "", str(asked.tz)[:4])


class Multiparts(Target):
    """Forms in parts: fields that are within the body, or ValueError."""

    name = "multipart"
    tokens = (
        b"\r\n--xyz", b"--", b"\r\n\r\n", b"\r\n", b"Content-Disposition: form-data; ", b'name="target"', b'name=""',
        b'"', b"\\", b'filename="f"', b'name="a\\"b"', b"content-type: text/plain", b";", b'NAME="' + b"a" * 50,
        b"\n--xyz", b" ",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        part = b'--xyz\r\nContent-Disposition: form-data; name="target"\r\n\r\na.b\r\n'
        return [part + b"--xyz--\r\n", part * 3 + b"--xyz--", b"--xyz--", part.replace(b"name", b'filename="f"; name')]

    def run(self, data: bytes) -> Hashable:
        try:
            pairs = parse_multipart(data, "multipart/form-data; boundary=xyz", 5)
        except ValueError as error:
            str(error).encode()
            return str(error)
        assert len(pairs) <= 5
        assert sum(len(name) + len(value) for name, value in pairs) <= len(data)
        return (len(pairs), tuple(name == "target" for name, _ in pairs))


class Questions(Target):
    """Whole questions: targets are planned, evaluated over a few series and written in every format."""

    name = "render"
    share = 0.2  # evaluation; the grammar is fuzzed in full
    tokens = tuple(piece.encode() for piece in (*PATHS, *LITERALS, *WORDS, "(", ")", ",", "|", "=", "'"))
    allowed = 0.3
    largest = 1024

    def seeds(self) -> list[bytes]:
        return list(golden_targets())

    def begin(self) -> None:
        self._reader = Memory()

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        return target_text(mutator, seed, self.largest)

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        span = (1, 60, 3_600, 86_400, 400 * 86_400)[roll % 5]
        zone = Times.zones[roll % 3]
        asked = Request((data.decode("utf-8", "replace"),), NOW - span, NOW, NOW, zone, roll % 40 or None, None, LIMITS)
        try:
            series = run(asked, self._reader)
        except (QueryError, NameIndexError) as error:
            str(error).encode()
            return str(error)[:14]
        to_raw(series).encode()
        to_csv(series, zone).encode()
        records = series_records(series)
        assert pickle.loads(pickle_bytes(records)) == msgpack.unpackb(msgpack_bytes(records))
        assert len(json.loads(to_rickshaw(series))) == len(series)
        with contextlib.suppress(QueryError):
            json.loads(to_dygraph(series))
        try:
            fewer = consolidate(series, asked.max_data_points)
        except QueryError as error:
            # consolidateBy() may name a function that there is not, which only matters where points become fewer.
            return str(error)[:14]
        text = to_json(fewer, bool(roll & 64), False)
        assert len(json.loads(text)) <= len(series)
        return (min(len(series), 9), text[12:20])


class Events(Target):
    """Posted events: what is taken can be kept and written again."""

    name = "events"
    tokens = EVENT_TOKENS
    _limits = Limits(event=500)

    def seeds(self) -> list[bytes]:
        return [
            b'{"what":"deploy","tags":"a b","when":1795389600,"data":"x"}',
            b'{"what":{"a":[1,2]},"tags":["a","b c"],"data":null}',
            b"[1]",
            b'{"when":1.5}',
        ]

    def run(self, data: bytes) -> Hashable:
        try:
            when, what, tags, text = read_event(data, NOW, self._limits)
        except ServeError as error:
            return str(error)[:20]
        assert 0 <= when < 2**40
        assert type(when) is int
        json.dumps([when, what, tags, text]).encode()
        assert all(tag and not set(" \n") & set(tag) for tag in tags)
        return (len(tags), what == "", text == "")


class Handlers(Target):
    """Requests given to the application: every answer has a status that blames the right side, and none is 500."""

    name = "http"
    share = 0.02  # each costs milliseconds of aiohttp; the parameters themselves are fuzzed in full
    tokens = Parameters.tokens
    allowed = 0.3
    _paths = (
        "/render",
        "/metrics/find",
        "/metrics/expand",
        "/metrics",
        "/events/get_data",
        "/tags/tagSeries",
        "/events",
        "/tags",
        "/tags/dc",
        "/tags/findSeries",
        "/tags/autoComplete/tags",
        "/tags/autoComplete/values",
    )

    def seeds(self) -> list[bytes]:
        return [*Parameters().seeds(), *Events().seeds(), b"path=a;b=c&path=d", b"tags=a+b&set=union&from=-1d"]

    def begin(self) -> None:
        if hasattr(self, "_runner"):
            self._loop.run_until_complete(self._runner.cleanup())
        else:
            self._loop = asyncio.new_event_loop()
        self._app = make_app(replace(deps(), query_limits=LIMITS), Limits(event=500, chart_pixels=100_000))
        self._runner = web.AppRunner(self._app)
        self._loop.run_until_complete(self._runner.setup())
        # The first picture loads for a second what draws them.
        self._loop.run_until_complete(self._app._handle(make_mocked_request("GET", "/render", payload=EMPTY_PAYLOAD)))

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.3):
            return mutator.changed(seed, self.largest)
        return form(mutator)

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        path = self._paths[roll % len(self._paths)]
        post = path in {"/events", "/tags/tagSeries"} or (roll & 32 and path not in {"/tags", "/tags/dc"})
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if post else {}
        query = "" if post else "?" + quote_plus(data, safe="=&%+")
        asked = make_mocked_request("POST" if post else "GET", path + query, headers=headers, payload=EMPTY_PAYLOAD)
        if post:
            asked._read_bytes = data
        answer = self._loop.run_until_complete(self._app._handle(asked))
        assert answer.status in {200, 400, 404, 503}, f"{answer.status} {answer.body!r}"
        assert not {"\r", "\n"} & set("".join(answer.headers.values()))
        return (path, bool(post), answer.status, answer.content_type, bytes(answer.body or b"")[:6])


TOKEN: Final = "a-token"
TOKEN_LINE: Final = f"writer read,write {sha256(TOKEN.encode()).hexdigest()}\n"


class TokenFiles(Target):
    """:func:`parse_tokens`: grants with scopes that there are, or :class:`TokenError`, which shows no line."""

    name = "tokens"
    largest = 400
    tokens = (
        TOKEN_LINE.encode(), b"cert:web 01 read -\n", b"read", b"write", b"admin", b",", b" ", b"\n", b"#", b"-",
        b"cert:", b"a" * 64, b"0" * 64, b"\x0b", "\u2028".encode(), b"\r",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        return [TOKEN_LINE.encode(), b"# who\ncert:web 01 read -\nx admin " + b"0" * 64 + b"\n"]

    def run(self, data: bytes) -> Hashable:
        try:
            found = parse_tokens(data.decode("utf-8", "surrogateescape"))
        except TokenError as error:
            return str(error).partition(":")[2][:20]
        grants = [*(grant for _, grant in found.by_digest), *found.by_certificate.values()]
        assert all(grant.scopes and grant.scopes <= set(SCOPES) for grant in grants)
        assert all(len(digest) == 64 for digest, _ in found.by_digest)
        if b"0" not in data and TOKEN_LINE.encode().split()[2] not in data.lower():
            assert found.of_token(TOKEN) is None
        return (len(found.by_digest), len(found.by_certificate))


class Credentials(Target):
    """Headers that say who asks, by which name, from where: let in or refused, and only with the token let in."""

    name = "credentials"
    largest = 500
    tokens = (
        b"Bearer a-token", b"Basic " + b64encode(b"u:a-token"), b"Basic ", b"basic !!!!", b"Bearer", b"\n",
        b"localhost",
        b"localhost:8080", b"127.0.0.1:80", b"[::1]:80", b"[::1", b"evil.example", b"https://evil.example", b"null",
        b"::1",
        b"http://localhost:8080", b"://", b"%", b"a-token", b"fe80::1%eth0", "١".encode(),
    )  # fmt: skip
    _names = ("Authorization", "Host", "Origin", "Sec-Fetch-Site", "X-Forwarded-For")

    def seeds(self) -> list[bytes]:
        return [
            b"Bearer a-token\nlocalhost:8080",
            b"Basic dTphLXRva2Vu\n127.0.0.1\nhttp://127.0.0.1",
            b"\nevil.example",
        ]

    def begin(self) -> None:
        known = parse_tokens(TOKEN_LINE)
        self._access = Access(Guard(tokens=lambda: known), {"/render": "read", "/events": "write"})

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        lines = data.decode("utf-8", "surrogateescape").split("\n")
        headers = {name: line for name, line in zip(self._names, lines, strict=False) if line}
        path = ("/render", "/events", "/flush")[roll % 3]
        route = SimpleNamespace(resource=SimpleNamespace(canonical=path))
        asked: Any = SimpleNamespace(
            headers=headers,
            method="GET" if path == "/render" else "POST",
            query={"jsonp": "f"} if roll & 8 else {},
            match_info=SimpleNamespace(route=route),
            transport=None,
            remote="127.0.0.1",
        )
        try:
            self._access._admit(asked)
        except ServeError as error:
            return (path, error.status, str(error))
        assert path != "/flush"
        shown = headers["Authorization"]
        assert TOKEN in shown or TOKEN.encode() in b64decode(shown.partition(" ")[2].strip())
        return (path, "in", shown[:6])
