"""The compiled table of spellings against a dict."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd._speed import PureTable, Table

keys = st.binary(max_size=3) | st.integers(0, 40).map(lambda n: b"some.longer.name.%d" % n)
changes = st.lists(
    st.tuples(st.just("put"), keys, st.integers(0, 2**32 - 1))
    | st.tuples(st.just("del"), keys)
    | st.tuples(st.just("add"), st.lists(keys, max_size=9)),
    max_size=60,
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


@given(changes)
def test_it_holds_what_a_dict_holds(ops):
    table, model = Table(), PureTable()
    for op, key, *rest in ops:
        if op == "put":
            table[key] = model[key] = rest[0]
        elif op == "add":
            ids = np.arange(len(model), len(model) + len(key), dtype=np.uint32)
            entered = len(set(key)) == len(key) and model.keys().isdisjoint(key)
            assert table.add(key, ids) is model.add(key, ids) is entered
        elif key in model:
            del table[key], model[key]
        else:
            with pytest.raises(KeyError):
                del table[key]
        assert len(table) == len(model)
    assert all(table.get(key) == series for key, series in model.items())
    asked = [*model, b"of nobody", *[key for op, key, *_ in ops if op != "add"], b"of nobody"]
    for names in (table, model):
        assert names.look_up(asked).tolist() == [model.get(key, 2**32 - 1) for key in asked]
        ends = np.cumsum([len(key) for key in asked]).astype(np.uint32)
        assert names.look_up_spans(b"".join(asked), ends).tolist() == names.look_up(asked).tolist()
        gone = names.missing(asked).tolist()
        assert [asked[place] for place in gone] == list(dict.fromkeys(key for key in asked if key not in model))
        assert gone == [asked.index(asked[place]) for place in gone]
    assert (table.get(b"of nobody"), b"of nobody" in table) == (None, False)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_it_grows_and_shrinks(seed, share):
    random = np.random.default_rng(seed)
    table, model = Table(), {}
    for round_ in range(6):
        names = [b"n%d.%d" % (round_, i) for i in range(random.integers(1, 3000))]
        ids = random.integers(0, 2**32, len(names), dtype=np.uint32)
        table.add(names, ids)
        model.update(zip(names, ids.tolist(), strict=True))
        for key in [key for key in model if random.random() < share]:
            del table[key], model[key]
        assert len(table) == len(model)
        assert all(table.get(key) == series for key, series in model.items())
        assert all(table.get(key) is None for key in names if key not in model)


def test_names_that_come_and_go_do_not_grow_without_end():
    table = Table()
    for i in range(200_000):
        table[b"name.%d" % i] = i
        if i >= 1000:
            del table[b"name.%d" % (i - 1000)]
    assert len(table) == 1000
    assert table.nbytes < 1 << 20
    assert [table.get(b"name.%d" % i) for i in range(199_000, 200_000)] == list(range(199_000, 200_000))


def test_what_is_not_entered_leaves_nothing():
    table = Table()
    table[b"b"] = 9
    many = [b"name.%d" % i for i in range(5000)]
    for taken in (b"b", many[7]):
        assert not table.add([*many, taken], np.arange(5001, dtype=np.uint32))
        assert len(table) == 1
        assert table.look_up([*many, b"b"]).tolist() == [2**32 - 1] * 5000 + [9]
    assert table.add(many, np.arange(5000, dtype=np.uint32))
    assert table.look_up([*many, b"b"]).tolist() == [*range(5000), 9]


@pytest.mark.parametrize("ends", [[4], [3, 2], [1, 2, 2**32 - 1]])
def test_spans_are_within_their_bytes(ends):
    for table in (Table(), PureTable()):
        with pytest.raises(ValueError, match="within"):
            table.look_up_spans(b"abc", np.array(ends, np.uint32))
        assert table.look_up_spans(b"abc", np.empty(0, np.uint32)).tolist() == []


def test_what_is_no_spelling_or_id_is_refused():
    table = Table()
    for key in ("text", None, 7, bytearray(b"a")):
        with pytest.raises(TypeError):
            table[key] = 1
        with pytest.raises(TypeError):
            table.get(key)
        for ask in (table.missing, table.look_up, lambda keys: table.add(keys, np.zeros(len(keys), np.uint32))):
            with pytest.raises(TypeError):
                ask([b"a", key])
    for series in (-1, 2**32):
        with pytest.raises(OverflowError):
            table[b"a"] = series
    with pytest.raises(ValueError, match="2 ids"):
        table.add([b"a"], np.zeros(2, np.uint32))
    assert len(table) == 0


def test_pure_is_a_choice(tmp_path):
    import subprocess
    import sys

    code = "import ingestd._speed as s; print(s.COMPILED, s.Table is s.PureTable)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "INGESTD_PURE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False True\n"
