"""What is done by bits and in pieces is what numpy does at once; the kernel of sums adds as numpy does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingestd._speed import row_sums_compiled
from ingestd.points import Values
from ingestd.query import reduce
from ingestd.query.arrays import CACHED, blanked, by_rows, zeroed
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import Labels

numbers = st.floats(allow_nan=True) | st.integers(-3, 3).map(float)
tables = st.tuples(st.integers(0, 3), st.integers(0, 9)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=numbers)
)


@given(tables, st.data())
def test_by_bits(values: Values, data: st.DataObject) -> None:
    for array in (values, values.T, values[:, ::-1]):
        where = data.draw(arrays(np.bool_, array.shape))
        np.testing.assert_array_equal(zeroed(array), np.where(np.isnan(array), 0.0, array))
        np.testing.assert_array_equal(blanked(array, where), np.where(where, np.nan, array))


def test_one_value_by_its_bits() -> None:
    for value in (np.float64("nan"), np.float64(3.0)):
        assert zeroed(value) == (0.0 if np.isnan(value) else value)
        assert np.isnan(blanked(value, np.bool_(True)))


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 30])
def test_by_rows(rows: int) -> None:
    values = np.arange(rows * CACHED // 8.0).reshape(rows, CACHED // 8)
    np.testing.assert_array_equal(by_rows(values, np.sum, 1), values.sum(axis=1))
    np.testing.assert_array_equal(by_rows(values, lambda some: some[:, 1:3] + 1), values[:, 1:3] + 1)


@given(st.integers(9, 700), st.integers(0, 2**32 - 1))
def test_kernel_of_row_sums(points: int, seed: int) -> None:
    if row_sums_compiled is None:
        pytest.skip("no kernels")
    random = np.random.default_rng(seed)
    values = random.normal(size=(3, points)) * 10.0 ** random.integers(-9, 9, size=(3, points))
    values[random.uniform(size=values.shape) < 0.2] = np.nan
    sums, counts = row_sums_compiled(values)
    np.testing.assert_array_equal(sums, reduce.total(values))
    np.testing.assert_array_equal(counts, reduce.known(values))
    with pytest.raises(ValueError, match="columns"):
        row_sums_compiled(np.zeros((2, 8)))


def test_rows_are_laid_together_when_their_array_is_asked_for() -> None:
    values = np.arange(12.0).reshape(6, 2)
    labels = Labels.called([str(row) for row in range(6)], 0.0)
    series = SeriesList([Grid(0, 20, 10, values, labels, np.arange(6))])
    most = series.pick(np.array([5, 3, 2, 0, 1])).pick(np.array([0, 2, 3, 4]))
    assert [np.shares_memory(each.values, values) for each in most.series()] == [True] * 4
    assert [(each.name, each.values.tolist()) for each in most.series()] == [
        ("5", [10, 11]),
        ("2", [4, 5]),
        ("0", [0, 1]),
        ("1", [2, 3]),
    ]
    (grid,) = most.grids
    assert grid.at(np.arange(1, 5)).values.tolist() == grid.values.tolist() == [[10, 11], [4, 5], [0, 1], [2, 3]]
    few = series.pick(np.array([1, 0]))
    assert not np.shares_memory(few.series()[0].values, values)
    grid.values = np.zeros((4, 1))
    assert [each.values.tolist() for each in most.series()] == [[0.0]] * 4
