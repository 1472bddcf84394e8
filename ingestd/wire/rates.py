"""Rates of counters, as collectd's value cache computes them (``utils_cache.c`` of collectd 5.12).

Times are integers of 2^-30 s and are subtracted as such: as doubles they would be off by a quarter of a microsecond.
A counter that shrinks has wrapped, at 32 bits if it was within them.
"""

from __future__ import annotations

from typing import Final

from ingestd.wire.typesdb import ABSOLUTE, DERIVE

SECOND: Final = 1 << 30
"""One second in collectd's unit of time."""
TIMEOUT: Final = 2
"""Intervals without a value after which a series is forgotten: collectd's default."""
_LONGEST: Final = 86400
"""Seconds: an interval counts as at most a day, or a forged one would hold its series for ever."""
_PER_UNIT: Final = 1.0 / SECOND
_U32, _U64 = 1 << 32, 1 << 64
_LOWEST, _HIGHEST = -(1 << 63), (1 << 63) - 1


def forget_after(interval: int) -> float:
    """Seconds after which a series of ``interval`` (2^-30 s) is forgotten."""
    return TIMEOUT * min(interval * _PER_UNIT, _LONGEST)


class Rate:
    """What is known of one counter: its last value, when that was taken, and the rate it gave.

    ``kind`` as on the wire, not a gauge; a rate outside ``minimum`` and ``maximum`` is none.
    """

    __slots__ = ("_interval", "_kind", "_maximum", "_minimum", "_rate", "_raw", "_seen", "_span", "_time")

    def __init__(self, kind: int, minimum: float, maximum: float) -> None:
        self._kind = kind
        self._minimum = minimum
        self._maximum = maximum
        self._raw: float = 0
        self._rate: float | None = None
        self._time = 0
        self._interval = 0
        self._seen = 0.0
        self._span = -1.0

    def update(self, raw: float, time: int, interval: int, now: float) -> float | None:
        """The rate that ``raw``, an integer, gives, or None if it gives none.

        ``time`` and ``interval`` (not 0) in 2^-30 s, ``now`` in seconds on the receiver's clock. A series is forgotten
        by the times of its values: a sender's buffer may hold them back for longer than twice an interval. A value
        that is not newer than the last gives the last rate again and changes nothing, unless nothing newer has come
        for twice the interval on the receiver's clock: then the last time was wrong.
        """
        rate: float | None
        gap = (time - self._time) * _PER_UNIT
        if gap > self._span or (gap <= 0 and now - self._seen > self._span):
            rate = raw / (interval * _PER_UNIT) if self._kind == ABSOLUTE else None
        elif gap <= 0:
            return self._rate
        else:
            if self._kind == DERIVE:
                growth = raw - self._raw
                if not _LOWEST <= growth <= _HIGHEST:
                    growth = (growth - _LOWEST) % _U64 + _LOWEST
            elif self._kind == ABSOLUTE:
                growth = raw
            else:
                growth = raw - self._raw
                if growth < 0:
                    growth += _U32 if self._raw < _U32 else _U64
            rate = growth / gap
            if not self._minimum <= rate <= self._maximum:
                rate = None
        self._raw = raw
        self._rate = rate
        self._time = time
        self._seen = now
        if interval != self._interval:
            self._interval, self._span = interval, forget_after(interval)
        return rate
