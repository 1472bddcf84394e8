"""Rates of counters, as collectd's value cache computes them (``utils_cache.c`` of collectd 5.12).

Times are integers of 2^-30 s and are subtracted as such: as doubles they would be off by a quarter of a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ingestd.wire.typesdb import ABSOLUTE, COUNTER, GAUGE, Sources

SECOND: Final = 1 << 30
"""One second in collectd's unit of time."""
TIMEOUT: Final = 2
"""Intervals without a value after which a series is forgotten: collectd's default."""
_LONGEST: Final = 86400
"""Seconds: an interval counts as at most a day, or a forged one would hold its series for ever."""
_PER_UNIT: Final = 1.0 / SECOND
_U32, _S63, _U64 = 1 << 32, 1 << 63, 1 << 64


def forget_after(interval: int) -> float:
    """Seconds after which a series of ``interval`` (2^-30 s) is forgotten."""
    return TIMEOUT * min(interval * _PER_UNIT, _LONGEST)


class Rates:
    """What is known of one value list: its last values, their time, and the rates they gave.

    ``kinds``: the kind of each value as it stands on the wire, which counts; ``sources`` give the bounds.
    Both have the same length.
    """

    __slots__ = ("_bounds", "_interval", "_kinds", "_rates", "_raws", "_seen", "_span", "_time")

    def __init__(self, kinds: Sequence[int], sources: Sources) -> None:
        self._kinds = tuple(kinds)
        self._bounds = [(source.minimum, source.maximum) for source in sources]
        self._raws: Sequence[int | float] = ()
        self._rates: list[float | None] = [None] * len(self._kinds)
        self._time = 0
        self._seen = 0.0
        self._interval = 0
        self._span = -1.0

    def update(self, raws: Sequence[int | float], time: int, interval: int, now: float) -> list[float | None]:
        """The rates that ``raws`` give, None where there is none; of a gauge the value itself.

        ``time`` and ``interval`` (not 0) in 2^-30 s, ``now`` in seconds on the clock that says what is forgotten.
        Values that are not newer than the last give the last rates again and change nothing.
        """
        if now - self._seen > self._span:
            rates = [self._first(kind, raw, interval) for kind, raw in zip(self._kinds, raws, strict=True)]
        elif time <= self._time:
            return [
                raw if kind == GAUGE else rate for kind, raw, rate in zip(self._kinds, raws, self._rates, strict=True)
            ]
        else:
            seconds = (time - self._time) * _PER_UNIT
            rates = []
            for kind, raw, last, (low, high) in zip(self._kinds, raws, self._raws, self._bounds, strict=True):
                if kind == GAUGE:
                    rates.append(raw)
                    continue
                rate = _increase(kind, raw, last) / seconds
                rates.append(rate if low <= rate <= high else None)
        self._raws, self._rates, self._time, self._seen = raws, rates, time, now
        if interval != self._interval:
            self._interval, self._span = interval, forget_after(interval)
        return rates

    @staticmethod
    def _first(kind: int, raw: int | float, interval: int) -> float | None:
        if kind == GAUGE:
            return raw
        return raw / (interval * _PER_UNIT) if kind == ABSOLUTE else None


def _increase(kind: int, raw: int | float, last: int | float) -> int | float:
    """By how much a value has grown; a counter that has shrunk has wrapped, at 32 bits if it was within them."""
    if kind == ABSOLUTE:
        return raw
    growth = raw - last
    if kind == COUNTER:
        return growth if growth >= 0 else growth + (_U32 if last < _U32 else _U64)
    return growth if -_S63 <= growth < _S63 else (growth + _S63) % _U64 - _S63
