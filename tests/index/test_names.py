import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index.names import Names, NameTakenError


def ids(*numbers):
    return np.array(numbers, np.uint32)


def loaded(paths, first=0):
    names = Names()
    keys = [p.encode() for p in paths]
    offsets = np.concatenate([[0], np.cumsum([len(k) for k in keys])]).astype(np.int64)
    names.load(np.arange(first, first + len(keys), dtype=np.uint32), b"".join(keys), offsets)
    return names


def test_an_added_path_is_found_by_its_spelling():
    names = Names()
    names.add(ids(0, 1), ["a.b", "ü.c"])
    assert names.get(b"a.b") == 0
    assert names.get("ü.c".encode()) == 1
    assert names.get(b"a.c") is None
    assert names.path(1) == "ü.c"
    assert names.paths(ids(1, 0)) == ["ü.c", "a.b"]
    assert len(names) == 2


def test_load_equals_add():
    paths = [f"host{i}.load" for i in range(100)]
    assert loaded(paths).keys == [p.encode() for p in paths]
    sparse = Names()
    sparse.load(ids(3, 7), b"aabb", np.array([0, 2, 4], np.uint32))
    assert sparse.keys == [None, None, None, b"aa", None, None, None, b"bb"]
    assert sparse.get(b"bb") == 7
    with pytest.raises(KeyError):
        sparse.path(4)
    with pytest.raises(KeyError):
        sparse.path(-1)


def test_an_empty_load_changes_nothing():
    assert len(loaded([])) == 0


def test_ids_ascend_and_paths_are_unique():
    names = loaded(["a", "b"])
    with pytest.raises(ValueError, match="ascend"):
        names.add(ids(1), ["c"])
    with pytest.raises(ValueError, match="ascend"):
        names.add(ids(3, 3), ["c", "d"])
    with pytest.raises(ValueError, match="names"):
        names.add(ids(3), ["c", "d"])
    with pytest.raises(NameTakenError):
        names.add(ids(2, 3), ["c", "a"])
    with pytest.raises(NameTakenError):
        names.add(ids(2, 3), ["c", "c"])
    assert names.get(b"c") is None
    assert len(names) == 2


def test_other_spellings_are_remembered_up_to_a_bound():
    names = Names(aliases_min=2)
    names.add(ids(0), ["a.b"])
    for dots in range(2, 6):
        names.remember(b"a" + b"." * dots + b"b", 0)
    assert [names.get(b"a" + b"." * dots + b"b") for dots in range(1, 6)] == [0, None, None, 0, 0]


def test_a_spelling_moves_but_never_hides_a_path():
    names = loaded(["a", "b"])
    names.remember(b"x", 0)
    names.remember(b"x", 0)
    names.remember(b"x", 1)
    assert names.get(b"x") == 1
    names.remember(b"b", 1)
    with pytest.raises(NameTakenError):
        names.remember(b"b", 0)
    names.add(ids(2), ["x"])
    assert names.get(b"x") == 2


def test_remove_forgets_every_spelling():
    names = loaded(["a.b", "c"])
    names.remember(b"a..b", 0)
    names.remove(0)
    assert names.get(b"a.b") is None
    assert names.get(b"a..b") is None
    assert len(names) == 1
    assert names.gone == [(0, b"a.b")]
    with pytest.raises(KeyError):
        names.remove(0)
    names.add(ids(2), ["a.b"])
    assert names.get(b"a.b") == 2


def test_rename_keeps_the_id():
    names = loaded(["a", "b"])
    names.remember(b".a", 0)
    names.remember(b"c.", 1)
    with pytest.raises(NameTakenError):
        names.rename(0, "b")
    names.rename(0, "a")
    assert names.renamed == []
    names.rename(0, "c.")
    assert names.path(0) == "c."
    assert (names.get(b"a"), names.get(b".a"), names.get(b"c.")) == (None, None, 0)
    assert names.renamed == [0]


@given(st.lists(st.tuples(st.sampled_from("arn"), st.integers(0, 9), st.text("ab.", min_size=1, max_size=3))))
def test_the_table_is_a_bijection(steps):
    names, model, fresh = Names(), {}, 0
    for step, id_, path in steps:
        taken = path in model.values()
        if step == "a" and not taken:
            names.add(ids(fresh), [path])
            model[fresh] = path
            fresh += 1
        elif step == "r" and id_ in model:
            names.remove(id_)
            del model[id_]
        elif step == "n" and id_ in model and (not taken or model[id_] == path):
            names.rename(id_, path)
            model[id_] = path
    assert {i: k.decode() for i, k in enumerate(names.keys) if k is not None} == model
    assert all(names.get(p.encode()) == i for i, p in model.items())
    assert len(names) == len(model)
