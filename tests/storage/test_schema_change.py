"""Changed schema rules: points go to the new archives at once, what was stored before stays readable."""

import queue
import shutil

import numpy as np

from ingestd.points import Batch
from ingestd.storage.journal_thread import Durability
from ingestd.storage.schema import SchemaRules, parse_aggregation, parse_schemas
from ingestd.storage.store import Store, StoreSettings

NOW = 1_800_000_000


def rules(retentions, method="average"):
    return SchemaRules(
        parse_schemas(f"[all]\npattern = ^a\nretentions = {retentions}\n", "s"),
        parse_aggregation(f"[all]\npattern = ^a\naggregationMethod = {method}\nxFilesFactor = 0\n", "a"),
    )


class Run:
    def __init__(self, directory, chosen):
        self.posted, self.later = queue.SimpleQueue(), []
        settings = StoreSettings(durability=Durability("never"), segment_bytes=1 << 16)
        self.store = Store(
            directory, chosen, settings, self.posted.put, lambda _, call: self.later.append(call), chosen.fingerprint
        )
        self.names = self.store.open()

    def pump(self):
        while self.store.busy or self.later:
            waiting, self.later[:] = self.later[:], []
            for call in waiting:
                call()
            try:
                self.posted.get(timeout=0.01)()
            except queue.Empty:
                continue

    def put(self, ids, when, values, clock):
        self.store.accept(Batch(np.array(ids, np.uint32), np.array(when), np.array(values, float)), clock, None)

    def read(self, series, start, now):
        found = {}
        for rows in self.store.fetch(np.array([series], np.uint32), start, now, now):
            times = rows.window.start + rows.window.step * np.arange(rows.window.slots)
            found = {int(t): float(v) for t, v in zip(times, rows.values[0], strict=True) if not np.isnan(v)}
        return found

    def close(self, *, flush=True):
        if flush:
            self.store.flush()
        self.pump()
        self.store.close()


def test_history_stays_readable_through_finer_and_coarser_steps(tmp_path):
    first = Run(tmp_path, rules("60s:1d"))
    first.store.create(["a.x", "b.y"], NOW)
    first.put([0] * 10 + [1] * 10, [NOW - 60 * i for i in range(10)] * 2, list(range(20)), NOW)
    first.close()

    finer = Run(tmp_path, rules("10s:6h,60s:7d"))
    finer.put([0], [NOW + 60], [100.0], NOW + 60)
    got = finer.read(0, NOW - 700, NOW + 60)
    assert got == {NOW - 60 * i: float(i) for i in range(10)} | {NOW + 60: 100.0}
    assert finer.read(1, NOW - 300, NOW + 60)[NOW] == 10.0
    finer.close(flush=False)

    coarser = Run(tmp_path, rules("5min:30d", "sum"))
    got = coarser.read(0, NOW - 900, NOW + 60)
    expected = {}
    for i in range(10):
        slot = (NOW - 60 * i) // 300 * 300
        expected[slot] = expected.get(slot, 0.0) + i
    expected[NOW] += 100.0
    assert got == expected
    coarser.put([0], [NOW + 400], [5.0], NOW + 400)
    assert coarser.read(0, NOW - 900, NOW + 400)[NOW + 300] == 5.0
    coarser.close()

    again = Run(tmp_path, rules("5min:30d", "sum"))
    assert again.read(0, NOW - 900, NOW + 400) == expected | {NOW + 300: 5.0}
    again.close()


def test_what_only_the_journal_held_when_the_rules_changed_is_there(tmp_path):
    """Series x moves to the archives of series y, whose block was written after its points; then the kill comes.

    Twice, so that the second start with the new rules recovers again.
    """
    files = [
        f"[x]\npattern = ^x\nretentions = {x}\n[y]\npattern = ^y\nretentions = 10s:1h,60s:1d\n"
        for x in ("20s:2h,120s:1d", "10s:1h,60s:1d")
    ]
    before, after = (SchemaRules(parse_schemas(text, "s")) for text in files)
    first = Run(tmp_path / "data", before)
    first.store.create(["x.a", "y.a"], NOW)
    when = NOW - 640
    first.put([0, 1], [when, when], [1.0, 2.0], when)
    first.pump()
    # y's block spans 600 s and is closed now, x's spans 1,200 s and is open.
    first.store.tick(NOW - 500)
    first.pump()
    assert {key.layout for key in first.store._view.files} == {1}
    shutil.copytree(tmp_path / "data", tmp_path / "killed")
    first.close()
    for _ in range(2):
        again = Run(tmp_path / "killed", after)
        assert again.read(0, when - 60, NOW) == {when: 1.0}
        assert again.read(1, when - 60, NOW) == {when: 2.0}
        again.close(flush=False)


def test_a_rollup_is_computed_again_when_the_rules_change_under_a_clock_that_stepped_back(tmp_path):
    first = Run(tmp_path, rules("10s:1h,60s:1d", "sum"))
    first.store.create(["a.x"], NOW)
    first.put([0], [NOW], [1.0], NOW)
    first.store.tick(NOW + 7200)
    first.close()
    late = Run(tmp_path, rules("10s:1h,60s:1d", "sum"))
    late.put([0], [NOW + 10], [2.0], NOW + 20)
    late.close(flush=False)
    changed = Run(tmp_path, rules("10s:1h,60s:2d", "sum"))
    assert changed.read(0, NOW - 2 * 3600, NOW + 7200)[NOW] == 3.0
    changed.close()


def test_only_series_whose_rule_changed_are_touched(tmp_path):
    first = Run(tmp_path, rules("60s:1d"))
    first.store.create(["a.x", "b.y"], NOW)
    first.close()
    second = Run(tmp_path, rules("60s:2d", "max"))
    series = second.store.series
    assert list(series.history) == [0]
    assert series.profiles[series.profile_of[0]].method == "max"
    assert series.profiles[series.profile_of[1]].method == "average"
    second.close()
    size = (tmp_path / "registry.log").stat().st_size
    third = Run(tmp_path, rules("60s:2d", "max"))
    assert third.store.series.history == series.history
    third.close()
    assert (tmp_path / "registry.log").stat().st_size == size, "matched again without a change"
