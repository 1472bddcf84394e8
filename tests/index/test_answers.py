"""Remembered answers are those that a search would give."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.index.answers import Searches
from ingestd.index.globs import Globs
from ingestd.index.names import Names

paths = st.lists(st.sampled_from(["a", "b", "c;x=1"]), min_size=1, max_size=3).map(".".join)
patterns = st.sampled_from(["*", "a.*", "*.b", "a.{b,a}", "a.b.*", "nothing.*", "a", "**"])
steps = st.one_of(
    st.tuples(st.just("add"), paths),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("rename"), st.tuples(st.integers(0, 9), paths)),
    st.tuples(st.just("find"), patterns),
)


def filled(*found: str) -> tuple[Names, Globs]:
    names = Names()
    names.add(np.arange(len(found), dtype=np.uint32), list(found))
    return names, Globs(names)


@settings(max_examples=200)
@given(st.lists(steps, max_size=30), st.sampled_from([0, 2_500, 1 << 20]))
def test_answers_follow_the_names(script, limit):
    names, globs = filled()
    searches = Searches(globs, names, limit)
    for step, what in script:
        if step == "add" and names.get(what.encode()) is None:
            names.add(np.array([len(names.keys)], np.uint32), [what])
        elif step == "remove" and what < len(names.keys) and names.keys[what] is not None:
            names.remove(what)
        elif step == "rename" and what[0] < len(names.keys) and names.keys[what[0]] is not None:
            if names.get(what[1].encode()) is None:
                names.rename(*what)
        elif step == "find":
            for _ in range(2):
                assert searches.find_leaves(what) == globs.find_leaves(what)
                assert searches.find_matches(what) == globs.find_matches(what)
                assert searches.find_matches(what, True) == globs.find_matches(what, True)
                ids, expected = searches.find_ids(what), globs.find_ids(what)
                assert (ids is None) == (expected is None)
                assert ids is None or np.array_equal(ids, expected)


def test_the_same_question_is_searched_once():
    names, globs = filled("a.b", "a.c")
    searches = Searches(globs, names)
    first = searches.find_leaves("a.*")
    assert searches.find_leaves("a.*") is first
    names.add(np.array([2], np.uint32), ["a.d"])
    assert [path for path, _ in searches.find_leaves("a.*")] == ["a.b", "a.c", "a.d"]


def test_what_is_remembered_is_bounded():
    names, globs = filled(*(f"a.{i}" for i in range(100)))
    searches = Searches(globs, names, limit=64_000)
    for i in range(100):
        searches.find_leaves(f"a.{i}*")
    assert 0 < len(searches) < 60
    searches.find_leaves("a.99*")
    kept = len(searches)
    # More than the limit by itself: not kept, and nothing goes for it.
    many, over = filled(*(f"b.{i}" for i in range(1_000)))
    large = Searches(over, many, limit=64_000)
    assert large.find_leaves("b.*") is not large.find_leaves("b.*")
    assert len(large) == 0 < kept
