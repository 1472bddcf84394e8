"""Clocks that jump, of the machine and of those who send: nobody else's points suffer and nothing is deleted."""

import numpy as np
import pytest

from ingestd.index.names import Names
from ingestd.ingest.pipeline import Pipeline, SeriesLimits
from ingestd.points import UNKNOWN, Batch, NewName, Parsed
from ingestd.storage.horizon import HOLD, LEAP, Horizon

ARCHIVES = ((10, 60), (60, 60), (300, 576))
START = 1_800_000_000 // 1800 * 1800
DAY, YEAR = 86_400, 365 * 86_400
LEAPS = [-YEAR, -DAY, -3600, -5, 5, 3600, DAY, YEAR, 100 - START, 2_147_483_647 - START, 4_294_967_295 - START]


class Host:
    """The pipeline over a store, with a machine's clocks; senders whose own clocks are right."""

    def __init__(self, loop):
        self.loop, self.passed, self.error = loop, 0, 0
        self.names = Names()
        self.pipeline = Pipeline(
            loop.store,
            self.names,
            SeriesLimits(),
            lambda: START + self.passed + self.error,
            steady=lambda: 77.0 + self.passed,
        )

    def send(self, name, time, value):
        series = self.names.get(name.encode())
        unknown = [NewName(0, name.encode(), name)] if series is None else []
        ids = np.array([UNKNOWN if series is None else series], np.uint32)
        batch = Batch(ids, np.array([time], np.int64), np.array([float(value)]))
        self.pipeline.accept(self.loop.books, [(Parsed(batch, unknown), self.pipeline.sources.nobody)])

    def seconds(self, n, *names):
        """``n`` seconds of points every ten, as the fleet sends them; {name: {time: value}}."""
        sent = {name: {} for name in names}
        for _ in range(n):
            self.passed += 1
            if self.passed % 10 == 0:
                for name in names:
                    sent[name][START + self.passed] = float(self.passed)
                    self.send(name, START + self.passed, self.passed)
            if self.passed % 30 == 0:
                self.loop.tick(self.pipeline.clock())
        return sent


@pytest.fixture
def host(tmp_path, open_store):
    return Host(open_store(tmp_path / "data", ARCHIVES, "max"))


def shown(host, name, age=590):
    now = START + host.passed
    return host.loop.read(host.names.get(name.encode()), now - age, now)


@pytest.mark.parametrize("leap", LEAPS)
def test_a_clock_that_leaps_and_is_mended_costs_no_point_and_deletes_nothing(host, leap):
    sent = host.seconds(1900, "a", "b")
    blocks = {k: r for k, r in host.loop.store._view.files.items() if k.archive}
    coarse = shown(host, "a", 20_000)
    host.error = leap
    during = host.seconds(200, "a", "b")
    host.error = 0
    after = host.seconds(200, "a", "b")
    for name in ("a", "b"):
        recent = {t: v for t, v in (sent[name] | during[name] | after[name]).items() if t > START + host.passed - 590}
        assert shown(host, name) == recent
    assert host.loop.books.rejected == {}
    assert blocks.keys() <= host.loop.store._view.files.keys()
    assert coarse.keys() <= shown(host, "a", 20_400).keys()
    assert host.loop.store.status()["series"] == 2


@pytest.mark.parametrize("clock", [0, 100, 2_147_483_647, 4_294_967_295])
def test_a_host_in_another_year_costs_nobody_else_anything(host, clock):
    sent = host.seconds(300, "right")
    for i in range(200):
        host.send(f"wrong{i % 5}", clock + i, 1.0)
        if i % 20 == 0:
            sent["right"] |= host.seconds(10, "right")["right"]
    sent["right"] |= host.seconds(100, "right")["right"]
    assert shown(host, "right") == sent["right"]
    assert sum(host.loop.books.rejected.values()) == 200
    assert host.loop.store.status()["open_blocks"] <= 3


def test_everybody_follows_a_wrong_clock_and_nothing_is_deleted(host):
    """A whole site takes the time of a bad server, for hours: expiry waits a day for somebody to notice."""
    host.seconds(1900, "a")
    before = shown(host, "a", 20_000)
    files = {k for k in host.loop.store._view.files if k.archive}
    host.error = YEAR
    for _ in range(400):
        host.passed += 30
        host.send("a", START + host.passed + YEAR, 5.0)
        host.loop.tick(host.pipeline.clock())
    assert host.pipeline.clock() == START + host.passed + YEAR
    assert files <= host.loop.store._view.files.keys()
    assert host.loop.store.status()["series"] == 1
    host.error = 0
    host.seconds(100, "a")
    now = START + host.passed
    shown_now = host.loop.read(0, now - 20_000, now)
    assert {t: v for t, v in shown_now.items() if t in before} == before


def test_a_restart_with_the_clock_behind_the_journals(host, tmp_path):
    host.seconds(400, "a")
    host.loop.pump()
    expected = shown(host, "a")
    again = host.loop.crash(tmp_path / "copy")
    try:
        later = Host(again)
        later.names.load(np.array([0], np.uint32), b"a", np.array([0, 1]))
        later.passed = 100
        again.tick(later.pipeline.clock())
        now = START + 400
        assert again.read(0, now - 590, now) == expected
        later.passed = 400
        more = later.seconds(100, "a")["a"]
        assert again.read(0, now + 100 - 590, now + 100) == expected | more
        again.flush()
        assert again.read(0, now + 100 - 590, now + 100) == expected | more
        assert again.store.status()["damage"] == []
    finally:
        again.store.close()


def test_what_is_old_still_expires(host):
    host.seconds(700, "a")
    fine = {k for k in host.loop.store._view.files if k.archive == 0}
    host.seconds(1300, "a")
    assert fine
    assert not fine & host.loop.store._view.files.keys()


def test_a_horizon_goes_with_the_clock_and_waits_after_a_leap():
    horizon = Horizon()
    assert [horizon.at(t) for t in (1000, 1001, 1000 + LEAP)] == [1000, 1001, 1000 + LEAP]
    at = 1000 + LEAP
    leapt = at + YEAR
    waited = [horizon.at(leapt + t) for t in range(0, HOLD, 600)]
    assert set(waited) == {at}
    assert horizon.at(at + 5) == at + 5
    assert horizon.at(leapt) == at + 5
    assert horizon.at(leapt + HOLD // 2) == at + 5
    assert horizon.at(leapt + HOLD) == leapt + HOLD
    assert horizon.at(at) == at


def test_after_a_restart_the_stored_time_counts():
    horizon = Horizon()
    horizon.begin(5000)
    assert horizon.at(5000 + YEAR) == 5000
    assert horizon.at(4000) == 4000
