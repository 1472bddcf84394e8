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
from ingestd.points import Batch
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
    random = np.random.default_rng(3)
    count = max(1, size.series * size.steps // BATCH)
    columns = [(np.arange(BATCH, dtype=np.uint32), np.full(BATCH, CLOCK), random.random(BATCH)) for _ in range(8)]
    length = record_size(BATCH)
    found = Series("journal: encode and write", "ns/point", "pwrite of as many bytes")
    for run in range(size.runs):
        files = Files()
        target = directory / f"journal{run}"
        segment = (count + 2) * length + 4096
        log = Journal(target, files, segment)
        log.start(0)
        entries = [Entry(i * length, length, CLOCK, None, *columns[i % 8], None) for i in range(count + 1)]
        log.write_entries(entries[:1])
        groups = [entries[i : i + 6] for i in range(1, count + 1, 6)]
        found.runs.append(thread_ns(_write_groups, log, groups) / (count * BATCH))
        log.close()
        found.floor_runs.append(_bare_write(directory / "bare", count * length, 6 * length) / (count * BATCH))
        shutil.rmtree(target)
    yield found.figure()


def _write_groups(log: Journal, groups: list[list[Entry]]) -> None:
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


class _Loop:
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


def store(size: Size, directory: Path) -> Iterator[Figure]:
    """One whole block of all series through the store: accepted in batches, then written as a file."""
    accepted = Series("ring: Store.accept", "ns/point", "copy of the three columns")
    written = Series("flush: block written and committed", "ns/point", "pwrite of as many bytes")
    paths = [name.decode() for name in Fleet(size.series).names]
    values = np.random.default_rng(4).random(size.series)
    points = size.series * BLOCK
    for run in range(size.runs):
        loop = _Loop()
        target = directory / f"store{run}"
        settings = StoreSettings(durability=Durability("never"), in_flight=1 << 40, stall_seconds=1e9)
        one = Store(target, SchemaRules(), settings, loop.post, loop.later)
        one.open()
        ids = one.create(paths, CLOCK)
        spent = copied = 0
        for slot in range(BLOCK):
            when = CLOCK + 10 * slot
            batches = [
                Batch(ids[i : i + BATCH], np.full(len(ids[i : i + BATCH]), when), values[i : i + BATCH] + slot)
                for i in range(0, size.series, BATCH)
            ]
            copied += thread_ns(_copy, batches)
            spent += thread_ns(_accept, one, batches, when)
            loop.run_posted()
        accepted.runs.append(spent / points)
        accepted.floor_runs.append(copied / points)
        loop.run_delayed()
        while one.busy:
            loop.run_next()
        # What the journal holds is not the flush's: a checkpoint syncs it first.
        os.sync()
        written.runs.append(process_ns(_flush, one, loop) / points)
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


def _accept(one: Store, batches: list[Batch], clock: int) -> None:
    for batch in batches:
        one.accept(batch, clock, None)


def _flush(one: Store, loop: _Loop) -> None:
    loop.until(one.flush())


def rollup(size: Size) -> Iterator[Figure]:
    """:func:`roll_up` of blocks of 8,192 series by 6, a tenth of the slots empty; a point is a fine slot."""
    random = np.random.default_rng(5)
    rows = min(8192, size.series)
    fine = random.random((rows, BLOCK))
    fine[random.random(fine.shape) < 0.1] = np.nan
    profile_of = np.zeros(rows, np.uint16)
    for method in ("average", "max"):
        found = Series(f"rollup: {method}", "ns/point", "copy of the fine values")
        profiles = [Profile(method, 0.5)]
        for _ in range(size.runs):
            found.floor_runs.append(thread_ns(fine.copy) / fine.size)
            found.runs.append(thread_ns(roll_up, fine, 6, profiles, profile_of) / fine.size)
        yield found.figure()
