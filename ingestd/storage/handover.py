"""From the event loop to the journal thread: groups of records, what is in flight, and when sockets have to wait.

Everything here runs on the loop. Reading stops while too much is in flight, while the oldest group has waited for too
long, and while the disk has too little room; it goes on at half.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

from ingestd.storage.journal_thread import Durability, Entry, Group, JournalFile, JournalThread
from ingestd.storage.registry import Log

GROUP_SIZE: Final = 256 << 10
GROUP_SECONDS: Final = 0.002
"""A group is handed to the journal thread at this size or age: large enough to share a wake-up, too short to notice."""
SMALL_GROUP: Final = 32 << 10
"""Below this a group does not wait once the loop has done its turn: little was read, so there is no more to be had, and
the timer would wake the loop for nothing else."""


class HandOver:
    """Gathers what is to be journalled. ``post`` runs a call on the loop from the thread, ``later`` after seconds."""

    def __init__(
        self,
        post: Callable[[Callable[[], None]], Any],
        later: Callable[[float, Callable[[], None]], Any],
        in_flight: int,
        stall_seconds: float,
    ) -> None:
        """``in_flight`` bytes, and ``stall_seconds`` that a group waits, from which on sockets have to wait."""
        self._post = post
        self._later = later
        self._limit = in_flight
        self._stall_seconds = stall_seconds
        self._group: Group | None = None
        self._waiting: list[float] = []
        self._saturated = False
        self._thread: JournalThread
        self.lsn = 0
        """Where the next record goes."""
        self.in_flight = 0
        """Bytes handed over and not yet journalled."""
        self.short = False
        """Whether the disk has too little room: set by :meth:`watch`."""
        self.on_relief: Callable[[], None] | None = None
        """Called when :attr:`saturated` turns False."""

    def begin(self, journal: JournalFile, names: Log, durability: Durability) -> None:
        """Start the thread that writes to these files."""
        self._thread = JournalThread(journal, names, durability, self._on_done)
        self._thread.start()

    def stop(self) -> None:
        """Write and sync what was given, end the thread. Blocks."""
        self.flush()
        self._thread.stop()

    def names(self, records: list[bytes]) -> None:
        """Records of the registry: on disk before any point given after them."""
        group = self._open()
        group.names += records
        group.size += sum(map(len, records))

    def points(self, entry: Entry) -> None:
        """A record of the journal, which stands at :attr:`lsn`."""
        group = self._open()
        group.entries.append(entry)
        group.size += entry.size
        self.lsn += entry.size
        if group.size >= GROUP_SIZE:
            self.flush()

    def cut(self, lsn: int) -> None:
        """Segments that end below ``lsn`` are no longer needed."""
        self._open().cut = lsn

    def synced(self) -> Future[None]:
        """Done (on the thread) once everything given so far is synced."""
        future: Future[None] = Future()
        self._open().synced.append(lambda: future.set_result(None))
        self.flush()
        return future

    def _open(self) -> Group:
        if self._group is None:
            self._group = Group(time.monotonic())
            self._later(0.0, self._after_turn)
        return self._group

    def _after_turn(self) -> None:
        if self._group is not None and self._group.size >= SMALL_GROUP:
            self._later(GROUP_SECONDS, self.flush)
        else:
            self.flush()

    def flush(self) -> None:
        """Hand over what has gathered."""
        group, self._group = self._group, None
        if group is None:
            return
        self.in_flight += group.size
        self._waiting.append(group.opened)
        if self.in_flight > self._limit:
            self._saturated = True
        self._thread.hand_over(group)

    def _on_done(self, group: Group) -> None:
        self._post(lambda: self._stored(group))

    def _stored(self, group: Group) -> None:
        for entry in group.entries:
            if entry.books is not None:
                entry.books.stored += len(entry.ids)
        self.in_flight -= group.size
        self._waiting.remove(group.opened)
        self._relieve()

    def watch(self, *, short: bool) -> None:
        """Once a second: whether the disk has too little room."""
        self.short = short
        self._saturated = self._saturated or short
        self._relieve()

    def _relieve(self) -> None:
        if self._saturated and not self.short and self.in_flight <= self._limit // 2:
            if self.stalled_for > self._stall_seconds:
                return
            self._saturated = False
            if self.on_relief is not None:
                self.on_relief()

    @property
    def busy(self) -> bool:
        """Whether anything is not journalled yet."""
        return self._group is not None or self.in_flight > 0

    @property
    def stalled_for(self) -> float:
        """Seconds that the oldest group not yet stored has waited."""
        return time.monotonic() - self._waiting[0] if self._waiting else 0.0

    @property
    def saturated(self) -> bool:
        """Whether sockets are to stop reading: too much in flight, or the journal or the disk does not keep up."""
        if not self._saturated and self._waiting and self.stalled_for > self._stall_seconds:
            self._saturated = True
        return self._saturated

    @property
    def problem(self) -> str | None:
        """Why points cannot be taken as they should; None: they can."""
        if self.short:
            return "too little free disk space for the next checkpoint"
        if self._thread.error is not None:
            return f"journal: {self._thread.error}"
        if self.stalled_for > 2 * self._stall_seconds:
            return f"the journal is {self.stalled_for:.1f} s behind"
        return None
