"""Every operation on the disk fails once, and a kill comes before every one of them."""

import errno
import shutil
import threading
from pathlib import Path

import pytest

from ingestd.storage import journal_thread
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Durability

SMALL = ((10, 60), (60, 60), (300, 48))
START = 1_800_000_000 // 600 * 600
OPERATIONS = 150


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


def test_any_operation_that_fails_once_loses_nothing(tmp_path, open_store, quick):
    h, files = run(open_store, tmp_path / "good", lambda *_: None)
    expected, total = answers(h), files.n
    assert any(expected)
    assert 20 < total < OPERATIONS
    for turn in range(1, total + 1):
        failed = []

        def act(n, what, fd, turn=turn, failed=failed):
            if n == turn:
                failed.append(what)
                raise OSError((errno.EIO, errno.ENOSPC)[turn % 2], "made to fail")

        h, _ = run(open_store, tmp_path / str(turn), act)
        assert failed
        assert answers(h) == expected, (turn, failed)
        h.pump()
        again = h.crash(tmp_path / f"{turn}-copy")
        try:
            assert answers(again) == expected, (turn, failed)
            assert again.store.status()["damage"] == []
        finally:
            again.store.close()


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
