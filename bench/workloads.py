"""The whole daemon under the workloads of ``ingestd bench``: few series and many, many connections, a fleet's pace."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from bench.daemon import BenchError, Daemon, bare_receiver, cpu_seconds, most_connections, until
from bench.figures import Figure, Series
from bench.material import METRICS, QUICK, Size
from ingestd.load.run import prepare, run
from ingestd.load.workloads import Load

_COLLECTD_STEPS: Final = 40
_COLLECTD_RATE: Final = 2e6
"""Values a second. Without a rate the kernel drops what the daemon, which has one core, does not read in time."""
_NEW_RATE: Final = 1e5
"""Of new series: a first sight costs ten times as much."""


def workloads(size: Size, directory: Path) -> Iterator[Figure]:
    """CPU of a point of each workload, and the share that many connections cost beside one."""
    part = min(1.0, size.series / Size().series)
    small = Load(series=round(10_000 * part), steps=max(2, round(400 * part)), lines=METRICS)
    million = Load(series=round(1_000_000 * part), steps=4, lines=METRICS)
    hosts = min(round(18_000 * part), most_connections())
    interval = 0.5 if size == replace(QUICK, runs=size.runs) else 10.0
    yield _one("small", small, size, directory)
    yield _one("million", million, size, directory)
    yield _one("random, all known", replace(million, workload="random"), size, directory, known=million)
    for connections in (1, 8):
        yield _over(Load(series=size.series, steps=size.steps, lines=METRICS), connections, size, directory)
    for connections in (1, small.total // METRICS):
        yield _over(small, connections, size, directory)
    yield from _datagrams(round(500 * part), size, directory)
    for protocol in ("graphite", "collectd"):
        yield _fleet(Load(protocol, "fleet", hosts=hosts, lines=METRICS, interval=interval), size, directory)


def _sent(daemon: Daemon, load: Load) -> int:
    """Send all of it; points. Every one of them is in the journal then, or the kernel has dropped it."""
    listener = "graphite_port" if load.protocol == "graphite" else "collectd_port"
    report = run(load, prepare(load), f"127.0.0.1:{getattr(daemon, listener)}", None, lambda *_: None)
    return report.points


def _until_in_files(daemon: Daemon, load: Load, before: int) -> float:
    """CPU ns of a point of ``load``; the daemon has taken ``before`` points."""
    start = cpu_seconds(daemon.pid)
    points = _sent(daemon, load)
    daemon.wait_stored(before + points)
    daemon.flush()
    return (cpu_seconds(daemon.pid) - start) * 1e9 / points


def _one(name: str, load: Load, size: Size, directory: Path, *, known: Load | None = None) -> Figure:
    """One workload until all is in files; with ``known``, after a step of that."""
    cpu = Series(f"workload: {name}, {load.total:,} series × {load.steps} steps, until in files", "ns/point")
    for _ in range(size.runs):
        with Daemon(directory / "load") as daemon:
            before = 0
            if known is not None:
                before = _sent(daemon, replace(known, steps=1))
                daemon.wait_stored(before)
            cpu.runs.append(_until_in_files(daemon, load, before))
        shutil.rmtree(directory / "load")
    return cpu.figure()


def _over(load: Load, connections: int, size: Size, directory: Path) -> Figure:
    """Until all is stored, over one connection or many; the floor reads as many and counts LFs.

    Not until all is in files: what the file system takes for them differs by more than connections cost.
    """
    several = "one connection" if connections == 1 else f"{connections:,} connections"
    name = f"workload: {several}, {load.total:,} series × {load.steps} steps, until stored"
    cpu = Series(name, "ns/point", "recv and count of LFs")
    load = replace(load, connections=connections)
    for _ in range(size.runs):
        with Daemon(directory / "load") as daemon:
            start = cpu_seconds(daemon.pid)
            points = _sent(daemon, load)
            daemon.wait_stored(points)
            cpu.runs.append((cpu_seconds(daemon.pid) - start) * 1e9 / points)
        shutil.rmtree(directory / "load")
        with bare_receiver(connections) as (port, cpu_ns):
            run(load, prepare(load), f"127.0.0.1:{port}", None, lambda *_: None)
            cpu.floor_runs.append(cpu_ns() / points)
    return cpu.figure()


def _datagrams(hosts: int, size: Size, directory: Path) -> Iterator[Figure]:
    """collectd's datagrams, full, of known hosts with 200 values each, at a rate that is not to lose any."""
    load = Load("collectd", series=200 * hosts, steps=_COLLECTD_STEPS, rate=_COLLECTD_RATE)
    name = f"workload: collectd, {hosts:,} hosts × 200 values, {_COLLECTD_RATE / 1e6:.0f} M/s"
    cpu, dropped = Series(f"{name}, until in files", "ns/value"), Series(f"{name}, dropped by the kernel", "datagrams")
    for _ in range(size.runs):
        with Daemon(directory / "load") as daemon:
            known = _sent(daemon, replace(load, steps=1, rate=_NEW_RATE))
            daemon.wait_stored(known)
            start = cpu_seconds(daemon.pid)
            points = _sent(daemon, load)
            time.sleep(0.5)
            daemon.settle()
            daemon.flush()
            cpu.runs.append((cpu_seconds(daemon.pid) - start) * 1e9 / points)
            books = daemon.status()["ledger"]["listeners"]["collectd/udp"]
            dropped.runs.append(books["kernel_drops"])
            if not books["kernel_drops"] and books["stored"] < known + points:
                raise BenchError(f"{known + points - books['stored']:,} values are missing")
        shutil.rmtree(directory / "load")
    yield from (cpu.figure(), dropped.figure())


def _fleet(load: Load, size: Size, directory: Path) -> Figure:
    """Hosts that send their ten series every interval, all known: CPU of whole intervals, with syncs and rollups."""
    kind = "connections" if load.protocol == "graphite" else "collectd's datagrams"
    cpu = Series(f"workload: a fleet of {load.hosts:,} hosts, {kind}", "ns/point")
    sent = 0

    def tell(points: int, seconds: float) -> None:
        nonlocal sent
        sent = points

    live = replace(load, seconds=load.interval * (size.runs + 2))
    with Daemon(directory / "load") as daemon, ThreadPoolExecutor(1) as pool:
        port = daemon.graphite_port if load.protocol == "graphite" else daemon.collectd_port
        running = pool.submit(run, live, prepare(live), f"127.0.0.1:{port}", None, tell)
        until(lambda: sent > 0 or running.done(), "the first point of a fleet")
        # Each host has sent once, so that all names are known.
        time.sleep(1.5 * load.interval)
        for _ in range(size.runs):
            start, points = cpu_seconds(daemon.pid), sent
            time.sleep(load.interval)
            cpu.runs.append((cpu_seconds(daemon.pid) - start) * 1e9 / max(1, sent - points))
        running.result()
    shutil.rmtree(directory / "load")
    return cpu.figure()
