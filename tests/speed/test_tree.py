"""The compiled walk through the tree of names against the reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index import walk
from ingestd.index.globs import FindLimitError, Globs, lines
from ingestd.index.names import Names

nodes = st.text(st.sampled_from("ab-\x00é"), min_size=1, max_size=3)
paths = st.lists(nodes, min_size=1, max_size=4).map(".".join) | st.just("t.u;k=v")
parts = nodes | st.sampled_from(
    ["*", "*", "**", "a*", "?", "[ab]*", "{a,b}", "{a,b*}", "{,a}", "{*,}", "_tagged", "é*"]
)
patterns = st.lists(parts, min_size=1, max_size=5).map(".".join) | st.sampled_from(
    ["a.", "", ".", "t.u;k=v", "_tagged.*.*.*"]
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def named(count, batch, private=None, **limits):
    """Names entered batch by batch, with a search after each, so that there are several segments."""
    table = Names()
    globs = Globs(table, private=private, **limits)
    for first in range(0, len(count), batch):
        table.add(np.arange(first, min(first + batch, len(count)), dtype=np.uint32), count[first : first + batch])
        globs.refresh()
    return table, globs


def answers(globs, pattern):
    """What a search gives, or its error."""
    try:
        return globs.find_leaves(pattern), globs.find_matches(pattern), globs.find_matches(pattern, True)
    except FindLimitError as error:
        return str(error)


def reference(globs, pattern):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "kernel", None)
        return answers(globs, pattern)


@given(st.lists(paths, unique=True, max_size=30), st.integers(1, 30), st.lists(patterns, max_size=5), st.data())
def test_it_finds_what_the_reference_finds(names, batch, asked, data):
    table, globs = named(names, batch, private="a")
    for pattern in asked:
        assert answers(globs, pattern) == reference(globs, pattern)
    if names:
        table.remove(data.draw(st.integers(0, len(names) - 1)))
    for pattern in asked:
        assert answers(globs, pattern) == reference(globs, pattern)


@given(st.lists(paths, unique=True, max_size=30), st.lists(patterns, max_size=5), st.integers(0, 30))
def test_its_limits_are_those_of_the_reference(names, asked, limit):
    _, globs = named(names, 100, visits_max=limit, results_max=limit)
    for pattern in asked:
        assert answers(globs, pattern) == reference(globs, pattern)


@given(st.lists(paths, unique=True, max_size=30), st.integers(1, 30), st.lists(patterns, max_size=5))
def test_ids_are_those_of_the_leaves(names, batch, asked):
    _, globs = named(names, batch, private="a")
    for pattern in asked:
        found = globs.find_leaves(pattern)
        ids = globs.find_ids(pattern)
        assert ids is None or ids.tolist() == [number for _, number in found]


def test_ids_of_names_that_have_tags_or_do_not_ascend_are_not_given():
    _, globs = named(["a.x", "a.y", "a-b.x", "~c.x", "d.x;k=v"], 10)
    assert globs.find_ids("a.*").tolist() == [0, 1]
    assert globs.find_ids("{a,a-b}.x").tolist() == [2, 0]
    assert globs.find_ids("a*.x") is None
    assert globs.find_ids("~*.x") is None
    assert globs.find_ids("_tagged.*.*.*") is None
    assert globs.find_ids("a.x") is None
    assert globs.find_ids("nothing.*").tolist() == []


def test_a_name_that_goes_on_with_a_nul_is_another_one():
    names = ["é.a", "é\0", "é\0.a", "é\0\0", "a"]
    _, globs = named(names, 100)
    for pattern in [*names, "*", "é*", "é\0.*"]:
        assert answers(globs, pattern) == reference(globs, pattern)
    assert [path for _, path, _ in globs.find_matches("é*", True)] == ["é\0", "é\0\0"]


def test_many_hosts_of_which_some_lack_a_metric():
    names = [
        f"c.h{host:04d}.{metric}.{value}"
        for host in range(2_000)
        for metric in ("cpu", "df", "load", "mem")[host % 3 :]
        for value in ("x", "y")
    ]
    _, globs = named(names, 10_000)
    for pattern in (
        "c.*.load.y",
        "c.*.cpu.*",
        "c.h01*.*.x",
        "c.*.*",
        "c.h1??[05].df.x",
        "c.{h0001,h1999}.mem.{x,y}",
        "c.*.none.x",
    ):
        assert walk.is_plain(globs._segments, [])
        assert answers(globs, pattern) == reference(globs, pattern)
    assert len(globs.find_leaves("c.*.load.y")) == 2_000


def test_lines_name_a_branch_before_a_leaf():
    assert lines([("a.b", True, True), ("c", True, False)], False) == [
        ("b", "a.b", False),
        ("b", "a.b", True),
        ("c", "c", True),
    ]
    assert lines([("a.b", True, True), ("d", False, True)], True) == [("b", "a.b", True)]
