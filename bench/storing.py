"""CPU of storing: journal, ring, block files, rollups; in a directory of its own, without syncs of the journal."""

from __future__ import annotations

import os
import queue
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Final

import numpy as np

from bench.figures import Figure, Series, process_ns, thread_ns
from bench.material import Fleet, Size
from ingestd.points import Batch, Ids, Values
from ingestd.storage.fileformat import record_size
from ingestd.storage.files import Files
from ingestd.storage.journal import Journal
from ingestd.storage.journal_thread import Durability, Entry
from ingestd.storage.rollup import Profile, roll_up
from ingestd.storage.schema import SchemaRules
from ingestd.storage.store import Store, StoreSettings

BATCH: Final = 2_000
"""Points of a batch: what one read of a connection brings."""
BLOCK: Final = 60
"""Slots of a block of the default schema's finest archive."""
CLOCK: Final = 1_795_380_600
"""Where the block begins: a multiple of its 600 s."""


def journal(size: Size, directory: Path) -> Iterator[Figure]:
    """Records of 2,000 points, groups of about 256 KB, encoded and written to the page cache; not synced."""
    count = max(1, size.series * size.steps // BATCH)
    length = record_size(BATCH)
    found = Series("journal: encode and write", "ns/point", "pwrite of as many bytes")
    for run in range(size.runs):
        target = directory / f"journal{run}"
        log, groups = new_journal(target, count)
        found.runs.append(thread_ns(write_groups, log, groups) / (count * BATCH))
        log.close()
        found.floor_runs.append(_bare_write(directory / "bare", count * length, 6 * length) / (count * BATCH))
        shutil.rmtree(target)
    yield found.figure()


def new_journal(directory: Path, count: int) -> tuple[Journal, list[list[Entry]]]:
    """A journal that has begun its first segment, and ``count`` records of 2,000 points in groups of about 256 KB."""
    random = np.random.default_rng(3)
    columns = [(np.arange(BATCH, dtype=np.uint32), np.full(BATCH, CLOCK), random.random(BATCH)) for _ in range(8)]
    length = record_size(BATCH)
    log = Journal(directory, Files(), (count + 2) * length + 4096)
    log.start(0)
    entries = [Entry(i * length, length, CLOCK, None, *columns[i % 8], None) for i in range(count + 1)]
    log.write_entries(entries[:1])
    return log, [entries[i : i + 6] for i in range(1, count + 1, 6)]


def write_groups(log: Journal, groups: list[list[Entry]]) -> None:
    """Encode and write what :func:`new_journal` gave."""
    for group in groups:
        log.write_entries(group)


def _bare_write(path: Path, total: int, piece: int) -> int:
    """CPU ns of writing ``total`` bytes to a new, allocated file in pieces."""
    data = os.urandom(piece)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.posix_fallocate(fd, 0, total + piece)
        return thread_ns(_write_at, fd, data, range(0, total, piece))
    finally:
        os.close(fd)
        path.unlink()


def _write_at(fd: int, data: bytes, offsets: range) -> None:
    for offset in offsets:
        os.pwrite(fd, data, offset)


class Loop:
    """Stands in for the event loop: runs what the store's threads post to it, and delayed calls when told."""

    def __init__(self) -> None:
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._delayed: list[Callable[[], None]] = []

    def post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Called by :meth:`run_delayed` only: groups are handed over by size."""
        del seconds
        self._delayed.append(call)

    def run_delayed(self) -> None:
        """Run what was delayed, and what that delays in turn."""
        while self._delayed:
            delayed, self._delayed = self._delayed, []
            for call in delayed:
                call()

    def run_posted(self) -> None:
        while not self._posted.empty():
            self._posted.get()()

    def run_next(self) -> None:
        """Wait for a call and run it. Raises queue.Empty after two minutes of nothing."""
        self._posted.get(timeout=120)()

    def until(self, future: Future[None]) -> None:
        while not future.done():
            self.run_next()

    def settle(self, one: Store) -> None:
        """Wait until the journal has all points."""
        self.run_delayed()
        while one.busy:
            self.run_next()


def open_store(directory: Path) -> tuple[Store, Loop]:
    """An open store of the default schema without limits, whose journal is never synced, and what runs its calls."""
    loop = Loop()
    settings = StoreSettings(durability=Durability("never"), in_flight=1 << 40, stall_seconds=1e9)
    one = Store(directory, SchemaRules(), settings, loop.post, loop.later)
    one.open()
    return one, loop


def batches_of(ids: Ids, when: int, values: Values) -> list[Batch]:
    """A point of each series at ``when``, 2,000 to a batch."""
    times = np.full(len(ids), when)
    parts = [slice(i, i + BATCH) for i in range(0, len(ids), BATCH)]
    return [Batch(ids[part], times[part], values[part]) for part in parts]


def store(size: Size, directory: Path) -> Iterator[Figure]:
    """One whole block of all series through the store: accepted in batches, then written as a file."""
    accepted = Series("ring: Store.accept", "ns/point", "copy of the three columns")
    written = Series("flush: block written and committed", "ns/point", "pwrite of as many bytes")
    paths = [name.decode() for name in Fleet(size.series).names]
    values = np.random.default_rng(4).random(size.series)
    points = size.series * BLOCK
    for run in range(size.runs):
        target = directory / f"store{run}"
        one, loop = open_store(target)
        ids = one.create(paths, CLOCK)
        spent = copied = 0
        for slot in range(BLOCK):
            when = CLOCK + 10 * slot
            batches = batches_of(ids, when, values + slot)
            copied += thread_ns(_copy, batches)
            spent += thread_ns(accept, one, batches, when)
            loop.run_posted()
        accepted.runs.append(spent / points)
        accepted.floor_runs.append(copied / points)
        loop.settle(one)
        # What the journal holds is not the flush's: a checkpoint syncs it first.
        os.sync()
        written.runs.append(process_ns(flush, one, loop) / points)
        one.close()
        shutil.rmtree(target)
        written.floor_runs.append(_bare_write(directory / "bare", 8 * points, 8192 * BLOCK * 8) / points)
    yield accepted.figure()
    yield written.figure()


def _copy(batches: list[Batch]) -> None:
    for batch in batches:
        batch.ids.copy()
        batch.timestamps.copy()
        batch.values.copy()


def accept(one: Store, batches: list[Batch], clock: int) -> None:
    """Take all of ``batches`` at ``clock``."""
    for batch in batches:
        one.accept(batch, clock, None)


def flush(one: Store, loop: Loop) -> None:
    """Write all that is in memory."""
    loop.until(one.flush())


def rollup(size: Size) -> Iterator[Figure]:
    """:func:`roll_up` of blocks of 8,192 series by 6, a tenth of the slots empty; a point is a fine slot."""
    fine = fine_values(min(8192, size.series), BLOCK)
    profile_of = np.zeros(len(fine), np.uint16)
    for method in ("average", "max"):
        found = Series(f"rollup: {method}", "ns/point", "copy of the fine values")
        profiles = [Profile(method, 0.5)]
        for _ in range(size.runs):
            found.floor_runs.append(thread_ns(fine.copy) / fine.size)
            found.runs.append(thread_ns(roll_up, fine, 6, profiles, profile_of) / fine.size)
        yield found.figure()


def fine_values(rows: int, slots: int) -> Values:
    """Random values of [``rows``, ``slots``], a tenth of them missing."""
    random = np.random.default_rng(5)
    fine = random.random((rows, slots))
    fine[random.random(fine.shape) < 0.1] = np.nan
    return fine
