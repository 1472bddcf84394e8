"""The kernels that read many series where they are kept, against numpy over an array of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ingestd._speed import rows_compiled as rows

MANNERS = ("sum", "max", "min")
ids = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 40), unique=True, max_size=30)
matrices = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.floats() | st.sampled_from([0.0, -0.0, np.nan, 1e308, -1e308, 0.1]),
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def folded(values, manner):
    """The totals and counts of float64[n, slots], added row after row."""
    total = np.full(values.shape[1], 0.0 if manner == "sum" else np.nan)
    for row in values:
        known = np.where(np.isnan(row), 0.0, row)
        total = total + known if manner == "sum" else (np.fmax if manner == "max" else np.fmin)(total, row)
    return total, np.count_nonzero(~np.isnan(values), axis=0).astype(float)


def check(got, expected, manner):
    assert np.array_equal(got[0], expected[0], equal_nan=True)
    assert np.array_equal(got[1], expected[1])
    if manner == "sum":
        assert (
            np.where(np.isnan(got[0]), 0, np.signbit(got[0])).tolist()
            == np.where(np.isnan(got[0]), 0, np.signbit(expected[0])).tolist()
        )


@given(ids, ids, st.randoms())
def test_series_are_found_whatever_was_guessed(have, want, random):
    have, want = np.array(sorted(have), np.uint32), np.array(want, np.uint32)
    guesses = [random.randrange(-3, len(have) + 3) for _ in want]
    for guess in (guesses, [-1] * len(want), list(range(len(want)))):
        places = np.array(guess, np.intp)
        found = rows.locate(have, want, places)
        index = {number: at for at, number in enumerate(have.tolist())}
        expected = [index.get(number, -1) for number in want.tolist()]
        assert places.tolist() == expected
        assert found == sum(place >= 0 for place in expected)


@given(matrices, st.data())
def test_rows_and_columns_are_folded_in_their_order(data, draw):
    n, length = data.shape
    low = draw.draw(st.integers(0, length))
    high = draw.draw(st.integers(low, length))
    places = np.array(draw.draw(st.lists(st.integers(-1, n - 1), max_size=20)), np.intp)
    chosen = data[places[places >= 0], low:high]
    touched = np.array(draw.draw(st.lists(st.booleans(), min_size=length, max_size=length)), np.bool_)
    for number, manner in enumerate(MANNERS):
        with np.errstate(all="ignore"):
            start = 0.0 if manner == "sum" else np.nan
            totals, counts = np.full(high - low, start), np.zeros(high - low)
            rows.fold_rows(data, places, low, high, number, totals, counts)
            check((totals, counts), folded(chosen, manner), manner)
            ring = np.ascontiguousarray(data.T)
            totals, counts = np.full(high - low, start), np.zeros(high - low)
            columns = places.astype(np.int32)
            rows.fold_columns(ring, columns, touched.view(np.uint8), low, high, number, totals, counts)
            seen = np.where(touched[low:high], chosen, np.nan)
            check((totals, counts), folded(seen, manner), manner)


@given(matrices, st.data())
def test_rows_are_laid_where_they_have_values(data, draw):
    n, length = data.shape
    low = draw.draw(st.integers(0, length))
    high = draw.draw(st.integers(low, length))
    have = np.arange(n, dtype=np.uint32) * 3 + 5
    want = np.array(draw.draw(st.lists(st.integers(0, 3 * n + 8), max_size=20)), np.uint32)
    out = np.full((len(want), length + 2), 7.0)
    part = out[:, 1 : 1 + high - low]
    expected = part.copy()
    used = set()
    for row, number in enumerate(want.tolist()):
        place, other = divmod(number - 5, 3)
        if not other and 0 <= place < n:
            values = data[place, low:high]
            expected[row] = np.where(np.isnan(values), 7.0, values)
            used.add(place // 2)
    marks = np.zeros(-(-n // 2), np.uint8)
    if low < high:
        assert sorted(rows.lay_known(data, have, 2, marks, want, low, high, part)) == sorted(used)
    assert (out == 7.0).all(), "nothing is laid before all is verified"
    marks[sorted(used)] = 1
    assert rows.lay_known(data, have, 2, marks, want, low, high, part) == []
    assert np.array_equal(part, expected)
    assert (out[:, [0, *range(1 + high - low, length + 2)]] == 7.0).all()


@given(st.lists(st.integers(-1, 29), max_size=20), st.lists(st.booleans(), min_size=10, max_size=10))
def test_runs_without_a_mark(places, marks):
    found = rows.unmarked(np.array(places, np.intp), 3, np.array(marks, np.bool_).view(np.uint8))
    assert sorted(found) == sorted({place // 3 for place in places if place >= 0 and not marks[place // 3]})


def test_what_does_not_fit_is_refused():
    data, places, out = np.zeros((3, 4)), np.zeros(2, np.intp), np.zeros(4)
    with pytest.raises(ValueError, match="columns 0 to 5"):
        rows.fold_rows(data, places, 0, 5, 0, np.zeros(5), np.zeros(5))
    with pytest.raises(ValueError, match="columns 0 to 4"):
        rows.fold_rows(data, places, 0, 4, 0, out, np.zeros(3))
    with pytest.raises(IndexError, match="row 3"):
        rows.fold_rows(data, places + 3, 0, 4, 0, out, out)
    have, marks = np.arange(3, dtype=np.uint32), np.ones(3, np.uint8)
    with pytest.raises(ValueError, match="over 1 x 4"):
        rows.lay_known(data, have, 1, marks, have[:2], 0, 4, np.zeros((1, 4)))
    with pytest.raises(ValueError, match="one after the other"):
        rows.lay_known(data, have, 1, marks, have[:2], 0, 4, np.zeros((4, 2)).T)
    with pytest.raises(ValueError, match="4 ids of 3 rows"):
        rows.lay_known(data, np.arange(4, dtype=np.uint32), 1, marks, have[:2], 0, 4, np.zeros((2, 4)))
    with pytest.raises(IndexError, match="run 1"):
        rows.lay_known(data, have, 1, marks[:1], have[:2], 0, 4, np.zeros((2, 4)))
    with pytest.raises(IndexError, match="column 4"):
        rows.fold_columns(data, np.full(2, 4, np.int32), np.ones(3, np.uint8), 0, 3, 0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="2 slots"):
        rows.fold_columns(data, np.zeros(2, np.int32), np.ones(2, np.uint8), 0, 3, 0, np.zeros(3), np.zeros(3))
    with pytest.raises(ValueError, match="2 ids"):
        rows.locate(np.zeros(1, np.uint32), np.zeros(2, np.uint32), np.zeros(1, np.intp))
    with pytest.raises(IndexError, match="run 1"):
        rows.unmarked(np.array([3]), 2, np.zeros(1, np.uint8))
