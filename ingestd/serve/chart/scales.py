"""Y axes: where they begin and end, where their labels are, and what height a value has.

The rules are graphite-web's (render/glyph.py): steps are 1, 2 or 5 times a power of ten, for binary units a power of
two, and as many as ``divisors`` allow; among those, the one that leaves the least room above and below the data wins;
limits that a request sets are kept to the letter. Steps of times, which graphite-web counts in tens of seconds, are
those of a clock here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Final

import numpy as np

from ingestd.serve.chart.options import AxisOptions, ChartError
from ingestd.serve.chart.shapes import Values
from ingestd.serve.chart.units import labels_of

_SLACK: Final = 1e-4
"""Shares of a step by which rounding may be off."""
_TICKS_MAX: Final = 200
_LARGEST: Final = 1e300
"""Beyond, differences of values would be infinite."""
_SMALLEST: Final = 1e-280
"""Below, quotients would."""

_CLOCK: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_DAYS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis from ``bottom`` to ``top``, both finite and ``bottom < top``; labels at ``ticks``, in ascending order."""

    bottom: float
    top: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]
    minor: tuple[float, ...] = ()
    log: bool = False

    def heights(self, values: Values) -> Values:
        """The places of ``values`` as shares of the axis, 0 at the bottom; NaN where a value has none.

        They are infinite where a value is too far away.
        """
        with np.errstate(all="ignore"):
            if not self.log:
                return (values - self.bottom) / (self.top - self.bottom)
            logs = np.log(np.where(values > 0, values, np.nan))
        low, high = math.log(self.bottom), math.log(self.top)
        return (logs - low) / (high - low)

    @property
    def floor(self) -> float:
        """The share of the axis on which areas stand: zero, or the end next to it."""
        return 0.0 if self.log else min(max(-self.bottom / (self.top - self.bottom), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Range:
    """The values that an axis has to hold; ``fixed`` ends are kept as they are."""

    low: float
    high: float
    low_fixed: bool = False
    high_fixed: bool = False


def range_of(low: float, high: float, asked: AxisOptions) -> Range:
    """The ends of an axis over data from ``low`` to ``high`` as a request wants them.

    :raises ChartError: it wants the lower end above the upper one.
    """
    low, high = (min(max(end, -_LARGEST), _LARGEST) for end in (low, high))
    low_fixed, high_fixed = asked.min is not None, False
    if asked.max is not None:
        high_fixed = True
        high = high if math.isinf(asked.max) else asked.max
    if asked.limit is not None and asked.limit < high:
        high, high_fixed = asked.limit, True
    if asked.min is not None:
        low = asked.min
    if low < high:
        return Range(low, high, low_fixed, high_fixed)
    if low_fixed and high_fixed and not (asked.max is not None and math.isinf(asked.max)):
        raise ChartError("the lower end of the y axis has to be less than the upper one (yMin, yMax, yLimit)")
    if low_fixed:
        return Range(low, low + _room(low), True, False)
    if high_fixed:
        return Range(high - _room(high), high, False, True)
    middle, room = (low + high) / 2, _room(max(abs(low), abs(high)))
    return Range(middle - room, middle + room)


def _room(value: float) -> float:
    return 1.0 if abs(value) < 1e-9 else 0.1 * abs(value)


def steps_from(least: float, system: str) -> Iterator[float]:
    """Steps that read well, in ascending order, from about ``least`` on."""
    second = {"sec": 1.0, "msec": 1000.0}.get(system)
    if second is not None and second < least <= second * _DAYS:
        yield from (step * second for step in _CLOCK if step * second >= least * (1 - _SLACK))
    if second is not None and least > second:
        day = second * _DAYS
        yield from (step * day for step in _decimal(max(least / day, 1.0)) if step * day >= least * (1 - _SLACK))
    elif system == "binary":
        first = math.floor(math.log2(least) - _SLACK)
        yield from (2.0**power for power in count(first) if 2.0**power >= least * (1 - _SLACK))
    else:
        yield from _decimal(least)


def _decimal(least: float) -> Iterator[float]:
    first = math.floor(math.log10(least) - _SLACK)
    for power in count(first):
        for mantissa in (1, 2, 5):
            # The quotient is exact where the product of 0.1 is not.
            step = mantissa * 10.0**power if power >= 0 else mantissa / 10.0**-power
            if step >= least * (1 - _SLACK):
                yield step


def choose_step(limits: Range, divisors: Sequence[int], system: str) -> float:
    """The step with which one of ``divisors`` steps covers ``limits`` and leaves the least room."""
    span = limits.high - limits.low
    best, least_room = 0.0, math.inf
    for step in steps_from(span / max(divisors), system):
        if step * min(divisors) >= 2 * least_room + span:
            break
        bottom = step * math.floor(limits.low / step + _SLACK)
        for divisor in divisors:
            top = bottom + step * divisor
            room = max(top - limits.high, limits.low - bottom)
            if top >= limits.high - _SLACK * step and room < least_room:
                best, least_room = step, room
    return best


def linear_scale(limits: Range, asked: AxisOptions, divisors: Sequence[int], system: str, minor: int) -> Scale:
    """An axis with even steps; ``minor`` lines between two labels."""
    span = limits.high - limits.low
    if span <= max(abs(limits.low), abs(limits.high), _SMALLEST) * 1e-12:
        limits = _apart(limits)
        span = limits.high - limits.low
    step = asked.step or choose_step(limits, divisors, system)
    if span / step > _TICKS_MAX:
        step = choose_step(limits, divisors, system)
    bottom = limits.low if limits.low_fixed else step * math.floor(limits.low / step + _SLACK)
    top = limits.high if limits.high_fixed else step * math.ceil(limits.high / step - _SLACK)
    if not limits.high_fixed and asked.limit is not None:
        top = min(top, asked.limit)
    if not bottom < top:
        top = bottom + step
    first, last = math.ceil(bottom / step - _SLACK), math.floor(top / step + _SLACK)
    ticks = tuple(number * step for number in range(first, last + 1))
    part = step / (minor + 1)
    lines = range(math.ceil(bottom / part), math.floor(top / part) + 1)
    return Scale(
        bottom,
        top,
        ticks,
        tuple(labels_of(ticks, step, system)),
        tuple(number * part for number in lines if number % (minor + 1)),
    )


def _apart(limits: Range) -> Range:
    """Ends that float64 tells apart from their middle."""
    room = max(abs(limits.low), abs(limits.high), _SMALLEST) * 1e-9
    return Range(limits.low - room, limits.high + room, limits.low_fixed, limits.high_fixed)


def log_scale(limits: Range, base: float, system: str, minor: int) -> Scale:
    """An axis with a label at each power of ``base``, or at some of them where they are many.

    :raises ChartError: a part of the axis would be below zero.
    """
    if limits.low <= 0:
        raise ChartError("a logarithmic axis has no place for values up to zero (logBase, yMin)")
    first = math.floor(math.log(limits.low, base) + _SLACK)
    last = max(math.ceil(math.log(limits.high, base) - _SLACK), first + 1)
    stride = math.ceil((last - first) / 12)
    last = first + math.ceil((last - first) / stride) * stride
    ticks = tuple(base**power for power in range(first, last + 1, stride) if abs(power * math.log10(base)) < 305)
    if len(ticks) < 2:
        raise ChartError("the values are too large for a logarithmic axis")
    between = [low + (high - low) * part / (minor + 1) for low, high in pairwise(ticks) for part in range(1, minor + 1)]
    return Scale(ticks[0], ticks[-1], ticks, tuple(labels_of(ticks, None, system)), tuple(between), log=True)


def thinned(scale: Scale, most: int) -> tuple[tuple[float, str], ...]:
    """Ticks and labels, every so many if they are more than ``most``."""
    pairs = tuple(zip(scale.ticks, scale.labels, strict=True))
    stride = max(1, math.ceil(len(pairs) / max(most, 1)))
    return pairs[::stride]
