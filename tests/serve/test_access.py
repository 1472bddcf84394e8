import base64
from dataclasses import replace
from hashlib import sha256

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from ingestd.serve.deps import Guard
from ingestd.serve.http import make_app, runner_options
from ingestd.serve.tokens import parse_tokens

READER, WRITER, ADMIN = "reader-token", "writer-token", "admin-token"
FILE = "\n".join(
    f"{name} {scopes} {sha256(token.encode()).hexdigest()}"
    for name, scopes, token in (("r", "read", READER), ("w", "read,write", WRITER), ("a", "admin", ADMIN))
)
QUESTIONS = [
    ("GET", "/render?target=a&format=json", "read"),
    ("POST", "/render/?target=a&format=json", "read"),
    ("GET", "/render/stream", "read"),
    ("GET", "/metrics/find?query=*", "read"),
    ("GET", "/metrics/expand?query=*", "read"),
    ("GET", "/metrics/index.json", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/events/get_data", "read"),
    ("GET", "/events/1", "read"),
    ("GET", "/", "read"),
    ("GET", "/composer", "read"),
    ("GET", "/browser", "read"),
    ("GET", "/dashboard", "read"),
    ("GET", "/dashboard/find", "read"),
    ("GET", "/dashboard/load/a", "read"),
    ("GET", "/web/page.js", "read"),
    ("GET", "/functions", "read"),
    ("GET", "/functions/alias", "read"),
    ("GET", "/status", "read"),
    ("GET", "/version/", "read"),
    ("POST", "/events", "write"),
    ("POST", "/events/", "write"),
    ("POST", "/tags/tagSeries?path=a", "write"),
    ("POST", "/tags/tagMultiSeries?path=a", "write"),
    ("GET", "/tags", "read"),
    ("GET", "/tags/host", "read"),
    ("GET", "/tags/findSeries?expr=a=b", "read"),
    ("POST", "/tags/findSeries?expr=a=b", "read"),
    ("GET", "/tags/autoComplete/tags", "read"),
    ("GET", "/tags/autoComplete/values?tag=a", "read"),
    ("POST", "/tags/delSeries?path=a", "admin"),
    ("POST", "/flush", "admin"),
    ("POST", "/snapshot?target=/x", "admin"),
]
HOLDERS = {READER: {"read"}, WRITER: {"read", "write"}, ADMIN: {"admin"}}


@pytest.fixture
async def opened(fakes):
    clients = []

    async def start(**guard):
        server = TestServer(make_app(replace(fakes.deps(), guard=Guard(**guard))))
        await server.start_server(**runner_options())
        client = TestClient(server)
        clients.append(client)
        return client

    yield start
    for client in clients:
        await client.close()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def basic(token, user="any"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()}


def body(path):
    return b'{"what": "x"}' if path.startswith("/events") else None


async def ask(client, method, path, **headers):
    async with client.request(method, path, data=body(path) if method == "POST" else None, headers=headers) as response:
        return response.status, await response.text(), response.headers


async def test_each_scope_opens_its_routes_and_no_others(opened):
    client = await opened(tokens=lambda: parse_tokens(FILE))
    for method, path, scope in QUESTIONS:
        for token, scopes in HOLDERS.items():
            for headers in (bearer(token), basic(token)):
                status, text, _ = await ask(client, method, path, **headers)
                assert (status == 403) == (scope not in scopes), (method, path, token, text)
                assert status not in (401, 500)


@pytest.mark.parametrize(
    "headers",
    [{}, bearer("wrong"), bearer(""), basic("wrong"), basic(""), {"Authorization": "Basic ???"},
     {"Authorization": READER}, {"Authorization": "Digest " + READER}, basic("x", READER),
     bearer(sha256(READER.encode()).hexdigest())],
)  # fmt: skip
async def test_without_a_token_every_route_but_health_answers_the_same(opened, headers):
    client = await opened(tokens=lambda: parse_tokens(FILE))
    answers = set()
    for method, path, _ in QUESTIONS:
        status, text, found = await ask(client, method, path, **headers)
        answers.add((status, text, found["WWW-Authenticate"]))
    (answer,) = answers
    assert answer[0] == 401
    assert (await ask(client, "GET", "/health"))[:2] == (200, "accepting")
    _, text, _ = await ask(client, "GET", "/status", **bearer(READER))
    assert f'"unknown": {len(QUESTIONS)}' in text
    assert '"name": "127.0.0.1"' in text


async def test_every_route_has_a_scope(fakes):
    """A route that somebody adds without one is for administrators; those that are there have one."""
    app = make_app(replace(fakes.deps(), guard=Guard(tokens=lambda: parse_tokens(FILE))))
    known = {path.partition("?")[0].rstrip("/") for _, path, _ in QUESTIONS} | {
        "/health",
        "/events/{id}",
        "/functions/{name}",
        "/dashboard/load/{name}",
        "/web/{name}",
        "/tags/{tag}",
    }
    assert {resource.canonical.rstrip("/") for resource in app.router.resources()} <= known


async def test_those_without_a_token_may_be_let_read(opened):
    client = await opened(tokens=lambda: parse_tokens(FILE), anonymous=frozenset({"read"}))
    for method, path, scope in QUESTIONS:
        status = (await ask(client, method, path))[0]
        assert (status == 401) == (scope != "read"), path
    assert (await ask(client, "GET", "/status", **bearer("wrong")))[0] == 401


async def test_the_file_counts_as_it_is_now(opened):
    current = parse_tokens(FILE)
    client = await opened(tokens=lambda: current)
    assert (await ask(client, "GET", "/status", **bearer(READER)))[0] == 200
    current = parse_tokens("")
    assert (await ask(client, "GET", "/status", **bearer(READER)))[0] == 401


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:1"},
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_another_sites_page_changes_nothing(opened, fakes, headers):
    for guard in ({}, {"tokens": lambda: parse_tokens(FILE)}):
        client = await opened(**guard)
        for method, path, scope in QUESTIONS:
            if scope == "read":
                continue
            token = WRITER if scope == "write" else ADMIN
            status, _, _ = await ask(client, method, path, **headers, **basic(token))
            assert status == 403, path
            if guard:
                assert (await ask(client, method, path, **headers, **bearer(token)))[0] < 300
    assert len(fakes.events) == 2
    assert fakes.flushed == 1


async def test_own_pages_and_known_proxies_write(opened):
    client = await opened(hosts=frozenset({"metrics.example"}))
    own = f"http://127.0.0.1:{client.port}"
    for origin in (own, "https://metrics.example", "https://METRICS.example:8443"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
        assert (await ask(client, "POST", "/events", **headers))[0] == 200
    assert (await ask(client, "POST", "/events", Origin="https://metrics.example.evil"))[0] == 403


async def test_a_name_that_is_not_ours_is_no_administrator(opened, fakes):
    client = await opened()
    for host in ("evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""):
        assert (await ask(client, "POST", "/flush", Host=host))[0] == 403
        # One that claims a token where there are none proves nothing.
        assert (await ask(client, "POST", "/flush", Host=host, **bearer("x")))[0] == 403
    for host in ("localhost", "localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"):
        assert (await ask(client, "POST", "/flush", Host=host))[0] == 200
    assert (await ask(client, "GET", "/status", Host="evil.example"))[0] == 200


async def test_hosts_bounds_every_route_but_health(opened):
    client = await opened(hosts=frozenset({"metrics.example"}))
    assert (await ask(client, "GET", "/status", Host="evil.example"))[0] == 421
    assert (await ask(client, "GET", "/health", Host="evil.example"))[0] == 200
    for host in ("metrics.example", "Metrics.Example:443", "127.0.0.1:1", "localhost"):
        assert (await ask(client, "GET", "/status", Host=host))[0] == 200


async def test_a_foreign_script_reads_only_what_everybody_may(opened):
    path, site = "/render?target=a&format=json&jsonp=f", {"Sec-Fetch-Site": "cross-site"}
    tokens = {"tokens": lambda: parse_tokens(FILE)}
    assert (await ask(await opened(), "GET", path, **site))[0] == 200
    closed = await opened(**tokens)
    assert (await ask(closed, "GET", path, **site, **basic(READER)))[0] == 403
    hidden = URL(path.replace("jsonp", "%6asonp"), encoded=True)
    assert (await ask(closed, "GET", hidden, **site, **basic(READER)))[0] == 403
    assert (await ask(closed, "GET", path, **site, **bearer(READER)))[0] == 200
    assert (await ask(closed, "GET", path, **basic(READER)))[0] == 200
    half = await opened(**tokens, anonymous=frozenset({"read"}))
    assert (await ask(half, "GET", path, **site))[0] == 200


async def test_compressed_bodies_and_large_heads_are_refused(opened):
    client = await opened()
    assert (await ask(client, "POST", "/events", **{"Content-Encoding": "gzip"}))[0] == 415
    assert (await ask(client, "POST", "/events", **{"Content-Encoding": "identity"}))[0] == 200
    assert (await ask(client, "GET", "/status", **{f"X-{i}": "a" * 8000 for i in range(9)}))[0] == 431
