"""The collectd listener with a stand-in for the parser, and the files it watches."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ingestd.ingest.collectd import UDP, CollectdListener, WatchedFile
from ingestd.ingest.sources import Access, SourceLimits
from ingestd.points import UNKNOWN, Batch, NewName, Parsed
from ingestd.wire.framing import WireError

NOW = 1_750_000_000


@dataclass
class Decoded(Parsed):
    notifications: list[str] = field(default_factory=list)
    runs: list[tuple[int, int, bytes]] = field(default_factory=list)
    refused: list[tuple[int, bytes, dict[str, int]]] = field(default_factory=list)
    failed: list[tuple[int, Exception]] = field(default_factory=list)


class FakeDecoder:
    """A datagram is paths and values between ``,``; ``user:`` may stand before it.

    ``!x`` is the notification x; ``?`` fails; ``-`` is refused as below security.
    """

    def parse_all(self, datagrams: list[bytes], names, now: float) -> Decoded:
        found = Decoded(Batch(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0)))
        ids: list[int] = []
        values: list[float] = []
        for which, datagram in enumerate(datagrams):
            if datagram == b"?":
                found.failed.append((which, ZeroDivisionError()))
                continue
            user, _, text = datagram.rpartition(b":")
            before = len(ids)
            for point in text.split(b","):
                name, _, value = point.partition(b" ")
                if point == b"-":
                    found.refused.append((which, user, {"security": 1}))
                elif point:
                    known = names.get(name)
                    if known is None:
                        found.unknown.append(NewName(len(ids), name, name.decode()))
                    ids.append(UNKNOWN if known is None else known)
                    values.append(float(value or 0))
                if name.startswith(b"!"):
                    found.notifications.append(name.decode())
            if len(ids) > before:
                found.runs.append((len(ids), which, user))
        stamps = np.full(len(ids), int(now))
        found.batch = Batch(np.array(ids, np.uint32), stamps, np.array(values, np.float64))
        return found


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


def test_each_sender_has_its_own_limits(guarded, run, udp) -> None:
    """Rows and refusals of many datagrams in one turn go to who sent them, sealed or not."""
    access = Access(anonymous=("open.", "x"), users={"alice": ("web.",), "*": ("",)})
    house = guarded(access=access)

    async def scene() -> None:
        collectd = listener(house, [])
        await collectd.start()
        client = udp(collectd.addresses[UDP])
        for datagram in (b"open.a 1", b"web.a 2", b"alice:web.a 3,open.a 4", b"bob:new 5,open.a 6", b"eve:-", b"x 7,-"):
            client.send(datagram)
        await house.received(9)
        await collectd.stop()

    run(scene())
    assert house.store.points == [
        (p, v, NOW) for p, v in (("open.a", 1), ("web.a", 3), ("new", 5), ("open.a", 6), ("x", 7))
    ]
    assert house.ledger.sources.top() == [
        {"name": "127.0.0.1", "points": 2, "reasons": {"forbidden": 1, "security": 1}},
        {"name": "user alice at 127.0.0.1", "points": 1, "reasons": {"forbidden": 1}},
        {"name": "user eve at 127.0.0.1", "points": 1, "reasons": {"security": 1}},
    ]
    assert house.balanced()


def test_a_rate_holds_for_each_sender(guarded, run, udp) -> None:
    house = guarded(source_limits=SourceLimits(points_per_second=1 / 60))

    async def scene() -> None:
        collectd = listener(house, [])
        await collectd.start()
        client = udp(collectd.addresses[UDP])
        for datagram in (b"a 1,b 2", b"alice:c 3,d 4,e 5", b"a 6"):
            client.send(datagram)
        await house.received(6)
        await collectd.stop()

    run(scene())
    assert house.store.points == [("a", 1.0, NOW), ("c", 3.0, NOW)]
    assert house.ledger.sources.top() == [
        {"name": "127.0.0.1", "points": 2, "reasons": {"quota": 2}},
        {"name": "user alice at 127.0.0.1", "points": 2, "reasons": {"quota": 2}},
    ]


def test_a_new_series_over_a_limit_is_told_of_its_sender(guarded, run, udp) -> None:
    """Nothing limits what they send of known series: they are one part, and yet told apart."""
    house = guarded(source_limits=SourceLimits(series=2))

    async def scene() -> None:
        collectd = listener(house, [])
        await collectd.start()
        client = udp(collectd.addresses[UDP])
        for datagram in (b"a 1,b 2", b"alice:c 3,d 4,e 5", b"f 6,a 7", b"alice:g 8"):
            client.send(datagram)
        await house.received(8)
        await collectd.stop()

    run(scene())
    assert [path for path, _, _ in house.store.points] == ["a", "b", "c", "d", "a"]
    assert house.ledger.sources.top() == [
        {"name": "user alice at 127.0.0.1", "points": 2, "reasons": {"quota": 2}},
        {"name": "127.0.0.1", "points": 1, "reasons": {"quota": 1}},
    ]
    assert len(house.pipeline.sources) == 2


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
