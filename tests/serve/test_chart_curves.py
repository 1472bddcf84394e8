"""Series as a picture shows them: consolidated to its pixels, cut at gaps, thinned to columns of pixels."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingestd.query.grid import Series
from ingestd.serve.chart.curves import curves_of, envelope, extent, limits_of, runs_of, stack
from ingestd.serve.chart.options import ChartError, ChartLimits, parse_options

NAN = math.nan


def series(values, step=10, start=0, **more):
    values = np.array(values, np.float64)
    return Series("a", "a", {}, start, start + step * len(values), step, values, **more)


def curves(*shown, pixels=100.0, **params):
    options = parse_options(params, ChartLimits())
    start, end = extent(shown, options.line_mode)
    return curves_of(shown, options, end - start, pixels)


def test_points_closer_than_a_pixel_become_one():
    (curve,) = curves(series(range(401), consolidation_func="max"), pixels=100)
    assert (curve.step, curve.values.tolist()[:3]) == (40, [3, 7, 11])
    (curve,) = curves(series(range(401)), pixels=100, minXStep="10")
    assert (curve.step, curve.values.tolist()[:2]) == (400, [19.5, 59.5])
    (curve,) = curves(series(range(401)), pixels=100, minXStep="0")
    assert len(curve.values) == 401
    (curve,) = curves(series([1, NAN, NAN, NAN] * 100, x_files_factor=0.5), pixels=50)
    assert np.isnan(curve.values).all()
    with pytest.raises(ChartError, match="consolidation"):
        curves(series(range(400), consolidation_func="median"))


def test_series_of_other_steps_keep_their_times():
    fine, coarse = curves(series(range(10)), series([1, 2], step=50, start=25))
    assert fine.times.tolist() == [10.0 * at for at in range(10)]
    assert coarse.times.tolist() == [25, 75]


def test_colours_are_given_in_turn_to_those_that_have_none():
    chosen = curves(series([1]), series([1], options={"color": "white"}), series([1]), colorList="ff0000,00ff00")
    assert [curve.color[:3] for curve in chosen] == [(1, 0, 0), (1, 1, 1), (0, 1, 0)]
    with pytest.raises(ChartError, match="no colour: puce"):
        curves(series([1], options={"color": "puce"}))


def test_stacks_hold_what_is_missing_of_others_to_be_nothing():
    shown = curves(series([1, 1, NAN]), series([2, NAN, 2]))
    stack(shown, "stacked")
    assert shown[1].lower.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(shown[1].values, [3, NAN, 2])
    assert limits_of(shown) == (0, 3)


def test_each_axis_has_a_stack_of_its_own():
    shown = curves(series([1]), series([5], options={"secondYAxis": True}), series([2]))
    stack(shown, "stacked")
    assert [curve.values.tolist() for curve in shown] == [[1], [5], [3]]


def test_no_values_are_from_zero_to_one():
    assert limits_of([]) == (0, 1)
    assert limits_of(curves(series([NAN]))) == (0, 1)
    assert limits_of(curves(series([5], options={"drawAsInfinite": True}), series([3]))) == (3, 3)


@given(st.lists(st.sampled_from([NAN, 1.0, 2.0]), max_size=30), st.integers(0, 4))
def test_runs_are_what_lies_between_gaps(values, allowed):
    (curve,) = curves(series(values or [NAN]), minXStep="0")
    runs = runs_of(curve, "connected", allowed)
    drawn = np.concatenate([run.values for run in runs]) if runs else np.zeros(0)
    np.testing.assert_array_equal(drawn, [value for value in values if not math.isnan(value)])
    for run in runs:
        assert (np.diff(run.times) <= (allowed + 1) * 10).all()
    for before, after in pairwise(runs):
        assert after.times[0] - before.times[-1] > (allowed + 1) * 10


POINTS = arrays(np.float64, st.tuples(st.integers(1, 200), st.just(2)), elements=st.floats(0, 40))


@given(POINTS)
def test_an_envelope_has_the_lowest_and_the_highest_of_each_column(points):
    points = points[np.argsort(points[:, 0], kind="stable")]
    thin = envelope(points)
    assert len(thin) <= max(len(points), 3)
    columns, thinned = np.floor(points[:, 0]), np.floor(thin[:, 0])
    assert set(columns) == set(thinned)
    for column in set(columns):
        all_of, kept = points[columns == column, 1], thin[thinned == column, 1]
        assert (kept.min(), kept.max()) == (all_of.min(), all_of.max())
        if len(thin) < len(points):
            assert len(kept) <= 2
