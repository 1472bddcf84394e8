"""A stream of lines over one connection, and how much of it a process has read."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.daemon import BenchError
from bench.material import Fleet

STEP: Final = 10
"""Seconds from step to step."""
BLOCK_SECONDS: Final = 600
"""Of the finest archive of ingestd's default schema: 60 steps."""
_ESTABLISHED: Final = "01"
_STABLE: Final = 3


def block_begin(steps: int = 1) -> int:
    """The first timestamp of the current block, so that up to 60 steps from there lie in one; more end now."""
    now = int(time.time())
    if steps > BLOCK_SECONDS // STEP:
        return now // STEP * STEP - STEP * (steps - 1)
    return now // BLOCK_SECONDS * BLOCK_SECONDS


@dataclass(frozen=True, slots=True)
class Stream:
    """``steps`` points of each series of the fleet, from ``first`` on, every :data:`STEP` seconds."""

    fleet: Fleet
    steps: int
    first: int

    @property
    def points(self) -> int:
        return self.fleet.series * self.steps

    @property
    def last(self) -> int:
        return self.first + STEP * (self.steps - 1)

    def parts(self) -> Iterator[bytes]:
        """The lines of one step after the other."""
        return (self.fleet.step(self.first + STEP * step) for step in range(self.steps))

    def send(self, sock: socket.socket) -> int:
        """Send everything; bytes. Returns when the kernel has the last byte."""
        size = 0
        for part in self.parts():
            sock.sendall(part)
            size += len(part)
        return size


def unread_bytes(sock: socket.socket) -> int:
    """What a stopped process has not read of a connection of this machine, in the buffers of both ends.

    Waits until the kernel has moved and acknowledged what it can: bytes on their way would count twice. Of proc(5),
    ``/proc/net/tcp``: local and remote address, state and ``tx_queue:rx_queue``, in hexadecimal.
    """
    near, far = sock.getsockname()[1], sock.getpeername()[1]
    stable, before = 0, -1
    while stable < _STABLE:
        time.sleep(0.1)
        now = _queued(near, far, 0) + _queued(far, near, 1)
        stable, before = (stable + 1 if now == before else 0), now
    return before


def _queued(local: int, remote: int, queue: int) -> int:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, queues, *_ = line.split()
        ports = int(here.rpartition(":")[2], 16), int(there.rpartition(":")[2], 16)
        if ports == (local, remote) and state == _ESTABLISHED:
            return int(queues.split(":")[queue], 16)
    raise BenchError(f"no connection from port {local} to {remote}")
