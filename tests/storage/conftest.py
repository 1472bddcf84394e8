"""A store whose event loop is the test."""

import queue
import shutil
import time

import numpy as np
import pytest

from ingestd.points import Batch
from ingestd.storage.journal_thread import Durability
from ingestd.storage.schema import Archive, Schema
from ingestd.storage.store import Store, StoreSettings
from ingestd.telemetry import Books


class Loop:
    def __init__(self, directory, archives, method, factor, files, options):
        self.args = archives, method, factor, files, options
        self.directory, self.posted, self.later, self.books = directory, queue.SimpleQueue(), [], Books("test")
        made = Schema(tuple(Archive(*a) for a in archives), method, factor)
        rules = type("Rules", (), {"schemas": lambda self, paths: [made] * len(paths)})()
        settings = StoreSettings(**{"durability": Durability("never"), "segment_bytes": 1 << 14, **options})
        self.store = Store(
            directory, rules, settings, self.posted.put, lambda _, call: self.later.append(call), files=files
        )
        self.store.open()

    def step(self):
        """Run what is due now."""
        waiting, self.later[:] = self.later[:], []
        for call in waiting:
            call()
        try:
            self.posted.get(timeout=0.002)()
        except queue.Empty:
            return False
        return True

    def pump(self):
        """Run what is due until nothing is."""
        deadline = time.monotonic() + 20
        while self.step() or self.later or self.store.busy:
            assert time.monotonic() < deadline, "the store does not come to rest"

    def accept(self, points, clock):
        columns = [np.array(c, d) for c, d in zip(zip(*points, strict=True), "Iqd", strict=True)]
        return self.store.accept(Batch(*columns), clock, self.books)

    def tick(self, clock):
        self.store._not_before = 0.0
        self.store.tick(clock)
        self.pump()

    def flush(self):
        done = self.store.flush()
        self.pump()
        done.result(0)

    def read(self, series, start, now):
        found = {}
        for rows in self.store.fetch(np.array([series], np.uint32), start, now, now):
            values = rows.values[0]
            for i in np.flatnonzero(~np.isnan(values)).tolist():
                found[rows.window.start + i * rows.window.step] = float(values[i])
        return found

    def crash(self, target):
        """Another store on the directory as a kill leaves it now."""
        shutil.copytree(self.directory, target)
        archives, method, factor, _, options = self.args
        return Loop(target, archives, method, factor, None, options)


@pytest.fixture
def open_store():
    """Opens stores; closes them at the end."""
    opened = []

    def make(directory, archives, method="average", factor=0.0, files=None, **options):
        opened.append(Loop(directory, archives, method, factor, files, options))
        return opened[-1]

    yield make
    for loop in opened:
        loop.store.close()
