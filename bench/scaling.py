"""``python -m bench.scaling``: one to eight stores behind a broker on this machine, and the model that they check.

The broker is the one of the system tests (Debian's rabbitmq-server, on loopback). All share the machine's cores, so
CPU is the figure; the rate is what the cores left.
"""

from __future__ import annotations

import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from bench.chain import paced
from bench.daemon import Daemon, cpu_seconds, resident_bytes
from bench.figures import shown
from bench.group import Group, Rabbit
from bench.machine import machine
from bench.material import Fleet
from bench.model import PARTS, Cost, fitted
from bench.streams import STEP, block_begin

STORES: Final = (1, 2, 4, 8)
SERIES: Final = 180_000
QUICK_SERIES: Final = 2_000
STEPS: Final = 60
"""As many as lie in one block."""
QUICK_STEPS: Final = 20
PACE_STEPS: Final = 3
"""Of the pace of a fleet, each over ten seconds."""
QUESTIONS: Final = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took. The names of the fields are those of the JSON."""

    stores: int
    copies: int
    paced: bool
    """At a fleet's pace, each series once in ten seconds; else as fast as it goes."""
    rate: float
    """Points a second until all are stored, each counted once."""
    message: float
    """Points of a message."""
    relay_us: float
    """CPU of a point, each counted once, µs."""
    broker_us: float
    store_us: float
    """Of all stores together."""
    busiest: float
    """The share of the busiest store in their CPU."""

    @property
    def capacity(self) -> float:
        """Points a second at which the busiest store would keep one core busy."""
        return 1e6 / (self.store_us * self.busiest)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question took: medians, in ms."""

    stores: int
    copies: int
    question: str
    passed_ms: float
    """From the request to the last byte of the answer."""
    front_ms: float
    """CPU of the query front, mean."""
    stores_ms: float
    """Of all stores together, mean."""


@dataclass(frozen=True, slots=True)
class _Questions:
    """By name: path and parameters."""

    hosts: int

    def all(self) -> dict[str, tuple[str, list[tuple[str, object]]]]:
        window = [("from", "-1h"), ("format", "json")]
        every = "collectd.*.plugin-3.instance-total.gauge"
        return {
            f"sum of a series of each of {self.hosts:,} hosts": (
                "/render",
                [("target", f"sumSeries({every})"), *window],
            ),
            "all 10 series of a host": ("/render", [("target", "collectd.host00042.*.*.*"), *window]),
            f"names of a series of each of {self.hosts:,} hosts": ("/metrics/expand", [("query", every)]),
        }


def full_speed(group: Group, copies: int, fleet: Fleet, steps: list[bytes]) -> Taken:
    """All steps over one connection, as fast as they go, and into files."""
    points = fleet.series * len(steps)
    return _taken(group, copies, points, points, lambda: group.relay.send(steps), paced=False)


def fleet_pace(group: Group, copies: int, fleet: Fleet, first: int, steps: int) -> Taken:
    """Known series, each once in ten seconds, spread evenly."""
    group.relay.send([fleet.step(first)])
    group.wait_stored(fleet.series)
    lines = [fleet.step(first + STEP * (1 + step)) for step in range(steps)]

    def send() -> None:
        with group.relay.connect() as sock:
            paced(lines, (sock,))

    return _taken(group, copies, fleet.series * steps, fleet.series * (1 + steps), send, paced=True)


def _taken(group: Group, copies: int, points: int, stored: int, send: Callable[[], None], *, paced: bool) -> Taken:
    """What ``send`` takes of ``points``; ``stored`` are all that the stores have then."""
    before, each, messages, start = group.cpu(), group.stores_cpu(), group.messages(), time.monotonic()
    send()
    group.wait_stored(stored)
    passed = time.monotonic() - start
    for store in group.stores:
        store.flush()
    now = group.cpu()
    relay, broker, stores = ((now[part] - before[part]) * 1e6 / points for part in PARTS)
    shares = [after - earlier for after, earlier in zip(group.stores_cpu(), each, strict=True)]
    return Taken(
        stores=len(group.stores),
        copies=copies,
        paced=paced,
        rate=points / passed,
        message=points / (group.messages() - messages),
        relay_us=relay,
        broker_us=broker,
        store_us=stores,
        busiest=max(shares) / sum(shares),
    )


def ask(group: Group, copies: int, hosts: int) -> list[Asked]:
    """Each question again and again over a connection that is kept."""
    assert group.front is not None
    found = []
    with group.front.asking() as get:
        for name, (path, query) in _Questions(hosts).all().items():
            get(path, query)
            passed = []
            front, stores = cpu_seconds(group.front.pid), sum(group.stores_cpu())
            for _ in range(QUESTIONS):
                start = time.monotonic()
                get(path, query)
                passed.append((time.monotonic() - start) * 1e3)
            front, stores = cpu_seconds(group.front.pid) - front, sum(group.stores_cpu()) - stores
            found.append(
                Asked(
                    len(group.stores),
                    copies,
                    name,
                    statistics.median(passed),
                    front * 1e3 / QUESTIONS,
                    stores * 1e3 / QUESTIONS,
                )
            )
    return found


def series_bytes(directory: Path, fleet: Fleet) -> float:
    """Anonymous memory of a series in a store that has a whole block of each."""
    first = block_begin()
    with Daemon(directory) as daemon:
        empty = resident_bytes(daemon.pid, "RssAnon")
        daemon.send(fleet.step(first + STEP * step) for step in range(60))
        daemon.settle()
        return (resident_bytes(daemon.pid, "RssAnon") - empty) / fleet.series


def middle(runs: list[Taken]) -> Taken:
    """The medians of several runs of the same."""
    first = asdict(runs[0])
    return Taken(**{
        key: statistics.median(getattr(one, key) for one in runs) if isinstance(value, float) else value
        for key, value in first.items()
    })  # fmt: skip


def costs(taken: list[Taken]) -> dict[str, Cost]:
    """Of one store and one copy at both speeds."""
    small, large = (next(one for one in taken if one.stores == 1 and one.paced == paced) for paced in (True, False))
    return {
        part: fitted(
            (small.message, getattr(small, f"{part}_us")),
            (large.message, getattr(large, f"{part}_us")),
        )
        for part in PARTS
    }


def predicted(one: Taken, of: dict[str, Cost]) -> dict[str, float]:
    """µs a point of each part by the model."""
    return {part: of[part].of_point(one.message) * (1 if part == "relay" else one.copies) for part in PARTS}


@click.command()
@click.option("--stores", "sizes", multiple=True, type=click.IntRange(1), default=STORES, help="Number (repeatable).")
@click.option("--runs", type=click.IntRange(1), default=3, show_default=True, help="Of each at full speed.")
@click.option("--quick", is_flag=True, help="Small and fast: shows that everything runs.")
@click.option("--directory", type=click.Path(path_type=Path, exists=True), help="Where data is written and removed.")
@click.option(
    "--json", "target", type=click.Path(path_type=Path, dir_okay=False), help="Write the figures to this file."
)
def main(sizes: tuple[int, ...], runs: int, quick: bool, directory: Path | None, target: Path | None) -> None:
    """Points and questions through 1 to 8 stores, with one copy and with two."""
    sizes, runs = ((1, 2), 1) if quick else (tuple(sorted({1, *sizes})), runs)
    fleet = Fleet(QUICK_SERIES if quick else SERIES)
    first = block_begin()
    steps = [fleet.step(first + STEP * step) for step in range(QUICK_STEPS if quick else STEPS)]
    taken: list[Taken] = []
    asked: list[Asked] = []
    with tempfile.TemporaryDirectory(dir=directory, prefix="ingestd-scaling-") as made, Rabbit(Path(made)) as rabbit:
        place = Path(made)
        memory = series_bytes(place / "memory", fleet)
        for stores in sizes:
            for copies in (1, 2)[:stores]:
                several = []
                for run in range(runs):
                    with Group(
                        rabbit, place / f"{stores}x{copies}r{run}", stores=stores, copies=copies, front=True
                    ) as group:
                        several.append(full_speed(group, copies, fleet, steps))
                        if run == runs - 1:
                            asked += ask(group, copies, fleet.hosts)
                    shutil.rmtree(place / f"{stores}x{copies}r{run}")
                taken.append(middle(several))
                click.echo(line(taken[-1]))
            if stores in (1, sizes[-1]):
                with Group(rabbit, place / f"pace{stores}", stores=stores, front=True) as group:
                    pace = PACE_STEPS if not quick else 1
                    taken.append(fleet_pace(group, 1, fleet, first, pace))
                shutil.rmtree(place / f"pace{stores}")
                click.echo(line(taken[-1]))
    for one in asked:
        click.echo(
            f"{one.stores} stores, {one.copies} copies, {one.question}: {shown(one.passed_ms)} ms; "
            f"CPU {shown(one.front_ms)} ms of the front, {shown(one.stores_ms)} of the stores"
        )
    found = costs(taken)
    for part, cost in found.items():
        click.echo(f"{part}: {shown(cost.message_us)} µs a message, {shown(cost.point_us)} µs a point")
    if target is not None:
        report = {
            "machine": machine(),
            "size": {"series": fleet.series, "steps": len(steps), "runs": runs},
            "series_bytes": memory,
            "costs": {part: asdict(cost) for part, cost in found.items()},
            "taken": [asdict(one) for one in taken],
            "asked": [asdict(one) for one in asked],
        }
        target.write_text(json.dumps(report, indent=1) + "\n")


def line(one: Taken) -> str:
    """One run as text."""
    pace = "a fleet's pace" if one.paced else "full speed"
    parts = ", ".join(f"{part} {shown(getattr(one, f'{part}_us'))}" for part in PARTS)
    return (
        f"{one.stores} stores, {one.copies} copies, {pace}: {one.rate:,.0f} points/s, {one.message:,.0f} points a "
        f"message; CPU µs a point: {parts}; the busiest store has {one.busiest:.0%} of it"
    )


if __name__ == "__main__":
    main()
