"""The whole daemon: a fleet's points over TCP until all are in files, restarts, idle connections, queries."""

from __future__ import annotations

import json
import resource
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench.daemon import BenchError, Daemon, bare_receiver, cpu_seconds, resident_bytes
from bench.figures import Figure, Series
from bench.material import METRICS, Fleet, Size

STEP: Final = 10
BLOCK_SECONDS: Final = 600


def _start() -> int:
    """The first timestamp: the current block's begin, so that the steps of every run lie in one block."""
    return int(time.time()) // BLOCK_SECONDS * BLOCK_SECONDS


def _steps(fleet: Fleet, size: Size) -> Iterable[bytes]:
    first = _start()
    return (fleet.step(first + STEP * step) for step in range(size.steps))


def ingest(size: Size, directory: Path) -> Iterator[Figure]:
    """Every series new to an empty data directory, all steps over one connection, then ``POST /flush``."""
    fleet = Fleet(size.series)
    points = size.series * size.steps
    cpu = Series("daemon: TCP until in files, CPU", "ns/point", "recv and count of LFs")
    taken = Series("daemon: TCP until all is read, rate", "points/s")
    rate = Series("daemon: TCP until in files, rate", "points/s")
    memory = Series("daemon: VmRSS after it", "MB")
    # Made before: who sends is not to be the slower of the two.
    steps = list(_steps(fleet, size))
    for run in range(size.runs):
        target = directory / f"ingest{run}"
        with Daemon(target) as daemon:
            before, start = cpu_seconds(daemon.pid), time.monotonic()
            daemon.send(steps)
            taken.runs.append(points / (time.monotonic() - start))
            daemon.flush()
            rate.runs.append(points / (time.monotonic() - start))
            cpu.runs.append((cpu_seconds(daemon.pid) - before) * 1e9 / points)
            memory.runs.append(resident_bytes(daemon.pid) / 1e6)
            _demand(daemon.status()["ledger"]["stored"] >= points, "points are missing")
        shutil.rmtree(target)
        with bare_receiver() as (port, cpu_ns), socket.create_connection(("127.0.0.1", port)) as sock:
            for part in steps:
                sock.sendall(part)
            sock.shutdown(socket.SHUT_WR)
            cpu.floor_runs.append(cpu_ns() / points)
    yield from (cpu.figure(), taken.figure(), rate.figure(), memory.figure())


def restart(size: Size, directory: Path) -> Iterator[Figure]:
    """From ``kill -9`` with all points in the journal alone until ``/health`` answers, the same journal each time."""
    target = directory / "restart"
    ready = Series("daemon: ready again after kill -9", "s")
    points = size.series * size.steps
    with Daemon(target) as daemon:
        daemon.send(_steps(Fleet(size.series), size))
        daemon.wait_stored(points)
        for _ in range(size.runs):
            daemon.kill()
            start = time.monotonic()
            daemon.start()
            ready.runs.append(time.monotonic() - start)
            _demand(daemon.status()["series"] >= size.series, "series are missing")
    shutil.rmtree(target)
    yield ready.figure()


def connections(size: Size, directory: Path) -> Iterator[Figure]:
    """Idle connections: memory of each, and CPU of the daemon beside that of one without any, its floor."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < size.connections + 100:
        raise BenchError(f"{size.connections} connections need as many descriptors; the limit is {hard}")
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    each = Series("idle connections: memory of one", "bytes")
    cpu = Series(f"idle connections: CPU of {size.connections:,}", "ms/s", "no connections")
    target = directory / "idle"
    held: list[socket.socket] = []
    try:
        for _ in range(size.runs):
            with Daemon(target) as daemon:
                cpu.floor_runs.append(_idle(daemon, size.idle_seconds / size.runs))
                before = resident_bytes(daemon.pid)
                held = [daemon.connect() for _ in range(size.connections)]
                # A line on the last one: when it is stored, all before it were accepted.
                held[-1].sendall(b"a.b 1 %d\n" % int(time.time()))
                daemon.wait_stored(1)
                each.runs.append((resident_bytes(daemon.pid) - before) / size.connections)
                cpu.runs.append(_idle(daemon, size.idle_seconds / size.runs))
                while held:
                    held.pop().close()
            shutil.rmtree(target)
    finally:
        for sock in held:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield from (each.figure(), cpu.figure())


def _idle(daemon: Daemon, seconds: float) -> float:
    before = cpu_seconds(daemon.pid)
    time.sleep(seconds)
    return (cpu_seconds(daemon.pid) - before) * 1e3 / seconds


def queries(size: Size, directory: Path) -> Iterator[Figure]:
    """CPU of the daemon an answer, everything in files: an hour of one series of some hosts, all hosts, and finds.

    All hosts have one point in the window beside the hours of some: what is measured is the number of series.
    """
    target = directory / "queries"
    fleet = Fleet(size.series)
    hosts = size.series // METRICS
    end = _start()
    chosen = min(1_000, hosts)
    width = 5 - len(str(chosen - 1))
    some = f"collectd.host{'0' * width}{'?' * (5 - width)}.plugin-3.instance-total.gauge"
    window = [("from", end - 3600), ("until", end), ("now", end), ("format", "json")]
    with Daemon(target) as daemon:
        daemon.send([fleet.step(end)])
        rows = slice(3, METRICS * chosen, METRICS)
        daemon.send(fleet.step(end - STEP * back, rows=rows) for back in range(359, 0, -1))
        daemon.flush()
        for name, target_text, series in (
            (f"query: sumSeries of {chosen:,} series × 1 h", f"sumSeries({some})", 1),
            (f"query: {chosen:,} series × 1 h as JSON", some, chosen),
        ):
            query = [("target", target_text), *window]
            answer = json.loads(daemon.get("/render", query))
            _demand(len(answer) == series, f"{len(answer)} series instead of {series}")
            _demand(all(value is not None for value, _ in answer[0]["datapoints"]), "values are missing")
            yield _asked(name, daemon, size, "/render", query)
        everywhere = "collectd.*.plugin-3.instance-total.gauge"
        longer = [("from", end - 6 * 3600), *window[1:]]
        query = [("target", some.replace("?", "0")), *longer]
        yield _asked("query: one series × 6 h as JSON", daemon, size, "/render", query)
        # An hour and a half of steps of 10 s is within the limit of points (limits.query_points).
        query = [("target", f"sumSeries({everywhere})"), ("from", end - 5400), *window[1:]]
        yield _asked(f"query: sumSeries of {hosts:,} series × 1.5 h", daemon, size, "/render", query)
        for form in ("treejson", "json"):
            # What was asked is remembered: each metric's hosts are asked for once, and then the last once more.
            asked = [everywhere.replace("3", str(metric)) for metric in range(METRICS)]
            queries = [[("query", pattern), ("format", form)] for pattern in asked]
            found = len(json.loads(daemon.get("/metrics/find", queries.pop())))
            _demand(found == (1 if form == "treejson" else hosts), f"{found} names are found")
            name = f"query: find of {hosts:,} leaves among {size.series:,}, {form}"
            yield _asked(name, daemon, size, "/metrics/find", *queries)
            yield _asked(f"{name}, asked again", daemon, size, "/metrics/find", queries[-1])
    shutil.rmtree(target)


def _asked(name: str, daemon: Daemon, size: Size, path: str, *queries: Sequence[tuple[str, object]]) -> Figure:
    """CPU of the daemon for one answer over a connection that is kept, as a dashboard that refreshes asks again.

    Of one query as often as there are runs; of several each once, a run each.
    """
    found = Series(name, "ms", "GET /version")
    with daemon.asking() as get:
        for query in queries if len(queries) > 1 else queries * size.runs:
            for runs, asked, times in (
                (found.floor_runs, ("/version",), 200),
                (found.runs, (path, query), 1 if len(queries) > 1 else 20),
            ):
                before = cpu_seconds(daemon.pid)
                for _ in range(times):
                    get(*asked)
                runs.append((cpu_seconds(daemon.pid) - before) * 1e3 / times)
    return found.figure()


def _demand(condition: bool, message: str) -> None:
    if not condition:
        raise BenchError(message)
