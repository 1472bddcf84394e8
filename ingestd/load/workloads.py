"""Workloads: which series a connection sends in which order, at what times.

``steady``: all series in order, step after step; ``small`` and ``million`` are the same with few series for long and
with many for a short time. ``random``: each step in an order of its own. ``churn``: a share of the series is new each
step. ``fleet``: each connection is a host that sends its series every interval, the hosts evenly spread over it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from ingestd.load.material import Filled, Material, Rows

WORKLOADS: Final = {
    "steady": (100_000, 20),
    "small": (10_000, 400),
    "million": (1_000_000, 4),
    "fleet": (10_000, 6),
    "random": (100_000, 20),
    "churn": (100_000, 20),
}
"""Series and steps where nothing else is asked for; a fleet has as many series as its hosts have lines."""
PROTOCOLS: Final = ("graphite", "collectd")


class LoadError(Exception):
    """A load that cannot be sent; its text is one line for whoever asked for it."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be sent. Raises :class:`LoadError` for what contradicts itself."""

    protocol: str = "graphite"
    workload: str = "steady"
    series: int | None = None
    """Of every workload but ``fleet``; with collectd whole hosts, so that there may be a few more."""
    steps: int | None = None
    connections: int = 1
    hosts: int = 1_000
    """Of ``fleet``: as many connections."""
    lines: int | None = None
    """Series of a host: 10 of Graphite, 200 of collectd if not given."""
    interval: float = 10.0
    """Seconds from step to step."""
    rate: float | None = None
    """Points a second; as fast as the target takes them if not given."""
    seconds: float | None = None
    """How long at most."""
    churn: float = 0.05
    """The share of series that is new each step."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS or self.workload not in WORKLOADS:
            raise LoadError(f"no protocol {self.protocol} or workload {self.workload}")
        numbers = (self.series, self.steps, self.connections, self.hosts, self.each)
        least = min(number for number in numbers if number is not None)
        if least < 1 or max(self.total, self.hosts * self.each) > 1 << 28 or self.connections > 1 << 16:
            raise LoadError("series, steps, connections, hosts and lines: at least 1, at most 2^28 series")
        for seconds in (self.interval, 1.0 if self.seconds is None else self.seconds):
            if not 0.001 <= seconds <= 1e6:
                raise LoadError("seconds and interval: from 0.001 to a million")
        if self.rate is not None and not 0.001 <= self.rate <= 1e12:
            raise LoadError("rate: from 0.001 points a second on")
        if self.rate is not None and self.workload == "fleet":
            raise LoadError("a fleet has no rate: hosts, lines and interval are its pace")
        if not 0.0 <= self.churn <= 1.0:
            raise LoadError("churn: a share from 0 to 1")

    @property
    def each(self) -> int:
        """Series of a host."""
        return self.lines if self.lines is not None else 10 if self.protocol == "graphite" else 200

    @property
    def total(self) -> int:
        """Series in all."""
        if self.workload == "fleet":
            return self.hosts * self.each
        return WORKLOADS[self.workload][0] if self.series is None else self.series

    @property
    def streams(self) -> int:
        """Connections, or sockets of datagrams."""
        return self.hosts if self.workload == "fleet" else self.connections

    @property
    def last_step(self) -> int | None:
        """How many steps there are; None where the seconds alone end it."""
        if self.steps is None and self.seconds is None:
            return WORKLOADS[self.workload][1]
        return self.steps


class Clock(NamedTuple):
    """When a load began: seconds of the wall clock, and of the monotonic clock."""

    wall: float
    monotonic: float


class Lane:
    """What one connection sends: ``rows`` ``[first, end)`` of the ``material``, in pieces of at most ``batch`` rows."""

    def __init__(self, load: Load, material: Material, number: int, batch: int) -> None:
        self._load = load
        self._material = material
        self._batch = batch
        streams = load.streams
        first, end = (material.rows * n // streams for n in (number, number + 1))
        self._rows: Rows = np.arange(first, end, dtype=np.uint32)
        self._offset = number / streams * load.interval
        self._random = np.random.default_rng(number)
        self._step = 0
        self._at = 0

    @property
    def finished(self) -> bool:
        """Whether all steps were sent."""
        return not len(self._rows) or self._step == self._load.last_step

    def due(self, clock: Clock) -> float | None:
        """When a host of a fleet sends next, by the monotonic clock; None where nothing but the rate says when."""
        if self._load.workload != "fleet":
            return None
        return clock.monotonic + self._step * self._load.interval + self._offset

    def fill(self, clock: Clock, now: float, out: bytearray) -> Filled:
        """Write the next piece into ``out``; ``now`` by the monotonic clock."""
        if self._at == 0:
            self._begin_step()
        stamp = self._timestamp(clock, now)
        filled = self._material.fill(self._rows[self._at : self._at + self._batch], stamp, out)
        self._at += filled.rows
        if self._at == len(self._rows):
            self._at = 0
            self._step += 1
        return filled

    def _begin_step(self) -> None:
        if self._load.workload == "random":
            self._random.shuffle(self._rows)
        elif self._load.workload == "churn" and self._step:
            new = math.ceil(self._load.churn * len(self._rows))
            places = np.arange((self._step - 1) * new, self._step * new) % len(self._rows)
            self._material.renew(self._rows[places], self._step)

    def _timestamp(self, clock: Clock, now: float) -> int:
        """Steps of a given number end at the clock's time; all others carry the time at which they are due or sent."""
        load = self._load
        if load.workload == "fleet":
            return int(clock.wall + self._step * load.interval + self._offset)
        if load.steps is None and load.seconds is not None:
            return int(clock.wall + now - clock.monotonic)
        assert load.last_step is not None
        end = clock.wall // load.interval * load.interval
        return max(0, int(end + (self._step + 1 - load.last_step) * load.interval))


def lanes(load: Load, material: Material, batch: int) -> Iterator[Lane]:
    """A lane for each connection."""
    return (Lane(load, material, number, batch) for number in range(load.streams))
