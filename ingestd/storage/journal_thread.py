"""The thread that makes accepted points durable: it alone writes and syncs the journal and the registry.

The event loop hands over groups; whatever has gathered while the thread wrote is written and synced together (group
commit). Registry before journal, so that a point's series is always known. A group is reported as stored after the
write returned, or after the sync where the policy says so.

A write that fails is retried with the same bytes at the same place. A sync that fails is never retried on that file,
since the kernel may have dropped the pages (the fsync lesson of PostgreSQL, 2018): everything since the last good sync
is written again to a new segment.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from ingestd.points import Ids, Times, Values
from ingestd.storage import registry
from ingestd.storage.layout import Key
from ingestd.telemetry import Books

log = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.05
LAST_RETRY: Final = 2.0
"""Seconds between attempts after a failed write: soon at first, then often enough to notice that space is back."""


class Entry(NamedTuple):
    """A journal record to write: points, or (``key`` given) an overlay's points carried over, with slots for times."""

    lsn: int
    size: int
    clock: int
    key: Key | None
    ids: Ids
    times: Times
    values: Values
    books: Books | None


@dataclass(slots=True)
class Group:
    """What is handed over at once; ``opened``: time.monotonic() of its first entry."""

    opened: float
    entries: list[Entry] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    size: int = 0
    synced: list[Callable[[], None]] = field(default_factory=list)
    """Called (on the thread) once everything up to here is synced."""
    cut: int = 0
    """Segments that end below this LSN are no longer needed."""


class Durability(NamedTuple):
    """When to sync: ``always`` before a group counts as stored, ``interval``, or ``never`` (the kernel's own pace)."""

    policy: Literal["always", "interval", "never"] = "interval"
    seconds: float = 0.2
    size: int = 1 << 20
    """Bytes: written but unsynced data beyond this is synced at once."""


class JournalFile(Protocol):
    """The journal as this thread uses it."""

    def write_entries(self, entries: Sequence[Entry]) -> None: ...
    def sync(self) -> None: ...
    def abandon(self) -> None: ...
    def cut(self, lsn: int) -> None: ...


class JournalThread:
    """Writes groups in order; ``done(group)`` is called on this thread once a group counts as stored."""

    def __init__(
        self, journal: JournalFile, names: registry.Log, durability: Durability, done: Callable[[Group], None]
    ) -> None:
        self._journal = journal
        self._names = names
        self._durability = durability
        self._done = done
        self._queue: queue.SimpleQueue[Group | None] = queue.SimpleQueue()
        self._unsynced: list[Group] = []
        self._unsynced_size = 0
        self._sync_due = 0.0
        self._stopping = False
        self._rewrite = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.error: str | None = None
        """The last failure of a write or sync while it lasts; None once it went through."""

    def start(self) -> None:
        self._thread.start()

    def hand_over(self, group: Group) -> None:
        """Give a group to the thread; the caller does not touch it again."""
        self._queue.put(group)

    def stop(self) -> None:
        """Write and sync what was handed over, then end. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping or self._unsynced:
            groups = self._gather()
            if groups:
                self._insist(lambda groups=groups: self._write(groups))  # type: ignore[misc]
                self._unsynced += groups
                self._unsynced_size += sum(g.size for g in groups)
                if self._durability.policy != "always":
                    for group in groups:
                        self._done(group)
            if self._unsynced and self._must_sync():
                self._insist(self._sync)

    def _gather(self) -> list[Group]:
        """All groups that wait; blocks until there is one or a sync is due."""
        timeout = None
        if self._unsynced:
            timeout = max(0.0, self._sync_due - time.monotonic())
        groups: list[Group] = []
        try:
            item = None if self._stopping else self._queue.get(timeout=timeout)
            while True:
                if item is None:
                    self._stopping = True
                    break
                groups.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        if groups and not self._unsynced:
            self._sync_due = time.monotonic() + self._durability.seconds
        return groups

    def _must_sync(self) -> bool:
        wanted = any(g.synced for g in self._unsynced)
        if self._stopping or wanted or self._durability.policy == "always":
            return True
        if self._durability.policy == "never":
            self._unsynced.clear()
            self._unsynced_size = 0
            return False
        return self._unsynced_size >= self._durability.size or time.monotonic() >= self._sync_due

    def _insist(self, step: Callable[[], None]) -> None:
        """Repeat ``step`` until it goes through; while it fails the loop's in-flight bytes grow and reading stops."""
        pause = FIRST_RETRY
        while True:
            try:
                step()
            except (OSError, MemoryError) as e:
                if self.error is None:
                    log.error("journal: %s; retrying until it goes through", e)
                self.error = str(e) or type(e).__name__
                time.sleep(pause)
                pause = min(2 * pause, LAST_RETRY)
            else:
                if self.error is not None:
                    log.warning("journal: writing again")
                self.error = None
                return

    def _write(self, groups: list[Group]) -> None:
        names = [n for g in groups for n in g.names]
        if names:
            registry.append(self._names, names)
            for group in groups:
                group.names = []
        entries = [e for g in groups for e in g.entries]
        if entries:
            self._journal.write_entries(entries)
        for group in groups:
            if group.cut:
                self._journal.cut(group.cut)

    def _sync(self) -> None:
        if self._rewrite:
            self._journal.abandon()
            entries = [e for g in self._unsynced for e in g.entries]
            if entries:
                self._journal.write_entries(entries)
            self._rewrite = False
        try:
            self._journal.sync()
        except OSError:
            self._rewrite = True
            raise
        done, self._unsynced, self._unsynced_size = self._unsynced, [], 0
        for group in done:
            if self._durability.policy == "always":
                self._done(group)
            for call in group.synced:
                call()
