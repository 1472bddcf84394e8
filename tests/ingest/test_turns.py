"""A turn of the loop stays short however many clients send at once, and each of them has its turn."""

import asyncio
import socket
import time

from ingestd.ingest.graphite import TCP, GraphiteListener
from ingestd.points import Parsed
from ingestd.wire.lines import parse_lines

NOW = 1_750_000_000
CLIENTS = 60
COST = 0.005
"""Seconds that a read takes here at least: four of them spend a turn."""


def test_many_clients_at_once_do_not_hold_up_a_turn(house, run, monkeypatch) -> None:
    reads: list[int] = []

    async def scene() -> None:
        graphite = GraphiteListener([("127.0.0.1", 0)], house.pipeline, house.ledger)
        turn = 0

        def slow(*given) -> Parsed:
            time.sleep(COST)
            reads.append(turn)
            return parse_lines(*given)

        monkeypatch.setattr("ingestd.ingest.graphite.parse_lines", slow)
        await graphite.start()
        host, port = graphite.addresses[TCP].split(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(CLIENTS)]
        for number, client in enumerate(clients):
            client.sendall(b"c%d.a 1 %d\n" % (number, NOW))
        while len(house.store.points) < CLIENTS:
            turn += 1
            await asyncio.sleep(0)
        for client in clients:
            client.close()
        await graphite.stop()

    run(scene())
    assert sorted(path for path, _, _ in house.store.points) == sorted(f"c{i}.a" for i in range(CLIENTS))
    # Those that had to wait, and those that are readable at the same time.
    assert max(map(reads.count, reads)) <= 2 * (0.02 / COST + 1)
