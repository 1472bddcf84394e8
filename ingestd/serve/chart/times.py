"""The time axis: where its labels are, in the time zone of the request, and what they say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from ingestd.serve.chart.options import ChartError

_MINUTE: Final = 60
_HOUR: Final = 3_600
_DAY: Final = 86_400
_MONTH: Final = 30 * _DAY
_YEAR: Final = 365 * _DAY

_STEPS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 4, 6, 12)),
    *(days * _DAY for days in (1, 2, 3, 7, 14)),
    *(months * _MONTH for months in (1, 3, 6)),
    *(years * _YEAR for years in (1, 2, 5, 10, 20, 50)),
)
_PARTS: Final = {1: 1, 2: 2, 5: 5, 10: 5, 15: 3, 30: 3, 12: 4, 3: 3, 4: 4, 6: 6, 7: 7, 14: 2, 20: 4, 50: 5}
"""Lines between two labels: into how many parts they cut a step of so many units."""
_TICKS_MAX: Final = 400


@dataclass(frozen=True, slots=True)
class TimeTicks:
    """Seconds since the epoch at which labels and lines are; a label may be empty."""

    ticks: tuple[int, ...]
    labels: tuple[str, ...]
    minor: tuple[int, ...]


def local(second: int, tz: tzinfo) -> datetime:
    """A second in a time zone.

    :raises ChartError: it is outside of the calendar.
    """
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(tz)
    except (OverflowError, ValueError):
        raise ChartError("the time is outside of the calendar") from None


def _seconds(moment: datetime, tz: tzinfo) -> int:
    """The second of a local time; of one that clocks skip, the second at which they do."""
    aware = moment.replace(tzinfo=tz)
    return round((aware - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def _starts(start: datetime, step: int) -> tuple[datetime, Callable[[datetime], datetime]]:
    """The last local time at or before ``start`` at which a step begins, and the way from one to the next."""
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    if step < _DAY:
        into = int((start - midnight).total_seconds())
        return midnight + timedelta(seconds=into - into % step), lambda moment: moment + timedelta(seconds=step)
    if step < _MONTH:
        days = step // _DAY
        # Weeks begin on Mondays; other steps count from the first day of the calendar.
        into = (midnight.toordinal() - 1) % days
        return midnight - timedelta(days=into), lambda moment: moment + timedelta(days=days)
    months = step // _MONTH if step < _YEAR else 12 * (step // _YEAR)
    index = start.year * 12 + start.month - 1
    first = midnight.replace(day=1)

    def at(number: int) -> datetime:
        return first.replace(year=number // 12, month=number % 12 + 1)

    return at(max(index - index % months, 12)), lambda moment: at(moment.year * 12 + moment.month - 1 + months)


def ticks_of(start: int, end: int, step: int, tz: tzinfo) -> tuple[int, ...]:
    """The seconds from ``start`` to ``end`` at which a step of the local clock or calendar begins, ascending."""
    moment, following = _starts(local(start, tz).replace(tzinfo=None), step)
    out: list[int] = []
    try:
        for _ in range(_TICKS_MAX):
            second = _seconds(moment, tz)
            if second > end:
                break
            # An hour that clocks repeat would give a time twice, one that they skip none.
            if second >= start and (not out or second > out[-1]):
                out.append(second)
            moment = following(moment)
    except (OverflowError, ValueError):  # the calendar ends
        pass
    return tuple(out)


def _format_of(step: int) -> str:
    if step < _MINUTE:
        return "%H:%M:%S"
    if step < _DAY:
        return "%H:%M"
    if step < _MONTH:
        return "%-d %b"
    return "%b %Y" if step < _YEAR else "%Y"


def label_at(second: int, step: int, tz: tzinfo, x_format: str = "") -> str:
    """What is written at a tick: the time, at midnight the date.

    :raises ChartError: the format is none.
    """
    moment = local(second, tz)
    if x_format:
        try:
            return moment.strftime(x_format)
        except (ValueError, UnicodeError):
            raise ChartError("xFormat is no format of times") from None
    if _MINUTE <= step < _DAY and moment.hour == moment.minute == 0:
        return moment.strftime("%-d %b")
    return moment.strftime(_format_of(step))


def _minor_step(step: int) -> int:
    if step >= _MONTH:
        return 0 if step >= _YEAR else step // 3 if step > _MONTH else 0
    if step == 2 * _DAY:
        return _DAY
    if step == _DAY:
        return 6 * _HOUR
    unit = next(size for size in (_DAY, _HOUR, _MINUTE, 1) if step >= size)
    units = step // unit
    parts = _PARTS.get(units, 1)
    if units == 1:
        return {_HOUR: 15 * _MINUTE, _MINUTE: 15}.get(unit, 0)
    return step // parts


def time_ticks(
    start: int, end: int, tz: tzinfo, pixels: float, width_of: Callable[[str], float], x_format: str = ""
) -> TimeTicks:
    """The densest ticks whose labels have room on ``pixels``; ``width_of`` measures a label.

    :raises ChartError: the format is none.
    """
    span = max(end - start, 1)
    for step in _STEPS:
        if step * pixels / span < 24:
            continue
        ticks = ticks_of(start, end, step, tz)
        labels = tuple(label_at(tick, step, tz, x_format) for tick in ticks)
        widest = max(map(width_of, labels), default=0.0)
        # Labels a quarter of their own width and some pixels apart are read as a row, not as a line of text.
        if step * pixels / span >= widest * 1.25 + 8 or step == _STEPS[-1]:
            minor_step = _minor_step(step)
            minor = ticks_of(start, end, minor_step, tz) if minor_step and span / minor_step < _TICKS_MAX else ()
            return TimeTicks(ticks, labels, tuple(sorted(set(minor) - set(ticks))))
    stride = _STEPS[-1] * math.ceil(span / _STEPS[-1])
    return TimeTicks((start,), (label_at(start, stride, tz, x_format),), ())
