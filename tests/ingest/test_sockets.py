"""Binding, and the kernel's count of drops."""

import asyncio
import socket

import pytest

from ingestd.ingest.sockets import kernel_drops, open_datagram, open_pair, open_stream, resolve, shown
from ingestd.ingest.sources import IngestError


def test_the_kernels_own_drops_are_seen() -> None:
    with open_datagram((socket.AF_INET, ("127.0.0.1", 0)), 4096) as sock:
        assert kernel_drops([sock]) == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            for _ in range(100):
                client.sendto(b"x" * 1000, sock.getsockname())
        read = 0
        try:
            while sock.recv(2000):
                read += 1
        except BlockingIOError:
            pass
        assert read < 100
        assert kernel_drops([sock]) == 100 - read


def test_drops_of_all_sockets_are_added_up_and_one_that_cannot_tell_has_none() -> None:
    with (
        open_datagram((socket.AF_INET, ("127.0.0.1", 0)), 4096) as one,
        open_datagram((socket.AF_INET6, ("::1", 0, 0, 0)), 4096) as other,
        open_datagram((socket.AF_INET, ("127.0.0.1", 0))) as closed,
    ):
        for sock in (one, other):
            with socket.socket(sock.family, socket.SOCK_DGRAM) as client:
                for _ in range(100):
                    client.sendto(b"x" * 1000, sock.getsockname())
        apart = [kernel_drops([sock]) for sock in (one, other)]
        assert all(apart)
        closed.close()
        assert kernel_drops([one, closed, other]) == sum(apart)


def test_a_pair_shares_its_port_number() -> None:
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        address = (host, 0) if family == socket.AF_INET else (host, 0, 0, 0)
        stream, datagram = open_pair((family, address))
        with stream, datagram:
            assert stream.getsockname() == datagram.getsockname()
            assert shown(stream) == (f"[::1]:{stream.getsockname()[1]}" if ":" in host else shown(datagram))


def test_a_taken_port_is_an_error_that_names_it() -> None:
    with open_stream((socket.AF_INET, ("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(IngestError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            open_stream((socket.AF_INET, ("127.0.0.1", port)))


def test_connections_are_kept_alive() -> None:
    with (
        open_stream((socket.AF_INET, ("127.0.0.1", 0))) as listening,
        socket.create_connection(listening.getsockname()),
    ):
        listening.settimeout(5)
        connection, _ = listening.accept()
        with connection:
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_a_datagram_port_is_not_shared() -> None:
    with open_datagram((socket.AF_INET, ("127.0.0.1", 0))) as taken, pytest.raises(IngestError, match="in use"):
        open_datagram((socket.AF_INET, taken.getsockname()))


def test_resolve_gives_each_address_once() -> None:
    addresses = [("127.0.0.1", 5), ("127.0.0.1", 5), ("::1", 5)]
    found = asyncio.run(resolve(addresses, socket.SOCK_STREAM))
    assert [address[:2] for _, address in found] == [("127.0.0.1", 5), ("::1", 5)]


def test_an_unknown_host_is_an_error() -> None:
    with pytest.raises(IngestError, match=r"no such host\.invalid"):
        asyncio.run(resolve([("no such host.invalid", 5)], socket.SOCK_STREAM))


def test_multicast_reaches_the_group() -> None:
    try:
        receiver = open_datagram((socket.AF_INET, ("239.192.74.66", 0)))
    except IngestError as error:
        pytest.skip(f"no multicast here: {error}")
    with receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        try:
            sender.sendto(b"hello", receiver.getsockname())
        except OSError as error:
            pytest.skip(f"no multicast here: {error}")
        receiver.settimeout(5)
        assert receiver.recv(100) == b"hello"


def test_both_of_collectds_groups_can_share_a_port_with_others() -> None:
    for endpoint in ((socket.AF_INET, ("239.192.74.66", 0)), (socket.AF_INET6, ("ff18::efc0:4a42", 0, 0, 0))):
        try:
            first = open_datagram(endpoint)
        except IngestError as error:
            pytest.skip(f"no multicast here: {error}")
        with first, open_datagram((endpoint[0], first.getsockname())) as second:
            assert shown(first) == shown(second)
