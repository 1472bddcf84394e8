"""Graphite lines over TLS: any cutting of records, certificates, bad and slow handshakes."""

import asyncio
import contextlib
import pickle
import random
import socket
import ssl

import pytest
import trustme

from ingestd.ingest import streams
from ingestd.ingest.graphite import TCP, GraphiteListener, GraphiteSettings
from ingestd.ingest.pickle import PickleListener
from ingestd.ingest.sources import Access, SourceLimits

NOW = 1_750_000_000


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def server_context(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    return context


@pytest.fixture
def client(authority):
    """Makes a client's context, with a certificate of a common name if one is given."""

    def make(name=None, version=None):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if version is not None:
            context.maximum_version = version
        if name is not None:
            authority.issue_cert(name, common_name=name).configure_cert(context)
        return context

    return make


def listener(house, context, **options):
    return GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger, GraphiteSettings(**options), context)


def port(graphite):
    return int(graphite.addresses[TCP].rsplit(":")[1])


async def send(graphite, context, pieces):
    reader, writer = await asyncio.open_connection("127.0.0.1", port(graphite), ssl=context)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    writer.close()
    await reader.read()
    return writer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_lines_arrive_whole_however_they_are_cut(house, run, server_context, client, version) -> None:
    text = b"".join(b"host%d.load %d %d\n" % (i % 500, i, NOW) for i in range(60_000))
    rnd = random.Random(1)
    cuts = sorted(rnd.randrange(len(text)) for _ in range(40))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    async def scene() -> None:
        graphite = listener(house, server_context)
        await graphite.start()
        await send(graphite, client(version=version), pieces)
        await house.received(60_000)
        await house.until(lambda: graphite.connections == 0)
        await graphite.stop()

    run(scene())
    assert [value for _, value, _ in house.store.points] == list(range(60_000))
    assert house.balanced()


def test_who_does_not_speak_tls_is_closed_and_costs_nobody(house, run, server_context, client) -> None:
    async def scene() -> None:
        graphite = listener(house, server_context)
        await graphite.start()
        rude = [socket.create_connection(("127.0.0.1", port(graphite))) for _ in range(20)]
        for i, sock in enumerate(rude):
            sock.sendall(b"a.b 1 2\n" * 50 if i % 2 else bytes(random.Random(i).randbytes(300)))
        await send(graphite, client(), [b"good.one 1 %d\n" % NOW])
        await house.received(1)
        await house.until(lambda: graphite.connections == 0)
        assert graphite.failed_handshakes == 20
        for sock in rude:
            sock.close()
        await graphite.stop()

    run(scene())
    assert house.ledger.as_dict()["received"] == 1


def test_a_handshake_that_takes_too_long_is_given_up(house, run, server_context, client, monkeypatch) -> None:
    monkeypatch.setattr(streams, "HANDSHAKE_SECONDS", 0.2)

    async def scene() -> None:
        graphite = listener(house, server_context)
        await graphite.start()
        slow = [socket.create_connection(("127.0.0.1", port(graphite))) for _ in range(5)]
        slow[0].sendall(b"\x16\x03\x01")
        await send(graphite, client(), [b"good.one 1 %d\n" % NOW])
        await house.received(1)
        await house.until(lambda: graphite.failed_handshakes == 5)
        for sock in slow:
            sock.close()
        await graphite.stop()

    run(scene())


def test_half_done_handshakes_make_room_for_others(house, run, server_context, client) -> None:
    async def scene() -> None:
        graphite = listener(house, server_context, stream=streams.StreamSettings(connections=10))
        await graphite.start()
        slow = [socket.create_connection(("127.0.0.1", port(graphite))) for _ in range(30)]
        await send(graphite, client(), [b"good.one 1 %d\n" % NOW])
        await house.received(1)
        for sock in slow:
            sock.close()
        await graphite.stop()

    run(scene())


def test_a_certificate_is_asked_for_and_tells_who_writes(guarded, run, authority, server_context, client) -> None:
    house = guarded(access=Access(certificates={"web01": ("web01.",)}), source_limits=SourceLimits(series=100))
    required = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(required)
    authority.configure_trust(required)
    required.verify_mode = ssl.CERT_REQUIRED
    text = b"web01.load 1 %d\nweb02.load 1 %d\n" % (NOW, NOW)

    async def scene() -> None:
        graphite = listener(house, required)
        await graphite.start()
        await send(graphite, client("web01"), [text])
        await house.received(2)
        await send(graphite, client("web02"), [text])
        await house.received(4)
        for stranger in (client(), stranger_with_certificate()):
            # TLS 1.3: the client learns of the refusal after its handshake, perhaps only when it has gone.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                await send(graphite, stranger, [text])
        await house.until(lambda: graphite.failed_handshakes == 2)
        await graphite.stop()

    def stranger_with_certificate():
        context = ssl.create_default_context()
        authority.configure_trust(context)
        trustme.CA().issue_cert("web01", common_name="web01").configure_cert(context)
        return context

    run(scene())
    books = house.ledger.as_dict()
    assert (books["received"], books["stored"], books["rejected"]) == (4, 1, {"forbidden": 3})
    assert {item["name"] for item in house.ledger.sources.top()} == {
        "certificate web01 at 127.0.0.1",
        "certificate web02 at 127.0.0.1",
    }


def test_a_paused_listener_reads_nothing_over_tls_either(house, run, server_context, client) -> None:
    async def scene() -> None:
        graphite = listener(house, server_context)
        await graphite.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port(graphite), ssl=client())
        writer.write(b"a.b 1 %d\n" % NOW)
        await house.received(1)
        graphite.pause()
        writer.write(b"a.b 2 %d\n" % NOW * 10_000)
        await asyncio.sleep(0)
        assert house.ledger.as_dict()["received"] < 10_001
        graphite.resume()
        await house.received(10_001)
        writer.close()
        await reader.read()
        await graphite.stop()

    run(scene())
    assert house.balanced()


def test_pickled_frames_arrive_over_tls(house, run, server_context, client) -> None:
    points = [(f"host{i % 50}.load", (NOW, float(i))) for i in range(5000)]
    payloads = [pickle.dumps(points[i : i + 500], 2) for i in range(0, len(points), 500)]
    stream = b"".join(len(payload).to_bytes(4) + payload for payload in payloads)

    async def scene() -> None:
        listener = PickleListener([("127.0.0.1", 0)], house.pipeline, house.ledger, None, server_context)
        await listener.start()
        address = int(listener.addresses["pickle/tcp"].rsplit(":")[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", address, ssl=client())
        writer.write(stream)
        writer.close()
        await reader.read()
        await house.received(5000)
        rude = socket.create_connection(("127.0.0.1", address))
        rude.sendall(stream)
        await house.until(lambda: listener.failed_handshakes == 1)
        rude.close()
        await listener.stop()

    run(scene())
    assert [value for _, value, _ in house.store.points] == list(range(5000))
    assert house.balanced()


def test_without_udp_there_is_no_udp(house, run) -> None:
    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger, GraphiteSettings(udp=False))
        await graphite.start()
        assert [name for name, _ in graphite.listening] == [TCP]
        await graphite.stop()

    run(scene())
