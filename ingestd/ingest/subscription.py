"""One queue that is consumed: what was delivered and not yet read, what was read and not yet acknowledged.

Acks are cumulative and in the order of delivery: a message is acknowledged when it and all before it are done, which is
when their points are synced, or the broker has confirmed that it keeps them as dead.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiormq.abc import AbstractChannel, DeliveredMessage

from ingestd.ingest.bodies import Mark

_ORPHANS: Final = 65_536
"""Messages of lost channels that are remembered, at most as many as were under way."""
_RECENT: Final = 10.0
"""Seconds after which the last message says nothing of the next one."""

Digest: TypeAlias = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """A queue that is consumed."""

    name: str
    exchange: str = ""
    """Bound to it as a quorum queue; "" = it is there, or it is the node's."""
    routing_key: str = ""
    content_type: str = ""
    """Stands in where a message names none."""
    owned: bool = False
    """Whether it is this node's of the cluster: declared as that, bound by who places partitions."""


class Entry:
    """A message that was read: done once it is ``synced`` and, if it is dead, ``kept`` by the broker."""

    __slots__ = ("digest", "kept", "mark", "synced", "tag")

    def __init__(self, tag: int, mark: Mark | None, digest: Digest) -> None:
        self.tag = tag
        self.mark = mark
        """Who made it, if its points were stored just now."""
        self.digest = digest
        self.synced = False
        self.kept: asyncio.Task[None] | None = None

    @property
    def done(self) -> bool:
        kept = self.kept
        return self.synced and (kept is None or (kept.done() and not kept.cancelled() and kept.exception() is None))


class Orphans:
    """Messages that were stored and whose channel went before their ack: when they come again, they are known.

    Most have no producer and number; and a counter's value that is read twice would take its rate from newer ones.
    """

    def __init__(self) -> None:
        self._known: Counter[Digest] = Counter()

    def add(self, entries: deque[Entry]) -> None:
        """Remember these, but for dead ones that nobody keeps yet."""
        if len(self._known) > _ORPHANS:
            self._known.clear()
        self._known.update(entry.digest for entry in entries if entry.kept is None)

    def take(self, digest: Digest) -> bool:
        """Whether this message is one of them; it is none of them any more."""
        if not self._known.get(digest):
            return False
        self._known[digest] -= 1
        if not self._known[digest]:
            del self._known[digest]
        return True


class Subscription:
    """A queue on one channel."""

    def __init__(self, queue: QueueSettings, channel: AbstractChannel) -> None:
        self.queue = queue
        self.channel = channel
        self.tag = ""
        """The consumer's."""
        self.deliveries: deque[DeliveredMessage] = deque()
        """What was delivered and not read."""
        self.entries: deque[Entry] = deque()
        """What was read and not acknowledged, in the order of delivery."""
        self.ready = asyncio.Event()
        """Set when entries may be done."""
        self.ended = asyncio.Event()
        """Set when the broker has cancelled the consumer."""
        self._delay = 0.0
        self._read = -math.inf

    @property
    def under_way(self) -> int:
        """Messages that are not acknowledged."""
        return len(self.deliveries) + len(self.entries)

    def read(self, message: DeliveredMessage, now: float) -> None:
        """A message is read at ``now``, seconds since 1970."""
        self._read = now
        self._delay = _age(message, now)

    def delay(self, now: float) -> float:
        """Seconds from being published until being read, of what is read now or waits to be; 0 where nothing is.

        Of messages without a timestamp nothing is known: 0.
        """
        waiting = _age(self.deliveries[0], now) if self.deliveries else 0.0
        return max(waiting, self._delay if now - self._read < _RECENT else 0.0)

    async def acknowledge(self) -> int:
        """Acknowledge all that is done, by one ack; how many these were. Raises what the channel raises."""
        last = count = 0
        while self.entries and self.entries[0].done:
            last = self.entries.popleft().tag
            count += 1
        if count:
            await self.channel.basic_ack(last, multiple=True, wait=False)
        return count

    def close(self) -> None:
        """The channel is gone: what is not acknowledged will come again."""
        self.deliveries.clear()
        for entry in self.entries:
            if entry.kept is not None:
                entry.kept.cancel()


def _age(message: DeliveredMessage, now: float) -> float:
    """Seconds since a producer published the message, whose clock may be ahead; AMQP's timestamps are whole seconds."""
    published = message.header.properties.timestamp
    return max(0.0, now - published.timestamp()) if published is not None else 0.0


def digest_of(message: DeliveredMessage) -> Digest:
    """What a message is known by within this process."""
    return hash(message.body), len(message.body), message.routing_key or ""
