"""What a relay has in the place of a store: gathers accepted points, and gives them to the lanes as messages.

Points wait until there are enough of them or until the last messages have earned their pause: each message costs the
relay, the broker and the stores the same, however few its points, so their number a second is bounded. A small site
has its points on their way in a tenth of a second, a fleet of 18,000 hosts, which is in all partitions, in two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingestd.ingest.lanes import Lanes, Outgoing
from ingestd.ingest.packing import Gathered, Packed, Partitioned
from ingestd.ingest.producer import Producer
from ingestd.points import Batch, Ids
from ingestd.telemetry import Books

log = logging.getLogger(__name__)

_SLICE: Final = 64
"""Messages that are encoded in one turn of the loop: some 3 ms."""
_POINT_BYTES: Final = 20
_RETRY: Final = 1.0


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """How points become messages."""

    host_nodes: int = 1
    """Leading nodes of a path that decide its partition."""
    linger: float = 0.1
    """Seconds that points wait at least for others."""
    linger_max: float = 2.0
    """Seconds that they wait at most."""
    messages: float = 500.0
    """Messages a second that are made, unless points wait for too long."""
    gathered: int = 1_000_000
    """Points that do not wait for others."""
    message_points: int = 10_000
    """Points of a message at most."""
    future: int = 600
    """Seconds that a timestamp may be ahead of the accept clock."""
    memory: int = 64 << 20
    """Bytes of gathered points from which on sockets have to wait."""


class RelaySink:
    """Takes points as a store does."""

    def __init__(self, lanes: Lanes, producer: Producer, keys: Sequence[bytes | None], settings: RelaySettings) -> None:
        """``keys``: the path of each series in UTF-8, as the index has them."""
        self.on_relief: Callable[[], None] | None = None
        """Called when :attr:`saturated` turns False."""
        self.messages = 0
        """Messages made since the start."""
        self.points = 0
        """Points in them."""
        self._lanes = lanes
        self._producer = producer
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._series = Partitioned(settings.host_nodes)
        self._gathered = Gathered(self._series, keys, settings.message_points)
        self._packs: deque[Iterator[Packed]] = deque()
        self._emitting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._flushed = 0.0
        self._pause = settings.linger
        self._thread = ThreadPoolExecutor(1, "producer")
        self._reserving: asyncio.Task[None] | None = None
        self._choked = False
        lanes.on_relief = self._relieve

    # -- a store's part ------------------------------------------------------------------------------------------------

    @property
    def series(self) -> int:
        """Series seen since the start."""
        return self._series.series

    @property
    def saturated(self) -> bool:
        """Whether sockets are to stop reading."""
        return self._choked or self._lanes.saturated

    def create(self, paths: Sequence[str], clock: int) -> Ids:
        """New series in the order of ``paths``: uint32[n]."""
        return self._series.create(paths)

    def accept(self, batch: Batch, clock: int, books: Books) -> tuple[int, int]:
        """Take points; how many are (too old, too new). Only stores know what is too old."""
        too_new = 0
        latest = clock + self._settings.future
        if int(batch.timestamps.max()) > latest:
            kept = batch.timestamps <= latest
            too_new = len(batch) - int(np.count_nonzero(kept))
            batch = Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept])
        if len(batch):
            self._gathered.add(batch, books)
            self._choked = self._choked or self._gathered.points * _POINT_BYTES > self._settings.memory
            if self._gathered.points >= self._settings.gathered:
                self.flush()
            elif self._timer is None:
                wait = max(self._settings.linger, self._flushed + self._pause - self._loop.time())
                self._timer = self._loop.call_later(wait, self.flush)
        return 0, too_new

    # -- on their way --------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Make messages of what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._gathered.points:
            self._flushed = self._loop.time()
            self._packs.append(self._gathered.pack())
            if self._emitting is None:
                self._emitting = self._loop.create_task(self._emit())

    async def _emit(self) -> None:
        try:
            while self._packs:
                made = self.messages
                for packed in self._packs[0]:
                    await self._emit_one(packed)
                    if (self.messages - made) % _SLICE == 0:
                        await asyncio.sleep(0)
                self._packs.popleft()
                made = self.messages - made
                self._pause = min(made / self._settings.messages, self._settings.linger_max)
        finally:
            self._emitting = None
        self._relieve()

    async def _emit_one(self, packed: Packed) -> None:
        if self._producer.scarce and self._reserving is None:
            self._reserving = self._loop.create_task(self._reserve())
        while (number := self._producer.take()) is None:
            self._reserving = self._reserving or self._loop.create_task(self._reserve())
            await self._reserving
        self.messages += 1
        self.points += len(packed)
        body = packed.encode(self._producer.name, number)
        self._lanes.give(Outgoing(packed.partition, number, len(packed), packed.shares, body, time.monotonic()))

    async def _reserve(self) -> None:
        """Have numbers to use, however long the disk takes."""
        try:
            await self._loop.run_in_executor(self._thread, self._producer.reserve)
        except OSError as error:
            log.error("no sequence numbers can be reserved: %s", error)
            await asyncio.sleep(_RETRY)
        finally:
            self._reserving = None

    def _relieve(self) -> None:
        if self._choked and self._gathered.points * _POINT_BYTES <= self._settings.memory // 2 and not self._packs:
            self._choked = False
        if not self.saturated and self.on_relief is not None:
            self.on_relief()

    async def close(self) -> None:
        """Give the lanes all that was accepted."""
        self.flush()
        while self._emitting is not None:
            await self._emitting
        if self._reserving is not None:
            await self._reserving
        self._thread.shutdown()
        try:
            self._producer.close()
        except OSError as error:
            log.error("%s", error)
