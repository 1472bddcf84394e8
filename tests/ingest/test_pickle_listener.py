"""The pickle listener over real sockets on loopback, on both event loops."""

import asyncio
import contextlib
import logging
import pickle
import random
import struct

import pytest

from ingestd.ingest.pickle import TCP, PickleListener, PickleSettings
from ingestd.ingest.sources import IngestError
from ingestd.ingest.streams import StreamSettings

NOW = 1_750_000_000


def listener(house, frame=1 << 20, **stream) -> PickleListener:
    settings = PickleSettings(stream=StreamSettings(**stream), frame=frame)
    return PickleListener([("127.0.0.1", 0)], house.pipeline, house.ledger, settings)


def framed(*payloads: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(p)) + p for p in payloads)


def points(*paths: str, value: float = 1.5) -> bytes:
    return pickle.dumps([(path, (NOW, value)) for path in paths], 2)


async def connect(served: PickleListener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = served.addresses[TCP].rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def send(served: PickleListener, *pieces: bytes) -> None:
    """Send and wait until the other side has read all and closed."""
    reader, writer = await connect(served)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until the other side has closed, in whatever way."""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def stored(house) -> list[str]:
    return [path for path, _, _ in house.store.points]


def test_frames_in_any_pieces(house, run) -> None:
    frames = [points(f"a.n{n}", f"b.n{n}", value=n / 4) for n in range(50)]
    stream = framed(*frames)
    choice = random.Random(5)

    async def scene() -> None:
        served = listener(house)
        await served.start()
        await send(served, stream)
        at, pieces = 0, []
        while at < len(stream):
            size = choice.choice([1, 2, 3, 5, 100, 700])
            pieces.append(stream[at : at + size])
            at += size
        await send(served, *pieces)
        await served.stop()

    run(scene())
    wanted = [(f"{letter}.n{n}", n / 4, NOW) for n in range(50) for letter in "ab"]
    assert house.store.points == wanted * 2
    assert house.store.created == [path for path, _, _ in wanted]
    assert house.ledger.open(TCP).as_dict()["received"] == 200
    assert house.balanced()


def test_many_frames_of_one_read_are_one_batch(house, run) -> None:
    async def scene() -> None:
        served = listener(house)
        await served.start()
        await send(served, framed(points("first")), framed(*[points("a", "b")] * 40))
        await served.stop()

    run(scene())
    assert len(house.store.points) == 81
    assert house.store.batches < 10


def test_bad_frames_and_bad_items_cost_themselves_alone(house, run) -> None:
    bad = pickle.dumps([("c", (NOW, 1)), ("bad",), ("d*", (NOW, 1)), ("e", (NOW, float("nan"))), ("f", (NOW, 2))], 4)

    async def scene() -> None:
        served = listener(house)
        await served.start()
        await send(served, framed(points("a"), b"", b"garbage", pickle.dumps({"a": 1}), points("b"), bad))
        await served.stop()

    run(scene())
    assert stored(house) == ["a", "b", "c", "f"]
    assert house.ledger.open(TCP).rejected == {"malformed": 4, "path": 1, "nan": 1}
    assert house.balanced()


def test_a_frame_too_long_closes_its_connection_and_no_other(house, run, caplog) -> None:
    async def scene() -> None:
        served = listener(house, frame=1000)
        await served.start()
        other_reader, other = await connect(served)
        other.write(framed(points("before")))
        for number in range(20):
            reader, writer = await connect(served)
            writer.write(framed(points(f"good{number}")) + struct.pack(">I", 1001) + b"x" * 500)
            await closed(reader, writer)
        other.write(framed(points("after")))
        await house.received(42)
        assert (served.connections, served.evicted_connections) == (1, 20)
        other.close()
        await closed(other_reader, other)
        await served.stop()

    with caplog.at_level(logging.WARNING):
        run(scene())
    assert sorted(stored(house)) == sorted(["before", "after", *(f"good{n}" for n in range(20))])
    assert house.ledger.open(TCP).rejected == {"too_long": 20}
    assert house.balanced()
    assert 1 <= len(caplog.records) < 20
    assert caplog.records[0].source == "127.0.0.1"


def test_plaintext_at_this_port_is_one_refusal(house, run) -> None:
    async def scene() -> None:
        served = listener(house)
        await served.start()
        reader, writer = await connect(served)
        writer.write(b"a.b 1 %d\n" % NOW * 1000)
        await closed(reader, writer)
        await served.stop()

    run(scene())
    assert house.ledger.open(TCP).rejected == {"too_long": 1}
    assert house.store.points == []


@pytest.mark.parametrize("rest", [b"\0", b"\0\0\0", struct.pack(">I", 5), framed(b"12345")[:-1]])
def test_an_unfinished_frame_at_the_end_is_counted(house, run, rest: bytes) -> None:
    async def scene() -> None:
        served = listener(house)
        await served.start()
        await send(served, framed(points("a")) + rest)
        await served.stop()

    run(scene())
    assert stored(house) == ["a"]
    assert house.ledger.open(TCP).rejected == {"malformed": 1}
    assert house.balanced()


def test_a_saturated_store_is_waited_for(house, run) -> None:
    frames = framed(*[points("a", "b", "c")] * 20_000)

    async def scene() -> None:
        served = listener(house)
        await served.start()
        house.store.saturated = True
        reader, writer = await connect(served)
        writer.write(frames)
        for _ in range(50):
            await asyncio.sleep(0)
        assert house.store.points == []
        house.store.saturated = False
        served.resume()
        await house.received(60_000)
        writer.close()
        await closed(reader, writer)
        await served.stop()

    run(scene())
    assert len(house.store.points) == 60_000
    assert house.balanced()


def test_stopping_reads_what_the_kernel_holds(house, run) -> None:
    async def scene() -> None:
        served = listener(house)
        await served.start()
        served.pause()
        writers = []
        for number in range(5):
            reader, writer = await connect(served)
            writer.write(framed(*[points(f"a{number}")] * 1000))
            await writer.drain()
            writers.append((reader, writer))
        await served.stop()
        assert served.connections == 0
        for reader, writer in writers:
            await closed(reader, writer)

    run(scene())
    assert len(house.store.points) == 5000
    assert house.balanced()


def test_connections_over_the_limit_are_closed(house, run) -> None:
    async def scene() -> None:
        served = listener(house, connections=2)
        await served.start()
        kept = [await connect(served) for _ in range(2)]
        for _, writer in kept:
            writer.write(framed(points("a.b")))
        await house.received(2)
        await closed(*await connect(served))
        assert served.refused_connections == 1
        for reader, writer in kept:
            writer.close()
            await closed(reader, writer)
        await served.stop()

    run(scene())


def test_silence_closes_a_connection_and_counts_its_unfinished_frame(house, run) -> None:
    async def scene() -> None:
        served = listener(house, idle_timeout=0.1)
        await served.start()
        reader, writer = await connect(served)
        writer.write(b"\0\0\1\0half")
        await closed(reader, writer)
        await served.stop()

    run(scene())
    assert house.ledger.open(TCP).rejected == {"malformed": 1}


def test_an_address_in_use_leaves_nothing_open(house, run) -> None:
    async def scene() -> None:
        served = listener(house)
        await served.start()
        host, _, port = served.addresses[TCP].rpartition(":")
        second = PickleListener([(host, 0), (host, int(port))], house.pipeline, house.ledger)
        with pytest.raises(IngestError, match=port):
            await second.start()
        assert second.listening == []
        await served.stop()

    run(scene())
