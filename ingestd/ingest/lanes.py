"""The way of messages to the broker, in order within a partition, and to the spool when the broker does not take them.

Each partition is a lane, a queue of messages in the order of their numbers, of which one at a time is at the broker: so
a message that it refuses or loses is never overtaken by a later one. 1,024 lanes side by side keep the pipe full. What
the broker does not take in a moment is written to the spool, counts as stored, and stands in its lane as a position.
Everything here runs on the loop but the spool itself, which one thread owns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol

from ingestd.ingest.spool import Given, Loaded, Spool
from ingestd.telemetry import Books
from ingestd.wire.batch import PARTITIONS

log = logging.getLogger(__name__)

TICK: Final = 0.05
"""Seconds between two looks at what waits."""
GROUP_BYTES: Final = 4 << 20
"""Messages are spooled together up to about this size: one sync for all of them."""
LOADS: Final = 256
"""Messages that are read back at once."""
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 30.0
"""Seconds until a lane whose message was refused is tried again: soon at first, since a full queue may drain."""
_CREDIT_SECONDS: Final = 10.0
DISK_PAUSE: Final = 1.0
"""Seconds until a spool whose disk failed is tried again."""


class Outcome(Enum):
    """What became of a message at the broker."""

    CONFIRMED = auto()
    REFUSED = auto()
    """Every queue that it was routed to must take it, and one did not."""
    RETURNED = auto()
    """No queue is bound for its partition."""
    LOST = auto()
    """The connection went before the broker had answered."""


class Broker(Protocol):
    """Where messages go."""

    @property
    def usable(self) -> bool:
        """Whether messages can be sent."""

    def send(self, partition: int, sequence: int, body: bytes) -> asyncio.Future[Outcome]: ...


@dataclass(slots=True, eq=False)
class Outgoing:
    """A message on its way."""

    partition: int
    sequence: int
    points: int
    shares: tuple[tuple[Books, int], ...]
    """Whose points they are; empty once they count as stored."""
    body: bytes
    born: float
    position: int = -1
    """Where it stands in the spool."""
    waiting: bool = False
    """Whether it is to be spooled."""
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """How much is on its way."""

    window: int = 1024
    """Messages at the broker at once."""
    window_bytes: int = 32 << 20
    memory: int = 64 << 20
    """Bytes of messages that are neither confirmed nor spooled, from which on sockets have to wait."""
    patience: float = 5.0
    """Seconds until a message that the broker has not confirmed is spooled; fewer where memory is short."""
    catch_up: float = 200_000.0
    """Points a second that are sent from the spool, beyond what comes in meanwhile."""
    alarm: float = 0.9
    """Share of the spool that makes the relay unhealthy."""


class Counts:
    """What happened since the start, in messages."""

    __slots__ = ("confirmed", "damaged", "lost", "refused", "returned", "spooled")

    def __init__(self) -> None:
        self.confirmed = self.refused = self.returned = self.lost = self.spooled = self.damaged = 0

    def as_dict(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


class Lanes:
    """All messages between the gathering and the broker."""

    def __init__(self, broker: Broker, spool: Spool, settings: LaneSettings) -> None:
        self.counts = Counts()
        self.on_relief: Callable[[], None] | None = None
        """Called when :attr:`saturated` turns False."""
        self.memory = 0
        """Bytes of messages that are neither confirmed nor spooled."""
        self.spooled = 0
        """Messages in the spool."""
        self.error: str | None = None
        """Why the spool cannot be written."""
        self.full = False
        """Whether the spool has no room."""
        self._broker = broker
        self._spool = spool
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "spool")
        self._lanes: list[deque[Outgoing | int]] = [deque() for _ in range(PARTITIONS)]
        self._idle: set[int] = set(range(PARTITIONS))
        """Lanes of which nothing is at the broker, to be sent, or held back."""
        self._fresh: deque[int] = deque()
        """Lanes whose first message is to be sent."""
        self._stale: deque[int] = deque()
        """Lanes whose first message is to be read from the spool."""
        self._pauses: dict[int, float] = {}
        self._held: set[int] = set()
        self._young: deque[Outgoing] = deque()
        self._to_spool: deque[Outgoing] = deque()
        self._done: list[int] = []
        self._window = 0
        self._window_bytes = 0
        self._tokens = settings.catch_up * TICK
        self._refilled = time.monotonic()
        self._saturated = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._pumping = False
        self._closing = False
        self._writing: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Find what the spool holds, and begin to send it. Raises OSError."""
        held = await self._on_thread(self._spool.open)
        for one in sorted(held, key=lambda held: (held.partition, held.sequence)):
            self._lanes[one.partition].append(one.position)
        self.spooled = len(held)
        for partition, lane in enumerate(self._lanes):
            if lane:
                self._ready(partition)
        self._ticking = self._loop.create_task(self._tick())

    def _on_thread(self, call: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        return self._loop.run_in_executor(self._thread, call, *args)

    # -- in ------------------------------------------------------------------------------------------------------------

    def give(self, message: Outgoing) -> None:
        """Send a message after all of its partition."""
        lane = self._lanes[message.partition]
        behind = bool(lane) and isinstance(lane[-1], int)
        lane.append(message)
        self.memory += len(message.body)
        self._empty.clear()
        if self.memory > self._settings.memory:
            self._saturated = True
        if behind or message.partition in self._held or not self._broker.usable:
            self._spool_soon(message)
        else:
            self._young.append(message)
        self._ready(message.partition)

    @property
    def saturated(self) -> bool:
        """Whether sockets are to stop reading."""
        return self._saturated

    @property
    def problem(self) -> str | None:
        """Why points cannot be taken for long; None: they can."""
        if self._spool.bytes >= self._settings.alarm * self._spool.limit and (self.spooled or self.full):
            return f"the spool has {self._spool.bytes} of {self._spool.limit} bytes"
        if self.error is not None:
            return f"spool: {self.error}"
        return "too much is on its way to the broker" if self._saturated else None

    def lost_broker(self) -> None:
        """The broker cannot be reached: what is in memory goes to the spool."""
        while self._young:
            message = self._young.popleft()
            if not message.confirmed:
                self._spool_soon(message)

    # -- to the broker -------------------------------------------------------------------------------------------------

    def _ready(self, partition: int) -> None:
        """The lane's first message is to be sent, if it is not yet."""
        if partition in self._idle:
            self._idle.discard(partition)
            queue = self._stale if isinstance(self._lanes[partition][0], int) else self._fresh
            queue.append(partition)
            self.pump()

    def pump(self) -> None:
        """Send what can be sent, when this turn of the loop is over."""
        if not self._pumping:
            self._pumping = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closing or not self._broker.usable:
            return
        while self._fresh and self._has_room():
            partition = self._fresh.popleft()
            first = self._lanes[partition][0]
            if isinstance(first, int):
                # It has been spooled meanwhile.
                self._stale.append(partition)
            else:
                self._send(first)
        if self._stale and self._loading is None and self._has_room() and self._tokens > 0:
            self._loading = self._loop.create_task(self._load())

    def _has_room(self) -> bool:
        return self._window < self._settings.window and self._window_bytes < self._settings.window_bytes

    def _send(self, message: Outgoing) -> None:
        self._window += 1
        self._window_bytes += len(message.body)
        sent = self._broker.send(message.partition, message.sequence, message.body)
        sent.add_done_callback(lambda future: self._settle(message, future.result()))

    async def _load(self) -> None:
        """Read back the first messages of some lanes, and send them."""
        try:
            number = min(LOADS, len(self._stale), self._settings.window - self._window)
            partitions = [self._stale.popleft() for _ in range(number)]
            positions = [self._lanes[partition][0] for partition in partitions]
            loaded: list[Loaded | None] = await self._on_thread(self._spool.read, positions)
            now = time.monotonic()
            for partition, position, found in zip(partitions, positions, loaded, strict=True):
                assert isinstance(position, int)
                if found is None:
                    log.error("a spooled message of partition %d cannot be read back and is lost", partition)
                    self.counts.damaged += 1
                    self._leave(partition, position)
                    continue
                held = found.held
                self._tokens -= held.points
                self._send(Outgoing(partition, held.sequence, held.points, (), found.body, now, position))
        finally:
            self._loading = None
        self.pump()

    def _settle(self, message: Outgoing, outcome: Outcome) -> None:
        self._window -= 1
        self._window_bytes -= len(message.body)
        partition = message.partition
        if outcome is Outcome.CONFIRMED:
            self.counts.confirmed += 1
            self._pauses.pop(partition, None)
            message.confirmed = True
            if message.position < 0:
                self._stored(message)
            self._leave(partition, message.position)
            return
        if message.position < 0:
            self._spool_soon(message)
        if outcome is Outcome.LOST:
            self.counts.lost += 1
            self._return(partition)
            return
        pause = self._pauses.get(partition, FIRST_PAUSE)
        if partition not in self._pauses:
            what = "refused" if outcome is Outcome.REFUSED else "returned as unroutable"
            log.warning("partition %d: the broker has %s a message; it is spooled and tried again", partition, what)
        if outcome is Outcome.REFUSED:
            self.counts.refused += 1
        else:
            self.counts.returned += 1
        self._pauses[partition] = min(2 * pause, LAST_PAUSE)
        self._held.add(partition)
        for waiting in self._lanes[partition]:
            if isinstance(waiting, Outgoing):
                self._spool_soon(waiting)
        self._loop.call_later(pause, self._return, partition)

    def _return(self, partition: int) -> None:
        """A lane may be sent again."""
        self._held.discard(partition)
        self._idle.add(partition)
        if self._lanes[partition]:
            self._ready(partition)

    def _leave(self, partition: int, position: int) -> None:
        """The lane's first message is out of it."""
        self._lanes[partition].popleft()
        if position >= 0:
            self._forget(position)
        self._return(partition)

    def _stored(self, message: Outgoing) -> None:
        """Its points are safe, wherever they are."""
        for books, points in message.shares:
            books.stored += points
        message.shares = ()
        self.memory -= len(message.body)
        if not self.memory:
            self._empty.set()
        if self._saturated and self.memory <= self._settings.memory // 2:
            self._saturated = False
            if self.on_relief is not None:
                self.on_relief()

    # -- to the spool --------------------------------------------------------------------------------------------------

    def _forget(self, position: int) -> None:
        self.spooled -= 1
        self._done.append(position)

    def _spool_soon(self, message: Outgoing) -> None:
        if not message.waiting:
            message.waiting = True
            self._to_spool.append(message)
            self._write_soon()

    def _write_soon(self) -> None:
        if self._writing is None and self._to_spool:
            self._writing = self._loop.create_task(self._write())

    async def _write(self) -> None:
        """Spool what waits for it, until there is none, or no room, or the disk fails."""
        try:
            while not self._closing and (group := self._next_group()):
                given = [Given(m.partition, m.sequence, m.points, m.body) for m in group]
                try:
                    positions: list[int] = await self._on_thread(self._spool.append, given)
                except OSError as error:
                    if self.error is None:
                        log.error("spool: %s; retrying until it goes through", error)
                    self.error = str(error)
                    self._to_spool.extendleft(reversed(group))
                    await asyncio.sleep(DISK_PAUSE)
                    continue
                self.error = None
                for message, position in zip(group, positions, strict=False):
                    self._placed(message, position)
                rest = group[len(positions) :]
                self._to_spool.extendleft(reversed(rest))
                if bool(rest) and not self.full:
                    log.error("the spool is full (%d bytes): senders have to wait", self._spool.limit)
                self.full = bool(rest)
                if self.full:
                    return
        finally:
            self._writing = None

    def _next_group(self) -> list[Outgoing]:
        group: list[Outgoing] = []
        size = 0
        while self._to_spool and size < GROUP_BYTES:
            message = self._to_spool.popleft()
            if not message.confirmed:
                group.append(message)
                size += len(message.body)
        return group

    def _placed(self, message: Outgoing, position: int) -> None:
        """A message stands in the spool."""
        message.position = position
        self.counts.spooled += 1
        self.spooled += 1
        if message.confirmed:
            self._forget(position)
            return
        if self._broker.usable:
            # What comes in on top of the limit, so that a backlog shrinks at the limit's rate; a bounded credit.
            self._tokens = min(self._tokens + message.points, _CREDIT_SECONDS * self._settings.catch_up)
        self._stored(message)
        lane = self._lanes[message.partition]
        # From its end, where what has just come stands.
        for at in range(len(lane) - 1, -1, -1):
            if lane[at] is message:
                lane[at] = position
                return

    # -- time ----------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while not self._closing:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            most = self._settings.catch_up * 4 * TICK
            if self._tokens < most:
                earned = self._settings.catch_up * (now - self._refilled)
                self._tokens = min(most, self._tokens + earned)
            self._refilled = now
            while self._young and (self._young[0].confirmed or self._is_late(self._young[0], now)):
                message = self._young.popleft()
                if not message.confirmed:
                    self._spool_soon(message)
            if self._done:
                done, self._done = self._done, []
                await self._on_thread(self._spool.done, done)
            self._write_soon()
            self.pump()

    def _is_late(self, message: Outgoing, now: float) -> bool:
        """Whether the broker has had its time, or there is no memory left to give it more."""
        return now - message.born > self._settings.patience or 2 * self.memory > self._settings.memory

    async def close(self, patience: float) -> None:
        """Wait for the broker for ``patience`` seconds, spool what it has not taken, give up the spool."""
        if self._broker.usable:
            await self._emptied(patience)
        for lane in self._lanes:
            for message in lane:
                if isinstance(message, Outgoing):
                    self._spool_soon(message)
        await self._emptied(patience)
        if self.memory:
            log.error("%d bytes of messages could be neither sent nor spooled (%s)", self.memory, self.error or "full")
        self._closing = True
        tasks = [task for task in (self._ticking, self._writing, self._loading) if task is not None]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience)
            for task in late:
                task.cancel()
        await self._on_thread(self._spool.done, self._done)
        await self._on_thread(self._spool.close)
        self._thread.shutdown()

    async def _emptied(self, patience: float) -> None:
        """Wait until all messages are confirmed or spooled, for ``patience`` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience)

    def as_dict(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        return {
            **self.counts.as_dict(),
            "in_flight": self._window,
            "in_flight_bytes": self._window_bytes,
            "waiting_bytes": self.memory,
            "held_partitions": len(self._pauses),
            "spool_messages": self.spooled,
            "spool_bytes": self._spool.bytes,
            "spool_limit": self._spool.limit,
            "damage": list(self._spool.damage),
        }
