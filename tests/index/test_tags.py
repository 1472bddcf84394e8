import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index.names import Names
from ingestd.index.tags import Tags, canonical_path, split_path


def test_a_path_is_split_into_its_tags():
    assert split_path("disk.used;dc=a;host=b=c;odd;=x") == {"name": "disk.used", "dc": "a", "host": "b=c"}


def test_the_canonical_path_is_sorted():
    assert canonical_path("disk;host=b;dc=a;dc=c;name=other") == "disk;dc=c;host=b"
    assert canonical_path("disk.used") == "disk.used"


def test_postings_follow_the_names():
    names = Names()
    tags = Tags(names)
    assert tags.tags() == []
    names.add(np.arange(4, dtype=np.uint32), ["cpu;dc=a;host=x", "cpu;dc=b;host=x", "plain", "mem;dc=a"])
    assert tags.tags() == ["dc", "host", "name"]
    assert tags.values("dc") == {"a": 2, "b": 1}
    assert tags.ids("host", "x") == {0, 1}
    names.remove(0)
    names.rename(1, "cpu;dc=c")
    names.rename(2, "plain;dc=d")
    assert tags.tags() == ["dc", "name"]
    assert tags.values("dc") == {"a": 1, "c": 1, "d": 1}
    assert tags.values("host") == {}
    assert tags.ids("host", "x") == frozenset()
    names.rename(2, "plain")
    names.rename(2, "plain;dc=d")
    assert tags.ids("dc", "d") == {2}


steps = st.tuples(
    st.sampled_from(["add", "remove", "rename", "ask"]), st.integers(0, 6), st.sampled_from("ab"), st.sampled_from("xy")
)


@given(st.lists(steps, max_size=30))
def test_postings_equal_the_paths(script):
    names, model = Names(), {}
    tags = Tags(names)
    for step, id_, tag, value in [*script, ("ask", 0, "a", "x")]:
        path = f"n{id_};{tag}={value}"
        if step == "add" and path not in model.values():
            model[len(names.keys)] = path
            names.add(np.array([len(names.keys)], np.uint32), [path])
        elif step == "remove" and id_ in model:
            names.remove(id_)
            del model[id_]
        elif step == "rename" and id_ in model and path not in model.values():
            names.rename(id_, path)
            model[id_] = path
        elif step == "ask":
            assert tags.ids(tag, value) == {i for i, p in model.items() if p.endswith(f";{tag}={value}")}
