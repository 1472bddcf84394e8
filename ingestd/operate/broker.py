"""The broker as ``ingestd cluster`` uses it: declares, binds, unbinds, counts. AMQP 0-9-1 alone, no plugin."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import AMQPError, ChannelNotFoundEntity

from ingestd.operate.settings import Broker, BrokerError, first_line
from ingestd.wire import topology

_CHANNELS: Final = 8
"""Nodes whose bindings change at once: the broker takes a millisecond for each, on one of its cores."""


class Depth(NamedTuple):
    """What a queue holds."""

    ready: int
    """Messages that nobody has been given yet."""
    consumers: int


class Operator:
    """A connection to the broker. All methods raise :class:`BrokerError`."""

    def __init__(self, connection: AbstractConnection, settings: Broker) -> None:
        self._connection = connection
        self._exchange = settings.exchange
        self._limit = settings.delivery_limit

    async def declare(self, nodes: Collection[str]) -> None:
        """The exchanges, the queue of dead messages, and those of ``nodes``; what is there already stays."""
        dead = topology.dead_name(self._exchange)
        async with self._channel() as channel:
            await channel.declare_exchange(self._exchange, topology.EXCHANGE_TYPE, durable=True)
            await channel.declare_exchange(dead, topology.DEAD_EXCHANGE_TYPE, durable=True)
            arguments: dict[str, Any] = dict(topology.dead_queue_arguments())
            queue = await channel.declare_queue(dead, durable=True, arguments=arguments)
            await queue.bind(dead, "")
            for name in sorted(nodes):
                arguments = dict(topology.queue_arguments(self._exchange, self._limit))
                await channel.declare_queue(self.queue(name), durable=True, arguments=arguments)

    async def bind(self, wanted: Mapping[str, Collection[int]]) -> None:
        """Bind each node's queue for its partitions; what is bound already stays."""
        await self._each_binding(wanted, bound=True)

    async def unbind(self, unwanted: Mapping[str, Collection[int]]) -> None:
        """Take bindings away, those that are there. What the queue has got by them stays in it."""
        there = {name: partitions for name, partitions in unwanted.items() if await self.depth(self.queue(name))}
        await self._each_binding(there, bound=False)

    async def depth(self, queue: str) -> Depth | None:
        """What a queue holds; None if there is no such queue."""
        async with self._channel() as channel:
            try:
                found = await channel.declare_queue(queue, passive=True)
            except ChannelNotFoundEntity:
                return None
            result = found.declaration_result
            return Depth(result.message_count or 0, result.consumer_count or 0)

    async def has_exchange(self) -> bool:
        """Whether the exchange of batches is there."""
        async with self._channel() as channel:
            try:
                await channel.get_exchange(self._exchange, ensure=True)
            except ChannelNotFoundEntity:
                return False
            return True

    async def drop(self, name: str) -> Depth | None:
        """Delete the queue of a node that is bound no more, if nothing is in it and nobody reads it; else what it has.

        Quorum queues refuse the broker's own ``if-empty`` and ``if-unused``. As it is unbound, nothing comes any more;
        without a consumer nothing is on its way either.
        """
        queue = self.queue(name)
        depth = await self.depth(queue)
        if depth is None or depth.ready or depth.consumers:
            return depth
        async with self._channel() as channel:
            await channel.queue_delete(queue)
        return None

    def queue(self, name: str) -> str:
        """The queue of a node."""
        return topology.queue_name(name, self._exchange)

    async def _each_binding(self, nodes: Mapping[str, Collection[int]], *, bound: bool) -> None:
        slots = asyncio.Semaphore(_CHANNELS)

        async def of(name: str, partitions: Collection[int]) -> None:
            async with slots, self._channel() as channel:
                queue = await channel.get_queue(self.queue(name), ensure=False)
                for key in map(topology.routing_key, sorted(partitions)):
                    await (queue.bind if bound else queue.unbind)(self._exchange, key)

        try:
            async with asyncio.TaskGroup() as tasks:
                for name in sorted(nodes):
                    tasks.create_task(of(name, nodes[name]))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[AbstractChannel]:
        """A channel of its own: the broker closes one on which it has refused something."""
        try:
            channel = await self._connection.channel(publisher_confirms=False)
            try:
                yield channel
            finally:
                with contextlib.suppress(AMQPError, OSError):
                    await channel.close()
        except (AMQPError, OSError) as error:
            raise BrokerError(f"the broker: {error or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def connected(settings: Broker, patience: float) -> AsyncIterator[Operator]:
    """A connection to the first member of the broker's cluster that answers within ``patience`` seconds.

    Raises :class:`BrokerError` if none does, and ConfigError for files that cannot be read.
    """
    password, context = first_line(settings.password_file), _context(settings)
    failed = []
    for url in settings.url:
        try:
            connection = await aio_pika.connect(_with_password(url, password), ssl_context=context, timeout=patience)
            break
        except (AMQPError, OSError) as error:
            failed.append(f"{without_password(url)}: {error or type(error).__name__}")
    else:
        raise BrokerError(f"no broker: {'; '.join(failed)}")
    async with connection:
        yield Operator(connection, settings)


def _context(settings: Broker) -> ssl.SSLContext | None:
    """What TLS is to be by; None where no file is named. Raises :class:`BrokerError`."""
    if not settings.ca and not settings.certificate:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.certificate:
            context.load_cert_chain(settings.certificate, settings.key or None)
    except OSError as error:
        raise BrokerError(f"certificates of the broker: {error}") from error
    return context


def _with_password(url: str, password: str) -> str:
    if not password:
        return url
    parts = urlsplit(url)
    _, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{parts.username or 'guest'}:{quote(password, safe='')}@{host}"))


def without_password(url: str) -> str:
    """A URL that may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
