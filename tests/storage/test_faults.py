"""Every operation on the disk fails, and a kill comes before every one of them."""

import errno
import gc
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from ingestd.storage import journal_thread
from ingestd.storage.errors import StorageError
from ingestd.storage.events import EventLog
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Durability
from tests.storage.conftest import Loop

pytestmark = pytest.mark.timeout(1800)

SMALL = ((10, 60), (60, 60), (300, 48))
START = 1_800_000_000 // 600 * 600


class Counting(Files):
    """Counts writes, syncs, allocations and renames; ``act`` is called with the number of each before it is done."""

    def __init__(self, act):
        self.act, self.n, self.guard, self.armed = act, 0, threading.Lock(), False

    def _turn(self, what, fd=-1):
        with self.guard:
            if self.armed:
                self.n += 1
                self.act(self.n, what, fd)

    def write(self, fd, data, offset):
        self._turn("write", fd)
        super().write(fd, data, offset)

    def allocate(self, fd, size):
        self._turn("allocate", fd)
        super().allocate(fd, size)

    def sync(self, fd):
        self._turn("sync", fd)
        super().sync(fd)

    def sync_directory(self, path):
        self._turn("sync_directory")
        super().sync_directory(path)

    def rename(self, source, target):
        self._turn("rename")
        super().rename(source, target)


def scenario(h, after=lambda: None):
    """Creates, accepts, flushes, late points, a rollup; ``after`` is called when points count as stored."""
    h.store.create(["s.0", "s.1"], START)
    h.accept([(i, START + t * 10, float(t + i)) for t in range(30) for i in (0, 1)], START + 290)
    h.pump()
    after()
    flush(h)
    h.accept([(0, START + 20, 99.0)], START + 700)
    h.accept([(1, START + 690, 5.0), (0, START - 1200, 6.0)], START + 700)
    h.pump()
    after()
    h.tick(START + 700)
    flush(h)
    h.tick(START + 1300)
    h.store.create(["s.2"], START + 1300)
    h.accept([(2, START + 1300, 7.0)], START + 1300)
    h.pump()
    after()
    flush(h)


def flush(h):
    """A flush that goes on until it is committed."""
    done = h.store.flush()
    h.pump()
    for _ in range(5):
        if done.done():
            return
        h.tick(START)
    raise AssertionError(f"not flushed: {h.store.failure}")


def answers(h):
    now = START + 1300
    return [h.read(i, now - age, now) for i in range(len(h.store.series)) for age in (590, 2900, 14000)]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(journal_thread, "FIRST_RETRY", 0.0)
    monkeypatch.setattr(journal_thread, "LAST_RETRY", 0.0)


def run(open_store, directory, act, after=lambda h: None):
    files = Counting(act)
    h = open_store(directory, SMALL, "sum", files=files, segment_bytes=2048, durability=Durability("always"))
    files.armed = True
    scenario(h, lambda: after(h))
    return h, files


def test_a_kill_before_any_operation_loses_nothing_stored(tmp_path, open_store):
    """The directory is copied before every operation; each copy holds what counted as stored by then."""
    copies, stored = [], [0]

    def act(n, what, fd):
        target = tmp_path / f"kill-{n}"
        shutil.copytree(tmp_path / "d", target, ignore=shutil.ignore_patterns("lock"))
        copies.append((target, what, stored[0]))

    said = []

    def after(h):
        said.append(answers(h))
        stored[0] = len(said)

    h, _ = run(open_store, tmp_path / "d", act, after)
    said.append(answers(h))
    assert len(copies) > 20
    for target, what, number in copies:
        again = open_store(target, SMALL, "sum", segment_bytes=2048)
        found = answers(again)
        # A copy may hold what the store was just about to call stored.
        least = said[number - 1] if number else []
        for held, must in zip(found, least, strict=False):
            newest = said[min(number, len(said) - 1)]
            wanted = {t: v for t, v in must.items() if any(now.get(t) == v for now in newest)}
            assert {t: held.get(t) for t in wanted} == wanted, (target.name, what)


def test_a_journal_file_whose_sync_failed_is_never_synced_again(tmp_path, open_store, quick):
    synced, broken = [], []

    def act(n, what, fd):
        if what == "sync":
            name = Path(f"/proc/self/fd/{fd}").readlink().name
            synced.append(name)
            if name.endswith(".jnl") and len(synced) > 4 and not broken:
                broken.append((name, len(synced)))
                raise OSError(errno.EIO, "made to fail")

    h, _ = run(open_store, tmp_path / "d", act)
    ((name, place),) = broken
    assert name not in synced[place:]
    assert h.books.stored == 64


ERRORS = {
    "open": (errno.EMFILE, errno.ENFILE, errno.EACCES),
    "write": (errno.EIO, errno.ENOSPC, "half"),
    "read": (errno.EIO,),
    "allocate": (errno.ENOSPC, errno.EIO),
    "sync": (errno.EIO, errno.ENOSPC),
    "sync_directory": (errno.EIO,),
    "truncate": (errno.EIO,),
    "map": (errno.ENOMEM,),
    "rename": (errno.EIO, errno.ENOSPC),
    "unlink": (errno.EIO, errno.EACCES),
    "make_directory": (errno.ENOSPC,),
    "free_bytes": (errno.EIO,),
}
"""Every operation of the seam that can fail, and how; "half" of a write is done before the disk is full."""


class Failing(Files):
    """The operations from ``turn`` on, ``lasting`` of them, fail with the error of the ``number``."""

    def __init__(self, turn, lasting, number):
        self.turn, self.lasting, self.number, self.n = turn, lasting, number, 0
        self.failed, self.guard = [], threading.Lock()

    def fails(self, what, *args):
        with self.guard:
            self.n += 1
            if not self.turn <= self.n < self.turn + self.lasting:
                return
            error = ERRORS[what][self.number % len(ERRORS[what])]
            self.failed.append(what)
        if error == "half":
            fd, data, offset = args
            super().write(fd, data[: len(data) // 2], offset)
            error = errno.ENOSPC
        raise OSError(error, f"{what} made to fail")


def _failing(what):
    def call(self, *args):
        self.fails(what, *args)
        return getattr(Files, what)(self, *args)

    return call


for _what in ERRORS:
    setattr(Failing, _what, _failing(_what))


def prepared(directory):
    """A store that was killed: blocks, a journal to replay, and torn tails of all three logs."""
    h = Loop(directory / "a", SMALL, "sum", 0.0, None, {"segment_bytes": 2048, "durability": Durability("always")})
    scenario(h)
    h.accept([(i, START + 1310, 8.0) for i in (0, 1, 2)], START + 1315)
    h.pump()
    events = EventLog(Files(), directory / "a" / "events.log")
    events.add(START, "before", [], "")
    events.close()
    shutil.copytree(directory / "a", directory / "b")
    h.store.close()
    for name in ("registry.log", "manifest.log", "events.log"):
        with (directory / "b" / name).open("ab") as file:
            file.write(b"LREC torn")
    return directory / "b"


def insist(call, told):
    """Call until it goes through; ``told`` gets what was raised until then."""
    for _ in range(20):
        try:
            return call()
        except (OSError, StorageError) as e:
            told.append(e)
    raise AssertionError(f"still: {told[-1]}")


def go_on(h):
    """What a store does between a start and a stop."""
    h.store.create(["s.3"], START + 1320)
    for i in range(3):
        h.accept([(s, START + 1320 + 10 * i, float(i + s)) for s in range(4)], START + 1350)
        h.pump()
    h.accept([(1, START + 1210, 3.0), (0, START - 900, 2.0)], START + 1350)
    flush(h)
    h.tick(START + 1900)
    h.accept([(3, START + 1900, 1.0)], START + 1900)
    h.pump()


def life(directory, files, policy):
    """Open, go on and close; gives what was raised."""
    told = []
    options = {"segment_bytes": 2048, "durability": policy}
    h = insist(lambda: Loop(directory, SMALL, "sum", 0.0, files, options), told)
    try:
        go_on(h)
        events = insist(lambda: EventLog(files, directory / "events.log"), told)
        insist(lambda: events.add(START, "after", [], ""), told)
        events.close()
    finally:
        h.store.close()
    return told


def outcome(directory):
    """What a store on the directory answers, its events and its damage."""
    h = Loop(directory, SMALL, "sum", 0.0, None, {"segment_bytes": 2048})
    try:
        now = START + 1900
        found = [h.read(i, now - age, now) for i in range(len(h.store.series)) for age in (590, 2900, 14000)]
        events = EventLog(Files(), directory / "events.log")
        said = {e["what"] for e in events.query(0, 1 << 40, None, None)}
        events.close()
        return found, said, h.store.status()["damage"]
    finally:
        h.store.close()


class Said(logging.Handler):
    """Keeps what is logged as text: exceptions in records would keep files open."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        record.msg, record.args, record.exc_info = record.getMessage(), (), None
        self.lines.append(record.msg)


@pytest.fixture
def said():
    """What is logged as a warning or an error."""
    handler, logger = Said(), logging.getLogger("ingestd")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


@pytest.fixture
def memory(tmp_path):
    """A directory in memory where that can be."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path) as path:
        yield Path(path)


@pytest.mark.parametrize("policy", ["always", "interval", "never"])
def test_any_operation_may_fail_and_nothing_is_lost(memory, quick, said, effort, figure, policy):
    """Start, run and stop with the Nth operation failing, for every N, once and for a while."""
    base, durability = prepared(memory), Durability(policy, 0.0)
    state = memory / "state"

    def attempt(turn, lasting, number):
        shutil.copytree(base, state)
        files = Failing(turn, lasting, number)
        said.clear()
        raised = life(state, files, durability)
        return files, outcome(state), [*map(str, raised), *said]

    clean, expected, _ = attempt(1 << 60, 0, 0)
    shutil.rmtree(state)
    assert expected[0]
    assert expected[1:] == ({"before", "after"}, [])
    gc.collect()
    descriptors, kinds, runs = len(list(Path("/proc/self/fd").iterdir())), set(), 0
    stride = effort(9, 1)
    for lasting in (1, 4):
        for number in range(effort(1, 3)):
            for turn in range(1 + (runs % stride), clean.n + 1, stride):
                files, found, told = attempt(turn, lasting, number + turn)
                where = f"operations {turn} to {turn + lasting - 1} of {clean.n}: {files.failed}"
                assert found == expected, where
                assert told or not files.failed, where
                shutil.rmtree(state)
                kinds.update(files.failed)
                runs += 1
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
    figure(f"{runs} runs, fsync = {policy}, with failures of {', '.join(sorted(kinds))}")


TRUNCATED = """
import os, sys
from pathlib import Path
from tests.storage.conftest import Loop
from tests.storage.test_faults import START

directory, access = Path(sys.argv[1]), sys.argv[2]
h = Loop(directory, ((10, 60), (60, 60)), "sum", 0.0, None, {"access": access})
h.store.create([f"s.{i}" for i in range(20)], START)
h.accept([(i, START + 10 * t, 1.0) for t in range(1, 50) for i in range(20)], START + 490)
h.flush()
assert len(h.read(1, START, START + 490)) == 49
for path in (directory / "blocks").rglob("*.blk"):
    os.truncate(path, 4096)
assert h.read(1, START, START + 490) == {}
h.accept([(1, START + 500, 2.0)], START + 500)
assert h.read(1, START, START + 500) == {START + 500: 2.0}
assert h.store.status()["damage"]
h.store.close()
"""


@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_a_block_file_cut_under_a_running_store_is_missing_data_and_no_signal(tmp_path, access):
    command = [sys.executable, "-c", TRUNCATED, str(tmp_path / "d"), access]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_a_block_that_cannot_be_read_is_an_error_and_never_other_data(tmp_path, open_store, quick, access):
    files = Failing(1 << 60, 1 << 60, 0)
    h = open_store(tmp_path / "d", SMALL, "sum", files=files, access=access, segment_bytes=2048)
    scenario(h)
    good = answers(h)
    h.store._home._blocks._open.clear()
    files.turn = files.n
    with pytest.raises(OSError, match="made to fail"):
        answers(h)
    files.turn = 1 << 60
    assert answers(h) == good
    assert h.store.status()["damage"] == []


class Full(Files):
    """A disk without space while ``full``."""

    full = False

    def write(self, fd, data, offset):
        if self.full:
            super().write(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(fd, data, offset)

    def allocate(self, fd, size):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().allocate(fd, size)

    def free_bytes(self, path):
        return 0 if self.full else super().free_bytes(path)


@pytest.mark.parametrize("policy", ["always", "interval", "never"])
def test_a_full_disk_stops_reading_and_when_space_returns_all_is_stored(tmp_path, open_store, quick, policy):
    files = Full()
    h = open_store(tmp_path / "d", SMALL, "sum", files=files, segment_bytes=2048, durability=Durability(policy, 0.0))
    h.store.create(["s.0", "s.1"], START)
    h.accept([(i, START + t * 10, float(t)) for t in range(10) for i in (0, 1)], START + 90)
    h.pump()
    files.full = True
    h.store.tick(START + 100)
    h.accept([(i, START + t * 10, float(t)) for t in range(10, 60) for i in (0, 1)], START + 590)
    while h.store.problem is None or "space" not in h.store.problem or h.store._journal._thread.error is None:
        h.step()
    assert h.store.saturated
    assert h.books.stored == 20
    assert h.read(0, START, START + 590)[START + 590] == 59.0
    relieved = []
    h.store.on_relief = lambda: relieved.append(True)
    files.full = False
    h.pump()
    h.tick(START + 600)
    assert relieved == [True]
    assert h.store.problem is None
    assert not h.store.saturated
    assert h.books.stored == 120
    flush(h)
    again = h.crash(tmp_path / "copy")
    assert [again.read(i, START - 1, START + 589) for i in (0, 1)] == [
        h.read(i, START - 1, START + 589) for i in (0, 1)
    ]
    assert again.store.status()["damage"] == []
    again.store.close()
