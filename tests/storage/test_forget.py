"""Series that are silent for as long as anything is kept of them lose their names, and the memory with them."""

import queue

import numpy as np

from ingestd.points import Batch
from ingestd.storage import registry
from ingestd.storage.fileformat import REGISTRY_MAGIC
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Durability
from ingestd.storage.logfile import read_log
from ingestd.storage.schema import Archive, Schema
from ingestd.storage.store import Store, StoreSettings

DAY = 86400
START = 1_800_000_000 // DAY * DAY


class Rules:
    def schemas(self, paths):
        return [Schema((Archive(60, 1440),), "average", 0.5)] * len(paths)


class Run:
    def __init__(self, directory, **options):
        self.posted, self.later, self.forgotten = queue.SimpleQueue(), [], []
        self.store = Store(
            directory,
            Rules(),
            StoreSettings(durability=Durability("never"), segment_bytes=1 << 20, **options),
            self.posted.put,
            lambda _, call: self.later.append(call),
        )
        self.store.on_forget = lambda ids: self.forgotten.extend(ids.tolist())
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

    def names_of_a_day(self, day, n, clock):
        ids = self.store.create([f"pod{day}.{i}" for i in range(n)], clock)
        self.store.accept(Batch(ids, np.full(n, clock), np.ones(n)), clock, None)
        return ids

    def tick(self, clock):
        self.store.tick(clock)
        self.pump()
        self.store.tick(clock)
        self.pump()

    def close(self):
        self.store.flush()
        self.pump()
        self.store.close()


def test_new_names_every_day_do_not_grow_without_end(tmp_path):
    run = Run(tmp_path)
    n = 100_000
    most = 0
    for day in range(5):
        for hour in range(0, 24, 6):
            clock = START + day * DAY + hour * 3600
            if not hour:
                run.names_of_a_day(day, n, clock)
            run.tick(clock)
            most = max(most, run.store.status()["series"])
    assert most <= 2 * n
    assert len(run.forgotten) >= 3 * n
    run.close()
    again = Run(tmp_path)
    assert len(again.names.ids) == again.store.status()["series"] <= 2 * n
    assert not set(again.names.ids.tolist()) & set(run.forgotten)
    again.close()
    records, damage, _ = read_log(Files(), tmp_path / "registry.log", REGISTRY_MAGIC)
    assert not damage
    assert sum(r.n for r in records if r.kind == registry.CREATE) <= 2 * n, "the registry was not written anew"
    third = Run(tmp_path)
    assert third.names.ids.tolist() == again.names.ids.tolist()
    assert third.store.create(["next"], START)[0] == 5 * n
    third.close()


def test_a_name_that_returns_gets_a_new_id_and_no_old_points(tmp_path):
    run = Run(tmp_path, forget_after=3600)
    run.names_of_a_day(0, 1, START)
    run.tick(START + 7300)
    run.tick(START + 11_000)
    assert run.forgotten == [0]
    ids = run.names_of_a_day(0, 1, START + 11_000)
    assert ids.tolist() == [1]
    run.pump()
    rows = run.store.fetch(ids, START - 60, START + 11_000, START + 11_000)[0]
    assert np.flatnonzero(~np.isnan(rows.values[0])).tolist() == [rows.values.shape[1] - 1]
    run.close()


def test_a_series_with_a_fresh_point_in_memory_is_not_forgotten(tmp_path):
    run = Run(tmp_path, forget_after=60)
    run.names_of_a_day(0, 5, START)
    run.tick(START + 1)
    assert run.forgotten == []
    assert run.store.status()["series"] == 5
    run.close()


def test_a_deleted_series_is_gone_with_its_points_and_stays_so(tmp_path):
    run = Run(tmp_path)
    ids = run.names_of_a_day(0, 3, START)
    run.store.flush()
    run.pump()
    run.store.accept(Batch(ids, np.full(3, START + 60), np.ones(3)), START + 60, None)
    settled = run.store.settled()
    run.store.forget(ids[:2])
    assert run.forgotten == [0, 1]
    assert run.store.status()["series"] == 1
    (again,) = run.store.create(["pod0.0"], START + 60)
    assert again == 3
    rows = run.store.fetch(np.array([3], np.uint32), START - 60, START + 60, START + 60)
    assert all(np.isnan(each.values).all() for each in rows)
    run.pump()
    settled.result(60)
    # As after a crash: points of the deleted are in the journal and in a block.
    run.store._writer.shutdown()
    run.store._journal.stop()
    run.store._home.close()
    after = Run(tmp_path)
    assert after.names.ids.tolist() == [2, 3]
    assert after.names.blob == b"pod0.2pod0.0"
    rows = after.store.fetch(np.array([3, 2], np.uint32), START - 60, START + 60, START + 60)[0]
    assert np.isnan(rows.values[0]).all()
    assert np.count_nonzero(~np.isnan(rows.values[1])) == 2
    after.close()


def test_a_series_deleted_while_silent_ones_are_looked_for_is_forgotten_once(tmp_path):
    run = Run(tmp_path, forget_after=3600)
    ids = run.names_of_a_day(0, 2, START)
    run.store.flush()
    run.pump()
    run.store.tick(START + 11_000)
    assert run.store.busy, "nobody looks for silent series"
    assert run.forgotten == []
    run.store.forget(ids[:1])
    run.pump()
    assert sorted(run.forgotten) == [0, 1]
    assert run.store.status()["series"] == 0
    run.close()
