"""How much a read may bring: more only while nearly all that comes is points of known series."""

import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.ingest.connection import FIRST_READ, LARGEST_READ, LEAST_USUAL, READ_SIZE, Connection, usual
from ingestd.ingest.graphite import TCP, GraphiteListener
from ingestd.ingest.sources import Source, SourceLimits
from ingestd.points import UNKNOWN, Batch, NewNames, Parsed
from ingestd.wire.framing import LineSplitter

NOW = 1_750_000_000


@pytest.fixture(scope="module")
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


def found(points: int, new: int = 0, refused: int = 0) -> Parsed:
    ids = np.zeros(points, np.uint32)
    ids[:new] = UNKNOWN
    batch = Batch(ids, np.zeros(points, np.int64), np.zeros(points))
    return Parsed(batch, NewNames(np.arange(new), [b"a"] * new), {"malformed": refused} if refused else {})


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=12))
def test_reads_grow_by_what_is_usual_alone(pair, reads) -> None:
    connection = Connection(pair[0], Source("a", None, SourceLimits(), 0), LineSplitter(), 0.0)
    assert connection.size == FIRST_READ
    for share, fine in reads:
        before = connection.size
        size = int(share * before)
        connection.learn(size, usual=fine)
        assert connection.size <= LARGEST_READ
        if not fine:
            assert connection.size == READ_SIZE
        else:
            assert connection.size == (min(2 * before, LARGEST_READ) if size == before else before)


def test_what_is_usual() -> None:
    assert usual(found(2000), 2000 * 67)
    assert usual(found(2000, new=20, refused=10), 2000 * 67)
    assert not usual(found(2000, new=40), 2000 * 67)
    assert not usual(found(2000, refused=40), 2000 * 67)
    assert not usual(found(0, refused=1), 67)
    # No read holds more lines than one of the least size can hold of the shortest lines, "a 1 1".
    assert not usual(found(2000), 2000 * (LEAST_USUAL - 1))
    assert READ_SIZE // len(b"a 1 1\n") >= LARGEST_READ // LEAST_USUAL


@pytest.mark.parametrize("clients", [1, 3])
def test_long_streams_are_read_whole(house, run, clients: int) -> None:
    """Whatever the reads bring, every line is a point, in the order of its connection."""
    series, steps = 500, 60
    name = b"collectd.host.plugin-%d.instance-%03d.gauge %d %d\n"

    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        host, _, port = graphite.addresses[TCP].rpartition(":")
        senders = [socket.create_connection((host, int(port))) for _ in range(clients)]
        for step in range(steps):
            for number, sender in enumerate(senders):
                sender.sendall(b"".join(name % (number, i, step, NOW + step) for i in range(series)))
            await house.received(clients * series * (step + 1) - 2 * clients)
        for sender in senders:
            sender.close()
        await house.received(clients * series * steps)
        await graphite.stop()

    run(scene())
    values = {path: [] for path, _, _ in house.store.points}
    for path, value, _ in house.store.points:
        values[path].append(value)
    assert len(values) == clients * series
    assert all(found == list(range(steps)) for found in values.values())
    assert house.balanced()
