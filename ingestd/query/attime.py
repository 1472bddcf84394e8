"""Graphite's at-time grammar (graphite-web 1.1.10, render/attime.py), with the clock and the time zone passed in.

A time is ``[reference][offset]``: an epoch, ``now``, a time of day, a day, or both, then signed offsets. Its oddities
are part of the contract: blanks, ``_`` and ``,`` vanish, ``12am`` is noon and ``12pm`` midnight, ``-1m`` has no unit,
a month is 30 days and a year 365, and ``+`` begins an offset even in ``6pm+tomorrow``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from ingestd.query.limits import QueryError

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
UNITS: Final = (
    ("s", 1),
    ("min", 60),
    ("h", 3_600),
    ("d", 86_400),
    ("w", 7 * 86_400),
    ("mon", 30 * 86_400),
    ("y", 365 * 86_400),
)
"""Beginnings of the units; the first that fits counts, so ``secs``, ``minutes`` and ``hr`` do too."""
LAST_EPOCH: Final = 253_402_300_799
"""The end of the year 9999, where calendars in Python end."""
MAX_OFFSET: Final = 10**11
"""Over 3,000 years: keeps sums of offsets far from the limits of 64 bits."""
TIMES_OF_DAY: Final = (("noon", 12), ("midnight", 0), ("teatime", 16))
DROPPED: Final = str.maketrans("", "", "_, ")
OFFSET_PART: Final = re.compile(r"([0-9]+)([A-Za-z]+)")


def parse_time(text: str, now: int, tz: tzinfo) -> int:
    """The epoch that ``text`` means at ``now`` in ``tz``. Raises :class:`QueryError`."""
    spoken = text.strip().lower().translate(DROPPED)
    if len(spoken) > 100:
        raise QueryError(f"a time of {len(spoken)} characters")
    try:
        if spoken.isdigit() and not is_date(spoken):
            epoch = int(spoken)
        else:
            sign = "+" if "+" in spoken else "-"
            reference, found, offset = spoken.partition(sign)
            epoch = parse_reference(reference, now, tz) + parse_offset(found + offset)
    except (ValueError, OverflowError) as error:
        raise QueryError(f"invalid time {text!r}: {error}") from error
    if not -LAST_EPOCH <= epoch <= LAST_EPOCH:
        raise QueryError(f"invalid time {text!r}: out of range")
    return epoch


def is_date(digits: str) -> bool:
    """Whether a string of digits is YYYYMMDD rather than an epoch."""
    return len(digits) == 8 and int(digits[:4]) > 1900 and int(digits[4:6]) < 13 and int(digits[6:]) < 32


def parse_offset(text: str) -> int:
    """Seconds of ``[+-]number unit...`` (``-1d12h``); one sign holds for all parts. Raises :class:`QueryError`."""
    if not text:
        return 0
    sign = -1 if text[0] == "-" else 1
    rest = text[1:] if text[0] in "+-" else text
    if not (text[0] in "+-" or text[0].isdigit()):
        raise QueryError(f"invalid offset {text!r}")
    total = position = 0
    while position < len(rest):
        part = OFFSET_PART.match(rest, position)
        if part is None or len(part[1]) > 12:
            raise QueryError(f"invalid offset {text!r}")
        seconds = next((seconds for prefix, seconds in UNITS if part[2].startswith(prefix)), None)
        if seconds is None:
            raise QueryError(f"invalid offset unit {part[2]!r}")
        total += int(part[1]) * seconds
        position = part.end()
    if total > MAX_OFFSET:
        raise QueryError(f"offset {text!r} is too long")
    return sign * total


def parse_reference(text: str, now: int, tz: tzinfo) -> int:
    """The epoch of ``[time of day][day]``. Raises ValueError, OverflowError or :class:`QueryError`."""
    if not text or text == "now":
        return now
    hour, minute, day = time_of_day(text)
    today = datetime.fromtimestamp(now, tz)
    return local_epoch(day_of(day, today.replace(hour=hour, minute=minute, second=0, microsecond=0, tzinfo=None)), tz)


def time_of_day(text: str) -> tuple[int, int, str]:
    """Hour and minute at the beginning of ``text`` (midnight if there are none), and the rest of it."""
    hour = minute = 0
    colon = text.find(":")
    if 0 < colon < 3:
        hour, minute, text = int(text[:colon]), int(text[colon + 1 : colon + 3]), text[colon + 3 :]
        if text[:2] in ("am", "pm"):
            hour = (hour + 12) % 24 if text[:2] == "pm" else hour
            text = text[2:]
    for suffix, more in (("am", 0), ("pm", 12)):
        at = text.find(suffix)
        if 0 < at < 3:
            hour, text = int(text[:at]), text[at + 2 :]
            hour = (hour + 12) % 24 if more else hour
    for word, named in TIMES_OF_DAY:
        if text.startswith(word):
            return named, 0, text[len(word) :]
    return hour, minute, text


def day_of(text: str, today: datetime) -> datetime:
    """``today``, a local time without zone, moved to the day that ``text`` names."""
    if text in ("", "today"):
        return today
    if text in ("yesterday", "tomorrow"):
        return today + timedelta(days=1 if text == "tomorrow" else -1)
    if text.count("/") == 2:
        month, day, year = map(int, text.split("/"))
        year += 1900 if year < 1900 else 0
        year += 100 if year < 1970 else 0
        return today.replace(year=year, month=month, day=day)
    if len(text) == 8 and text.isdigit():
        return today.replace(year=int(text[:4]), month=int(text[4:6]), day=int(text[6:]))
    if text[:3] in MONTHS:
        digits = text[-2:] if text[-2:].isdigit() else text[-1:]
        if not digits.isdigit():
            raise ValueError("day of month required after the month's name")
        return today.replace(month=MONTHS.index(text[:3]) + 1, day=int(digits))
    if text[:3] in WEEKDAYS:
        back = (today.isoweekday() - WEEKDAYS.index(text[:3])) % 7
        return today - timedelta(days=back)
    raise ValueError(f"unknown day {text!r}")


def local_epoch(local: datetime, tz: tzinfo) -> int:
    """The epoch of a local time. One that occurs twice is the second; one that is skipped counts as before the change.

    Those are the choices of pytz, and both are the later of the two readings that ``fold`` offers.
    """
    readings = [local.replace(tzinfo=tz, fold=fold).astimezone(UTC) for fold in (0, 1)]
    return int(max(readings).timestamp())
