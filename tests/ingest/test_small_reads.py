"""What a fleet's connections bring in a turn is parsed and accepted together, and everybody is still told apart."""

import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.ingest.graphite import TCP, GraphiteListener
from ingestd.ingest.senders import Crowd, Senders
from ingestd.ingest.sources import Access, Source, SourceLimits
from ingestd.points import Batch, Parsed

NOW = 1_750_000_000


def batch(rows: int) -> Parsed:
    return Parsed(Batch(np.zeros(rows, np.uint32), np.zeros(rows, np.int64), np.zeros(rows)))


def source(name: str) -> Source:
    return Source(name, None, SourceLimits(), 0)


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=5), st.randoms())
def test_every_row_has_its_sender(groups: list[list[int]], random) -> None:
    """Groups of senders, each a part: a crowd, or a source alone; then rows leave the batch."""
    parts, expected = [], []
    for number, group in enumerate(groups):
        sources = [source(f"{number}.{i}") for i in range(len(group))]
        whole = batch(sum(group))
        if len(group) == 1:
            parts.append((whole, sources[0]))
        else:
            parts.append((whole, Crowd(sources, b"x\n" * sum(group), np.cumsum([2 * rows for rows in group]).tolist())))
        expected += [s for s, rows in zip(sources, group, strict=True) for _ in range(rows)]
    senders = Senders(parts, [parsed for parsed, _ in parts])
    assert [senders.of(row) for row in range(len(expected))] == expected
    kept = np.array([random.random() < 0.6 for _ in expected], np.bool_)
    senders.choose(kept)
    left = [s for s, keep in zip(expected, kept, strict=True) if keep]
    assert [senders.of(row) for row in range(len(left))] == left


def clients(graphite: GraphiteListener, number: int) -> list[socket.socket]:
    host, _, port = graphite.addresses[TCP].rpartition(":")
    return [socket.create_connection((host, int(port))) for _ in range(number)]


@pytest.mark.parametrize("odd", [b"", b"\n", b"bad\n"])
def test_reads_of_a_turn_are_one_batch(house, run, odd: bytes) -> None:
    """Also where the lines of one of them are not all points: from the second turn on it is parsed alone."""
    rounds, number = 6, 50

    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        senders = clients(graphite, number)
        await house.until(lambda: graphite.connections == number)
        for turn in range(rounds):
            for i, sender in enumerate(senders):
                sender.sendall(b"c%d.a %d %d\n" % (i, turn, NOW) + (odd if i == 7 else b""))
            bad = (turn + 1) * odd.count(b"bad")
            await house.received((turn + 1) * number + bad)
        for sender in senders:
            sender.close()
        await graphite.stop()

    run(scene())
    assert len(house.store.points) == rounds * number
    assert house.store.batches <= 3 * rounds
    assert house.ledger.open(TCP).rejected == ({"malformed": rounds} if odd == b"bad\n" else {})
    assert house.balanced()


def test_lines_cut_between_reads_are_whole(house, run) -> None:
    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        first, second = clients(graphite, 2)
        for turn in range(20):
            first.sendall(b"a %d %d\na " % (turn, NOW) if turn == 0 else b"%d %d\na " % (turn, NOW))
            second.sendall(b"b %d %d\n" % (turn, NOW))
            await house.received(2 * (turn + 1))
        first.close()
        second.close()
        await house.until(lambda: graphite.connections == 0)
        await graphite.stop()

    run(scene())
    for name in "ab":
        assert [value for path, value, _ in house.store.points if path == name] == list(range(20))
    assert house.ledger.open(TCP).rejected == {"malformed": 1}


def test_quotas_of_senders_hold_among_many(guarded, run) -> None:
    """New series are counted to whoever sent them, also where several senders' lines were parsed as one."""
    house = guarded(source_limits=SourceLimits(series=30))

    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0), ("127.0.0.2", 0)], house.pipeline, house.ledger)
        await graphite.start()
        port = int(graphite.addresses[TCP].rpartition(":")[2])
        greedy, modest = (
            socket.create_connection(("127.0.0.1", port), source_address=(host, 0))
            for host in ("127.0.0.3", "127.0.0.4")
        )
        await house.until(lambda: graphite.connections == 2)
        modest.sendall(b"".join(b"modest.%d 1 %d\n" % (i, NOW) for i in range(10)))
        greedy.sendall(b"".join(b"greedy.%d 1 %d\n" % (i, NOW) for i in range(100)))
        await house.received(110)
        greedy.close()
        modest.close()
        await graphite.stop()

    run(scene())
    assert house.ledger.as_dict()["rejected"] == {"quota": 70}
    assert [item["name"] for item in house.ledger.sources.top()] == ["127.0.0.3"]
    assert sum(path.startswith("modest") for path, _, _ in house.store.points) == 10


def test_rights_of_senders_hold_among_many(guarded, run) -> None:
    house = guarded(access=Access(anonymous=("fine.",)))

    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger)
        await graphite.start()
        senders = clients(graphite, 5)
        await house.until(lambda: graphite.connections == 5)
        for i, sender in enumerate(senders):
            sender.sendall(b"fine.%d 1 %d\nforbidden.%d 1 %d\n" % (i, NOW, i, NOW))
        await house.received(10)
        for sender in senders:
            sender.close()
        await graphite.stop()

    run(scene())
    assert house.ledger.as_dict()["rejected"] == {"forbidden": 5}
    assert len(house.store.points) == 5
