"""Names of a made-up fleet, laid one behind the other, so that a kernel copies them into what is sent.

``load.host000017.df-3.df_complex-used`` is the name of a Graphite line. For collectd the same host is the text
``load.host000017``, and a value list is its parts: once whole, and once those alone that differ from the list before,
which is how collectd's network plugin fills a datagram.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

_PLUGIN, _PLUGIN_INSTANCE, _TYPE, _TYPE_INSTANCE = range(2, 6)
_HOST: Final = 0
_LISTS: Final = (
    ("load", "load", "", ("shortterm", "midterm", "longterm")),
    ("df", "df_complex", "used", ("value",)),
    ("df", "df_complex", "free", ("value",)),
    ("memory", "memory", "used", ("value",)),
    ("memory", "memory", "free", ("value",)),
    ("processes", "ps_state", "running", ("value",)),
    ("sensors", "temperature", "core", ("value",)),
    ("sensors", "voltage", "main", ("value",)),
)
"""(plugin, type, type instance, data sources): ten values, all of them gauges of collectd's types.db."""
_VALUES: Final = sum(len(sources) for *_, sources in _LISTS)
GENERATION: Final = 6
"""Digits of the generation that the names of ``churn`` end with."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Texts one behind the other: text i is ``data[starts[i]:starts[i + 1]]``, uint8 and int64."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, texts: list[bytes]) -> Arena:
        """An arena of ``texts``, in their order."""
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), out=starts[1:])
        return cls(np.frombuffer(bytearray(b"".join(texts)), np.uint8), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> bytes:
        return self.data[self.starts[number] : self.starts[number + 1]].tobytes()

    def renew(self, rows: NDArray[np.uint32], generation: int, behind: int = 0) -> None:
        """Give ``rows`` the ``generation``, in the digits that stand ``behind`` bytes before their end."""
        digits = b"%0*d" % (GENERATION, generation % 10**GENERATION)
        places = self.starts[rows.astype(np.int64) + 1][:, None] + np.arange(-GENERATION - behind, -behind)
        self.data[places] = np.frombuffer(digits, np.uint8)


def graphite(series: int, lines: int, *, churn: bool = False) -> Arena:
    """The names of ``series`` series, ``lines`` of each host; they end with a generation where they ``churn``."""
    end = ".g" + "0" * GENERATION if churn else ""
    leaves = [f".{leaf}{end}".encode() for leaf in _leaves(lines)]
    texts = (b"load.host%06d" % host + leaf for host in range(-(-series // lines)) for leaf in leaves)
    return Arena.of(list(islice(texts, series)))


def _leaves(lines: int) -> list[str]:
    found = []
    for number in range(-(-lines // _VALUES)):
        for plugin, kind, instance, sources in _LISTS:
            leaf = f"{plugin}-{number}.{kind}" + (f"-{instance}" if instance else "")
            found += [f"{leaf}.{source}" for source in sources] if len(sources) > 1 else [leaf]
    return found[:lines]


def collectd_hosts(hosts: int, *, churn: bool = False) -> Arena:
    """The part of each host, with a generation before its NUL where they ``churn``."""
    end = "-g" + "0" * GENERATION if churn else ""
    return Arena.of([_part(_HOST, f"load.host{host:06d}{end}") for host in range(hosts)])


def collectd_lists(values: int) -> tuple[Arena, NDArray[np.uint8]]:
    """The value lists of a host that has ``values``: parts and number of values of each.

    Text 2 k of the arena is all of list k, text 2 k + 1 what of it differs from list k - 1.
    """
    texts: list[bytes] = []
    counts: list[int] = []
    before: list[bytes] = [b""] * 4
    left, number = values, 0
    while left:
        for plugin, kind, instance, sources in _LISTS:
            if len(sources) > left:
                continue
            fields = zip(
                (_PLUGIN, _PLUGIN_INSTANCE, _TYPE, _TYPE_INSTANCE), (plugin, str(number), kind, instance), strict=True
            )
            parts = [_part(*field) for field in fields]
            texts += [b"".join(parts), b"".join(p for p, old in zip(parts, before, strict=True) if p != old)]
            counts.append(len(sources))
            left -= len(sources)
            before = parts
        number += 1
    return Arena.of(texts), np.array(counts, np.uint8)


def _part(kind: int, text: str) -> bytes:
    payload = text.encode() + b"\0"
    return struct.pack(">HH", kind, 4 + len(payload)) + payload
