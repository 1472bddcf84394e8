"""The power goes at any operation: what was promised is there, and nothing that was never accepted.

Every value is a power of two of its own among those of its series and coarsest slot, and all rollups are sums: so each
number that a store gives tells which points it was made of.
"""

import functools
import itertools
import os
import queue
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.points import Batch
from ingestd.storage import home, manifest, plan, registry
from ingestd.storage.errors import CorruptFileError
from ingestd.storage.events import EventLog
from ingestd.storage.fileformat import REGISTRY_MAGIC
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Durability, JournalThread
from ingestd.storage.logfile import LogFile, read_log
from ingestd.storage.schema import Archive, Schema
from ingestd.storage.store import Store, StoreSettings
from tests.storage.power import MANNERS, Crash, Recording

pytestmark = pytest.mark.timeout(1800)

FIRST = ((10, 60), (60, 60), (300, 48))
SECOND = ((10, 60), (60, 90), (300, 48))
COARSEST = 300
START = 1_800_000_000 // 3600 * 3600
NEVER = 1 << 60
UNSYNCED = 600
POLICIES = {
    "always": Durability("always"),
    "interval": Durability("interval", 3600.0, UNSYNCED),
    "never": Durability("never"),
}


class Quick(Files):
    """Syncs nothing: what a crash left is looked at once."""

    def sync(self, fd):
        pass

    def sync_directory(self, path):
        pass


@dataclass
class Taken:
    """A batch, as its ledger: at how many operations it was accepted, stored, synced and flushed."""

    ops: list = field(repr=False)
    size: int
    accepted: int
    at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("stored", "synced", "flushed"), NEVER))

    @property
    def stored(self):
        return 0

    @stored.setter
    def stored(self, _):
        self.mark("stored")

    def mark(self, what):
        if self.ops is not None:
            self.at[what] = min(self.at[what], len(self.ops))


class Model:
    """What was accepted: versions (bit, batch) of each leaf (series, step, slot); names; events; clocks and rules."""

    def __init__(self):
        self.leaves, self.bits, self.batches = {}, {}, []
        self.names, self.forgotten, self.events = {}, {}, []
        self.said = [(0, START, FIRST)]

    def say(self, ops, clock, archives):
        self.said.append((len(ops), max(clock, self.said[-1][1]), archives))

    def accept(self, ops, points, clock, archives):
        batch = Taken(ops, 0, len(ops))
        self.batches.append(batch)
        columns = []
        for series, when in points:
            step = next(s for s, n in archives if s * n >= clock - when)
            leaf = series, step, when // step * step
            mixed = [k for k in self.leaves if k[0] == series and k[1] != step and _overlap(k, leaf)]
            assert not mixed, "a coarse slot would hide one of its two sources"
            number = self.bits[series, when // COARSEST] = self.bits.get((series, when // COARSEST), 0) + 1
            assert number <= 53
            self.leaves.setdefault(leaf, []).append((1 << number - 1, batch))
            columns.append((series, when, float(1 << number - 1)))
        return columns, batch

    def after(self, upto, promise):
        """The model of a store that came back after a crash at ``upto``: what was promised by then always is."""
        left = Model()
        left.bits, left.names = dict(self.bits), dict(self.names)
        _, clock, archives = self.at(upto)
        left.said = [(0, clock, archives)]
        for key, versions in self.leaves.items():
            for bit, batch in versions:
                if batch.accepted <= upto:
                    at = dict.fromkeys(batch.at, 0 if batch.at[promise] <= upto else NEVER)
                    left.leaves.setdefault(key, []).append((bit, Taken([], batch.size, 0, at)))
        left.forgotten = {s: 0 for s, at in self.forgotten.items() if at <= upto}
        left.events = [(text, 0, 0 if kept <= upto else NEVER) for text, said, kept in self.events if said <= upto]
        return left

    def at(self, upto):
        return max(s for s in self.said if s[0] <= upto)


def _overlap(one, other):
    return one[2] < other[2] + other[1] and other[2] < one[2] + one[1]


class Run:
    """A store whose loop is the test, and the model of it."""

    def __init__(self, files, root, model, archives, policy="never"):
        self.files, self.model, self.archives = files, model, archives
        self.ops = getattr(files, "ops", [])
        self.posted, self.later = queue.SimpleQueue(), []
        made = Schema(tuple(Archive(*a) for a in archives), "sum", 0.0)
        rules = type("Rules", (), {"schemas": lambda self, paths: [made] * len(paths)})()
        settings = StoreSettings(
            durability=POLICIES[policy], segment_bytes=2048, journal_limit=6000, forget_after=3600, access="pread"
        )
        self.store = Store(
            root / "data",
            rules,
            settings,
            self.posted.put,
            lambda _, call: self.later.append(call),
            str(archives),
            files,
        )
        self.store.on_forget = self._forget
        names = self.store.open()
        bounds = names.offsets.tolist()
        paths = [names.blob[a:b].decode() for a, b in itertools.pairwise(bounds)]
        self.names = dict(zip(names.ids.tolist(), paths, strict=True))
        try:
            self.events = EventLog(files, root / "data" / "events.log", limit=4)
        except BaseException:
            self.store.close()
            raise

    def _forget(self, ids):
        for series in ids.tolist():
            self.model.forgotten[series] = len(self.ops)
            del self.names[series]

    def close(self):
        self.store.close()
        self.events.close()

    def pump(self):
        deadline = time.monotonic() + 20
        while self.store.busy or self.later:
            waiting, self.later[:] = self.later[:], []
            for call in waiting:
                call()
            try:
                self.posted.get(timeout=0.002)()
            except queue.Empty:
                assert time.monotonic() < deadline, "the store does not come to rest"

    def create(self, clock, *names):
        ids = self.store.create(list(names), clock).tolist()
        for made in self.names, self.model.names:
            made.update(zip(ids, names, strict=True))
        return ids

    def accept(self, clock, *points, pump=True):
        self.model.say(self.ops, clock, self.archives)
        rows, batch = self.model.accept(self.ops, points, clock, self.archives)
        columns = [np.array(c, d) for c, d in zip(zip(*rows, strict=True), "Iqd", strict=True)]
        batch.size = 48 + -(-len(rows) // 2) * 8 + 16 * len(rows)
        assert self.store.accept(Batch(*columns), clock, batch) == (0, 0)
        if pump:
            self.pump()

    def tick(self, clock):
        self.model.say(self.ops, clock, self.archives)
        self.store.tick(clock)
        self.pump()

    def flush(self):
        done = self.store.flush()
        self.pump()
        done.result(0)
        for batch in self.model.batches:
            batch.mark("flushed")

    def event(self, text):
        said = len(self.ops)
        self.model.events.append((text, said, NEVER))
        self.events.add(START, text, [], "x" * 300)
        self.model.events[-1] = text, said, len(self.ops)

    def recovered(self):
        """What an opened store shows is synced: a kill before does not make it less safe."""
        for batch in self.model.batches:
            batch.mark("synced")

    def values(self, now):
        """{(series, step, slot): value} of all that can be read, and the windows {(series, step): (start, end)}."""
        found, windows = {}, {}
        ids = np.array(sorted(self.names), np.uint32)
        for age in (590, 3590, 14390) if len(ids) else ():
            for rows in self.store.fetch(ids, now - age, now, now):
                start, end, step = rows.window.start, rows.window.end, rows.window.step
                for position, line in zip(rows.positions.tolist(), rows.values, strict=True):
                    series = int(ids[position])
                    windows[series, step] = start, end
                    for i in np.flatnonzero(~np.isnan(line)).tolist():
                        found[series, step, start + i * step] = float(line[i])
        return found, windows


PROMISES = {"always": "stored", "interval": "synced", "never": "flushed"}


def verify(run, model, upto, promise, now):
    """Compare an opened store with the model at ``upto`` operations."""
    for series, path in run.names.items():
        assert model.names.get(series) == path, f"series {series} was never {path}"
    found, windows = run.values(now)
    slots = {key: [] for key in found}
    for leaf, versions in model.leaves.items():
        series, step, slot = leaf
        if series not in run.names:
            needed = [b for _, b in versions if b.at[promise] <= upto]
            assert not needed or model.forgotten.get(series, NEVER) <= upto, f"series {series} is lost"
            continue
        for coarser in {s for _, s in windows}:
            if coarser >= step and (series, coarser) in windows:
                start, end = windows[series, coarser]
                at = slot // coarser * coarser
                if start <= at < end:
                    slots.setdefault((series, coarser, at), []).append(versions)
    for key, parts in slots.items():
        left = int(found.get(key, 0.0))
        assert left == found.get(key, 0.0)
        for versions in parts:
            held = [i for i, (bit, _) in enumerate(versions) if left & bit]
            needed = [i for i, (_, batch) in enumerate(versions) if batch.at[promise] <= upto]
            assert len(held) <= 1, f"{key}: two values of one slot"
            assert max(held, default=-1) >= max(needed, default=-1), f"{key}: {held} is there, {needed} was promised"
            for i in held:
                assert versions[i][1].accepted <= upto
                left -= versions[i][0]
        assert not left, f"{key}: {found.get(key)} holds what was never accepted"
    texts = [e["what"] for e in run.events.query(0, NEVER, None, None)]
    assert len(set(texts)) == len(texts)
    said = [(text, kept) for text, when, kept in model.events if when <= upto]
    assert set(texts) <= {text for text, _ in said}
    assert {text for text, kept in said[-4:] if kept <= upto} <= set(texts)


def first(run):
    """Names, points, a flush, late points, a rollup; then the process is killed."""
    a, b = run.create(START, "s.0", "s.1")
    for i in range(0, 24, 3):
        run.accept(START + 10 * i, *[(s, START + 10 * (i + j)) for j in range(3) for s in (a, b)])
    run.event("deployed")
    gone = run.create(START + 300, *[f"gone.{'x' * 60}.{i}" for i in range(6)])
    run.accept(START + 300, *[(s, START + 300) for s in gone])
    run.flush()
    run.accept(START + 700, (a, START + 150), (b, START + 690), pump=False)
    run.accept(START + 700, (a, START - 1200), (b, START - 4000), (a, START + 150))
    run.tick(START + 700)
    run.flush()
    run.event("rolled back")
    run.tick(START + 1300)
    run.accept(START + 1310, (a, START + 750), (b, START + 1300), (a, START + 1310))
    run.tick(START + 1930)
    run.accept(START + 1935, *[(s, START + 1800 + 10 * i) for i in range(12) for s in (a, b)])


def second(run):
    """Another schema, carried points, expiry, series forgotten; killed again."""
    ids = {path: series for series, path in run.names.items()}
    a, b = ids["s.0"], ids["s.1"]
    (c,) = run.create(START + 2100, "s.2")
    for i in range(0, 12, 3):
        run.accept(START + 2130 + 10 * i, *[(s, START + 2100 + 10 * (i + j)) for j in range(3) for s in (a, b, c)])
        run.accept(START + 2130 + 10 * i, (a, START - 7500), (b, START - 7200 + 300 * i))
    run.tick(START + 2400)
    run.tick(START + 2900)
    run.event("changed")
    run.flush()
    run.accept(START + 5990, (a, START + 5980), (b, START + 5990), (c, START + 5500))
    run.tick(START + 6000)
    run.tick(START + 9610)
    run.tick(START + 9611)
    run.create(START + 9620, "gone.0")
    run.accept(START + 9630, (len(run.store.series) - 1, START + 9630), (a, START + 9630))


def third(run):
    """The registry written anew, events beyond their limit, the oldest points expired; closed in order."""
    ids = {path: series for series, path in run.names.items()}
    a, b = ids["s.0"], ids["s.1"]
    for i in range(4):
        run.event(f"event {i}")
        run.accept(START + 9700 + 10 * i, (a, START + 9700 + 10 * i), (b, START + 9690 + 10 * i))
    run.flush()
    run.tick(START + 10_400)
    run.accept(START + 15_000, (a, START + 15_000), (b, START + 14_990))
    run.tick(START + 15_000)
    run.accept(START + 15_700, (a, START + 15_700))
    run.tick(START + 15_700)
    run.flush()
    run.close()
    return True


@pytest.fixture
def small(monkeypatch):
    """Everything that comes with size or age comes soon; what is synced is noted."""
    monkeypatch.setattr(manifest, "REWRITE_BYTES", 600)
    monkeypatch.setattr(home, "FEW_FORGOTTEN", 0)
    monkeypatch.setattr(plan, "CARRY_SPAN", 1500)
    real = JournalThread._sync

    def sync(self):
        groups = list(self._unsynced)
        real(self)
        for group in groups:
            for entry in group.entries:
                if entry.books is not None:
                    entry.books.mark("synced")

    monkeypatch.setattr(JournalThread, "_sync", sync)


LIVES = ((first, FIRST), (second, SECOND), (third, SECOND))


def record(tmp_path, policy, lives=LIVES):
    """The operations of a store's lives, each ended by a kill unless it closes the store, and the model of them."""
    model, ops = Model(), None
    for number, (life, archives) in enumerate(lives):
        root = tmp_path / f"life-{number}"
        if ops is None:
            root.mkdir()
        files = Recording(root, ops)
        for batch in model.batches:
            batch.ops = files.ops
        model.say(files.ops, START, archives)
        run = Run(files, root, model, archives, policy)
        run.recovered()
        verify(run, model, len(files.ops), "stored", model.said[-1][1])
        closed = life(run)
        if not closed:
            verify(run, model, len(run.ops), "stored", model.said[-1][1])
        ops = list(files.ops)
        for batch in model.batches:
            batch.ops = None
        if not closed:
            run.close()
    return ops, model


def look(state, upto, model, policy, *, whole=False):
    """Open what a crash at ``upto`` left, and compare."""
    _, clock, archives = model.at(upto)
    run = Run(Quick(), state, Model(), archives)
    try:
        verify(run, model, upto, PROMISES[policy], clock)
        if whole:
            assert run.store.status()["damage"] == []
    finally:
        run.close()


def again(state, upto, model, policy):
    """Recover under a recording of its own and go on: the operations, and how many of them are older."""
    left = model.after(upto, PROMISES[policy])
    _, clock, archives = left.at(0)
    files = Recording(state)
    begun = len(files.ops)
    left.said = [(0, clock, archives)]
    run = Run(files, state, left, archives, policy)
    living = [*run.names][-2:] or run.create(clock, "new")
    run.accept(clock + 10, *[(s, clock + 10) for s in living])
    run.event(f"after {upto}")
    run.tick(clock + 1300)
    run.accept(clock + 1310, *[(s, clock + 1300) for s in living if s in run.names] or [(run.create(0, "n")[0], clock)])
    run.flush()
    ops = list(files.ops)
    for batch in left.batches:
        batch.ops = None
    run.close()
    return ops, begun, left


class States:
    """Crash states of one recording, each looked at in a directory of its own."""

    def __init__(self, directory, random):
        self.directory, self.random, self.count = directory, random, 0

    def try_one(self, ops, upto, manner, model, policy, then=look):
        seed = self.random.randrange(1 << 30)
        state = self.directory / "state"
        self.count += 1
        Crash(ops[:upto], manner, Random(seed)).build(state)
        try:
            return then(state, upto, model, policy)
        except Exception as e:
            raise AssertionError(f"{policy}: crash at {upto} of {len(ops)}, {manner}, seed {seed}: {e}") from e
        finally:
            shutil.rmtree(state)


@pytest.fixture
def directory(tmp_path):
    """In memory where that can be: what is written here is read back once."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path) as path:
        yield Path(path)


@pytest.mark.parametrize("policy", POLICIES)
def test_power_loss_at_any_operation(directory, small, effort, figure, policy):
    ops, model = record(directory, policy)
    states = States(directory, Random(7))
    stride = effort(8, 1)
    for upto in range(states.random.randrange(stride), len(ops) + 1, stride):
        for manner in states.random.sample(MANNERS, effort(2, 4)):
            whole = manner in ("all", "none")
            states.try_one(ops, upto, manner, model, policy, then=functools.partial(look, whole=whole))
    figure(f"{states.count} crash states of {len(ops)} operations, fsync = {policy}")


@pytest.mark.parametrize("policy", POLICIES)
def test_power_loss_during_recovery_and_after_it(directory, small, effort, figure, policy):
    ops, model = record(directory, policy)
    states = States(directory, Random(11))
    for _ in range(effort(5, 60)):
        manner = states.random.choice(MANNERS)
        more, begun, left = states.try_one(ops, states.random.randrange(len(ops)), manner, model, policy, then=again)
        for _ in range(effort(6, 30)):
            states.try_one(more, states.random.randint(begun, len(more)), states.random.choice(MANNERS), left, policy)
    figure(f"{states.count} crash states of recoveries from crash states, fsync = {policy}")


ACTIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 5), st.integers(1, 40)),
    st.tuples(st.just("late"), st.integers(1, 5), st.integers(1, 58)),
    st.tuples(st.just("ancient"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("create"), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("tick"), st.sampled_from((1, 10, 61)), st.sampled_from((10, 70, 700, 3700))),
    st.tuples(st.sampled_from(("flush", "event")), st.just(0), st.just(0)),
)


def wander(actions):
    """A life of ``actions``."""

    def life(run):
        for what, n, m in actions:
            act(run, what, n, m, run.model.said[-1][1])

    return life


def act(run, what, n, m, clock):
    model = run.model
    if what == "create":
        run.create(clock, *[f"made.{len(model.names) + i}" for i in range(n)])
    elif what == "tick":
        run.tick(clock + m)
    elif what == "flush":
        run.flush()
    elif what == "event":
        run.event(f"event {len(model.events)}")
    else:
        living = sorted(run.names) or run.create(clock, "made")
        if what == "put":
            clock += 10 * n
            points = [(s, clock - 10 * i) for s in living[-m:] for i in range(n)]
        elif what == "late":
            points = [(s, clock - 10 * m) for s in living[:n]]
        else:
            # Ages that only a coarse archive takes, of slots that nothing else ever takes.
            points = [(s, START - 900 - 300 * len(model.batches)) for s in living[:n]]
        points = [(s, t) for s, t in points if clock - t < 14_000 and model.bits.get((s, t // COARSEST), 0) < 50]
        if points:
            run.accept(clock, *points)


@pytest.mark.parametrize("policy", POLICIES)
def test_power_loss_in_any_life(directory, small, effort, figure, policy):
    count = 0

    @settings(max_examples=effort(12, 400), deadline=None, database=None, derandomize=effort(True, False))
    @given(st.lists(st.lists(ACTIONS, min_size=1, max_size=12), min_size=1, max_size=4), st.integers(0, 1 << 30))
    def lives(lives, seed):
        nonlocal count
        with tempfile.TemporaryDirectory(dir=directory) as path:
            ops, model = record(Path(path), policy, [(wander(actions), FIRST) for actions in lives])
            states = States(Path(path), Random(seed))
            random = states.random
            for _ in range(effort(4, 12)):
                states.try_one(ops, random.randint(0, len(ops)), random.choice(MANNERS), model, policy)
            count += states.count

    lives()
    figure(f"{count} crash states of lives made up by hypothesis, fsync = {policy}")


def test_no_series_is_on_disk_before_its_layout(tmp_path):
    """Any sectors of an append may be there without the others: none refers to what is not."""
    files = Recording(tmp_path / "log")
    (tmp_path / "log").mkdir()
    log = LogFile(files, tmp_path / "log" / "registry.log", REGISTRY_MAGIC)
    log.load()
    some = [f"a.long.name.of.a.series.{i:04}" for i in range(40)]
    for number in range(3):
        columns = np.full(len(some), number, np.uint16)
        definitions = [registry.encode_layout(number, [(10, 60 + number)]), registry.encode_profile(number, "last", 0)]
        created = registry.encode_create(number * len(some), columns, columns, some)
        registry.append(log, [*definitions, created, registry.encode_rules(f"rules {number}")])
    log.close()
    for upto, seed in itertools.product(range(len(files.ops) + 1), range(30)):
        left = tmp_path / "left"
        Crash(files.ops[:upto], "sectors", Random(seed)).build(left)
        if (left / "registry.log").exists():
            try:
                found, _, _ = read_log(Files(), left / "registry.log", REGISTRY_MAGIC)
            except CorruptFileError:
                found = []
            loaded = registry.decode(found, ())
            assert loaded.incomplete is None
            assert loaded.damage == []
            if loaded.rules:
                assert len(loaded.layout) >= len(some) * (int(loaded.rules[-1]) + 1)
        shutil.rmtree(left)
