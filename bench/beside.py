"""What is measured of a peer, ingestd among them, by the same steps for all.

CPU and time count from when the first byte is sent until the peer last worked before a quiet second, and again while
it is told to write what it has to files; the quiet seconds between do not count for anybody.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.daemon import BenchError, resident_bytes, until
from bench.material import Fleet
from bench.peer import PATIENCE, Peer
from bench.streams import BLOCK_SECONDS, STEP, Stream, block_begin, unread_bytes

_DISK_SERIES: Final = 20_000
_BLOCK_STEPS: Final = BLOCK_SECONDS // STEP
Found = Iterator[tuple[str, float]]

UNITS: Final = {
    "CPU until in files": "µs/point",
    "rate until in files": "points/s",
    "memory, peak (VmHWM)": "MB",
    "memory, then (VmRSS)": "MB",
    "kept, kill -9 as the last byte leaves": "% of sent",
    "kept, of what it had read by then": "% of read",
    "kept, kill -9 once it says it has all": "% of sent",
    "disk of a whole block, without journal": "bytes/point",
    "disk of a whole block, all files": "bytes/point",
}
"""Names of measures with their units, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    series: int = 180_000
    steps: int = 20
    runs: int = 3


FULL: Final = Scale()
QUICK: Final = Scale(series=1_000, steps=5, runs=1)


@contextmanager
def _running(kind: type[Peer], place: Path) -> Iterator[Peer]:
    """A peer with an empty directory, which is removed."""
    target = place / kind.name
    try:
        with kind(target) as peer:
            yield peer
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _stream(kind: type[Peer], scale: Scale, steps: int, most: int | None = None) -> Stream:
    series = max(10, scale.series // kind.share)
    return Stream(Fleet(min(series, most or series)), steps, block_begin())


def _take(peer: Peer, stream: Stream) -> tuple[float, float]:
    """Send everything until it is in files; CPU seconds and seconds."""
    peer.rest()
    with peer.connect() as sock:
        begun = peer.now()
        stream.send(sock)
        sent = time.monotonic()
        drained = peer.rest()
    flushing = peer.now()
    peer.flush()
    flushed = time.monotonic()
    done = peer.rest()
    took = max(sent, drained.at) - begun.at + max(flushed, done.at) - flushing.at
    return drained.cpu - begun.cpu + done.cpu - flushing.cpu, took


def files(kind: type[Peer], scale: Scale, place: Path) -> Found:
    """Every series new, all steps over one connection, until everything is in files."""
    stream = _stream(kind, scale, scale.steps)
    with _running(kind, place) as peer:
        cpu, took = _take(peer, stream)
        yield "CPU until in files", cpu * 1e6 / stream.points
        yield "rate until in files", stream.points / took
        yield "memory, peak (VmHWM)", resident_bytes(peer.pid, "VmHWM") / 1e6
        yield "memory, then (VmRSS)", resident_bytes(peer.pid) / 1e6
        peer.kill()
        peer.start()
        if (kept := peer.points(stream)) != stream.points:
            raise BenchError(f"{peer.name} had {kept:,} of {stream.points:,} points in files")


def kills(kind: type[Peer], scale: Scale, place: Path) -> Found:
    """What can be read after a ``kill -9`` at two moments: as the sender's last byte leaves, once it says it has all.

    At the first it is stopped, so that what it had not read of the connection can be told from what it lost.
    """
    stream = _stream(kind, scale, scale.steps)
    with _running(kind, place) as peer:
        with peer.connect() as sock:
            size = stream.send(sock)
            peer.stop()
            read = stream.points * (1 - unread_bytes(sock) / size)
            peer.kill()
        peer.start()
        kept = peer.points(stream)
        yield "kept, kill -9 as the last byte leaves", 100 * kept / stream.points
        if read:
            yield "kept, of what it had read by then", 100 * min(1.0, kept / read)
    with _running(kind, place) as peer:
        if peer.accepted() is None:
            return
        with peer.connect() as sock:
            stream.send(sock)
            until(lambda: (peer.accepted() or 0) >= stream.points, f"{peer.name} to have all", PATIENCE)
            peer.kill()
        peer.start()
        yield "kept, kill -9 once it says it has all", 100 * peer.points(stream) / stream.points


def disk(kind: type[Peer], scale: Scale, place: Path) -> Found:
    """Bytes that files have allocated for 60 steps, one whole block of ingestd, of up to 20,000 series."""
    stream = _stream(kind, scale, _BLOCK_STEPS, _DISK_SERIES)
    with _running(kind, place) as peer:
        _take(peer, stream)
        everything = _allocated(peer.data)
        log = _allocated(peer.data / peer.journal) if peer.journal else 0
        yield "disk of a whole block, without journal", (everything - log) / stream.points
        yield "disk of a whole block, all files", everything / stream.points


def _allocated(directory: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in directory.rglob("*") if file.is_file())


GROUPS: Final[dict[str, Callable[[type[Peer], Scale, Path], Found]]] = {"files": files, "kills": kills, "disk": disk}
