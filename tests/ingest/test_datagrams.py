"""Reading datagrams: by one call of the kernel and one by one, the same."""

import socket

import pytest

from ingestd._speed import DatagramReceiver
from ingestd.ingest.datagrams import receive_one_by_one

LARGEST = 65_507


@pytest.fixture(params=["one by one", "by the kernel"])
def receive(request, require_kernels):
    """``receive(sock, most, size)`` in both ways."""
    if request.param == "one by one":
        return receive_one_by_one
    require_kernels()
    if DatagramReceiver is None:
        pytest.skip("this system has no recvmmsg")
    receiver = DatagramReceiver()
    return lambda sock, most, size: receiver.receive(sock.fileno(), most, size)


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)], ids=["v4", "v6"])
def pair(request):
    """A socket that receives, one that sends to it, and the address of that."""
    host, family = request.param
    with socket.socket(family, socket.SOCK_DGRAM) as inbox, socket.socket(family, socket.SOCK_DGRAM) as outbox:
        inbox.setblocking(False)
        inbox.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        inbox.bind((host, 0))
        outbox.connect(inbox.getsockname())
        yield inbox, outbox, host


def test_all_that_there_is_in_its_order(receive, pair) -> None:
    inbox, outbox, host = pair
    assert receive(inbox, 10, 1000) == []
    sent = [b"%d" % i * (i % 7) for i in range(150)]
    for payload in sent:
        outbox.send(payload)
    assert receive(inbox, 1000, 1 << 20) == [(payload, host) for payload in sent]
    assert receive(inbox, 1000, 1 << 20) == []


def test_no_more_than_was_asked_for(receive, pair) -> None:
    inbox, outbox, _ = pair
    for i in range(120):
        outbox.send(b"%03d" % i)
    found = [payload for most in (1, 70, 7, 1000) for payload, _ in receive(inbox, most, 1 << 20)]
    assert found == [b"%03d" % i for i in range(120)]


def test_large_ones_end_a_turn(receive, pair) -> None:
    inbox, outbox, _ = pair
    for i in range(6):
        outbox.send(bytes([i]) * LARGEST)
    found = receive(inbox, 100, 2 * LARGEST)
    assert 2 <= len(found) <= 6
    found += receive(inbox, 100, 1 << 20)
    assert [payload for payload, _ in found] == [bytes([i]) * LARGEST for i in range(6)]


def test_what_cannot_be_read_gives_nothing(receive) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unconnected:
        unconnected.setblocking(False)
        assert receive(unconnected, 10, 1000) == []
