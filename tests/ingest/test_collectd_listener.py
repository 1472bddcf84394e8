"""The collectd listener with a stand-in for the parser, and the files it watches."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ingestd.ingest.collectd import UDP, CollectdListener, WatchedFile
from ingestd.points import UNKNOWN, Batch, NewName, Parsed
from ingestd.wire.framing import WireError

NOW = 1_750_000_000


@dataclass
class Decoded(Parsed):
    notifications: list[str] = field(default_factory=list)
    users: list[tuple[int, bytes]] = field(default_factory=list)


class FakeDecoder:
    """A datagram is a path and a value; ``!x`` is the notification x; ``?`` raises; ``-`` is below security."""

    def parse(self, datagram: bytes, names, now: float) -> Decoded:
        if datagram == b"?":
            raise ZeroDivisionError
        if datagram == b"-" or not datagram:
            empty = Batch(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float64))
            return Decoded(empty, [], {"security": 1} if datagram else {})
        name, _, value = datagram.partition(b" ")
        known = names.get(name)
        ids = np.array([UNKNOWN if known is None else known], np.uint32)
        batch = Batch(ids, np.array([int(now)]), np.array([float(value or 0)]))
        notes = [name.decode()] if name.startswith(b"!") else []
        return Decoded(batch, [NewName(0, name, name.decode())] if known is None else [], {}, notes)


def listener(house, notes: list[str], watched: tuple[WatchedFile, ...] = ()) -> CollectdListener:
    return CollectdListener(
        [("127.0.0.1", 0), ("::1", 0)], house.pipeline, house.ledger, FakeDecoder(), notes.append, watched
    )


def test_datagrams_become_points_and_notifications(house, run, udp) -> None:
    notes: list[str] = []

    async def scene() -> None:
        collectd = listener(house, notes)
        await collectd.start()
        assert list(collectd.addresses) == [UDP]
        v4, v6 = (udp(address) for _, address in collectd.listening)
        for datagram in (b"a 1", b"", b"b 2", b"a 3", b"-", b"?", b"!n 4"):
            v4.send(datagram)
        await house.received(6)
        v6.send(b"b 5")
        await house.received(7)
        await collectd.stop()

    run(scene())
    assert house.store.points == [(p, v, NOW) for p, v in (("a", 1), ("b", 2), ("a", 3), ("!n", 4), ("b", 5))]
    assert notes == ["!n"]
    assert house.ledger.open(UDP).rejected == {"security": 1, "malformed": 1}
    assert house.balanced()


def test_overload_counts_datagrams(house, run, udp) -> None:
    async def scene() -> None:
        collectd = listener(house, [])
        await collectd.start()
        client = udp(collectd.addresses[UDP])
        house.store.saturated = True
        for _ in range(3):
            client.send(b"a 1")
        await house.received(3)
        house.store.saturated = False
        client.send(b"a 2")
        await house.received(4)
        collectd.kernel_drops()
        await collectd.stop()

    run(scene())
    assert house.store.points == [("a", 2.0, NOW)]
    assert house.ledger.open(UDP).as_dict()["rejected"] == {"overload": 3}
    assert house.ledger.open(UDP).kernel_drops == 0


def test_files_are_read_again_at_most_once_a_second(house, run, udp, tmp_path: Path) -> None:
    file = tmp_path / "auth"
    file.write_text("one")
    texts: list[str] = []

    async def scene() -> None:
        collectd = listener(house, [], (WatchedFile(file, texts.append),))
        await collectd.start()
        client = udp(collectd.addresses[UDP])
        file.write_text("three")
        client.send(b"a 1")
        await house.received(1)
        assert texts == ["one"]
        house.time += 1
        client.send(b"a 2")
        await house.received(2)
        house.time += 1
        client.send(b"a 3")
        await house.received(3)
        await collectd.stop()

    run(scene())
    assert texts == ["one", "three"]


def test_a_missing_file_stops_the_start(house, run, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        run(listener(house, [], (WatchedFile(tmp_path / "none", print),)).start())


def test_a_file_that_turns_bad_leaves_the_old_text_in_force(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "types.db"
    texts: list[str] = []

    def apply(text: str) -> None:
        if text == "bad":
            raise WireError("line 1")
        texts.append(text)

    watched = WatchedFile(file, apply)
    file.write_text("good")
    watched.load()
    for text in ("bad", None, "better"):
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
            os.utime(file, ns=(1, len(text)))
        watched.poll()
        watched.poll()
    assert texts == ["good", "better"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
