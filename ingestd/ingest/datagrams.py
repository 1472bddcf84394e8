"""UDP: many datagrams a wake-up, one batch of them a wake-up.

Nobody waits for a datagram: while the store is saturated they are read, counted and dropped, so that the kernel's
buffer holds the newest ones when it is ready again. What the kernel itself dropped is counted beside the ledger.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from ingestd._speed import DatagramReceiver
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import kernel_drops
from ingestd.telemetry import Books

PAUSE: Final = 0.05
"""Seconds from one turn to the next while they bring little, at most: a fleet's datagrams come one by one, and a turn
costs as much as a hundred of them. What comes after a longer silence is read at once."""
_LEAST_PAUSE: Final = 0.01
_FASTEST: Final = 256e6
"""Bytes a second of the socket's buffer that it is to hold for a pause: 100,000 datagrams."""
_DATAGRAM: Final = 65_536
"""Bytes: more than any UDP datagram has."""
_DATAGRAMS_A_TURN: Final = 256
"""Shares the fixed cost of a batch (some 0.1 ms) among them and keeps a turn to a few milliseconds."""
_BYTES_A_TURN: Final = 256 * 1024
"""As for a TCP read: large datagrams end a turn earlier."""
_OVERHEAD: Final = 768
"""Bytes of the socket's buffer that the kernel takes for a datagram besides its payload, about."""
_FULL: Final = 8
"""A turn that brought this part of the socket's buffer is followed by the next one at once: what comes during a pause
must fit many times, for a burst is no drop."""


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
        lull: Callable[[], None],
    ) -> None:
        """``lull`` is called after a turn that is not followed by another at once."""
        self._pipeline = pipeline
        self._books = books
        self._take = take
        self._drop = drop
        self._lull = lull
        self._receive = _by_kernel() or receive_one_by_one
        self._doors: list[_Door] = []
        self._held = False
        self._loop: asyncio.AbstractEventLoop

    def start(self, sockets: list[socket.socket]) -> None:
        """Read from these sockets, which now belong to the listener."""
        self._loop = asyncio.get_running_loop()
        self._doors = [_Door(sock, self._read, self._lull, self._loop) for sock in sockets]

    async def stop(self, grace: float) -> None:
        """Read what the kernel holds already, for at most ``grace`` seconds, then close the sockets."""
        deadline = asyncio.get_running_loop().time() + grace
        self._held = False
        for door in self._doors:
            door.leave()
            while self._loop.time() < deadline:
                if self._pipeline.saturated:
                    await asyncio.sleep(0.01)
                elif not self._read(door.sock):
                    break
                else:
                    await asyncio.sleep(0)
        self.kernel_drops()
        for door in self._doors:
            door.sock.close()
        self._doors = []

    def pause(self) -> None:
        """Drop datagrams (counted as ``overload``) until :meth:`resume`."""
        self._held = True

    def resume(self) -> None:
        self._held = False

    def kernel_drops(self) -> None:
        """Bring ``kernel_drops`` of the books up to date."""
        if self._doors:
            self._books.kernel_drops = kernel_drops([door.sock for door in self._doors])

    def _read(self, sock: socket.socket) -> int:
        """One turn. Return how many bytes of the socket's buffer its datagrams had, about."""
        datagrams = self._receive(sock, _DATAGRAMS_A_TURN, _BYTES_A_TURN)
        if not datagrams:
            return 0
        consume = self._drop if self._held or self._pipeline.saturated else self._take
        consume(datagrams)
        return sum([len(payload) for payload, _ in datagrams]) + _OVERHEAD * len(datagrams)


class _Door:
    """A socket and when it is read: when something comes, and from then on in pauses until nothing does."""

    def __init__(
        self,
        sock: socket.socket,
        read: Callable[[socket.socket], int],
        lull: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.sock = sock
        self._read = read
        self._lull = lull
        self._loop = loop
        room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        # As many as a turn takes are always followed by another turn: there may be more.
        self._much = min(room // _FULL, _DATAGRAMS_A_TURN * _OVERHEAD, _BYTES_A_TURN)
        self._pause = min(PAUSE, max(_LEAST_PAUSE, room / _FASTEST))
        self._timer: asyncio.Handle | None = None
        loop.add_reader(sock, self._wake)

    def leave(self) -> None:
        """Read no more; the socket stays open."""
        self._loop.remove_reader(self.sock)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        self._loop.remove_reader(self.sock)
        self._turn()

    def _turn(self) -> None:
        brought = 0
        try:
            brought = self._read(self.sock)
            if brought < self._much:
                self._lull()
        finally:
            self._timer = None
            if brought >= self._much:
                self._timer = self._loop.call_soon(self._turn)
            elif brought:
                self._timer = self._loop.call_later(self._pause, self._turn)
            else:
                self._loop.add_reader(self.sock, self._wake)


def receive_one_by_one(sock: socket.socket, most: int, size: int) -> Datagrams:
    """What ``sock`` holds: up to ``most`` datagrams, about ``size`` bytes of them. Waits for none."""
    datagrams: Datagrams = []
    while len(datagrams) < most and size > 0:
        try:
            datagram, peer = sock.recvfrom(_DATAGRAM)
        except OSError:  # none left, or an ICMP error that concerns nobody here
            break
        datagrams.append((datagram, peer[0]))
        size -= len(datagram)
    return datagrams


def _by_kernel() -> Callable[[socket.socket, int, int], Datagrams] | None:
    """As :func:`receive_one_by_one`, by few calls of the kernel; None where that is not to be had."""
    if DatagramReceiver is None:
        return None
    receiver = DatagramReceiver()
    return lambda sock, most, size: receiver.receive(sock.fileno(), most, size)
