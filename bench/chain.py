"""``python -m bench.chain``: lines to a relay, a private RabbitMQ, a store; CPU of each beside a store alone.

The broker is the one of the system tests (Debian's rabbitmq-server, on loopback). On a machine that others share, CPU
is the figure: the rate is what was left of the cores.
"""

from __future__ import annotations

import json
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bench.daemon import Daemon, cpu_seconds
from bench.figures import Figure, Series, table
from bench.group import Group, Rabbit
from bench.machine import machine
from bench.material import QUICK, Fleet, Size
from bench.streams import STEP, block_begin

PARTS: Final = ("relay", "broker", "store")
STEPS: Final = 60
"""As many as lie in one block: names are new to relay and store in the first, and the last messages wait to fill."""
PACE_SECONDS: Final = 30.0
TICK: Final = 0.1
"""Seconds between two pieces of a paced stream."""


class Costs:
    """CPU of a point, run by run, in µs: of the chain's parts and of a store that gets the same lines itself."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.parts = {part: Series(f"{name}: {part}, CPU", "µs/point", "direct") for part in PARTS}
        self.rate = Series(f"{name}: rate until all is stored", "points/s", "direct")
        self.message = Series(f"{name}: points of a message", "points")

    def add(self, group: Group, before: dict[str, float], points: int, messages: int) -> None:
        """What the group's parts took since ``before`` for ``points``."""
        now = group.cpu()
        for part in PARTS:
            self.parts[part].runs.append((now[part] - before[part]) * 1e6 / points)
        self.message.runs.append(points / messages)

    def add_direct(self, cpu: float, points: int) -> None:
        """What a store took in ``cpu`` seconds."""
        for part in PARTS:
            self.parts[part].floor_runs.append(cpu * 1e6 / points)

    def figures(self) -> list[Figure]:
        made = [*self.parts.values(), *([self.rate] if self.rate.runs else []), self.message]
        return [one.figure() for one in made]


def full_speed(size: Size, rabbit: Rabbit, directory: Path) -> list[Figure]:
    """All steps of all series over one connection, as fast as they go, each run to new processes without data."""
    fleet = Fleet(size.series)
    first = block_begin()
    steps = [fleet.step(first + STEP * step) for step in range(size.steps)]
    points = size.series * size.steps
    costs = Costs("full speed")
    for run in range(size.runs):
        target = directory / f"full{run}"
        with Daemon(target / "direct") as daemon:
            before, start = cpu_seconds(daemon.pid), time.monotonic()
            daemon.send(steps)
            daemon.wait_stored(points)
            costs.rate.floor_runs.append(points / (time.monotonic() - start))
            costs.add_direct(cpu_seconds(daemon.pid) - before, points)
        with Group(rabbit, target, stores=1) as group:
            parts, start = group.cpu(), time.monotonic()
            group.relay.send(steps)
            group.wait_stored(points)
            costs.rate.runs.append(points / (time.monotonic() - start))
            costs.add(group, parts, points, group.messages())
        shutil.rmtree(target)
    return costs.figures()


def fleet_pace(size: Size, rabbit: Rabbit, directory: Path, seconds: float) -> list[Figure]:
    """Each series once in 10 s, spread evenly, to the chain and to a store alone at the same time; names are known."""
    fleet = Fleet(size.series)
    first = block_begin() - STEP
    costs = Costs("a fleet's pace")
    target = directory / "pace"
    with Group(rabbit, target, stores=1) as group, Daemon(target / "direct") as direct:
        known = fleet.step(first)
        both = (group.relay, direct)
        for daemon in both:
            daemon.send([known])
        group.wait_stored(size.series)
        direct.wait_stored(size.series)
        sent = size.series
        with group.relay.connect() as one, direct.connect() as other:
            for run in range(size.runs):
                parts, alone, messages = group.cpu(), cpu_seconds(direct.pid), group.messages()
                steps = max(1, round(seconds / STEP / size.runs))
                lines = [fleet.step(first + STEP * (1 + run * steps + step)) for step in range(steps)]
                paced(lines, (one, other))
                points = size.series * steps
                sent += points
                group.wait_stored(sent)
                direct.wait_stored(sent)
                costs.add(group, parts, points, group.messages() - messages)
                costs.add_direct(cpu_seconds(direct.pid) - alone, points)
    shutil.rmtree(target)
    return costs.figures()


def paced(steps: Sequence[bytes], socks: Sequence[socket.socket]) -> None:
    """Each step over ten seconds, in equal pieces of whole lines, to all of ``socks``."""
    pieces = round(STEP / TICK)
    due = time.monotonic()
    for step in steps:
        width = step.index(b"\n") + 1
        lines = len(step) // width
        for piece in range(pieces):
            part = step[lines * piece // pieces * width : lines * (piece + 1) // pieces * width]
            for sock in socks:
                sock.sendall(part)
            due += TICK
            time.sleep(max(0.0, due - time.monotonic()))


@click.command()
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each measurement.")
@click.option("--pace", type=click.FloatRange(0), default=PACE_SECONDS, show_default=True, help="Seconds; 0 = without.")
@click.option("--quick", is_flag=True, help="Small and fast: shows that everything runs.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file."
)
def main(runs: int, pace: float, quick: bool, directory: Path | None, target: Path | None) -> None:
    """Points through a relay, a broker and a store: their rate, and CPU of a point in each."""
    size = QUICK if quick else Size(steps=STEPS, runs=runs)
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-chain-") as made, Rabbit(Path(made)) as rabbit:
        figures = full_speed(size, rabbit, Path(made))
        if pace and not quick:
            figures += fleet_pace(size, rabbit, Path(made), pace)
    click.echo(table(figures))
    click.echo(f"load of the machine: {machine()['load']}")
    if target is not None:
        found = {
            "machine": machine(),
            "size": {"series": size.series, "steps": size.steps, "runs": size.runs},
            "figures": [one.as_dict() for one in figures],
        }
        target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
