"""The Graphite listener over real sockets on loopback, on both event loops."""

import asyncio
import json
import os
import resource
import socket
import struct
from pathlib import Path

import pytest

from ingestd.ingest import streams
from ingestd.ingest.graphite import TCP, UDP, GraphiteListener, GraphiteSettings
from ingestd.ingest.sources import IngestError
from ingestd.ingest.streams import StreamSettings

NOW = 1_750_000_000
ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "graphite" / "lines.jsonl").read_text().splitlines()
]
COUNTED = sum("ignored" not in row for row in ROWS)


def listener(house, **stream) -> GraphiteListener:
    settings = GraphiteSettings(stream=StreamSettings(**stream))
    return GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger, settings)


async def connect(graphite: GraphiteListener, address: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = (address or graphite.addresses[TCP]).rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def send(graphite: GraphiteListener, data: bytes, address: str = "") -> None:
    """Send and wait until the other side has read all and closed."""
    reader, writer = await connect(graphite, address)
    writer.write(data)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def check_golden(house, name: str) -> None:
    books = house.ledger.open(name)
    points = [row["point"] for row in ROWS if "point" in row]
    assert [stamp for _, _, stamp in house.store.points] == [NOW if p[2] == "now" else p[2] for p in points]
    assert [value.hex() for _, value, _ in house.store.points] == [float(p[1]).hex() for p in points]
    reasons = [row["rejected"] for row in ROWS if "rejected" in row]
    assert books.rejected == {reason: reasons.count(reason) for reason in set(reasons)}
    assert (books.received, books.stored, books.in_flight) == (COUNTED, len(points), 0)


def test_golden_lines_over_tcp(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        await send(graphite, b"".join(row["line"].encode("latin-1") + b"\n" for row in ROWS))
        await graphite.stop()

    run(scene())
    check_golden(house, TCP)


def test_golden_lines_over_udp(house, run, udp) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        client = udp(graphite.addresses[UDP])
        for number, row in enumerate(ROWS):
            client.send(row["line"].encode("latin-1") + b"\n" * (number % 2))
        await house.received(COUNTED)
        await graphite.stop()

    run(scene())
    check_golden(house, UDP)


def test_addresses_share_one_number(house, run) -> None:
    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0), ("::1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        assert graphite.addresses[TCP] == graphite.addresses[UDP]
        assert [name for name, _ in graphite.listening] == [TCP, UDP, TCP, UDP]
        address = graphite.listening[2][1]
        assert address.startswith("[::1]:")
        await send(graphite, b"a.b 1 %d\n" % NOW, address)
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a.b", 1.0, NOW)]


def test_udp_over_ipv6(house, run, udp) -> None:
    async def scene() -> None:
        graphite = GraphiteListener([("::1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        udp(graphite.addresses[UDP]).send(b"a.b 1 %d" % NOW)
        await house.received(1)
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a.b", 1.0, NOW)]


def test_slow_chunks(house, run) -> None:
    data = b"a.b 1 %d\r\n\nc.d 2.5 %d\nbad\n" % (NOW, NOW)

    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        reader, writer = await connect(graphite)
        for position in range(len(data)):
            writer.write(data[position : position + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a.b", 1.0, NOW), ("c.d", 2.5, NOW)]
    assert house.ledger.open(TCP).rejected == {"malformed": 1}


def test_a_long_line_is_counted_once_and_the_connection_goes_on(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house, line=100)
        await graphite.start()
        await send(graphite, b"a 1 %d\n" % NOW + b"x" * 1_000_000 + b" 1 1\nb 2 %d\n" % NOW)
        await graphite.stop()

    run(scene())
    assert [path for path, _, _ in house.store.points] == ["a", "b"]
    assert house.ledger.open(TCP).rejected == {"too_long": 1}
    assert house.balanced()


def test_a_long_line_in_a_datagram_costs_only_itself(house, run, udp) -> None:
    async def scene() -> None:
        graphite = listener(house, line=100)
        await graphite.start()
        client = udp(graphite.addresses[UDP])
        client.send(b"a 1 %d\n" % NOW + b"x" * 1000)
        client.send(b"b 2 %d\n" % NOW)
        client.send(b"")
        client.send(b"c 3 %d" % NOW)
        await house.received(4)
        await graphite.stop()

    run(scene())
    assert [path for path, _, _ in house.store.points] == ["a", "b", "c"]
    assert house.ledger.open(UDP).rejected == {"too_long": 1}


@pytest.mark.parametrize(("end", "rejected"), [(b"c 3 17500", {"malformed": 1}), (b" \r", {}), (b"", {})])
def test_a_last_partial_line_is_not_stored(house, run, end: bytes, rejected: dict[str, int]) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        await send(graphite, b"a 1 %d\n" % NOW + end)
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a", 1.0, NOW)]
    assert house.ledger.open(TCP).rejected == rejected


def test_a_reset_keeps_what_was_whole(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        _, writer = await connect(graphite)
        writer.write(b"a 1 %d\nb 2 17" % NOW)
        await house.received(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        await house.until(lambda: graphite.connections == 0)
        await send(graphite, b"c 3 %d\n" % NOW)
        await graphite.stop()

    run(scene())
    assert [path for path, _, _ in house.store.points] == ["a", "c"]
    assert house.balanced()


def test_garbage_closes_nothing_and_costs_nobody_else(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        _, other = await connect(graphite)
        _, writer = await connect(graphite)
        writer.write(bytes(range(256)) * 100 + b"\n")
        other.write(b"other 1 %d\n" % NOW)
        await house.until(lambda: len(house.store.points) == 1)
        writer.write(b"mine 2 %d\n" % NOW)
        await house.until(lambda: len(house.store.points) == 2)
        assert graphite.connections == 2
        writer.close()
        other.close()
        await graphite.stop()

    run(scene())
    assert house.balanced()


def test_a_saturated_store_stops_tcp_and_loses_nothing(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        _, early = await connect(graphite)
        early.write(b"early 1 %d\n" % NOW)
        await house.received(1)
        house.store.saturated = True
        early.write(b"early 2 %d\n" % NOW)
        _, late = await connect(graphite)
        late.write(b"late 3 %d\n" % NOW)
        await house.until(lambda: graphite._streams._readiness.resting)
        assert house.ledger.open(TCP).received == 1
        house.store.saturated = False
        graphite.resume()
        await house.received(3)
        early.close()
        late.close()
        await graphite.stop()

    run(scene())
    assert sorted(house.store.points) == [("early", 1.0, NOW), ("early", 2.0, NOW), ("late", 3.0, NOW)]


def test_relief_that_nobody_tells_is_noticed(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        house.store.saturated = True
        _, writer = await connect(graphite)
        writer.write(b"a 1 %d\n" % NOW)
        await house.until(lambda: graphite._streams._readiness.resting)
        house.store.saturated = False
        await house.received(1)
        writer.close()
        await graphite.stop()

    run(scene())


def test_pause_holds_until_resume(house, run, udp) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        graphite.pause()
        _, writer = await connect(graphite)
        writer.write(b"a 1 %d\n" % NOW)
        udp(graphite.addresses[UDP]).send(b"u 1 %d\nu 2 %d" % (NOW, NOW))
        await house.until(lambda: graphite._streams._readiness.resting)
        await house.received(2)
        assert house.ledger.open(UDP).rejected == {"overload": 2}
        graphite.resume()
        await house.received(3)
        udp(graphite.addresses[UDP]).send(b"u 3 %d" % NOW)
        await house.received(4)
        writer.close()
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a", 1.0, NOW), ("u", 3.0, NOW)]
    assert house.balanced()


def test_many_datagrams_are_few_batches(house, run, udp) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        client = udp(graphite.addresses[UDP])
        for number in range(200):
            client.send(b"a.b %d %d" % (number, NOW + number))
        await house.received(200)
        await graphite.stop()

    run(scene())
    assert [value for _, value, _ in house.store.points] == list(range(200))
    assert house.store.batches <= 3


def test_stop_reads_what_has_arrived(house, run, udp) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        host, _, port = graphite.addresses[TCP].rpartition(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"".join(b"t %d %d\n" % (i, NOW) for i in range(50_000)))
            udp(graphite.addresses[UDP]).send(b"u 1 %d" % NOW)
            await graphite.stop()
            assert client.recv(1) == b""
        assert graphite.connections == 0

    run(scene())
    assert len(house.store.points) == 50_001
    assert house.balanced()


def test_connections_over_the_limit_are_closed_and_counted(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house, connections=2)
        await graphite.start()
        writers = [(await connect(graphite))[1] for _ in range(2)]
        for writer in writers:
            writer.write(b"b 1 %d\n" % NOW)
        await house.received(2)
        reader, refused = await connect(graphite)
        assert await reader.read() == b""
        assert graphite.refused_connections == 1
        for writer in [*writers, refused]:
            writer.close()
        await house.until(lambda: graphite.connections == 0)
        await send(graphite, b"a 1 %d\n" % NOW)
        await graphite.stop()

    run(scene())
    assert len(house.store.points) == 3


def test_who_sends_nothing_makes_room_for_others(house, run) -> None:
    """The first has sent a point and the second has one under way; so the third, who is silent, has to go."""

    async def scene() -> None:
        graphite = listener(house, connections=3)
        await graphite.start()
        clients = []
        for number in range(3):
            clients.append(await connect(graphite))
            await house.until(lambda n=number: graphite.connections == n + 1)
        clients[0][1].write(b"a.0 1 %d\n" % NOW)
        await house.received(1)
        clients[1][1].write(b"a.1 1 %d\n" % NOW)
        await send(graphite, b"a.3 1 %d\n" % NOW)
        assert await clients[2][0].read() == b""
        assert (graphite.evicted_connections, graphite.refused_connections) == (1, 0)
        for number in range(2):
            clients[number][1].write(b"b.%d 1 %d\n" % (number, NOW))
        await house.received(5)
        for _, writer in clients:
            writer.close()
        await graphite.stop()

    run(scene())
    assert len(house.store.points) == 5
    assert house.balanced()


def test_idle_connections_are_closed_when_asked_for(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house, idle_timeout=0.2)
        await graphite.start()
        reader, writer = await connect(graphite)
        writer.write(b"a 1 %d\n" % NOW)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()
        await graphite.stop()

    run(scene())
    assert len(house.store.points) == 1


def test_points_do_not_wait_behind_garbage(house, run) -> None:
    """What stands in the kernel's buffers of many connections that send garbage is read beside the points."""
    senders, garbage = 30, b"garbage\n" * 5000

    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        writers = [(await connect(graphite))[1] for _ in range(senders)]
        _, modest = await connect(graphite)
        for writer in writers:
            writer.write(garbage)
        modest.write(b"modest 1 %d\n" % NOW)
        await house.until(lambda: house.store.points)
        heard = house.ledger.as_dict()["rejected"].get("malformed", 0)
        assert heard < senders * 5000 // 2
        await house.received(senders * 5000 + 1)
        for writer in [*writers, modest]:
            writer.close()
        await graphite.stop()

    run(scene())
    assert house.balanced()


def test_resets_leave_no_connection(house, run, monkeypatch) -> None:
    """Data and a reset that come together are reported by no loop that stands on libuv."""

    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        host, port = graphite.addresses["graphite/tcp"].rsplit(":", 1)
        for _ in range(100):
            with socket.create_connection((host, int(port))) as sock:
                sock.sendall(b"cut.off 1 17")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await asyncio.sleep(0)
        await send(graphite, b"a 1 %d\n" % NOW)
        await house.until(lambda: graphite.connections == 0)
        await graphite.stop()

    run(scene())
    assert house.balanced()


def test_garbage_makes_room_for_others(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house, connections=2)
        await graphite.start()
        (reader, garbled), (_, silent) = await connect(graphite), await connect(graphite)
        garbled.write(b"garbage\n" * 10)
        await house.received(10)
        await send(graphite, b"a 1 %d\n" % NOW)
        assert await reader.read() == b""
        assert graphite.refused_connections == 0
        garbled.close()
        silent.close()
        await graphite.stop()

    run(scene())
    assert len(house.store.points) == 1


def test_an_endless_sender_starves_nobody(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        _, greedy = await connect(graphite)
        block = b"greedy 1 %d\n" % NOW * 5000

        async def flood() -> None:
            while True:
                greedy.write(block)
                await greedy.drain()

        task = asyncio.create_task(flood())
        await house.received(5000)
        _, modest = await connect(graphite)
        for number in range(3):
            modest.write(b"modest %d %d\n" % (number, NOW))
            await house.until(lambda number=number: ("modest", float(number), NOW) in house.store.points)
            house.store.points.clear()
        task.cancel()
        greedy.close()
        modest.close()
        await graphite.stop()

    run(scene())
    assert house.balanced()


def test_four_hundred_idle_connections(house, run) -> None:
    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        host, _, port = graphite.addresses[TCP].rpartition(":")
        clients = []
        for _ in range(400):
            clients.append(socket.create_connection((host, int(port))))
            await asyncio.sleep(0)
        await house.until(lambda: graphite.connections == 400)
        for number, client in enumerate(clients):
            client.sendall(b"a %d %d\n" % (number, NOW))
        await house.received(400)
        for client in clients:
            client.close()
        await house.until(lambda: graphite.connections == 0)
        await graphite.stop()

    run(scene())
    assert sorted(value for _, value, _ in house.store.points) == list(range(400))


def test_out_of_descriptors_only_delays(house, run, monkeypatch) -> None:
    monkeypatch.setattr(streams, "_RETRY_ACCEPT", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scene() -> None:
        graphite = listener(house)
        await graphite.start()
        host, _, port = graphite.addresses[TCP].rpartition(":")
        client = socket.socket()
        probe = os.dup(0)
        os.close(probe)
        resource.setrlimit(resource.RLIMIT_NOFILE, (probe, limits[1]))
        try:
            client.connect((host, int(port)))
            client.sendall(b"a 1 %d\n" % NOW)
            graphite._streams._accept(graphite._streams._listening[0])
            assert graphite.connections == 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await house.received(1)
        client.close()
        await graphite.stop()

    run(scene())
    assert house.store.points == [("a", 1.0, NOW)]


def test_stop_and_resume_before_start_do_nothing(house, run) -> None:
    graphite = listener(house)
    graphite.resume()
    graphite.kernel_drops()
    run(graphite.stop())
    assert graphite.addresses == {}


def test_a_start_that_fails_leaves_nothing_open(house, run) -> None:
    async def scene() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            addresses = [("127.0.0.1", 0), taken.getsockname()]
            with pytest.raises(IngestError, match="in use"):
                await GraphiteListener(addresses, house.pipeline, house.ledger).start()

    run(scene())
