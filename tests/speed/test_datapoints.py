"""The compiled writer of JSON against the reference, and its numbers against repr."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd._speed import encode_compiled
from ingestd.query.grid import Series
from ingestd.serve.formats import json_bytes, to_json

START = 1_795_389_000
EDGES = [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e-5, 1e-4, 9.999e-5, 1e15, 1e16, 1e17,
         2.0**53, 2.0**53 + 2, 9007199254740993.0, 0.1 + 0.2, 1e22, 1e23, 5e-5, 123456.789, 2.0**63, 4.35, 0.000123,
         99999999.0, 100000000.0, 12345678.5, 0.3, 1 / 3, math.nan, math.inf, -math.inf]  # fmt: skip

decimals = st.builds(lambda n, places: n / 10**places, st.integers(-(10**17), 10**17), st.integers(0, 20))
floats = st.floats() | st.sampled_from(EDGES) | decimals | st.integers(-(2**60), 2**60).map(float)
rows = st.lists(floats, max_size=12)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def series(values, name="a", start=START, step=10, ints=False, tags=None, surplus=0):
    end = start + step * (len(values) + surplus)
    tags = {"name": name} if tags is None else tags
    return Series(name, name, tags, start, end, step, np.array(values, np.float64), ints=ints)


def numbers(values):
    """What the kernel writes for each value."""
    heads, times = [b""], [(len(values), 0, 1, False)]
    made = encode_compiled(heads, [values], times, False, b", ")
    return [pair.split(",")[0] for pair in made.decode()[3:-5].split("],[")]


def same_as_repr(values):
    values = values[np.isfinite(values)]
    assert numbers(values) == [repr(value) for value in values.tolist()]


many = st.lists(
    st.builds(
        series,
        rows,
        st.text(max_size=5) | st.just("a"),
        st.sampled_from([START, 0, -25, 9_999_999_985, 2**61]),
        st.sampled_from([1, 10, 60]),
        st.booleans(),
        st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        st.integers(-3, 2),
    ),
    max_size=5,
)


@given(many, st.booleans(), st.booleans())
def test_it_writes_what_the_reference_writes(answer, no_nulls, pretty):
    assert json_bytes(answer, no_nulls, pretty).decode() == to_json(answer, no_nulls, pretty)


@given(st.lists(st.integers(-(2**54), 2**54).map(float) | st.just(math.nan), max_size=9), st.booleans())
def test_integers_of_graphite(values, no_nulls):
    answer = [series(values, ints=True), series(values), series([-0.0, *values], ints=True)]
    assert json_bytes(answer, no_nulls).decode() == to_json(answer, no_nulls)


def test_rows_in_any_strides_and_read_only():
    matrix = np.arange(60, dtype=np.float64).reshape(6, 10) / 7
    matrix.flags.writeable = False
    for values in (matrix[:, 3], matrix[2, ::-1], matrix[1, 1:8:2], np.broadcast_to(np.float64(1.5), 9)):
        one = Series("a", "a", {"name": "a"}, 0, 100, 10, values)
        assert json_bytes([one]).decode() == to_json([one])


def test_an_answer_that_outgrows_its_estimate_and_its_cells():
    long = [series(np.random.default_rng(1).random(5_000) * 1e-300, start=start) for start in (0, 0, 10**11)]
    assert json_bytes(long).decode() == to_json(long)
    names = [series([1.0], name="n" * size) for size in (60_000, 10, 500_000)]
    assert json_bytes(names).decode() == to_json(names)


def test_times_beyond_64_bits_are_left_to_the_reference():
    for start in (2**62, -(2**62) - 5, 2**70):
        one = series([1.0, 2.0], start=start)
        assert json_bytes([one]).decode() == to_json([one])


def test_a_name_that_is_none_and_tags_of_another_name():
    one = series([1.0])
    one.name = 5
    assert json.loads(json_bytes([one]))[0]["target"] == 5
    assert json.loads(json_bytes([series([1.0], tags={"name": "b"})]))[0]["tags"] == {"name": "b"}


@pytest.mark.parametrize(
    ("values", "times", "error"),
    [
        (np.zeros(3, np.float32), (3, 0, 1, False), ValueError),
        (np.zeros((3, 3)), (3, 0, 1, False), ValueError),
        (np.zeros(3, ">f8"), (3, 0, 1, False), ValueError),
        (np.zeros(3), (4, 0, 1, False), ValueError),
        (np.zeros(3), (-1, 0, 1, False), ValueError),
        (np.zeros(3), (3, 0, 2**62, False), OverflowError),
        ("text", (3, 0, 1, False), TypeError),
    ],
)
def test_what_is_no_row_is_refused(values, times, error):
    with pytest.raises(error):
        encode_compiled([b""], [values], [times], False, b"")
    with pytest.raises(ValueError, match="as many"):
        encode_compiled([b"", b""], [values], [times], False, b"")


def test_powers_of_two_and_ten_and_their_neighbours():
    """Where the rounding interval is lopsided, and where the number of digits changes: all of them."""
    twos = 2.0 ** np.arange(-1074, 1024)
    tens = np.array([float(f"{digits}e{e}") for e in range(-324, 309) for digits in ("1", "9.5", "1.2345678901234567")])
    for base in (twos, tens):
        same_as_repr(np.concatenate([base, -base, np.nextafter(base, 0), np.nextafter(base, np.inf)]))


def test_ties_and_integers_beyond_2_to_53():
    steps = np.arange(3_000.0)
    same_as_repr(np.concatenate([(2.0**e + steps * 2.0 ** (e - 52)) for e in range(52, 70)]))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32))
def test_random_numbers_of_every_kind(effort, seed):
    random, n = np.random.default_rng(seed), effort(20_000, 500_000)
    same_as_repr(random.integers(0, 2**64, n, dtype=np.uint64).view(np.float64))
    same_as_repr(random.integers(0, 10**17, n) / 10.0 ** random.integers(0, 22, n))
    same_as_repr(np.round(random.random(n) * 10.0 ** random.integers(0, 9, n), 3))
    same_as_repr(random.integers(0, 2**20, n) / 2.0 ** random.integers(0, 60, n))
    same_as_repr(random.integers(1, 2**40, n, dtype=np.uint64).view(np.float64))
