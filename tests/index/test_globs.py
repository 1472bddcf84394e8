import fnmatch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.index.globs import FindLimitError, Globs, Node, expand_braces
from ingestd.index.names import Names


def table(*paths):
    names = Names()
    names.add(np.arange(len(paths), dtype=np.uint32), paths)
    return names


def found(names, pattern):
    return [path for path, _ in Globs(names).find_leaves(pattern)]


# --- the reference: every name, every node -------------------------------------------------------------------------


def takes(parts, nodes):
    """Whether the nodes of a name are what the parts of a pattern mean."""
    if not parts:
        return not nodes
    if parts[0] == "":
        return takes(parts[1:], nodes)
    for variant in expand_braces(parts[0]):
        if variant == "**":
            rest = parts[1:] or ["*"]
            if any(takes(rest, nodes[k:]) for k in range(len(nodes) + 1)):
                return True
        elif variant == "":
            if len(parts) > 1 and takes(parts[1:], nodes):
                return True
        elif nodes and fnmatch.fnmatchcase(nodes[0], variant) and takes(parts[1:], nodes[1:]):
            return True
    return False


def reference(paths, pattern):
    parts = pattern.split(".")
    leaves, branches = set(), set()
    for path in paths:
        nodes = path.split(".")
        if takes(parts, nodes):
            leaves.add(path)
        branches.update(".".join(nodes[:k]) for k in range(1, len(nodes)) if takes(parts, nodes[:k]))
    return leaves, branches


node = st.text("ab-ü", min_size=1, max_size=3)
paths = st.lists(node, min_size=1, max_size=4).map(".".join)
part = st.one_of(
    st.sampled_from(
        ["*", "**", "a*", "*b", "?", "[a-b]*", "[!a]", "{a,b}", "{a,{b,ab}}*", "a", "b", "ü", "a-", "[", "{a"]
    ),
    st.text("ab*?{},[]!-ü", min_size=1, max_size=5),
)
patterns = st.lists(part, min_size=1, max_size=4).map(".".join)


@settings(max_examples=300)
@given(st.lists(paths, max_size=12, unique=True), patterns)
def test_find_equals_matching_every_name(names, pattern):
    leaves, branches = reference(names, pattern)
    globs = Globs(table(*names))
    assert globs.find_leaves(pattern) == sorted((path, names.index(path)) for path in leaves)
    assert globs.find_nodes(pattern) == [
        Node(path, path in leaves, path in branches) for path in sorted(leaves | branches)
    ]


@pytest.mark.parametrize(("pattern", "found"), [("**.b", ["a.b", "b"]), ("{,a}.b", ["a.b", "b"]), ("**.b.a", ["b.a"])])
def test_what_may_mean_no_node_may_mean_the_root(pattern, found):
    globs = Globs(table("b", "b.a", "a.b"))
    assert [path for path, _ in globs.find_leaves(pattern)] == found
    assert [node.path for node in globs.find_nodes(pattern)] == found


steps = st.one_of(
    st.tuples(st.just("add"), st.lists(paths, max_size=9, unique=True)),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("rename"), st.tuples(st.integers(0, 30), paths)),
    st.tuples(st.just("find"), patterns),
)


@settings(max_examples=200)
@given(st.lists(steps, max_size=25))
def test_find_follows_the_names(script):
    names = Names()
    globs = Globs(names)
    model = {}
    for step, what in [*script, ("find", "**")]:
        if step == "add":
            new = [path for path in what if path not in model.values()]
            first = len(names.keys)
            names.add(np.arange(first, first + len(new), dtype=np.uint32), new)
            model |= dict(enumerate(new, first))
        elif step == "remove" and what in model:
            names.remove(what)
            del model[what]
        elif step == "rename" and what[0] in model and what[1] not in model.values():
            names.rename(*what)
            model[what[0]] = what[1]
        elif step == "find":
            leaves, branches = reference(model.values(), what)
            assert globs.find_leaves(what) == sorted((path, id_) for id_, path in model.items() if path in leaves)
            assert {n.path for n in globs.find_nodes(what) if n.is_branch} == branches


def test_a_name_that_went_and_came_again_is_found():
    """Both between two searches, so that one merge sees the old row and the new one."""
    names = Names()
    globs = Globs(names)
    names.add(np.arange(2, dtype=np.uint32), ["a", "b"])
    assert globs.find_leaves("*") == [("a", 0), ("b", 1)]
    names.remove(0)
    names.add(np.array([2], np.uint32), ["a"])
    assert globs.find_leaves("{a,b}") == [("a", 2), ("b", 1)]
    assert globs.find_matches("*") == [("a", "a", True), ("b", "b", True)]


def test_many_names_with_neighbours_in_every_order():
    """Names whose bytes sort on both sides of the dot, more of them than one piece of the comparison holds."""
    every = [f"h{i % 97}{c}x.{c}.v{i}" for i, c in enumerate("-.;+a/" * 8000) if c != ";"] + ["h1", "h1." + "y" * 5000]
    every = sorted({path.replace("..", ".") for path in every})
    globs = Globs(table(*every))
    for pattern in ["h1*.*.*", "h1-x.-.*", "h1", "h1.*", "h?+x.+.v1*", "**.v17"]:
        leaves, branches = reference(every, pattern)
        nodes = globs.find_nodes(pattern)
        assert {n.path for n in nodes if n.is_leaf} == leaves
        assert {n.path for n in nodes if n.is_branch} == branches


def test_a_node_may_be_leaf_and_branch():
    globs = Globs(table("a.both", "a.both.x", "a.leaf"))
    assert globs.find_nodes("a.*") == [Node("a.both", True, True), Node("a.leaf", True, False)]
    assert [path for path, _ in globs.find_leaves("a.*")] == ["a.both", "a.leaf"]
    assert globs.find_nodes("a") == [Node("a", False, True)]


def test_empty_parts_collapse_and_a_dot_at_the_end_means_branches():
    globs = Globs(table("a.b.c"))
    assert globs.find_leaves("a..b.c") == globs.find_leaves(".a.b.c") == [("a.b.c", 0)]
    assert globs.find_leaves("a..*.c") == [("a.b.c", 0)]
    assert globs.find_nodes("a.b.") == [Node("a.b.", False, True)]
    assert globs.find_nodes("a.b.c.") == []
    assert globs.find_leaves("a.b.c.") == globs.find_leaves("a.b.*.") == []
    assert globs.find_nodes(".") == globs.find_leaves("") == []


def test_backslashes_are_dropped():
    assert found(table("a.b"), "a\\.b") == ["a.b"]


def test_a_tagged_series_is_found_by_its_whole_path():
    names = table("cpu;dc=a;host=b", "cpu", "disk;x=1.5")
    names.remember(b"cpu;host=b;dc=a", 0)
    globs = Globs(names)
    assert globs.find_leaves("cpu;dc=a;host=b") == [("cpu;dc=a;host=b", 0)]
    assert globs.find_nodes("disk;x=1.5") == [Node("disk;x=1.5", True, False)]
    assert globs.find_leaves("cpu;host=b;dc=a") == globs.find_nodes("cpu;*") == []
    assert globs.find_nodes("c*") == [Node("cpu", True, False)]
    assert globs.paths() == ["cpu"]


def test_a_tagged_series_stands_in_the_tree_where_carbon_puts_its_file():
    names = table("some.metric;tag1=value2;tag2=value.2", "plain")
    globs = Globs(names)
    # The example of graphite-web's documentation, whose hash begins effaae.
    key = "_tagged.eff.aae.some_DOT_metric;tag1=value2;tag2=value_DOT_2"
    assert globs.find_nodes("*") == [Node("_tagged", False, True), Node("plain", True, False)]
    assert globs.find_nodes("_tagged.*.*.some*") == [Node(key, True, False)]
    assert globs.find_leaves(key) == globs.find_leaves("_tagged.*.aae.*") == globs.find_leaves("*.*.*.*") == [(key, 0)]
    names.rename(0, "some.metric;tag1=b")
    assert [path[:7] for path, _ in globs.find_leaves("_tagged.**")] == ["_tagged"]
    names.remove(0)
    assert globs.find_nodes("_tagged") == []


def test_another_spelling_is_no_path():
    names = table("a.b")
    names.remember(b"a_b", 0)
    assert found(names, "a_b") == []


def test_case_matters():
    assert found(table("a.B"), "a.[b]") == []
    assert found(table("a.B"), "A.B") == []


def test_braces():
    assert sorted(expand_braces("{web{01,02},db}x")) == ["dbx", "web01x", "web02x"]
    assert expand_braces("{a,a}") == ["a"]
    assert expand_braces("}{") == ["}{"]
    assert expand_braces("{}") == [""]


def test_brackets_without_end_are_characters_however_many():
    globs = Globs(table("a[b", "a[[", "[]", "ab"))
    assert [path for path, _ in globs.find_leaves("a[*")] == ["a[[", "a[b"]
    assert [path for path, _ in globs.find_leaves("[]*")] == ["[]"]
    assert [path for path, _ in globs.find_leaves("[a]?[*")] == ["a[["]
    assert globs.find_leaves("[" * 16_000 + "*") == globs.find_leaves("[]" + "[" * 16_000 + "*") == []


def test_limits_name_their_number():
    with pytest.raises(FindLimitError, match="4096"):
        expand_braces("{a,b}" * 40)
    with pytest.raises(FindLimitError, match="characters"):
        expand_braces("{" + ",".join(map(str, range(1000))) + "}" + "x" * 5000)


def test_many_ways_to_few_texts_cost_no_more_than_the_texts():
    assert sorted(expand_braces("{,b}" * 60), key=len) == ["b" * n for n in range(61)]
    names = table(*(f"a.b{i}" for i in range(20)))
    with pytest.raises(FindLimitError, match="10 names"):
        Globs(names, results_max=10).find_leaves("a.*")
    with pytest.raises(FindLimitError, match="10 names"):
        Globs(names, results_max=10).find_nodes("a.*")
    with pytest.raises(FindLimitError, match="10 nodes"):
        Globs(names, visits_max=10).find_leaves("a.*")
    with pytest.raises(FindLimitError, match="10 nodes"):
        Globs(names, visits_max=10).find_leaves("**")


def test_refresh_takes_in_what_changed():
    names = table("a")
    globs = Globs(names)
    globs.refresh()
    names.remove(0)
    globs.refresh()
    assert globs.find_nodes("*") == []


def test_a_private_branch_is_listed_but_not_entered_by_a_wildcard():
    names = Names()
    names.add(np.arange(3, dtype=np.uint32), ["ingestd.series", "web.load", "ingestdx.a"])
    globs = Globs(names, private="ingestd")
    assert [n.path for n in globs.find_nodes("*")] == ["ingestd", "ingestdx", "web"]
    assert [n.path for n in globs.find_nodes("*.*")] == ["ingestdx.a", "web.load"]
    assert [n.path for n in globs.find_nodes("ingestd.*")] == ["ingestd.series"]
    assert [path for path, _ in globs.find_leaves("*.*")] == ["ingestdx.a", "web.load"]
    assert [path for path, _ in globs.find_leaves("ingestd.*")] == ["ingestd.series"]


def test_any_node_or_none():
    names = Names()
    names.add(np.arange(3, dtype=np.uint32), ["a", "b.a", "b.c.a"])
    globs = Globs(names)
    assert [path for path, _ in globs.find_leaves("{*,}.a")] == ["a", "b.a"]
    assert [path for path, _ in globs.find_leaves("**.{*,,c}.a")] == ["a", "b.a", "b.c.a"]
    assert [node.path for node in globs.find_nodes("{*,}.{a}")] == ["a", "b.a"]


def test_many_long_texts_with_wildcards_are_refused_before_they_are_prepared():
    globs = Globs(Names())
    with pytest.raises(FindLimitError, match="32768 characters"):
        globs.find_leaves("*a" * 8_000 + "{a,b,c,d}")
    assert globs.find_leaves("*a" * 8_000 + "{a,b}") == []
