"""Messages that nobody can read, published to the exchange of dead messages with the reason in a header.

On a connection of its own: a broker that is short of memory or disk takes nothing more from one that publishes, and the
consumers' acks must not wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Final

from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from ingestd.ingest.broker import CLOSE_SECONDS, TROUBLE, BrokerSettings, Connection, Pauses, dial, hang_up, why
from ingestd.wire import topology

log = logging.getLogger(__name__)

REASON: Final = "x-ingestd-reason"
LOOK: Final = 1.0
"""Seconds between two looks at whether the broker takes nothing, while something waits for its confirm."""
_COPIED: Final = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "message_id",
    "timestamp",
    "message_type",
    "app_id",
)


class DeadLetters:
    """Publishes dead messages until the broker confirms them."""

    def __init__(self, settings: BrokerSettings, exchange: str) -> None:
        self._settings = settings
        self._name = topology.dead_name(exchange)
        self._connection: Connection | None = None
        self._channel: AbstractChannel | None = None
        self._lock = asyncio.Lock()
        self._turn = 0
        self.published = 0
        self.waiting = 0
        """Messages that are not confirmed yet."""
        self.blocked = False
        """Whether the broker has said that it takes nothing: memory or disk are short there."""
        self.error: str | None = None
        """Why the last attempt failed; None once one went through."""

    async def publish(self, message: DeliveredMessage, queue: str, reason: str) -> None:
        """Return when the broker has the message for good. Tries for as long as it takes."""
        pauses = Pauses(self._settings.retry)
        self.waiting += 1
        try:
            while True:
                try:
                    await self._attempt(message, queue, reason)
                except TROUBLE as error:
                    if self.error is None:
                        log.error(
                            "a dead message of %s cannot be kept in %s: %s; retrying", queue, self._name, why(error)
                        )
                    self.error = why(error)
                    await self._give_up_channel()
                    await pauses.wait()
                else:
                    self.error = None
                    self.published += 1
                    return
        finally:
            self.waiting -= 1

    async def _attempt(self, message: DeliveredMessage, queue: str, reason: str) -> None:
        channel = await self._open()
        sending = asyncio.ensure_future(
            channel.basic_publish(
                message.body,
                exchange=self._name,
                routing_key=message.routing_key or "",
                properties=_properties(message, queue, reason),
                mandatory=True,
            )
        )
        try:
            while not (await asyncio.wait({sending}, timeout=LOOK))[0]:
                await self._look()
            sending.result()
        finally:
            sending.cancel()

    async def _look(self) -> None:
        if self._connection is None or self._connection.is_closed:
            raise ConnectionError("the connection is gone")
        try:
            # Ready is what is connected and not blocked.
            await asyncio.wait_for(self._connection.ready(), 0.01)
            self.blocked = False
        except TimeoutError:
            if not self.blocked:
                log.warning(
                    "the broker takes no messages for now: dead ones wait, and those behind them for their acks"
                )
            self.blocked = True

    async def _open(self) -> AbstractChannel:
        async with self._lock:
            if self._channel is not None and not self._channel.is_closed:
                return self._channel
            if self._connection is None or self._connection.is_closed:
                self._turn += 1
                self._connection = await dial(self._settings, self._turn)
                self.blocked = False
            channel = await self._connection.channel()
            await declare(channel, self._name)
            self._channel = channel
            return channel

    async def _give_up_channel(self) -> None:
        """The next attempt declares anew: somebody may have deleted what was there."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with contextlib.suppress(*TROUBLE):
                await asyncio.wait_for(channel.close(), CLOSE_SECONDS)

    async def close(self) -> None:
        """Give up the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await hang_up(connection)


async def declare(channel: AbstractChannel, name: str) -> None:
    """The exchange of dead messages and its queue. Raises what the channel raises."""
    await channel.exchange_declare(name, exchange_type=topology.DEAD_EXCHANGE_TYPE, durable=True)
    await channel.queue_declare(name, durable=True, arguments=dict(topology.dead_queue_arguments()))
    await channel.queue_bind(name, name)


def _properties(message: DeliveredMessage, queue: str, reason: str) -> Basic.Properties:
    """Those of the message, kept on disk, and where it came from."""
    own = message.header.properties
    headers: dict[str, Any] = dict(own.headers or {})
    headers[REASON] = reason
    headers["x-ingestd-exchange"] = message.exchange or ""
    headers["x-ingestd-routing-key"] = message.routing_key or ""
    headers["x-ingestd-queue"] = queue
    copied = {name: value for name in _COPIED if (value := getattr(own, name, None)) is not None}
    with contextlib.suppress(ValueError):
        return Basic.Properties(headers=headers, delivery_mode=2, **copied)
    return Basic.Properties(headers=headers, delivery_mode=2)
