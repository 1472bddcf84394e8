"""What is written in pickle and msgpack is what their own readers read."""

import json
import math
import pickle
import pickletools

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.grid import Series
from ingestd.serve.binary import Column, msgpack_bytes, pickle_bytes, series_records

texts = st.text(st.characters(exclude_categories=[]), max_size=20)
whole = st.integers(-(2**63), 2**63 - 1)
scalars = st.none() | st.booleans() | whole | st.floats(allow_nan=False) | texts
plain = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=30
)
rows = st.lists(st.floats() | st.integers(-(2**53) + 1, 2**53 - 1).map(float), max_size=40)


def unpacked(data):
    return msgpack.unpackb(data, raw=False, unicode_errors="surrogatepass", strict_map_key=False)


@given(plain)
def test_plain_data_is_read_as_it_was(data):
    assert pickle.loads(pickle_bytes(data)) == data
    assert unpacked(msgpack_bytes(data)) == data


@given(rows, st.booleans())
def test_values_are_read_as_they_were(values, ints):
    array = np.array(values, np.float64)
    if ints:
        array = np.trunc(array)
    expected = [None if math.isnan(value) else value for value in array.tolist()]
    exact = all(value is None or abs(value) < 2**53 for value in expected)
    column = Column(array, ints)
    for found in (pickle.loads(pickle_bytes(column)), unpacked(msgpack_bytes(column))):
        assert found == expected
        assert {type(value) for value in found} <= {type(None), int if ints and exact else float}


@given(st.integers())
def test_a_pickle_holds_integers_of_any_size(number):
    assert pickle.loads(pickle_bytes([number, -number])) == [number, -number]


def test_a_pickle_names_no_class_and_suits_any_reader():
    data = pickle_bytes([{"a": [1, 2**40, 1.5, None, True, "ä", Column(np.array([1, math.nan]))]}])
    opcodes = {opcode.name: opcode.proto for opcode, _, _ in pickletools.genops(data)}
    assert max(opcodes.values()) <= 2
    assert not {"GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ"} & opcodes.keys()


def test_what_is_not_plain_is_a_bug():
    with pytest.raises(TypeError):
        pickle_bytes([object()])
    with pytest.raises(TypeError):
        msgpack_bytes([object()])


def test_a_series_is_told_as_graphite_web_tells_it():
    one = Series("a", "b.*", {"name": "a"}, 60, 90, 10, np.array([1.0, math.nan, 3.0]), "max", 0.5)
    one.ints = True
    number = Series(5, "c", {}, 0, 10, 10, np.array([0.5]))
    (first, second) = pickle.loads(pickle_bytes(series_records([one, number])))
    assert json.dumps(first) == (
        '{"name": "a", "start": 60, "end": 90, "step": 10, "values": [1, null, 3], "pathExpression": "b.*", '
        '"valuesPerPoint": 1, "consolidationFunc": "max", "xFilesFactor": 0.5}'
    )
    assert second["name"] == "5"
    assert unpacked(msgpack_bytes(series_records([one, number]))) == [first, second]
