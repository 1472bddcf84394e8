"""The relay's side of RabbitMQ: a connection that comes back, a channel with confirms, messages under way.

Who sends may have many messages under way; each gets its own answer. Connecting again is slower and slower while it
fails, with jitter, so that a hundred relays do not meet at a broker that has just come up; the addresses are tried in
turn, from a random one on, which spreads relays over a cluster's brokers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from typing import Any, Final

from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import PublishError

from ingestd.ingest.broker import (
    CONNECT_SECONDS,
    STEADY,
    TROUBLE,
    BrokerSettings,
    Connection,
    Pauses,
    dial,
    hang_up,
    shown,
    why,
)
from ingestd.ingest.lanes import Outcome
from ingestd.wire import topology
from ingestd.wire.amqp import Publishing

log = logging.getLogger(__name__)

LOOK: Final = 0.5
"""Seconds between two looks at whether the broker has blocked us, or answers no more."""
READY: Final = 0.01
"""Seconds in which a connection that is ready says so: at once."""


class _Confirmation:
    """What a channel takes for the future of a confirm: one object where that would need a second future."""

    __slots__ = ("_answer",)

    def __init__(self, answer: asyncio.Future[Outcome]) -> None:
        self._answer = answer

    def done(self) -> bool:
        return self._answer.done()

    def cancelled(self) -> bool:
        """Whether nobody waits any more; nobody would be told."""
        return self._answer.done()

    def set_result(self, _: object) -> None:
        if not self._answer.done():
            self._answer.set_result(Outcome.CONFIRMED)

    def set_exception(self, error: BaseException) -> None:
        if not self._answer.done():
            self._answer.set_result(Outcome.RETURNED if isinstance(error, PublishError) else Outcome.REFUSED)


class Publisher:
    """One connection to one of the brokers."""

    def __init__(
        self,
        broker: BrokerSettings,
        producer: Callable[[], bytes],
        exchange: str = topology.EXCHANGE,
        confirm_timeout: float = 30.0,
    ) -> None:
        """``confirm_timeout``: seconds without an answer to a message after which the connection is given up, unless
        the broker has blocked it.
        """
        self.on_change: Callable[[bool], None] = lambda usable: None
        """Called when :attr:`usable` changes."""
        self.usable = False
        """Whether messages can be sent."""
        self.blocked = False
        """Whether the broker has said that it takes no messages for now: memory or disk are short there."""
        self.broker = ""
        """Host and port of the broker."""
        self.connections = 0
        """Connections made since the start."""
        self.error: str | None = None
        """Why there is no connection."""
        self._broker = broker
        self._exchange = exchange
        self._confirm_timeout = confirm_timeout
        self._producer = producer
        self._channel: Channel | None = None
        self._loop = asyncio.get_running_loop()
        self._publishing: Publishing
        self._outbox: list[tuple[int, int, bytes, asyncio.Future[Outcome]]] = []
        self._under_way: dict[asyncio.Future[Outcome], tuple[float, str]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = self._loop.create_task(self._run())

    async def close(self) -> None:
        """Give up the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    # -- sending -------------------------------------------------------------------------------------------------------

    def send(self, partition: int, sequence: int, body: bytes) -> asyncio.Future[Outcome]:
        """Send a message, with all others of this turn of the loop; what becomes of it."""
        answer: asyncio.Future[Outcome] = self._loop.create_future()
        if not self._outbox:
            self._loop.call_soon(self._post)
        self._outbox.append((partition, sequence, body, answer))
        return answer

    def _post(self) -> None:
        """Write what was sent, at once: a system call for each message would cost more than all the rest of it.

        The channel's own books are kept as its ``basic_publish`` keeps them, which takes a task for each message.
        """
        outbox, self._outbox = self._outbox, []
        channel = self._channel
        if channel is None or channel.is_closed or not self.usable:
            for *_, answer in outbox:
                answer.set_result(Outcome.LOST)
            return
        now = time.monotonic()
        published = int(time.time())
        producer = self._producer()
        pieces: list[bytes] = []
        for partition, sequence, body, answer in outbox:
            message_id = topology.message_id(producer, sequence)
            channel.delivery_tag += 1
            channel.confirmations[channel.delivery_tag] = _Confirmation(answer)  # type: ignore[assignment]
            channel.message_id_delivery_tag[message_id] = channel.delivery_tag
            self._under_way[answer] = (now, message_id)
            answer.add_done_callback(self._answered)
            pieces += self._publishing.frames(topology.routing_key(partition), message_id, published, body)
        channel.write_queue.put_nowait(ChannelFrame(b"".join(pieces), should_close=False))

    def _answered(self, answer: asyncio.Future[Outcome]) -> None:
        _, message_id = self._under_way.pop(answer)
        if self._channel is not None:
            self._channel.message_id_delivery_tag.pop(message_id, None)

    # -- the connection ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        urls = self._broker.urls
        pauses = Pauses(self._broker.retry)
        turn = random.randrange(len(urls))
        failed = 0
        while True:
            url = shown(urls[turn % len(urls)])
            began = time.monotonic()
            try:
                connection = await dial(self._broker, turn)
                try:
                    await asyncio.wait_for(self._open(connection, url), CONNECT_SECONDS)
                    failed = 0
                    await self._watch(connection)
                finally:
                    self._close()
                    await hang_up(connection)
                log.warning("the connection to the broker %s is gone", url)
                self.error = f"{url}: the connection was lost"
            except TROUBLE as error:
                if not failed:
                    log.warning("no connection to the broker %s: %s; trying again", url, why(error))
                self.error = f"{url}: {why(error)}"
            turn += 1
            failed += 1
            if time.monotonic() - began > STEADY:
                pauses.reset()
            # One that has gone is seldom the only one.
            if failed % len(urls) == 0:
                await pauses.wait()

    async def _open(self, connection: Connection, url: str) -> None:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        assert isinstance(channel, Channel)
        await channel.exchange_declare(self._exchange, exchange_type=topology.EXCHANGE_TYPE, durable=True)
        self._channel = channel
        self._publishing = Publishing(channel.number, self._exchange, topology.CONTENT_TYPE, channel.max_content_size)
        self.connections += 1
        self.broker, self.error = url, None
        self.blocked = False
        self.usable = True
        log.info("connected to the broker %s", url)
        self.on_change(True)

    async def _watch(self, connection: Connection) -> None:
        """Return when the connection is of no use any more."""
        channel = self._channel
        assert channel is not None
        while not connection.is_closed and not channel.is_closed:
            await asyncio.wait([connection.closing, channel.closing], timeout=LOOK, return_when=asyncio.FIRST_COMPLETED)
            blocked = False
            try:
                # Ready is what is connected and not blocked.
                await asyncio.wait_for(connection.ready(), READY)
            except TimeoutError:
                blocked = True
            if blocked and not self.blocked:
                log.warning("the broker takes no messages for now: its memory or disk is short")
            self.blocked = blocked
            oldest = next(iter(self._under_way.values()), None)
            if oldest is not None and not blocked and time.monotonic() - oldest[0] > self._confirm_timeout:
                log.warning("no answer from the broker for %g s", self._confirm_timeout)
                return

    def _close(self) -> None:
        was, self.usable, self.blocked = self.usable, False, False
        self._channel, self.broker = None, ""
        # Whatever was to become of them: their numbers tell the stores what they have already.
        for answer in list(self._under_way):
            if not answer.done():
                answer.set_result(Outcome.LOST)
        if was:
            self.on_change(False)

    def as_dict(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        return {
            "connected": self.usable,
            "broker": self.broker,
            "blocked": self.blocked,
            "connections": self.connections,
            "error": self.error,
        }
