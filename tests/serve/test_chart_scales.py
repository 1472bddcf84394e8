"""Axes: where they begin and end, where labels are and what they say, for values and for times."""

import math
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingestd.serve.chart.options import AxisOptions, ChartError
from ingestd.serve.chart.scales import Range, linear_scale, log_scale, range_of, thinned
from ingestd.serve.chart.times import local, ticks_of, time_ticks
from ingestd.serve.chart.units import label_of, labels_of

NOTHING = AxisOptions()
DIVISORS = (4, 5, 6)
SYSTEMS = st.sampled_from(["si", "binary", "sec", "msec", "none"])
VALUES = st.floats(-1e15, 1e15).filter(lambda value: value == 0 or abs(value) > 1e-9)
BERLIN = ZoneInfo("Europe/Berlin")


def scale(low, high, asked=NOTHING, system="si", minor=1, divisors=DIVISORS):
    return linear_scale(range_of(low, high, asked), asked, divisors, system, minor)


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "system", "labels"),
    [
        (3, 97, "si", "0 20 40 60 80 100"),
        (-80, 90, "si", "−100 −50 0 50 100"),
        (0, 1, "si", "0.0 0.2 0.4 0.6 0.8 1.0"),
        (0, 1_900_000, "si", "0.0 M|0.5 M|1.0 M|1.5 M|2.0 M"),
        (1_000_000, 1_000_000.3, "si", None),
        (0, 5 * 2**20, "binary", "0 Mi|1 Mi|2 Mi|3 Mi|4 Mi|5 Mi"),
        (0, 5 * 3600, "sec", "0 H|1 H|2 H|3 H|4 H|5 H"),
        (0, 50_000, "msec", "0 s|10 s|20 s|30 s|40 s|50 s"),
        (0, 5e9, "none", "0 1e9 2e9 3e9 4e9 5e9"),
        (0, 4e-12, "si", "0 1e−12 2e−12 3e−12 4e−12"),
    ],
)
def test_labels_are_short_and_share_their_unit(low, high, system, labels):
    made = scale(low, high, system=system)
    if labels is None:
        assert made.labels[:2] == ("1000000.00", "1000000.05")
        return
    assert list(made.labels) == labels.replace("e−", "e-").split("|" if "|" in labels else " ")


@given(VALUES, VALUES, SYSTEMS)
def test_an_axis_holds_its_values_and_its_labels_tell_apart(low, high, system):
    low, high = sorted((low, high))
    assume(high - low > 1e-9 * max(abs(low), abs(high)) or low == high)
    made = scale(low, high, system=system)
    slack = 1e-3 * (made.top - made.bottom)
    assert made.bottom - slack <= low <= high <= made.top + slack
    assert 2 <= len(made.ticks) <= 15
    assert list(made.ticks) == sorted(made.ticks)
    assert len(set(made.labels)) == len(made.labels)
    assert max(map(len, made.labels)) <= 22


@given(VALUES, VALUES)
def test_limits_that_are_asked_for_are_kept(low, high):
    assume(high - low > 1e-9 * max(abs(low), abs(high)))
    made = scale(0, 1, AxisOptions(min=low, max=high))
    assert (made.bottom, made.top) == (low, high)


def test_what_is_asked_of_an_axis():
    assert scale(3, 97, AxisOptions(max=math.inf)).top == 97
    assert scale(3, 97, AxisOptions(limit=50)).top == 50
    assert scale(3, 97, AxisOptions(limit=99)).top == 99
    assert scale(3, 97, AxisOptions(step=30)).ticks == (0, 30, 60, 90, 120)
    assert len(scale(3, 97, AxisOptions(step=1e-6)).ticks) == 6
    assert scale(3, 97, divisors=(2, 3)).ticks == (0, 50, 100)
    assert len(scale(3, 97, minor=3).minor) == 3 * 5
    assert scale(3, 97, minor=0).minor == ()
    assert scale(5, 5).ticks[0] < 5 < scale(5, 5).ticks[-1]
    assert scale(0, 0).bottom < 0 < scale(0, 0).top
    with pytest.raises(ChartError, match="lower end"):
        scale(0, 1, AxisOptions(min=5, max=5))
    assert scale(0, 1, AxisOptions(min=5)).bottom == 5
    assert scale(0, 1, AxisOptions(max=-5)).top == -5


def test_logarithmic_axes():
    made = log_scale(Range(3, 800), 10, "si", 1)
    assert made.labels == ("1", "10", "100", "1 k")
    assert made.heights(np.array([1.0, 10, 1000, 0, -1])) == pytest.approx(
        [0, 1 / 3, 1, math.nan, math.nan], nan_ok=True
    )
    assert log_scale(Range(1, 1024), 2, "si", 0).labels == (
        "1",
        "2",
        "4",
        "8",
        "16",
        "32",
        "64",
        "128",
        "256",
        "512",
        "1024",
    )
    assert len(log_scale(Range(1e-100, 1e100), 10, "si", 0).ticks) <= 13
    with pytest.raises(ChartError, match="logarithmic"):
        log_scale(Range(0, 5), 10, "si", 1)


def test_labels_that_have_no_room_are_left_out():
    made = scale(0, 100)
    assert [label for _, label in thinned(made, 100)] == list(made.labels)
    assert [label for _, label in thinned(made, 3)] == ["0", "40", "80"]


def test_one_value_by_itself():
    assert [label_of(value, "si") for value in (0, 5, 1234, 12.345, 1234567, -0.25, 1e-9, 65_536, 1e20)] == [
        "0",
        "5",
        "1234",
        "12.3",
        "1.23 M",
        "−0.25",
        "1e-9",
        "65536",
        "100000 P",
    ]
    assert label_of(1e20, "none") == "1e20"
    assert labels_of([], 1, "si") == []


# --- times ---------------------------------------------------------------------------------------------------------


def epoch(*moment, tz=UTC):
    return int(datetime(*moment, tzinfo=tz).timestamp())


def ticks(start, end, tz=UTC, pixels=400, x_format=""):
    return time_ticks(start, end, tz, pixels, lambda text: 6.0 * len(text), x_format)


def test_days_begin_at_midnight_when_clocks_change():
    start, end = epoch(2026, 10, 24, tz=BERLIN), epoch(2026, 10, 28, tz=BERLIN)
    days = ticks_of(start, end, 86_400, BERLIN)
    assert [local(day, BERLIN).hour for day in days] == [0] * 5
    assert np.diff(days).tolist() == [86_400, 25 * 3600, 86_400, 86_400]
    hours = ticks_of(epoch(2026, 3, 29, tz=BERLIN), epoch(2026, 3, 29, 6, tz=BERLIN), 3600, BERLIN)
    assert [local(hour, BERLIN).hour for hour in hours] == [0, 1, 3, 4, 5, 6]


def test_midnight_shows_the_date():
    made = ticks(epoch(2026, 11, 21, 20), epoch(2026, 11, 22, 4))
    assert "22 Nov" in made.labels
    assert "22:00" in made.labels


def test_weeks_months_and_years():
    assert [local(day, UTC).weekday() for day in ticks_of(0, 10**7, 7 * 86_400, UTC)] == [0] * 16
    months = ticks_of(epoch(2025, 1, 15), epoch(2026, 1, 15), 30 * 86_400, UTC)
    assert [local(month, UTC).day for month in months] == [1] * 12
    made = ticks(epoch(2001, 5, 5), epoch(2026, 5, 5))
    assert made.labels[:2] == ("2005", "2010")


@given(
    st.integers(0, 4 * 10**9),
    st.integers(1, 10**9),
    st.sampled_from([UTC, BERLIN, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/St_Johns")]),
    st.integers(10, 2000),
)
def test_labels_of_times_have_room(start, span, tz, pixels):
    made = ticks(start, start + span, tz, pixels)
    assert len(made.ticks) == len(made.labels)
    assert all(start <= tick <= start + span for tick in made.ticks + made.minor)
    assert list(made.ticks) == sorted(set(made.ticks))
    assert not set(made.ticks) & set(made.minor)
    places = [(tick - start) / span * pixels for tick in made.ticks]
    # A clock that is put forward or back, and months of 28 days, take up to a tenth.
    assert all(
        later - earlier > 6.0 * len(label) * 0.8
        for earlier, later, label in zip(places, places[1:], made.labels, strict=False)
    )


def test_the_end_of_the_calendar():
    far = 253_402_300_700
    assert ticks(far - 100, far + 99).labels[0] == "23:57"
    with pytest.raises(ChartError, match="calendar"):
        ticks(far + 100, far + 1000)
