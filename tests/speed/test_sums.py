"""The compiled sums over many series against numpy's, bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ingestd._speed import sums_compiled
from ingestd.query import reduce

matrices = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14),
    elements=st.floats() | st.sampled_from([0.0, -0.0, np.nan, 1e308, -1e308, 1e-300, 0.1]),
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def bits(values):
    """The bits of float64, those of every NaN the same."""
    return np.where(np.isnan(values), np.nan, values).view(np.uint64).tolist()


def reference(rows, name, factor):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduce, "sums_compiled", None)
        return reduce.across(rows, name, factor)


def same(rows, factor=0.0):
    with np.errstate(all="ignore"):
        for name in ("sum", "average", "count", "total", "avg", "max", "median"):
            assert bits(reduce.across(rows, name, factor)) == bits(reference(rows, name, factor)), name


@given(matrices, st.sampled_from([0.0, 0.5, 1.0]))
def test_it_adds_as_numpy_does(rows, factor):
    same(rows, factor)
    same(rows.T, factor)
    same(rows[::2, ::2], factor)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.integers(1, 300))
def test_the_order_of_many_rows_is_numpys(seed, n, points):
    random = np.random.default_rng(seed)
    rows = random.random((n, points)) * 10.0 ** random.integers(-9, 9, (n, points))
    rows[random.random((n, points)) < 0.2] = np.nan
    same(rows)


def test_an_array_of_another_kind_is_refused():
    for rows in (
        np.zeros((3, 0)),
        np.zeros((3, 1)),
        np.zeros((3, 3), np.float32),
        np.zeros(3),
        np.zeros((4, 4)).T[::2],
    ):
        with pytest.raises(ValueError):  # noqa: PT011 (each of another text)
            sums_compiled(rows)
