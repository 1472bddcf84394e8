"""explain=1 over a real server."""

import json

import aiohttp
import pytest


async def ask(address, **params):
    host, port = address
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/render", params={"target": "a", "explain": "1", **params}) as response,
    ):
        return response.status, await response.text()


async def test_the_way_to_an_answer_is_shown(serving, fakes):
    def run(request, trace):
        trace.warn("look out")
        return fakes.run(request)

    status, text = await ask(await serving(explain=run), maxDataPoints="2", **{"from": "-1h"})
    assert status == 200
    told = json.loads(text)
    assert told["request"]["until"] - told["request"]["from"] == 3600
    assert told["series"] == [
        {
            "target": "a",
            "start": told["series"][0]["start"],
            "end": told["request"]["from"] + 40,
            "step": 10,
            "points": 2,
            "valuesPerPoint": 2,
            "consolidateBy": "average",
            "xFilesFactor": 0.0,
        }
    ]
    assert told["warnings"][0] == "look out"
    assert "20 s, each the average of 2 points" in told["warnings"][1]
    assert told["bytes"] > 0


async def test_an_error_stays_one(serving, fakes):
    status, text = await ask(await serving(explain=lambda request, trace: fakes.run(request)), target="bad")
    assert status == 400
    assert "no such function" in text


@pytest.mark.parametrize("value", ["", "0", "false"])
async def test_who_does_not_ask_for_it_gets_the_answer(serving, value):
    status, text = await ask(await serving(), explain=value, format="json")
    assert status == 200
    assert isinstance(json.loads(text), list)


async def test_where_nothing_is_explained(serving):
    status, _ = await ask(await serving())
    assert status == 400
