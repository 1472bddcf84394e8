"""What a cluster of so many hosts needs, from the costs that ``bench.scaling`` measured.

The model: a part's CPU is ``messages × message_us + points × point_us``; a store and a broker pay for each copy. Relays
make so many messages a second each, so their number decides how many points share a message. Everything else is linear,
which ``bench.scaling`` checks with other numbers of stores and copies than those that the costs were taken from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingestd.storage.schema import parse_retentions

MESSAGES: Final = 500
"""Of a relay, a second: ``relay.messages``."""
POINTS_MOST: Final = 10_000
"""Of a message, as a relay makes them; larger ones cost a point no less."""
PARTS: Final = ("relay", "broker", "store")
BROKER_MEMBERS: Final = 3
"""Brokers that have each message of a quorum queue."""
POINT_BYTES: Final = 8.2
"""Of a slot on disk."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in µs of one part."""

    message_us: float
    point_us: float

    def of_point(self, message: float) -> float:
        """µs of a point that shares its message with ``message`` points in all."""
        return self.point_us + self.message_us / message


def fitted(small: tuple[float, float], large: tuple[float, float]) -> Cost:
    """The cost of which both ``(points of a message, µs of a point)`` come. Raises ValueError where sizes are equal."""
    (few, dear), (many, cheap) = small, large
    if few == many:
        raise ValueError("two sizes of messages are needed")
    message = max(0.0, (dear - cheap) / (1 / few - 1 / many))
    return Cost(message, max(0.0, cheap - message / many))


@dataclass(frozen=True, slots=True)
class Site:
    """What is asked of a cluster, and of which machines it is made."""

    hosts: int
    metrics: int
    interval: float = 10.0
    """Seconds between two points of a series."""
    copies: int = 2
    retentions: str = "10s:6h,1m:7d,10m:400d"
    share: float = 0.5
    """Of one core that a process may take for points: the rest is for questions, rollups and growth."""
    memory: float = 32e9
    """Bytes of a machine; half of them are for the series, the rest for files that are read."""
    disk: float = 4e12
    """Bytes of a machine; four fifths are filled."""

    @property
    def series(self) -> int:
        return self.hosts * self.metrics

    @property
    def rate(self) -> float:
        """Points a second."""
        return self.series / self.interval

    @property
    def series_bytes(self) -> float:
        """Of a series on disk, all archives full."""
        return POINT_BYTES * sum(archive.slots for archive in parse_retentions(self.retentions))


@dataclass(frozen=True, slots=True)
class Needs:
    """What a site takes."""

    message: float
    """Points of a message."""
    cores: dict[str, float]
    """Busy, by part, of all processes together."""
    relays: int
    brokers: int
    stores: dict[str, int]
    """By what asks for so many: CPU, memory, disk."""
    disk: float
    """Bytes of all stores together."""
    memory: float
    """The same of memory for series."""

    @property
    def machines(self) -> int:
        """Stores: as many as the scarcest asks for."""
        return max(self.stores.values())


def needs(site: Site, costs: dict[str, Cost], series_memory: float) -> Needs:
    """What ``site`` takes; ``series_memory`` is bytes of a series in a store."""
    relays = 1
    while True:
        message = min(max(site.rate / (MESSAGES * relays), 1.0), POINTS_MOST)
        relay_cores = site.rate * costs["relay"].of_point(message) / 1e6
        if relay_cores / relays <= site.share:
            break
        relays += 1
    cores = {
        "relay": relay_cores,
        "broker": site.rate * costs["broker"].of_point(message) * site.copies * BROKER_MEMBERS / 1e6,
        "store": site.rate * costs["store"].of_point(message) * site.copies / 1e6,
    }
    memory = site.series * site.copies * series_memory
    disk = site.series * site.copies * site.series_bytes
    stores = {
        "CPU": math.ceil(cores["store"] / site.share),
        "memory": math.ceil(memory / (site.memory / 2)),
        "disk": math.ceil(disk / (site.disk * 0.8)),
        "copies": site.copies,
    }
    # A relay that is alone is a single point of failure.
    return Needs(message, cores, max(relays, 2), BROKER_MEMBERS, stores, disk, memory)


SITES: Final = (
    Site(18_000, 10, copies=1),
    Site(18_000, 10),
    Site(18_000, 10, retentions="10s:400d"),
    Site(100_000, 100),
    Site(1_000_000, 100),
)


def table(sites: Sequence[Site], costs: dict[str, Cost], series_memory: float) -> Iterator[str]:
    """Lines of Markdown, a row a site."""
    yield (
        "| Hosts × metrics | copies | retentions | points/s | points of a message | relays (cores busy) | "
        "broker cores busy | stores | cores busy in stores | memory for series, all stores | disk, all stores |"
    )
    yield "| --- | ---: | --- |" + " ---: |" * 8
    for site in sites:
        found = needs(site, costs, series_memory)
        scarce = max(found.stores, key=lambda what: found.stores[what])
        yield (
            f"| {site.hosts:,} × {site.metrics} | {site.copies} | `{site.retentions}` | {site.rate:,.0f} | "
            f"{found.message:,.0f} | {found.relays} ({found.cores['relay']:.2f}) | {found.cores['broker']:.2f} | "
            f"{found.machines} (by {scarce}) | {found.cores['store']:.2f} | {size_text(found.memory)} | "
            f"{size_text(found.disk)} |"
        )


def size_text(bytes_: float) -> str:
    """In GB or TB."""
    return f"{bytes_ / 1e12:,.1f} TB" if bytes_ >= 1e12 else f"{bytes_ / 1e9:,.1f} GB"


def costs_of(part: dict[str, Any]) -> dict[str, Cost]:
    """The costs that a report of ``bench.scaling`` has."""
    return {name: Cost(**part["costs"][name]) for name in PARTS}
