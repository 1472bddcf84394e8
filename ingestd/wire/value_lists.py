"""What a parser of collectd's protocol remembers of the value lists it has seen: names, how to decode, rates.

The table is bounded twice. Every new list looks at the two that have stood longest and drops those that have been
silent for twice their interval and some minutes, so the table holds not much more than what is being sent; and it never
holds more than its limit, whatever is sent.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from ingestd.wire.rates import Rate, forget_after
from ingestd.wire.typesdb import GAUGE

LIMIT: Final = 500_000
"""Value lists in the table: about 1 KB each, so that forged identities cannot take the machine's memory."""
VALUES: Final = 6
"""The type of a part with values."""
Key: TypeAlias = tuple[bytes, ...]
"""The five fields of an :class:`Identity`, as they stand on the wire."""
Learned: TypeAlias = tuple[list[bytes], list[tuple[float, float]], bool]
"""Of each value the spelling and the bounds of its rate, and whether the kinds are not those of types.db."""
Described: TypeAlias = tuple[list[bytes], list[tuple[float, float]], bool]
"""The same of a type: names of the data sources in place of spellings."""
Learn: TypeAlias = Callable[[Key, bytes], Learned | None]
"""What there is to know of an identity whose values are of these kinds; None: its type has other values, or none."""
Raws: TypeAlias = Sequence[int | float]
Decoder: TypeAlias = Callable[[bytes, int], Raws]
"""Gives the values that begin at a position."""

_FORMATS: Final = ("Q", "d", "q", "Q")
"""Of counter, gauge, derive, absolute: in network order, but for the gauge, which is little-endian."""
_HELD_BACK: Final = 600.0
"""Seconds that values may wait in a sender's buffer: collectd's leaves when it is full, on idle hosts after minutes."""
_EXAMINED: Final = 2
"""Lists examined per new one: with one the table would only ever keep its size."""


class ValueList:
    """One identity with one sequence of kinds."""

    __slots__ = ("decode", "head", "interval", "mismatched", "rates", "seen", "spellings")

    def __init__(self, kinds: bytes, learned: Learned, rated: bool, interval: int, now: float) -> None:
        self.spellings, bounds, self.mismatched = learned
        self.head = struct.pack(">HHH", VALUES, 6 + 9 * len(kinds), len(kinds)) + kinds
        """What a values part of this list begins with: all but the values."""
        self.decode = decoder(kinds)
        self.rates: list[Rate | None] | None = None
        """A :class:`Rate` per value, None for a gauge; None if there are gauges only, or no rates are wanted."""
        if rated and any(kind != GAUGE for kind in kinds):
            self.rates = [
                None if kind == GAUGE else Rate(kind, minimum, maximum)
                for kind, (minimum, maximum) in zip(kinds, bounds, strict=True)
            ]
        self.interval = interval
        self.seen = now


@lru_cache(1024)
def decoder(kinds: bytes) -> Decoder:
    """What decodes values of ``kinds``, each one of the protocol's four."""
    gauges = [i for i, kind in enumerate(kinds) if kind == GAUGE]
    if not gauges:
        return struct.Struct(">" + "".join(_FORMATS[kind] for kind in kinds)).unpack_from
    if len(gauges) == len(kinds):
        return struct.Struct(f"<{len(kinds)}d").unpack_from
    numbers = struct.Struct(">" + "".join("Q" if kind == GAUGE else _FORMATS[kind] for kind in kinds)).unpack_from
    gauge = struct.Struct("<d").unpack_from

    def mixed(data: bytes, position: int) -> Raws:
        raws: list[int | float] = list(numbers(data, position))
        for i in gauges:
            raws[i] = gauge(data, position + 8 * i)[0]
        return raws

    return mixed


class ValueLists:
    """The table. ``get`` is the lookup; ``forgotten`` counts what was dropped while its series was alive."""

    def __init__(self, rated: bool, limit: int = LIMIT) -> None:
        self._rated = rated
        self._limit = limit
        self._lists: OrderedDict[Key, ValueList] = OrderedDict()
        self.get = self._lists.get
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._lists)

    def clear(self) -> None:
        self._lists.clear()

    def add(self, key: Key, kinds: bytes, learned: Learned, interval: int, now: float) -> ValueList:
        """Remember a value list; replaces what stands under ``key``."""
        new = ValueList(kinds, learned, self._rated, interval, now)
        if key not in self._lists:
            self._make_room(now)
        self._lists[key] = new
        return new

    def _make_room(self, now: float) -> None:
        for _ in range(min(_EXAMINED, len(self._lists))):
            key, oldest = self._lists.popitem(last=False)
            if now - oldest.seen <= forget_after(oldest.interval) + _HELD_BACK:
                self._lists[key] = oldest
        if len(self._lists) >= self._limit:
            self._lists.popitem(last=False)
            self.forgotten += 1
