"""Rates of counters; a real collectd's are held by test_collectd_graphite.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.rates import SECOND, Rate, forget_after
from ingestd.wire.typesdb import ABSOLUTE, COUNTER, DERIVE

START = 1_700_000_000 * SECOND
NOW = 1_700_000_000.0


def rates(kind, low=-math.inf, high=math.inf):
    return Rate(kind, low, high)


def feed(state, samples, interval=10):
    """Rates of ``(seconds, raw)``; each arrives when it was taken."""
    return [state.update(raw, START + int(s * SECOND), interval * SECOND, NOW + s) for s, raw in samples]


@pytest.mark.parametrize(
    ("kind", "first", "second", "expected"),
    [
        (DERIVE, 100, 150, 5.0),
        (DERIVE, 150, 100, -5.0),
        (DERIVE, 2**63 - 1, -(2**63) + 9, 1.0),
        (DERIVE, -(2**63), 2**63 - 10, -1.0),
        (COUNTER, 100, 150, 5.0),
        (COUNTER, 2**32 - 1, 9, 1.0),
        (COUNTER, 2**32 - 1, 2**32 + 9, 1.0),
        (COUNTER, 2**32, 0, (2**64 - 2**32) / 10),
        (COUNTER, 2**64 - 1, 9, 1.0),
        (COUNTER, 0, 2**64 - 1, float(2**64 - 1) / 10),
        (ABSOLUTE, 7, 50, 5.0),
    ],
)
def test_rate(kind, first, second, expected):
    assert feed(rates(kind), [(0, first), (10, second)])[1] == expected


def test_first_value():
    assert feed(rates(DERIVE), [(0, 5)]) == [None]
    assert feed(rates(COUNTER), [(0, 5)]) == [None]
    assert feed(rates(ABSOLUTE), [(0, 5)]) == [0.5]


def test_rate_outside_the_bounds_is_none_and_the_next_one_counts_from_there():
    assert feed(rates(DERIVE, 0), [(0, 100), (10, 50), (20, 60)]) == [None, None, 1.0]
    assert feed(rates(COUNTER, 0, 10), [(0, 0), (10, 100), (20, 201)]) == [None, 10.0, None]


def test_value_that_is_too_old_gives_the_previous_rate_and_changes_nothing():
    state = rates(DERIVE)
    assert feed(state, [(0, 0), (10, 50), (10, 99), (5, 1), (20, 150)]) == [None, 5.0, 5.0, 5.0, 10.0]
    assert feed(rates(DERIVE), [(0, 0), (0, 50)]) == [None, None]


def test_time_differences_are_exact():
    state = rates(DERIVE)
    state.update(0, START + 1, 10 * SECOND, NOW)
    assert state.update(1, START + 2, 10 * SECOND, NOW) == float(SECOND)


def test_series_is_forgotten_after_twice_its_interval():
    assert feed(rates(DERIVE), [(0, 0), (20, 20), (41, 41), (51, 61)]) == [None, 1.0, None, 2.0]


def test_what_a_sender_held_back_keeps_its_series():
    """A part-filled buffer leaves when it is full: values of every second may arrive minutes apart."""
    state = rates(DERIVE)
    state.update(0, START, 10 * SECOND, NOW)
    assert state.update(10, START + 10 * SECOND, 10 * SECOND, NOW + 500) == 1.0


def test_what_is_too_old_does_not_keep_a_future_value():
    state = rates(DERIVE)
    state.update(0, START + 10**6 * SECOND, 10 * SECOND, NOW)
    got = [state.update(s, START + s * SECOND, 10 * SECOND, NOW + s) for s in (10, 20, 30, 40)]
    assert got == [None, None, None, 1.0]


def test_forged_interval_holds_no_series_for_ever():
    assert forget_after((1 << 64) - 1) == 2 * 86400
    assert forget_after(10 * SECOND) == 20.0


def test_clock_that_is_set_back_forgets_nothing():
    state = rates(DERIVE)
    state.update(0, START, 10 * SECOND, NOW)
    assert state.update(10, START + 10 * SECOND, 10 * SECOND, NOW - 3600) == 1.0


@given(
    st.sampled_from([COUNTER, DERIVE, ABSOLUTE]),
    st.lists(
        st.tuples(st.integers(1, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(1, 2**64 - 1), st.floats(0, 1e10)),
        max_size=20,
    ),
)
def test_rates_are_finite_and_within_their_bounds(kind, samples):
    state = rates(kind, 0, 1e30)
    for time, raw, interval, now in samples:
        signed = raw - 2**63 if kind == DERIVE else raw
        rate = state.update(signed, time, interval, now)
        assert rate is None or 0 <= rate <= 1e30
