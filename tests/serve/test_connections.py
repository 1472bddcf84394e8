"""The door of HTTP, over real sockets: times are passed in where they can be, and short where they cannot."""

import asyncio
import json
import threading

import pytest

from ingestd.query.grid import Series
from ingestd.serve.deps import Limits
from ingestd.serve.http import runner_options

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


async def connect(address):
    return await asyncio.open_connection(*address)


async def answer_of(reader):
    """(status, headers, body) of one answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def ask(address, request):
    reader, writer = await connect(address)
    writer.write(request)
    try:
        return await answer_of(reader)
    finally:
        writer.close()


async def at_end(reader):
    """Whether the server has closed."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def counts(address):
    status, _, body = await ask(address, b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 200
    return json.loads(body)["http"]["connections"]


async def until(condition):
    for _ in range(3_000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("waited 30 s")


def post(length, more=b""):
    return b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (length, more)


@pytest.mark.parametrize(
    ("garbage", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"<script>alert(1)</script>\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /health HTTP/1.1\r\n" + b"".join(b"X%d: %s\r\n" % (i, b"a" * 8_000) for i in range(9)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX : a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde", 400),
        (b"POST /events HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nContent-Length: +5\r\n\r\nabcde", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400),
        (b"POST /events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n", 400),
        (b"POST /render HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10001\r\n\r\n"
         + b"&a=1" * 2_500 + b"&", 400),
        (post(2 << 20), 413),
        (post(20, b"Content-Encoding: gzip\r\n"), 415),
        (post(20, b"Expect: 200-ok\r\n"), 417),
        (b"CONNECT evil:80 HTTP/1.1\r\nHost: x\r\n\r\n" + b"a" * 1000, (400, 404, 405)),
        (b"GET http://evil/health HTTP/1.1\r\nHost: x\r\n\r\n", (200, 400)),
        (b"GET //evil/health HTTP/1.1\r\nHost: x\r\n\r\n", (400, 404)),
        (b"GET /render/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"TRACE /health HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /health HTTP/1.0\r\n\r\n", 200),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x05hello", 200),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", 200),
    ],
)  # fmt: skip
async def test_what_is_no_request_gets_a_short_answer_and_no_traceback(serving, caplog, garbage, status):
    address = await serving()
    if b"Host:" not in garbage:
        garbage = garbage.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: x\r\n", 1)
    got, headers, body = await ask(address, garbage)
    assert got in (status if isinstance(status, tuple) else (status,)), body
    assert headers["server"] == "ingestd"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(body) < 200
    assert b"script" not in body
    assert (await ask(address, GET))[0] == 200
    assert [r for r in caplog.records if r.levelname in ("ERROR", "WARNING")] == []


async def test_a_request_after_a_smuggled_one_is_not_answered(serving):
    """What follows a request with two lengths may be another's: the connection ends with the 400."""
    reader, writer = await connect(await serving())
    writer.write(
        b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET
    )
    assert (await answer_of(reader))[0] == 400
    assert await at_end(reader)
    writer.close()


async def test_a_client_that_waits_for_100_continue(serving, fakes):
    reader, writer = await connect(await serving())
    writer.write(post(13, b"Expect: 100-continue\r\n"))
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b'{"what": "x"}')
    assert (await answer_of(reader))[0] == 200
    writer.close()
    assert len(fakes.events) == 1


async def test_pipelined_requests_are_answered_in_order_and_a_flood_of_them_leaves_others_alone(serving):
    address = await serving()
    reader, writer = await connect(address)
    writer.write(GET * 5_000)
    assert (await ask(address, GET))[0] == 200
    for _ in range(5_000):
        assert (await answer_of(reader))[2] == b"accepting"
    writer.close()


@pytest.mark.parametrize("begun", [b"", b"G", GET[:-1], GET[:-2] + b"X: "])
async def test_a_head_that_does_not_end_in_time_ends_its_connection(serving, begun):
    address = await serving(Limits(head_timeout=0.05))
    reader, writer = await connect(address)
    writer.write(begun)
    async with asyncio.timeout(30):
        assert await at_end(reader)
    assert (await counts(address))["late_heads"] == 1
    writer.close()


async def test_a_connection_between_requests_may_be_idle(serving):
    address = await serving(Limits(head_timeout=0.05))
    reader, writer = await connect(address)
    slow = await connect(address)
    for _ in range(2):
        writer.write(GET)
        assert (await answer_of(reader))[0] == 200
        assert await at_end(slow[0])
        slow[1].close()
        slow = await connect(address)
    writer.close()
    slow[1].close()


async def test_a_head_without_end_is_not_kept(serving):
    address = await serving()
    reader, writer = await connect(address)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: %s\r\n" % (i, b"a" * 8_000) for i in range(90)))
    assert await at_end(reader)
    assert (await counts(address))["late_heads"] == 1
    writer.close()


async def test_the_longest_idle_make_room_and_the_busy_stay(serving, fakes):
    release = threading.Event()

    def stuck(request):
        release.wait(60)
        return []

    address = await serving(Limits(connections=4, workers=1), run=stuck)
    busy_reader, busy_writer = await connect(address)
    busy_writer.write(b"GET /render?target=a&format=json HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        idle = [await connect(address) for _ in range(20)]
        assert (await ask(address, GET))[0] == 200
        assert await at_end(idle[0][0])
        shown = await counts(address)
        assert shown["evicted"] >= 18
        assert shown["refused"] == 0
    finally:
        release.set()
    assert (await answer_of(busy_reader))[0] == 200
    for _, writer in [*idle, (busy_reader, busy_writer)]:
        writer.close()


async def test_the_newest_is_refused_where_all_are_busy(serving):
    release, asked = threading.Event(), []

    def stuck(request):
        asked.append(request)
        release.wait(60)
        return []

    async def busy():
        return len(asked) == 2

    address = await serving(Limits(connections=2, workers=2), run=stuck)
    clients = [await connect(address) for _ in range(2)]
    for _, writer in clients:
        writer.write(ASK)
    try:
        await until(busy)
        reader, writer = await connect(address)
        writer.write(GET)
        assert await at_end(reader)
        writer.close()
    finally:
        release.set()
    for reader, writer in clients:
        assert (await answer_of(reader))[0] == 200
        writer.close()
    assert (await counts(address))["refused"] == 1


def wide(fakes, megabytes):
    """A question whose answer has about that size."""
    one = fakes.run

    def run(request):
        (series,) = one(request)
        return [Series("x" * 1_000_000, "p", {}, 0, 10, 10, series.values[:1]) for _ in range(megabytes)]

    return run


ASK = b"GET /render?target=a&format=json HTTP/1.1\r\nHost: x\r\n\r\n"


async def test_who_does_not_read_the_answer_is_dropped(serving, fakes):
    address = await serving(Limits(write_timeout=0.05), run=wide(fakes, 20))
    _, writer = await connect(address)
    writer.transport.pause_reading()
    writer.write(ASK)

    async def dropped():
        return (await counts(address))["unread"] == 1

    await until(dropped)
    writer.transport.resume_reading()
    writer.close()


async def test_answers_that_lie_unread_are_bounded_together(serving, fakes):
    address = await serving(Limits(unread=30_000_000), run=wide(fakes, 20))
    clients = [await connect(address) for _ in range(4)]
    for _, writer in clients:
        writer.transport.pause_reading()
        writer.write(ASK)

    async def dropped():
        return (await counts(address))["unread"] == 3

    await until(dropped)
    for _, writer in clients:
        writer.close()


async def test_a_slow_reader_gets_all_of_its_answer(serving, fakes):
    address = await serving(Limits(write_timeout=0.2), run=wide(fakes, 20))
    reader, writer = await connect(address)
    writer.write(ASK)
    head = await reader.readuntil(b"\r\n\r\n")
    size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    got = 0
    while got < size:
        got += len(await reader.read(65_536))
        await asyncio.sleep(0)
    assert (await counts(address))["unread"] == 0
    writer.close()


async def test_a_question_whose_client_hangs_up_is_not_asked(serving, fakes):
    release, asked = threading.Event(), []

    def stuck(request):
        asked.append(request)
        release.wait(60)
        return []

    address = await serving(Limits(workers=1, waiting=2_000, connections=2_000), run=stuck)
    _, first = await connect(address)
    first.write(ASK)

    async def begun():
        return len(asked) == 1

    await until(begun)
    for _ in range(300):
        _, writer = await connect(address)
        writer.write(ASK)
        writer.close()

    async def gone():
        return (await counts(address))["open"] == 2

    await until(gone)
    first.close()

    async def stopped():
        return asked[0].stop()

    await until(stopped)
    release.set()
    assert (await ask(address, ASK))[0] == 200
    assert len(asked) == 2

    async def forgotten():
        return (await counts(address))["idle"] == 0

    await until(forgotten)


async def test_an_expansion_of_many_patterns_stops_when_its_client_hangs_up(serving, fakes):
    release, asked = threading.Event(), []

    class Finder:
        def find_matches(self, pattern, leaves_only):
            asked.append(pattern)
            release.wait(60)
            return []

    address = await serving(Limits(workers=1), finder=Finder())
    _, writer = await connect(address)
    query = b"&".join(b"query=p%d" % i for i in range(100))
    writer.write(b"GET /metrics/expand?" + query + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    async def begun():
        return len(asked) == 1

    await until(begun)
    writer.close()

    async def gone():
        return (await counts(address))["open"] == 1

    await until(gone)
    release.set()
    assert (await ask(address, b"GET /metrics/find?query=last HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 200
    assert asked == ["p0", "last"]


async def test_all_bodies_share_their_room(serving, fakes):
    address = await serving(Limits(bodies=2_000_000))
    clients = [await connect(address) for _ in range(3)]
    for _, writer in clients:
        writer.write(post(1_000_000) + b"a" * 10)
    done, waiting = await asyncio.wait(
        [asyncio.ensure_future(answer_of(reader)) for reader, _ in clients], return_when=asyncio.FIRST_COMPLETED
    )
    assert [task.result()[0] for task in done] == [503]
    for _, writer in clients:
        writer.close()
    await asyncio.gather(*waiting, return_exceptions=True)


def test_the_parser_decompresses_nothing():
    assert runner_options()["auto_decompress"] is False
