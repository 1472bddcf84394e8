"""The consumer of AMQP queues: a listener whose senders are brokers.

Messages are acknowledged once the journal is synced: what a crash takes comes again (:mod:`ingestd.ingest.receiving`).
Whoever is away, the broker or a queue, is tried again and again, ever more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from ingestd.ingest.bodies import Bodies
from ingestd.ingest.broker import (
    CLOSE_SECONDS,
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
from ingestd.ingest.dead import DeadLetters, declare
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.receiving import Marks, Receiver
from ingestd.ingest.subscription import QueueSettings, Subscription
from ingestd.telemetry import Ledger
from ingestd.wire import topology

log = logging.getLogger(__name__)

BOOKS: Final = "amqp"


@dataclass(frozen=True, slots=True)
class ConsumeSettings:
    """What is consumed, and how much of it at once."""

    queues: tuple[QueueSettings, ...]
    exchange: str = topology.EXCHANGE
    prefetch: int = 256
    ack_interval: float = 0.05
    """Seconds between the syncs that acks wait for; half a prefetch does not wait."""
    delivery_limit: int = topology.DELIVERY_LIMIT


class Consumer:
    """Consumes queues of one cluster of brokers; counts in the books ``amqp``."""

    def __init__(
        self,
        broker: BrokerSettings,
        settings: ConsumeSettings,
        pipeline: Pipeline,
        ledger: Ledger,
        bodies: Bodies,
        marks: Marks,
        settled: Callable[[], Future[None]],
    ) -> None:
        """``settled`` gives a future that is done when all that was accepted so far is synced."""
        self._broker = broker
        self._wall = pipeline.wall
        self._settings = settings
        self._dead = DeadLetters(broker, settings.exchange)
        many = max(1, settings.prefetch // 2)
        self._receiver = Receiver(
            pipeline, ledger.open(BOOKS), bodies, marks, settled, self._dead, settings.ack_interval, many
        )
        self._loop = asyncio.get_running_loop()
        self._passive: set[str] = set()
        """Queues that are there with other arguments, or that may not be declared."""
        self._connected = ""
        self._error: str | None = None
        self._errors: dict[str, str] = {}
        self._connections = self._cancelled = 0
        self._tasks: list[asyncio.Task[None]] = []

    # -- what the composition root does with every listener ------------------------------------------------------------

    @property
    def addresses(self) -> dict[str, str]:
        """None: nobody connects here."""
        return {}

    @property
    def listening(self) -> list[tuple[str, str]]:
        """None either."""
        return []

    async def start(self) -> None:
        """Begin to connect; no broker needs to be there."""
        # It reports at length, each time, what is said here once.
        logging.getLogger("aiormq").setLevel(logging.CRITICAL)
        self._tasks = [self._loop.create_task(self._run()), self._loop.create_task(self._receiver.run())]

    async def stop(self, grace: float = 5.0) -> None:
        """Take no more, accept what was delivered, acknowledge what is synced within ``grace`` seconds, hang up."""
        with contextlib.suppress(*TROUBLE):
            await asyncio.wait_for(self._finish(), grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._dead.close()

    async def _finish(self) -> None:
        for one in list(self._receiver.subscriptions.values()):
            await one.channel.basic_cancel(one.tag)
        await self._receiver.finish()

    def flush(self) -> None:
        """Nothing to do: what was read was handed over."""

    def pause(self) -> None:
        """Read no messages: the broker sends no more than the prefetch."""
        self._receiver.pause()

    def resume(self) -> None:
        self._receiver.resume()

    def kernel_drops(self) -> None:
        """There are none."""

    # -- the connection ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pauses = Pauses(self._broker.retry)
        turn = 0
        while True:
            url = shown(self._broker.urls[turn % len(self._broker.urls)])
            began = time.monotonic()
            try:
                connection = await dial(self._broker, turn)
            except TROUBLE as error:
                if self._error is None:
                    log.warning("no connection to the broker %s: %s; trying again", url, why(error))
                self._error = f"{url}: {why(error)}"
            else:
                log.info("connected to the broker %s", url)
                self._connected, self._error = url, None
                self._connections += 1
                await self._serve(connection)
                self._connected, self._error = "", f"{url}: the connection was lost"
                log.warning("the connection to the broker %s is gone", url)
            turn += 1
            if time.monotonic() - began > STEADY:
                pauses.reset()
            if turn % len(self._broker.urls) == 0 or len(self._broker.urls) == 1:
                await pauses.wait()

    async def _serve(self, connection: Connection) -> None:
        """Consume all queues until the connection is gone."""
        tasks = [self._loop.create_task(self._serve_queue(connection, queue)) for queue in self._settings.queues]
        try:
            await asyncio.wait([connection.closing])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await hang_up(connection)

    async def _serve_queue(self, connection: Connection, queue: QueueSettings) -> None:
        pauses = Pauses(self._broker.retry)
        while not connection.is_closed:
            began = time.monotonic()
            try:
                await self._consume(connection, queue)
                reason = "the consumer was cancelled"
            except TROUBLE as error:
                reason = why(error)
                if isinstance(error, ChannelPreconditionFailed | ChannelAccessRefused):
                    self._passive.add(queue.name)
            if queue.name not in self._errors:
                log.warning("queue %s is not consumed: %s; trying again", queue.name, reason)
            self._errors[queue.name] = reason
            if time.monotonic() - began > STEADY:
                pauses.reset()
            await pauses.wait()

    async def _consume(self, connection: Connection, queue: QueueSettings) -> None:
        """Consume one queue on a channel of its own. Returns when the broker has cancelled that."""
        channel = await connection.channel(publisher_confirms=False)
        one = Subscription(queue, channel)
        try:
            await self._declare(channel, queue)
            await channel.basic_qos(prefetch_count=self._settings.prefetch)
            channel.on_consumer_cancel_callbacks.add(lambda _: one.ended.set())
            self._receiver.open(one)
            consuming = await channel.basic_consume(queue.name, partial(self._receiver.deliver, one))
            one.tag = consuming.consumer_tag or ""
            self._errors.pop(queue.name, None)
            log.info("queue %s is consumed", queue.name)
            await self._acknowledge(one)
            self._cancelled += 1
        finally:
            self._receiver.close(one)
            with contextlib.suppress(*TROUBLE):
                await asyncio.wait_for(channel.close(), CLOSE_SECONDS)

    async def _declare(self, channel: AbstractChannel, queue: QueueSettings) -> None:
        """Declare and bind what is this node's or the settings say; anything else is there, or waited for."""
        passive = queue.name in self._passive or not (queue.owned or queue.exchange)
        if passive:
            await channel.queue_declare(queue.name, passive=True)
            return
        exchange = self._settings.exchange
        arguments: dict[str, Any] = dict(topology.queue_arguments(exchange, self._settings.delivery_limit))
        await declare(channel, topology.dead_name(exchange))
        if queue.owned:
            await channel.exchange_declare(exchange, exchange_type=topology.EXCHANGE_TYPE, durable=True)
        await channel.queue_declare(queue.name, durable=True, arguments=arguments)
        if queue.exchange:
            await channel.queue_bind(queue.name, queue.exchange, queue.routing_key)

    async def _acknowledge(self, one: Subscription) -> None:
        """Acknowledge what is done until the consumer is cancelled. Raises what ends the channel."""
        closing, ended = one.channel.closing, self._loop.create_task(one.ended.wait())
        try:
            while not ended.done():
                ready = self._loop.create_task(self._acknowledge_next(one))
                try:
                    await asyncio.wait({ready, closing, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if ready.done():
                        ready.result()
                    if closing.done():
                        closing.result()
                        raise ConnectionError("the channel was closed")
                finally:
                    ready.cancel()
        finally:
            ended.cancel()

    async def _acknowledge_next(self, one: Subscription) -> None:
        await one.ready.wait()
        one.ready.clear()
        self._receiver.counts.acknowledged += await one.acknowledge()

    # -- what operators see --------------------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """What grows only, by name."""
        return {
            **dataclasses.asdict(self._receiver.counts),
            "dead_kept": self._dead.published,
            "connections": self._connections,
            "cancelled": self._cancelled,
        }

    def gauges(self) -> dict[str, float]:
        """What rises and falls, by name: seconds from being published until being read, of the slowest queue."""
        now = self._wall()
        return {"delay_seconds": max((one.delay(now) for one in self._receiver.subscriptions.values()), default=0.0)}

    def status(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        return {
            "connected": self._connected or None,
            "error": self._error,
            "queues": {queue.name: self._queue_status(queue.name) for queue in self._settings.queues},
            **self.counters(),
            "dead_waiting": self._dead.waiting,
            "dead_error": self._dead.error,
            "blocked": self._dead.blocked,
            "held": self._receiver.held,
            "marks_error": self._receiver.marks.problem,
        }

    def _queue_status(self, name: str) -> dict[str, Any]:
        one = self._receiver.subscriptions.get(name)
        return {
            "consumed": one is not None,
            "under_way": one.under_way if one else 0,
            "delay": round(one.delay(self._wall()), 1) if one else None,
            "error": self._errors.get(name),
        }


def queues_of(node: str, exchange: str, others: Sequence[QueueSettings]) -> tuple[QueueSettings, ...]:
    """All queues of a store: the node's own, if it is one of a cluster, and others."""
    own = [QueueSettings(topology.queue_name(node, exchange), content_type=topology.CONTENT_TYPE, owned=True)]
    return (*(own if node else []), *others)
