"""``python -m bench.growth``: what a point and a series cost as there are more and more series."""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import numpy as np

from bench.daemon import Daemon, cpu_seconds, resident_bytes
from bench.figures import shown
from bench.machine import machine
from bench.material import METRICS, PIECE
from bench.streams import BLOCK_SECONDS, STEP, block_begin
from ingestd.load.material import Lines, Rows

SIZES: Final = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
STEPS: Final = BLOCK_SECONDS // STEP
ROWS: Final = 4_096
"""Of a piece at most: more than a buffer holds lines."""
LEAST: Final = 1_000_000
"""Points of a measurement, in as many rounds as that takes: less is lost in what else a daemon does."""


@dataclass(frozen=True, slots=True)
class Grown:
    """What a daemon with so many series costs. The names of the fields are those of the JSON."""

    series: int
    new_us: float
    """CPU of a point of a series that it has never seen, µs, in the journal."""
    known_us: float
    """Of a series in the order of the step before."""
    random_us: float
    """Of a known series in random order."""
    flush_us: float
    """Of writing a point to a block file."""
    first_bytes: float
    """Anonymous memory of a series with one point."""
    block_bytes: float
    """With 60 steps, which is a whole block."""
    disk_bytes: float
    """Of a point of a whole block, without the journal."""
    start_seconds: float
    """From the start until /health says 200, everything in files."""


class _Sender:
    """One connection, and CPU of the daemon for what is sent over it."""

    def __init__(self, daemon: Daemon, material: Lines) -> None:
        self._daemon = daemon
        self._material = material
        self._buffer = bytearray(PIECE)
        self._sent = 0

    def cost(self, sock: socket.socket, rows: Rows, timestamps: list[int]) -> float:
        """CPU µs a point until all is stored."""
        before = cpu_seconds(self._daemon.pid)
        for timestamp in timestamps:
            at = 0
            while at < len(rows):
                filled = self._material.fill(rows[at : at + ROWS], timestamp, self._buffer)
                sock.sendall(memoryview(self._buffer)[: filled.ends[-1]])
                at += filled.rows
        points = len(rows) * len(timestamps)
        self._sent += points
        self._daemon.wait_stored(self._sent)
        return (cpu_seconds(self._daemon.pid) - before) * 1e6 / points


def measure(series: int, directory: Path) -> Grown:
    """All of one size, in an empty directory that is removed."""
    target = directory / str(series)
    material = Lines(series, METRICS)
    in_order = np.arange(series, dtype=np.uint32)
    shuffled = np.random.default_rng(6).permutation(in_order)
    first = block_begin()
    steps = [first + STEP * step for step in range(1, STEPS)]
    rounds = -(-LEAST // series)
    with Daemon(target) as daemon:
        empty = resident_bytes(daemon.pid, "RssAnon")
        sender = _Sender(daemon, material)
        with daemon.connect() as sock:
            new = sender.cost(sock, in_order, [first])
            one = resident_bytes(daemon.pid, "RssAnon")
            known = sender.cost(sock, in_order, steps * -(-rounds // len(steps)))
            block = resident_bytes(daemon.pid, "RssAnon")
            random = sender.cost(sock, shuffled, [first] * rounds)
        before = cpu_seconds(daemon.pid)
        daemon.flush()
        flush = (cpu_seconds(daemon.pid) - before) * 1e6 / (series * STEPS)
        files = (file for file in target.rglob("*") if file.is_file() and target / "journal" not in file.parents)
        disk = sum(file.stat().st_blocks * 512 for file in files) / (series * STEPS)
        daemon.kill()
        begun = time.monotonic()
        daemon.start()
        ready = time.monotonic() - begun
    shutil.rmtree(target)
    return Grown(series, new, known, random, flush, (one - empty) / series, (block - empty) / series, disk, ready)


COLUMNS: Final = {
    "new_us": "new series, µs",
    "known_us": "in order, µs",
    "random_us": "random order, µs",
    "flush_us": "to files, µs",
    "first_bytes": "memory of a series, one point, bytes",
    "block_bytes": "with a block, bytes",
    "disk_bytes": "disk, bytes/point",
    "start_seconds": "start, s",
}


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.IntRange(10), default=SIZES, help="Series (repeatable).")
@click.option("--quick", is_flag=True, help="1,000 and 2,000 series: shows that everything runs.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file."
)
def main(sizes: tuple[int, ...], quick: bool, directory: Path | None, target: Path | None) -> None:
    """CPU of a point and memory of a series, from 10,000 to 3,000,000 series."""
    grown: list[Grown] = []
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-growth-") as made:
        for series in (1_000, 2_000) if quick else sorted(sizes):
            grown.append(measure(series, Path(made)))
            shown_now = ", ".join(f"{what} {shown(getattr(grown[-1], key))}" for key, what in COLUMNS.items())
            click.echo(f"{series:,} series: {shown_now}")
    if target is not None:
        rows = [{key: getattr(one, key) for key in Grown.__slots__} for one in grown]
        target.write_text(json.dumps({"machine": machine(), "sizes": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
