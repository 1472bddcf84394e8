"""A connection to a broker of AMQP 0-9-1: where it is, how long to wait for it, and how to say that it failed."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import aio_pika
from aiormq.abc import AbstractConnection
from aiormq.exceptions import AMQPError
from yarl import URL

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 2.0
FIRST_PAUSE: Final = 0.2
"""Seconds until the second attempt; each one after it waits twice as long."""
STEADY: Final = 30.0
"""Seconds after which what holds counts as sound, and the pauses begin anew."""
TROUBLE: Final = (AMQPError, OSError, TimeoutError, RuntimeError, EOFError)
"""What a broker that goes, refuses or does not answer raises."""

Connection: TypeAlias = AbstractConnection


@dataclass(frozen=True, slots=True)
class BrokerSettings:
    """The members of one cluster of brokers."""

    urls: tuple[str, ...]
    password: Callable[[], str] = str
    """Asked at each connection; "" = that of the URL. May raise OSError."""
    tls: ssl.SSLContext | None = None
    heartbeat: int = 10
    """Seconds."""
    retry: float = 30.0
    """The longest pause between attempts, in seconds."""
    name: str = "ingestd"
    """What the broker's lists call the connection."""


class Pauses:
    """Seconds between attempts: twice as long each time, with jitter, so that a fleet does not come back at once."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._next = FIRST_PAUSE

    def reset(self) -> None:
        """What was attempted holds."""
        self._next = FIRST_PAUSE

    async def wait(self) -> None:
        pause = min(self._next, self._longest)
        self._next = min(2 * self._next, self._longest)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))


async def dial(settings: BrokerSettings, turn: int) -> Connection:
    """A connection to one member of the cluster, another one each ``turn``. Raises one of :data:`TROUBLE`."""
    url = URL(settings.urls[turn % len(settings.urls)])
    password = settings.password()
    if password:
        url = url.with_user(url.user or "guest").with_password(password)
    url = url.update_query(heartbeat=settings.heartbeat, name=settings.name)
    connection = await asyncio.wait_for(aio_pika.connect(url, ssl_context=settings.tls), CONNECT_SECONDS)
    transport = connection.transport
    if transport is None:
        raise ConnectionError("the connection was closed at once")
    return transport.connection


async def hang_up(connection: Connection) -> None:
    """Close a connection, in whatever state it is."""
    try:
        await asyncio.wait_for(connection.close(), CLOSE_SECONDS)
    except TROUBLE:
        return


def shown(url: str) -> str:
    """Host and port of a URL, without its password."""
    parsed = URL(url)
    host = f"[{parsed.host}]" if ":" in (parsed.host or "") else parsed.host
    return f"{host}:{parsed.port or (5671 if parsed.scheme == 'amqps' else 5672)}"


def why(error: BaseException) -> str:
    """An error in words."""
    return str(error) or type(error).__name__
