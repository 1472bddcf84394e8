"""The server of the HTTP face: its application, its door, and what both share."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from ingestd.serve.connections import Door
from ingestd.serve.deps import Deps, Limits, StatusDeps
from ingestd.serve.http import make_app, make_status_app, runner_options

_SHUTDOWN: Final = 5.0
"""Seconds that the end waits for answers that are being made."""


class HttpServer:
    """Serves ``deps`` within ``limits``, over TLS if there is a context."""

    def __init__(self, deps: Deps | StatusDeps, limits: Limits, tls: ssl.SSLContext | None = None) -> None:
        self._limits = limits
        self._tls = tls
        self._door: Door | None = None
        if isinstance(deps, Deps):
            app = make_app(deps, limits, self._shown)
        else:
            app = make_status_app(deps, limits, self._shown)
        # A question whose client hangs up is not asked, or stops.
        self._runner = web.AppRunner(
            app, handle_signals=False, handler_cancellation=True, shutdown_timeout=_SHUTDOWN, **runner_options()
        )
        self.listening: list[tuple[str, str]] = []
        """Every (``http``, ``HOST:PORT``)."""

    def _shown(self) -> dict[str, int]:
        return self._door.as_dict() if self._door is not None else {}

    async def start(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Listen at these hosts and ports; port 0 is a free one. Raises OSError."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        sockets: list[socket.socket] = []
        try:
            for host, port in addresses:
                sockets += [_bound(family, address) for family, address in await _resolve(host, port)]
        except OSError:
            for sock in sockets:
                sock.close()
            raise
        self._door = Door(server, self._limits, runner_options())
        self._door.open(sockets, self._tls)
        self.listening = [("http", _shown_address(sock)) for sock in sockets]

    async def stop(self) -> None:
        """Accept no more, finish what is being answered, close all."""
        if self._door is not None:
            await self._door.close()
        await self._runner.cleanup()


async def _resolve(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))  # type: ignore[misc]


def _bound(family: int, address: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _shown_address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
