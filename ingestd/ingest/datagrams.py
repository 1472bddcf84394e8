"""UDP: many datagrams a wake-up, one batch of them a wake-up.

Nobody waits for a datagram: while the store is saturated they are read, counted and dropped, so that the kernel's
buffer holds the newest ones when it is ready again. What the kernel itself dropped is counted beside the ledger.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import kernel_drops
from ingestd.telemetry import Books

_DATAGRAM: Final = 65_536
"""Bytes: more than any UDP datagram has."""
_DATAGRAMS_A_TURN: Final = 256
"""Shares the fixed cost of a batch (some 0.1 ms) among them and keeps a turn to a few milliseconds."""
_BYTES_A_TURN: Final = 256 * 1024
"""As for a TCP read: large datagrams end a turn earlier."""


Datagrams: TypeAlias = list[tuple[bytes, str]]
"""Payloads, each with the address of the host that it names as its sender."""


class DatagramListener:
    """Hands the datagrams of some sockets in lists to ``take``, or, under overload, to ``drop`` to be counted."""

    def __init__(
        self,
        pipeline: Pipeline,
        books: Books,
        take: Callable[[Datagrams], None],
        drop: Callable[[Datagrams], None],
    ) -> None:
        self._pipeline = pipeline
        self._books = books
        self._take = take
        self._drop = drop
        self._sockets: list[socket.socket] = []
        self._held = False
        self._loop: asyncio.AbstractEventLoop

    def start(self, sockets: list[socket.socket]) -> None:
        """Read from these sockets, which now belong to the listener."""
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        for sock in sockets:
            self._loop.add_reader(sock, self._read, sock)

    async def stop(self, grace: float) -> None:
        """Read what the kernel holds already, for at most ``grace`` seconds, then close the sockets."""
        deadline = asyncio.get_running_loop().time() + grace
        self._held = False
        for sock in self._sockets:
            self._loop.remove_reader(sock)
            while self._loop.time() < deadline:
                if self._pipeline.saturated:
                    await asyncio.sleep(0.01)
                elif not self._read(sock):
                    break
                else:
                    await asyncio.sleep(0)
        self.kernel_drops()
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    def pause(self) -> None:
        """Drop datagrams (counted as ``overload``) until :meth:`resume`."""
        self._held = True

    def resume(self) -> None:
        self._held = False

    def kernel_drops(self) -> None:
        """Bring ``kernel_drops`` of the books up to date."""
        if self._sockets:
            self._books.kernel_drops = kernel_drops(self._sockets)

    def _read(self, sock: socket.socket) -> bool:
        """One turn. Return whether there were datagrams."""
        datagrams: Datagrams = []
        size = 0
        while len(datagrams) < _DATAGRAMS_A_TURN and size < _BYTES_A_TURN:
            try:
                datagram, peer = sock.recvfrom(_DATAGRAM)
            except OSError:  # none left, or an ICMP error that concerns nobody here
                break
            datagrams.append((datagram, peer[0]))
            size += len(datagram)
        if datagrams:
            consume = self._drop if self._held or self._pipeline.saturated else self._take
            consume(datagrams)
        return bool(datagrams)
