"""Rollups against whisper's own ``aggregate``."""

import struct

import numpy as np
import pytest
import whisper
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.rollup import METHODS, Profile, roll_up

VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0]))


def reference(values, profile):
    """One coarse slot by whisper's rule; NaN where it is not valid."""
    known = [v for v in values if v is not None]
    factor = struct.unpack("f", struct.pack("f", profile.x_files_factor))[0]
    if not known or len(known) / len(values) < factor:
        return np.nan
    return whisper.aggregate(profile.method, known, values)


def test_the_methods_are_whispers():
    assert sorted(METHODS) == sorted(whisper.aggregationMethods)


@given(
    st.sampled_from(sorted(METHODS)),
    st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]),
    st.integers(1, 7).flatmap(
        lambda ratio: st.lists(st.lists(VALUES, min_size=ratio * 3, max_size=ratio * 3), min_size=1, max_size=4)
    ),
)
def test_roll_up_equals_whisper(method, factor, rows):
    ratio = len(rows[0]) // 3
    profile = Profile(method, factor)
    fine = np.array([[np.nan if v is None else v for v in row] for row in rows])
    got = roll_up(fine, ratio, [profile], np.zeros(len(rows), np.uint16))
    expected = [[reference(row[i * ratio : (i + 1) * ratio], profile) for i in range(3)] for row in rows]
    np.testing.assert_array_equal(got, expected)


def test_the_factor_is_compared_in_single_precision():
    """whisper's header holds it as a float: 1 of 10 is less than 0.1."""
    fine = np.full((1, 10), np.nan)
    fine[0, 0] = 1.0
    assert np.isnan(roll_up(fine, 10, [Profile("min", 0.1)], np.zeros(1, np.uint16))[0, 0])


def test_profiles_are_applied_row_by_row():
    fine = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, np.nan]])
    profiles = [Profile("sum", 0.0), Profile("max", 1.0)]
    got = roll_up(fine, 2, profiles, np.array([0, 1, 1], np.uint16))
    np.testing.assert_array_equal(got, [[3.0], [2.0], [np.nan]])


def test_an_empty_grid_rolls_up_to_an_empty_grid():
    assert roll_up(np.empty((0, 6)), 6, [Profile("sum", 0.0)], np.empty(0, np.uint16)).shape == (0, 1)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_no_value_gives_no_value(method):
    assert np.isnan(roll_up(np.full((1, 6), np.nan), 6, [Profile(method, 0.0)], np.zeros(1, np.uint16))).all()
