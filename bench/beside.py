"""What is measured of a peer, ingestd among them, by the same steps for all.

CPU and time count from when the first byte is sent until the peer last worked before a quiet second, and again while
it is told to write what it has to files; the quiet seconds between do not count for anybody.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.daemon import BenchError, most_connections, resident_bytes, until
from bench.material import METRICS, Fleet
from bench.peer import PATIENCE, Peer
from bench.streams import BLOCK_SECONDS, STEP, Stream, block_begin, unread_bytes
from ingestd.load.run import prepare, run
from ingestd.load.workloads import Load

_DISK_SERIES: Final = 20_000
_SUMMED: Final = 1_000
"""Series of a sum: one of each host whose number begins with two zeros."""
_SUM: Final = "collectd.host00[0-9][0-9][0-9].plugin-3.instance-total.gauge"
_NAMES: Final = "collectd.*.plugin-3.instance-total.gauge"
_HOUR: Final = 3600 // STEP
_ASKED: Final = 20
"""Times that a query is asked in a row: CPU may be counted in hundredths of a second."""
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
    "sum of 1,000 series × 1 h, CPU": "ms",
    "sum of 1,000 series × 1 h, until answered": "ms",
    "names of one leaf of every host, CPU": "ms",
    "names of one leaf of every host, until answered": "ms",
    "a live fleet, CPU": "µs/point",
    "a live fleet, CPU of a core": "%",
}
"""Names of measures with their units, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    series: int = 180_000
    steps: int = 20
    runs: int = 3
    interval: float = 10.0
    """Seconds from one line of a series of a live fleet to the next."""


FULL: Final = Scale()
QUICK: Final = Scale(series=1_000, steps=5, runs=1, interval=1.0)


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
    return Stream(Fleet(min(series, most or series)), steps, block_begin(steps))


def _take(peer: Peer, stream: Stream) -> tuple[float, float]:
    """Send everything until it is in files; CPU seconds and seconds."""
    peer.rest()
    with peer.connect() as sock:
        begun = peer.now()
        stream.send(sock)
        sent = time.monotonic()
        drained = peer.rest()
        while (peer.accepted() or stream.points) < stream.points:
            drained = peer.rest()
    flushing = peer.now()
    peer.flush()
    flushed = time.monotonic()
    done = peer.rest()
    took = max(sent, drained.at) - begun.at + max(flushed, done.at) - flushing.at
    return drained.cpu - begun.cpu + done.cpu - flushing.cpu, took


def _demand(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise BenchError(f"{found:,} of {wanted:,} {what}")


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
        _demand(peer.points(stream), stream.points, f"points in files of {peer.name}")


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


def queries(kind: type[Peer], scale: Scale, place: Path) -> Found:
    """One step of all series, 360 of 1,000, all in files, the store started anew; then the same query many times."""
    if not kind.answers:
        return
    fleet = Fleet(max(10, scale.series // kind.share))
    chosen = min(_SUMMED, fleet.hosts)
    last = block_begin()
    first = last - STEP * (_HOUR - 1)
    rows = slice(3, METRICS * chosen, METRICS)
    with _running(kind, place) as peer:
        with peer.connect() as sock:
            sock.sendall(fleet.step(last))
            for step in range(_HOUR - 1):
                sock.sendall(fleet.step(first + STEP * step, rows=rows))
            peer.rest()
        peer.flush()
        peer.kill()
        peer.start()
        peer.rest()
        if (values := peer.sum_of(_SUM, first, last)) is not None:
            _demand(values, _HOUR, f"values in a sum of {peer.name}")
            yield from _asked("sum of 1,000 series × 1 h", peer, lambda: peer.sum_of(_SUM, first, last))
        _demand(peer.names(_NAMES), fleet.hosts, f"names found by {peer.name}")
        yield from _asked("names of one leaf of every host", peer, lambda: peer.names(_NAMES))


def _asked(name: str, peer: Peer, ask: Callable[[], object]) -> Found:
    before = peer.now()
    for _ in range(_ASKED):
        ask()
    after = peer.now()
    yield f"{name}, CPU", (after.cpu - before.cpu) * 1e3 / _ASKED
    yield f"{name}, until answered", (after.at - before.at) * 1e3 / _ASKED


def fleet(kind: type[Peer], scale: Scale, place: Path) -> Found:
    """Hosts with a connection each that send ten lines every interval, spread over it; CPU of whole intervals.

    Every series is known before, so that what files cost a new series is not in it.
    """
    hosts = min(max(1, scale.series // METRICS // kind.share), most_connections())
    known = Load(series=hosts * METRICS, steps=1, lines=METRICS)
    live = Load(
        workload="fleet", hosts=hosts, lines=METRICS, interval=scale.interval, seconds=scale.interval * (scale.runs + 2)
    )
    sent = 0

    def tell(points: int, seconds: float) -> None:
        nonlocal sent
        sent = points

    with _running(kind, place) as peer, ThreadPoolExecutor(1) as pool:
        target = f"127.0.0.1:{peer.port}"
        run(known, prepare(known), target, None, tell)
        peer.rest()
        sent = 0
        running = pool.submit(run, live, prepare(live), target, None, tell)
        until(lambda: sent > 0 or running.done(), "the first point of a fleet")
        # Connections are taken, and every host has sent once.
        time.sleep(1.5 * scale.interval)
        for _ in range(scale.runs):
            before, points = peer.now(), sent
            time.sleep(scale.interval)
            after, points = peer.now(), sent - points
            if running.done():
                raise BenchError("the fleet ended before all of it was measured")
            yield "a live fleet, CPU", (after.cpu - before.cpu) * 1e6 / points
            yield "a live fleet, CPU of a core", (after.cpu - before.cpu) * 100 / (after.at - before.at)
        running.result()


GROUPS: Final[dict[str, Callable[[type[Peer], Scale, Path], Found]]] = {
    "files": files,
    "kills": kills,
    "disk": disk,
    "queries": queries,
    "fleet": fleet,
}
ONCE: Final = frozenset({"disk", "fleet"})
"""Measured once: the bytes hardly differ from run to run, and a fleet is many intervals."""
