"""From deliveries to acks: messages are read as they come, accepted together, and done once the journal is synced.

What a moment brought is one batch, and what is read between two syncs shares the next one. A batch that comes again is
known by its producer and its number, another message by its content, within this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aiormq.abc import DeliveredMessage

from ingestd.ingest.bodies import Bodies, Body, Mark
from ingestd.ingest.dead import DeadLetters
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.senders import Part
from ingestd.ingest.subscription import Entry, Orphans, Subscription, digest_of
from ingestd.telemetry import Books

log = logging.getLogger(__name__)

TURN_SECONDS: Final = 0.005
TURN_BYTES: Final = 256 << 10
"""What was delivered is read after this time, or at once when it has this size: messages share the cost of a batch."""
READ_BYTES: Final = 4 << 20
"""Read in one turn: 0.2 million points, some 20 ms."""
_MESSAGE: Final = 512
"""Bytes as which a message counts beside its own."""


class Marks(Protocol):
    """Which batches are stored already."""

    problem: str | None

    @property
    def worn(self) -> bool: ...
    def seen(self, producer: bytes, sequence: int) -> bool: ...
    def add(self, messages: Iterable[Mark]) -> None: ...
    def rewrite(self) -> None: ...


@dataclass(slots=True)
class Counts:
    """Since the start, in messages."""

    messages: int = 0
    redelivered: int = 0
    duplicates: int = 0
    dead: int = 0
    misplaced: int = 0
    """With a new path of another partition than theirs: a relay's ``host_nodes`` is not that of the map."""
    acknowledged: int = 0


class Receiver:
    """Reads what is delivered, by the books ``books``.

    ``settled`` gives a future that is done when all that was accepted so far is synced; entries wait for that at most
    ``interval`` seconds, unless ``many`` are waiting.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        books: Books,
        bodies: Bodies,
        marks: Marks,
        settled: Callable[[], Future[None]],
        dead: DeadLetters,
        interval: float,
        many: int,
    ) -> None:
        self.counts = Counts()
        self.marks = marks
        self.held = False
        """Whether nothing is read: the store cannot keep up."""
        self.subscriptions: dict[str, Subscription] = {}
        """By name of the queue."""
        self._pipeline = pipeline
        self._books = books
        self._bodies = bodies
        self._settled = settled
        self._dead = dead
        self._interval = interval
        self._many = many
        self._loop = asyncio.get_running_loop()
        self._orphans: dict[str, Orphans] = {}
        self._bytes = 0
        self._timer: asyncio.Handle | None = None
        self._soon = False
        self._taken: list[Entry] = []
        self._pending: set[Mark] = set()
        """Batches that were accepted and are not synced."""
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()

    def open(self, one: Subscription) -> None:
        """A queue is about to be consumed."""
        self.subscriptions[one.queue.name] = one
        self._orphans.setdefault(one.queue.name, Orphans())

    def close(self, one: Subscription) -> None:
        """Its channel is gone: what is not acknowledged will come again."""
        if self.subscriptions.get(one.queue.name) is one:
            del self.subscriptions[one.queue.name]
            self._orphans[one.queue.name].add(one.entries)
        one.close()

    async def finish(self) -> None:
        """Read what was delivered, return when all of it is acknowledged."""
        while not self.held and any(one.deliveries for one in self.subscriptions.values()):
            self._turn()
            await asyncio.sleep(0)
        while any(one.entries for one in self.subscriptions.values()):
            self._wake.set()
            self._urgent.set()
            await asyncio.sleep(TURN_SECONDS)

    def pause(self) -> None:
        """Read nothing: the broker sends no more than the prefetch."""
        self.held = True

    def resume(self) -> None:
        self.held = False
        self._schedule()

    # -- what was delivered --------------------------------------------------------------------------------------------

    async def deliver(self, one: Subscription, message: DeliveredMessage) -> None:
        """Take a message; it is read soon."""
        one.deliveries.append(message)
        self._bytes += len(message.body)
        self._schedule()

    def _schedule(self) -> None:
        """Read soon, or now if there is much."""
        if self.held:
            return
        if self._bytes >= TURN_BYTES and not self._soon:
            if self._timer is not None:
                self._timer.cancel()
            self._soon = True
            self._timer = self._loop.call_soon(self._turn)
        elif self._timer is None:
            self._timer = self._loop.call_later(TURN_SECONDS, self._turn)

    def _turn(self) -> None:
        """Read what was delivered, and accept it as one."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._soon = False
        if self.held or self._pipeline.saturated:
            self.held = True
            return
        parts: list[Part] = []
        room = READ_BYTES
        nobody = self._pipeline.sources.nobody
        for one in list(self.subscriptions.values()):
            while one.deliveries and room > 0:
                message = one.deliveries.popleft()
                room -= len(message.body) + _MESSAGE
                entry = self._read(one, message, parts, nobody)
                one.entries.append(entry)
                self._taken.append(entry)
        self._bytes = sum(len(m.body) for one in self.subscriptions.values() for m in one.deliveries)
        if parts:
            self._pipeline.accept(self._books, parts)
        if self._taken:
            self._wake.set()
            if len(self._taken) >= self._many:
                self._urgent.set()
        if any(one.deliveries for one in self.subscriptions.values()):
            self._soon = True
            self._timer = self._loop.call_soon(self._turn)

    def _read(self, one: Subscription, message: DeliveredMessage, parts: list[Part], nobody: Any) -> Entry:
        """Read a message, unless it is stored already."""
        self.counts.messages += 1
        one.read(message, self._pipeline.wall())
        delivered: Any = message.delivery
        tag = int(delivered.delivery_tag or 0)
        self.counts.redelivered += bool(delivered.redelivered)
        digest = digest_of(message)
        if delivered.redelivered and self._orphans[one.queue.name].take(digest):
            self.counts.duplicates += 1
            return Entry(tag, None, digest)
        body = self._bodies.read(message.header.properties.content_type or one.queue.content_type, message.body)
        if body.mark is not None:
            if body.mark in self._pending or self.marks.seen(*body.mark):
                self.counts.duplicates += 1
                return Entry(tag, None, digest)
            self._pending.add(body.mark)
        parts.append((body.parsed, nobody))
        entry = Entry(tag, body.mark, digest)
        if body.misplaced:
            self._complain(body)
        if body.dead:
            self._bury(one, message, body.dead, entry)
        return entry

    def _complain(self, body: Body) -> None:
        """Stored all the same: the points are good, and can be moved."""
        if not self.counts.misplaced:
            producer = body.mark[0].decode("ascii", "backslashreplace") if body.mark else ""
            log.error(
                "%r is not of the partition that %s sent it for, so queries will not find it: is host_nodes of the "
                "relay that of the map? Counted as misplaced from here on",
                body.misplaced,
                producer,
            )
        self.counts.misplaced += 1

    def _bury(self, one: Subscription, message: DeliveredMessage, reason: str, entry: Entry) -> None:
        self.counts.dead += 1
        entry.kept = self._loop.create_task(self._dead.publish(message, one.queue.name, reason))
        entry.kept.add_done_callback(lambda _: one.ready.set())

    # -- what was accepted ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Again and again: wait for the sync of what was accepted, mark it, let it be acknowledged."""
        last = -self._interval
        while True:
            await self._wake.wait()
            patience = last + self._interval - time.monotonic()
            if patience > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), patience)
            self._wake.clear()
            self._urgent.clear()
            last = time.monotonic()
            await self._settle()

    async def _settle(self) -> None:
        taken, self._taken = self._taken, []
        # A future of the journal's thread: it must not be cancelled with this task.
        await asyncio.shield(asyncio.wrap_future(self._settled()))
        marks = [entry.mark for entry in taken if entry.mark is not None]
        self.marks.add(marks)
        self._pending.difference_update(marks)
        if self.marks.worn:
            await self._loop.run_in_executor(None, self.marks.rewrite)
        for entry in taken:
            entry.synced = True
        for one in self.subscriptions.values():
            one.ready.set()
