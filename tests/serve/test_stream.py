"""/render/stream over a real server: the answer, then what is new, computed once a step however many watch."""

import asyncio
import json
import math
from dataclasses import replace

import aiohttp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.serve.deps import Limits
from ingestd.serve.stream import Reader, _news

NOW = 1_795_389_600


def series(values, name="a", start=NOW - 40, **more):
    return Series(name, name, {"name": name}, start, start + 10 * len(values), 10, np.array(values, np.float64), **more)


class Clockwork:
    """A store whose clock goes a second a look, and that counts how often it was asked."""

    def __init__(self):
        self.now = NOW
        self.runs = 0
        self.windows = []
        self.fail = None
        self.values = [1.0, 2.0]

    def clock(self):
        # Just before a step's end, so that the next look is not long in coming.
        return self.now + 0.99

    def run(self, request):
        self.runs += 1
        self.windows.append((request.start - request.now, request.until - request.now))
        if self.fail:
            raise self.fail
        return [replace(series(self.values), step=1, end=NOW - 40 + len(self.values))]


async def events(response):
    """Every event of a stream: its kind and what its data hold."""
    kind = None
    async for line in response.content:
        if line.startswith(b"event: "):
            kind = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield kind, json.loads(line[6:])


@pytest.fixture
async def world(serving):
    world = Clockwork()
    world.address = await serving(run=world.run, clock=world.clock)
    world.server = serving.server
    async with aiohttp.ClientSession() as session:

        def watch(**params):
            host, port = world.address
            query = {"target": "a", "from": "-1min", **params}
            return session.get(f"http://{host}:{port}/render/stream", params=query)

        world.watch = watch
        yield world


async def test_the_answer_comes_first_and_then_what_is_new(world):
    async with world.watch() as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        stream = events(response)
        kind, data = await anext(stream)
        assert (kind, data[0]["target"]) == ("answer", "a")
        assert [value for value, _ in data[0]["datapoints"]] == [1.0, 2.0]
        world.values = [1.0, 2.5, math.nan, 4.0]
        kind, data = await anext(stream)
        assert kind == "points"
        assert data == [{"target": "a", "datapoints": [[2.5, NOW - 39], [4.0, NOW - 37]]}]


async def test_many_readers_are_one_question(world):
    watched = [await world.watch() for _ in range(5)]
    streams = [events(response) for response in watched]
    assert {kind for kind, _ in [await anext(stream) for stream in streams]} == {"answer"}
    runs = world.runs
    assert runs <= 2
    world.values = [1.0, 3.0]
    seen = [await anext(stream) for stream in streams]
    assert seen == [("points", [{"target": "a", "datapoints": [[3.0, NOW - 39]]}])] * 5
    for response in watched:
        response.close()


async def test_nobody_left_ends_the_feed(world):
    async with world.watch() as response:
        await anext(events(response))
    host, port = world.address
    async with aiohttp.ClientSession() as session:
        for _ in range(100):
            async with session.get(f"http://{host}:{port}/status") as status:
                shown = (await status.json())["http"]["streams"]
            if shown["feeds"] == 0:
                break
            await asyncio.sleep(0.05)
    assert shown == {"feeds": 0, "readers": 0, "dropped": 0}


async def test_an_error_of_the_question_is_a_400(world):
    world.fail = QueryError("no such function")
    async with world.watch() as response:
        assert response.status == 400
        assert "no such function" in await response.text()


async def test_an_error_later_ends_the_stream_with_its_text(world):
    async with world.watch() as response:
        stream = events(response)
        await anext(stream)
        world.fail = QueryError("too many points")
        assert [event async for event in stream] == [("error", "too many points")]


async def test_the_window_begins_where_it_began_until_it_has_doubled(world):
    async with world.watch() as response:
        stream = events(response)
        await anext(stream)
        world.now += 50
        world.values = [1.0, 2.0, 3.0]
        await anext(stream)
        assert world.windows[-1] == (-110, 0)
        world.now += 50
        world.values = [1.0, 2.0, 3.0, 4.0]
        await anext(stream)
        assert world.windows[-1] == (-60, 0)


@pytest.mark.parametrize("params", [{"until": "-5min"}, {"now": str(NOW - 100)}, {"target": ""}])
async def test_what_a_stream_cannot_do_is_refused(world, params):
    async with world.watch(**params) as response:
        assert response.status == 400


async def test_streams_are_bounded(serving):
    world = Clockwork()
    host, port = await serving(Limits(streams=1), run=world.run, clock=world.clock)
    url = f"http://{host}:{port}/render/stream?target=a"
    async with aiohttp.ClientSession() as session, session.get(url) as first:
        await anext(events(first))
        async with session.get(url) as second:
            assert second.status == 503
            assert "http.streams" in await second.text()


async def test_the_end_of_the_server_ends_streams(world):
    async with world.watch() as response:
        stream = events(response)
        await anext(stream)
        stopping = asyncio.create_task(world.server.stop())
        assert [event async for event in stream] == []
        await stopping


async def test_a_reader_too_far_behind_is_let_go():
    reader = Reader()
    for _ in range(8):
        reader.give(b"x")
    assert not reader.late
    reader.give(b"x")
    assert reader.late
    assert await reader.take() is None


@given(
    st.lists(st.floats(width=32) | st.just(math.nan), max_size=12),
    st.lists(st.floats(width=32) | st.just(math.nan), max_size=12),
)
def test_points_bring_a_reader_from_one_answer_to_the_next(old, new):
    new += [math.nan] * (len(old) - len(new))
    event, whole = _news([series(old)], [series(new)])
    assert not whole
    known = dict(zip(series(old).timestamps(), old, strict=False))
    if event:
        kind, data = event.split(b"\n")[:2]
        assert kind == b"event: points"
        (one,) = json.loads(data[6:])
        for value, time in one["datapoints"]:
            known[time] = math.nan if value is None else value
    for time, value in zip(series(new).timestamps(), new, strict=False):
        got = known.get(time, math.nan)
        assert got == value or (math.isnan(got) and math.isnan(value))


@pytest.mark.parametrize("changed", [{"name": "b"}, {"start": NOW}, {"values_per_point": 2}])
def test_another_shape_is_told_as_a_whole(changed):
    event, whole = _news([series([1.0])], [replace(series([1.0]), **changed)])
    assert whole
    assert event.startswith(b"event: answer\n")
