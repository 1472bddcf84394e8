"""Answers that lack something say so, and are refused where that is asked; what other nodes ask."""

import aiohttp
import pytest

from ingestd.query.missing import report, reported, watched
from ingestd.serve.tokens import parse_tokens

WHY = "341 of 1024 partitions have no answer (s2: connection refused)"


class Lacking:
    """Finder, tags and events that lack something."""

    def __init__(self, fakes):
        self._fakes = fakes

    def __getattr__(self, name):
        def call(*args, **kwargs):
            report(WHY)
            return getattr(self._fakes, name)(*args, **kwargs)

        return call


class LackingTags:
    def __getattr__(self, name):
        def call(*args, **kwargs):
            report(WHY)
            return {} if name == "values" else []

        return call


@pytest.fixture
async def ask(fakes, serving):
    """``await ask(path, **deps)``: status, header and body of a request to a server that lacks something of all."""

    def run(request, trace=None):
        report(WHY)
        return fakes.run(request)

    async def asked(path, **deps):
        lacking = Lacking(fakes)
        parts = {"run": run, "explain": run, "finder": lacking, "events": lacking, "tags": LackingTags(), **deps}
        host, port = await serving(**parts)
        async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}{path}") as answer:
            return answer.status, answer.headers.get("X-Ingestd-Partial"), await answer.text("latin-1")

    return asked


PATHS = [
    "/render?target=a.b&format=json",
    "/render?target=a.b&format=png",
    "/render?target=a.b&format=pickle",
    "/render?target=a.b&explain=1",
    "/metrics/find?query=*",
    "/metrics/find?query=*&format=msgpack",
    "/metrics/expand?query=*",
    "/metrics/index.json",
    "/tags/findSeries?expr=a=b",
    "/tags/autoComplete/tags",
    "/tags/autoComplete/values?tag=a",
    "/tags",
    "/events/get_data",
]


@pytest.mark.parametrize("path", PATHS)
async def test_a_partial_answer_says_so_or_is_none(path, ask):
    assert (await ask(path))[:2] == (200, WHY)
    strict = path + ("&" if "?" in path else "?") + "strict=1"
    status, header, text = await ask(strict)
    assert (status, header) == (503, WHY)
    assert WHY in text
    assert (await ask(path, strict=True))[0] == 503
    assert (await ask(strict.replace("strict=1", "strict=0"), strict=True))[:2] == (200, WHY)


async def test_a_whole_answer_has_no_label(ask, fakes):
    assert (await ask("/render?target=a.b&format=json", run=fakes.run))[:2] == (200, None)


async def test_what_is_explained_names_what_it_lacks(ask):
    _, _, text = await ask("/render?target=a.b&explain=1")
    assert f'"partial": [\n    "{WHY}"' in text


def test_each_reason_is_kept_once_and_only_while_somebody_watches():
    report("nobody hears this")
    assert reported() == []
    with watched() as outer:
        with watched() as inner:
            report("a")
            report("a")
            assert reported() == ["a"]
        report("b")
    assert (inner.reasons, str(outer)) == (["a"], "b")
    assert not watched().__enter__()


async def test_other_nodes_are_answered_within_their_scope(fakes, serving):
    tokens = parse_tokens("reader read 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b\n")
    host, port = await serving(peer=lambda message: message[::-1])
    url = f"http://{host}:{port}/cluster"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, data=b"abc") as answer:
            assert (answer.status, await answer.read()) == (200, b"cba")
        async with session.get(url) as answer:
            assert answer.status == 405
        host, port = await serving(peer=bytes, guard=type(fakes.deps().guard)(tokens=lambda: tokens))
        url = f"http://{host}:{port}/cluster"
        async with session.post(url, data=b"abc") as answer:
            assert answer.status == 401
        async with session.post(url, data=b"abc", headers={"Authorization": "Bearer secret"}) as answer:
            assert answer.status == 200


async def test_without_a_respondent_there_is_nothing_to_ask(serving):
    host, port = await serving()
    async with aiohttp.ClientSession() as session, session.post(f"http://{host}:{port}/cluster", data=b"") as answer:
        assert answer.status == 404
