"""The store against a plain model: any order of points, of ticks, flushes, failures, crashes and starts."""

import queue
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import whisper
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ingestd.points import Batch
from ingestd.storage.errors import StorageError
from ingestd.storage.journal_thread import Durability
from ingestd.storage.schema import Archive, Schema
from ingestd.storage.store import Store, StoreSettings
from ingestd.telemetry import Books

SMALL = ((10, 60), (60, 60), (300, 48))
ODD = ((7, 100), (35, 60))
START = 1_800_000_000


class Rules:
    """Even series are SMALL and average, odd ones ODD and sum."""

    def schemas(self, paths):
        return list(map(self._schema, paths))

    def _schema(self, path):
        odd = int(path.rsplit(".", 1)[1]) % 2
        archives = tuple(Archive(*a) for a in (ODD if odd else SMALL))
        return Schema(archives, "sum" if odd else "average", 0.0 if odd else 0.5)


class Harness:
    """A store whose event loop is this test."""

    def __init__(self, directory, **options):
        self.posted = queue.SimpleQueue()
        self.later = []
        self.books = Books("test")
        options.setdefault("durability", Durability("never"))
        self.store = Store(
            directory, Rules(), StoreSettings(**options), self.posted.put, lambda _, call: self.later.append(call)
        )
        self.directory = directory
        self.names = self.store.open()

    def pump(self):
        """Run what is due until nothing is."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            waiting, self.later[:] = self.later[:], []
            for call in waiting:
                call()
            try:
                self.posted.get(timeout=0.001)()
            except queue.Empty:
                if not self.later and not self.store.busy:
                    return
        pytest.fail("the store does not come to rest")

    def accept(self, points, clock):
        """Send (id, timestamp, value) points; how many were (too old, too new)."""
        columns = [np.array(c, d) for c, d in zip(zip(*points, strict=True), "Iqd", strict=True)]
        self.books.received += len(points)
        refused = self.store.accept(Batch(*columns), clock, self.books)
        self.books.rejected["too_old"] += refused[0]
        self.books.rejected["too_new"] += refused[1]
        return refused

    def flush(self):
        done = self.store.flush()
        self.pump()
        done.result(0)

    def read(self, series, start, until, now):
        """{timestamp: value} of one series."""
        found = {}
        for rows in self.store.fetch(np.array([series], np.uint32), start, until, now):
            for i, value in enumerate(rows.values[0]):
                if not np.isnan(value):
                    found[rows.window.start + i * rows.window.step] = float(value)
        return found


class Model:
    """What one series must answer: values written to each archive, and rollups computed when asked."""

    def __init__(self, archives, method, factor):
        self.archives = archives
        self.method, self.factor = method, factor
        self.written = [{} for _ in archives]

    def archive(self, age):
        if age >= self.archives[-1][0] * self.archives[-1][1]:
            return None
        return next(i for i, (step, slots) in enumerate(self.archives) if step * slots >= age)

    def values(self, archive):
        """{slot: value} of an archive: what was written to it, and over that what the finer one makes of it."""
        found = dict(self.written[archive])
        if archive:
            ratio = self.archives[archive][0] // self.archives[archive - 1][0]
            groups = {}
            for slot, value in sorted(self.values(archive - 1).items()):
                groups.setdefault(slot // ratio, []).append(value)
            for slot, known in groups.items():
                if len(known) / ratio >= self.factor:
                    found[slot] = whisper.aggregate(self.method, known, known)
        return found

    def read(self, start, now):
        start = max(start, now - self.archives[-1][0] * self.archives[-1][1])
        archive = next(i for i, (step, slots) in enumerate(self.archives) if step * slots >= now - start)
        step = self.archives[archive][0]
        window = range(start // step + 1, now // step + 1)
        return {slot * step: value for slot, value in self.values(archive).items() if slot in window}


class StoreMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.opened = 0
        self.clock = START
        self.models = []
        self.stored = 0

    @initialize()
    def begin(self):
        self.harness = self.open(self.root / "0")

    def open(self, directory):
        return Harness(directory, late_budget=20_000, journal_limit=1 << 16, segment_bytes=1 << 14)

    @rule(n=st.integers(1, 3))
    def create(self, n):
        first = len(self.models)
        ids = self.harness.store.create([f"s.{first + i}" for i in range(n)], self.clock)
        assert ids.tolist() == list(range(first, first + n))
        self.models += [Model(ODD, "sum", 0.0) if i % 2 else Model(SMALL, "average", 0.5) for i in ids]

    @precondition(lambda self: self.models)
    @rule(
        drawn=st.lists(
            st.tuples(
                st.integers(0, 9),
                st.integers(0, 15) | st.integers(0, 590) | st.integers(0, 16_000),
                st.sampled_from([1.0, 2.5, -3.0, 0.1, 1e9]),
            ),
            min_size=1,
            max_size=20,
        )
    )
    def accept(self, drawn):
        points = []
        for number, age, value in drawn:
            series = number % len(self.models)
            if self.allowed(series, self.clock - age) and not any(p[:2] == (series, self.clock - age) for p in points):
                points.append((series, self.clock - age, value))
        if points:
            old, new = self.harness.accept(points, self.clock)
            expected = 0
            for series, when, value in points:
                model = self.models[series]
                archive = model.archive(self.clock - when)
                if archive is None:
                    expected += 1
                else:
                    model.written[archive][when // model.archives[archive][0]] = value
            assert (old, new) == (expected, 0)

    def allowed(self, series, when):
        """Not a direct write to a coarse slot that has finer values: whether those expired is the store's affair."""
        model = self.models[series]
        archive = model.archive(self.clock - when)
        if not archive:
            return True
        step = model.archives[archive][0]
        span = (when // step * step, when // step * step + step)
        return not any(
            span[0] <= slot * model.archives[finer][0] < span[1]
            for finer in range(archive)
            for slot in model.written[finer]
        )

    @rule(seconds=st.sampled_from([1, 10, 61, 300, 700, 1500, 4000]))
    def tick(self, seconds):
        self.clock += seconds
        self.harness.store.tick(self.clock)
        self.harness.pump()

    @rule()
    def flush(self):
        self.harness.flush()

    @rule()
    def fail(self):
        """A checkpoint that cannot commit changes nothing."""
        home = self.harness.store._home
        commit = home.commit

        def broken(*args):
            raise OSError(28, "No space left on device")

        home.commit = broken
        self.harness.store.flush()
        self.harness.pump()
        home.commit = commit
        self.harness.store._flushes.clear()
        self.harness.store._not_before = 0.0

    @rule()
    def crash(self):
        """The data directory as a kill leaves it at this moment is opened by another store."""
        self.harness.pump()
        self.opened += 1
        copy = self.root / str(self.opened)
        shutil.copytree(self.harness.directory, copy)
        self.harness.store.close()
        self.harness = self.open(copy)

    @rule()
    def restart(self):
        self.harness.pump()
        self.harness.flush()
        self.harness.store.close()
        self.harness = self.open(self.harness.directory)
        status = self.harness.store.status()
        assert status["journal"]["end"] == status["journal"]["from"]
        assert status["unflushed"] == 0

    @invariant()
    def reads_as_the_model(self):
        for series, model in enumerate(self.models):
            for age in (400, 590, 2_000, 3_500, 14_000, 20_000):
                got = self.harness.read(series, self.clock - age, self.clock, self.clock)
                assert got == pytest.approx(model.read(self.clock - age, self.clock), rel=1e-12, nan_ok=True)

    def teardown(self):
        if hasattr(self, "harness"):
            self.harness.pump()
            books = self.harness.books
            assert books.in_flight == 0
            self.harness.store.close()
        shutil.rmtree(self.root)


StoreMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestStore = StoreMachine.TestCase


def test_a_second_store_on_the_directory_is_refused(tmp_path):
    one = Harness(tmp_path)
    with pytest.raises(StorageError, match="in use"):
        Harness(tmp_path)
    one.store.close()


def test_a_file_of_a_failed_checkpoint_is_not_read_instead_of_its_successor(tmp_path):
    h = Harness(tmp_path)
    h.store.create(["s.0"], START)
    h.accept([(0, START - 300, 1.0)], START + 1500)
    commit, h.store._home.commit = h.store._home.commit, lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    h.store.flush()
    h.pump()
    h.store._home.commit = commit
    h.store._flushes.clear()
    h.accept([(0, START - 200, 2.0)], START + 1500)
    h.flush()
    assert h.read(0, START - 1000, START + 1500, START + 1500) == {START - 300: 1.0, START - 240: 2.0}
    h.store.close()


def test_the_future_is_refused(tmp_path):
    h = Harness(tmp_path, future=600)
    h.store.create(["s.0"], START)
    assert h.accept([(0, START + 601, 1.0), (0, START + 600, 2.0), (0, 2**62, 1.0)], START) == (0, 2)
    h.pump()
    assert h.books.stored == 1
    h.store.close()


def test_a_block_is_written_though_late_points_keep_coming(tmp_path):
    """A host with a slow clock must not keep the block of the whole fleet in memory."""
    h = Harness(tmp_path, lateness=60)
    h.store.create(["s.0"], START)
    start = START // 600 * 600
    for second in range(0, 700, 5):
        h.accept([(0, start + min(second, 599), float(second))], start + second)
        h.store.tick(start + second)
        h.pump()
    assert h.store.status()["blocks"] >= 1
    assert h.store.status()["unflushed"] < 30
    h.store.close()
