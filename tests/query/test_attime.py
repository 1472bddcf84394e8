"""Graphite's times: epochs and offsets, days and times of day, zones, and garbage."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.attime import MAX_OFFSET, parse_offset, parse_time
from ingestd.query.limits import QueryError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = int(datetime(2026, 11, 22, 15, 30, 45, tzinfo=UTC).timestamp())  # a Sunday


def at(*parts: int, tz: ZoneInfo | None = None) -> int:
    return int(datetime(*parts, tzinfo=tz or UTC).timestamp())  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("", NOW),
        ("-", NOW),
        ("1795389600", 1795389600),
        ("12345", 12345),
        ("-1h", NOW - 3600),
        ("now-1d12h", NOW - 129600),
        ("-1mon", NOW - 30 * 86400),
        ("-1y", NOW - 365 * 86400),
        ("-2weeks", NOW - 14 * 86400),
        ("+90secs", NOW + 90),
        (" - 5 MINUTES ", NOW - 300),
        ("20261120", at(2026, 11, 20)),
        ("99991231", at(9999, 12, 31)),
        ("19001231", 19001231),
        ("20261340", 20261340),
        ("11/20/26", at(2026, 11, 20)),
        ("11/20/2026", at(2026, 11, 20)),
        ("1/2/95", at(1995, 1, 2)),
        ("nov 20", at(2026, 11, 20)),
        ("november7", at(2026, 11, 7)),
        ("midnight", at(2026, 11, 22)),
        ("noon yesterday", at(2026, 11, 21, 12)),
        ("teatime_tomorrow", at(2026, 11, 23, 16)),
        ("today", at(2026, 11, 22)),
        ("8:50", at(2026, 11, 22, 8, 50)),
        ("8:50pm", at(2026, 11, 22, 20, 50)),
        ("6pm", at(2026, 11, 22, 18)),
        ("6am 20261120", at(2026, 11, 20, 6)),
        ("12am", at(2026, 11, 22, 12)),
        ("12pm", at(2026, 11, 22)),
        ("sunday", at(2026, 11, 22)),
        ("monday", at(2026, 11, 16)),
        ("saturday", at(2026, 11, 21)),
        ("noon friday-1h", at(2026, 11, 20, 11)),
        ("04:00_20261120", at(2026, 11, 20, 4)),
    ],
)
def test_times(text: str, expected: int) -> None:
    assert parse_time(text, NOW, ZoneInfo("UTC")) == expected


@pytest.mark.parametrize(
    "text", ["-1m", "yesteryear", "25:00", "-1", "-h", "nov", "2/30/26", "6pm+yesterday", "1" * 20, "a" * 200]
)
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(QueryError):
        parse_time(text, NOW, BERLIN)


def test_days_begin_in_the_zone() -> None:
    assert parse_time("midnight", NOW, BERLIN) == at(2026, 11, 22, tz=BERLIN)
    assert parse_time("20260701", NOW, BERLIN) == at(2026, 6, 30, 22)


def test_hours_that_occur_twice_or_not_at_all_are_read_as_pytz_does() -> None:
    twice, never = "2:30 20261025", "2:30 20260329"
    assert parse_time(twice, NOW, BERLIN) == at(2026, 10, 25, 1, 30)
    assert parse_time(never, NOW, BERLIN) == at(2026, 3, 29, 1, 30)


def test_offsets_add_seconds_not_hours_of_the_clock() -> None:
    assert parse_time("midnight 20261026-1d", NOW, BERLIN) == at(2026, 10, 26, tz=BERLIN) - 86400


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("1h", 3600), ("-1h30min", -5400), ("+1d", 86400), ("10s", 10), ("1month", 2592000)]
)
def test_offsets(text: str, seconds: int) -> None:
    assert parse_offset(text) == seconds


@pytest.mark.parametrize("text", ["bogus", "1H", "1", "h", "1h-", " 1h", "1h 2h", "9" * 13 + "s", "99999999999y"])
def test_what_is_no_offset(text: str) -> None:
    with pytest.raises(QueryError):
        parse_offset(text)


@given(st.text(max_size=30) | st.text("0123456789:/+-_ ,apmnowdhsyinoutaTgtrjbf", max_size=20))
def test_garbage_gives_a_time_or_a_query_error(text: str) -> None:
    try:
        epoch = parse_time(text, NOW, BERLIN)
    except QueryError:
        return
    assert isinstance(epoch, int)


@given(st.integers(0, MAX_OFFSET))
def test_seconds_are_seconds(seconds: int) -> None:
    assert parse_offset(f"-{seconds}s") == -seconds
