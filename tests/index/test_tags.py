import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index.names import Names
from ingestd.index.tag_expressions import TagExpressionError
from ingestd.index.tags import TagLimitError, TagLimits, Tags
from ingestd.query.substitute import Search

PATHS = [
    "cpu.usage;dc=dc1;host=db01",
    "cpu.usage;dc=dc1;host=web01",
    "cpu.usage;dc=dc2;host=web01",
    "disk.used;dc=dc1;host=db01;rack=r.1",
    "disk.used;dc=dc2;host=db01;rack=r.2",
]


def index(paths, **limits):
    names = Names()
    names.add(np.arange(len(paths), dtype=np.uint32), paths)
    return names, Tags(names, Search, TagLimits(**limits))


def found(tags, *expressions):
    return [path for path, _ in tags.find(expressions)]


@pytest.mark.parametrize(
    ("expressions", "places"),
    [
        (["name=cpu.usage"], [0, 1, 2]),
        (["name=cpu.usage", "dc=dc1"], [0, 1]),
        (["dc=dc1", "rack="], [0, 1]),
        (["rack!=", "dc=dc2"], [4]),
        (["dc=~dc[12]", "host!=db01"], [1, 2]),
        (["name=~.*usage"], [0, 1, 2]),
        (["name=~usage"], []),
        (["host=~web|db"], [0, 1, 2, 3, 4]),
        (["host=~^x|b0"], [0, 1, 2, 3, 4]),
        (["dc=dc1", "rack=~^$|r"], [0, 1, 3]),
        (["dc=dc1", "rack!=~r"], [0, 1]),
        (["dc=dc1", "rack!=~^$|x"], [3]),
        (["rack=r.1"], [3]),
        (["dc=dc1", "rack!=r.1"], [0, 1]),
        (["name=none"], []),
        (["nosuch=~.+"], []),
        (["dc=dc1", "dc=dc2"], []),
        (["dc=dc1", "nosuch!=x", "nosuch="], [0, 1, 3]),
    ],
)
def test_expressions(expressions, places):
    _, tags = index(PATHS)
    assert found(tags, *expressions) == [PATHS[place] for place in places]


@pytest.mark.parametrize(
    "expressions", [[], ["dc="], ["dc!=dc1"], ["dc=~.*"], ["dc!=~.+"], ["bogus"], ["=x"], ["a;b=c"], ["dc=a;b"]]
)
def test_a_search_must_ask_for_something(expressions):
    _, tags = index(PATHS)
    with pytest.raises(TagExpressionError):
        tags.find(expressions)


def test_tags_values_and_completions():
    _, tags = index([*PATHS, "plain.one", "~odd;dc=dc3"])
    assert tags.tags() == ["dc", "host", "name", "rack"]
    assert tags.tags("h|r") == ["host", "rack"]
    assert tags.values("dc") == {"dc1": 3, "dc2": 2, "dc3": 1}
    assert tags.values("host", "web") == {"web01": 2}
    assert tags.values("nosuch") == {}
    assert tags.values("name") == {"cpu.usage": 3, "disk.used": 2, "odd": 1}
    assert tags.complete_tags([], "", 3) == ["dc", "host", "name"]
    assert tags.complete_tags([], "r", 3) == ["rack"]
    assert tags.complete_tags(["name=cpu.usage"], "", 9) == ["dc", "host"]
    assert tags.complete_tags(["dc=dc1", "host=db01"], "n", 9) == ["name"]
    assert tags.complete_values([], "host", "", 9) == ["db01", "web01"]
    assert tags.complete_values([], "host", "w", 9) == ["web01"]
    assert tags.complete_values(["name=disk.used"], "host", "", 9) == ["db01"]
    assert tags.complete_values(["rack="], "dc", "", 1) == ["dc1"]
    assert tags.complete_values([], "nosuch", "", 9) == []


def test_each_limit_names_itself():
    for limit, ask in (
        ("expressions", lambda tags: tags.find(["dc=a"] * 3)),
        ("expression_length", lambda tags: tags.find(["dc=aaaa"])),
        ("expression_length", lambda tags: tags.tags("a" * 7)),
        ("values", lambda tags: tags.find(["dc=~d"])),
        ("results", lambda tags: tags.find(["dc!="])),
    ):
        _, tags = index(PATHS, expressions=2, length=6, values=1, results=4)
        with pytest.raises(TagLimitError, match=rf"the limit is [0-9] \(limits.tag_{limit}\)"):
            ask(tags)


def test_series_without_tags_are_not_held():
    _, tags = index([f"a.b{n}" for n in range(1000)])
    assert tags.tags() == []
    assert tags._segments == ()


def test_postings_follow_the_names():
    names = Names()
    tags = Tags(names, Search)
    assert tags.tags() == []
    names.add(np.arange(4, dtype=np.uint32), ["cpu;dc=a;host=x", "cpu;dc=b;host=x", "plain", "mem;dc=a"])
    assert tags.tags() == ["dc", "host", "name"]
    assert tags.values("dc") == {"a": 2, "b": 1}
    assert [id_ for _, id_ in tags.find(["host=x"])] == [0, 1]
    names.remove(0)
    names.rename(1, "cpu;dc=c")
    names.rename(2, "plain;dc=d")
    assert tags.tags() == ["dc", "name"]
    assert tags.values("dc") == {"a": 1, "c": 1, "d": 1}
    assert tags.values("host") == {}
    assert tags.find(["host=x"]) == []
    names.rename(2, "plain")
    names.rename(2, "plain;dc=d")
    assert tags.find(["dc=d"]) == [("plain;dc=d", 2)]


steps = st.tuples(
    st.sampled_from(["add", "add", "remove", "rename", "plain", "ask"]),
    st.integers(0, 9),
    st.sampled_from("ab"),
    st.sampled_from("xyz"),
)
expressions = st.builds(
    "{}{}{}".format,
    st.sampled_from(["a", "b", "name"]),
    st.sampled_from(["=", "!=", "=~", "!=~"]),
    st.sampled_from(["", "x", "y", "[xy]", "x|^$", "n[0-4]", "n3", "."]),
)


def satisfies(path, expression):
    """graphite-web's words, one path at a time."""
    name, *rest = path.split(";")
    tag, operator, wanted = re.fullmatch("([^=!]+)(!?=~?)(.*)", expression).groups()
    value = {"name": name, **dict(text.split("=") for text in rest)}.get(tag, "")
    fits = value == wanted if "~" not in operator else bool(re.match(f"^({wanted})", value))
    return fits != operator.startswith("!")


@given(st.lists(steps, max_size=60), st.lists(expressions, min_size=1, max_size=3))
def test_searches_equal_the_words(script, asked):
    names, model = Names(), {}
    tags = Tags(names, Search)
    for step, id_, tag, value in [*script, ("ask", 0, "a", "x")]:
        path = f"n{id_}" if step == "plain" else f"n{id_};{tag}={value}"
        if step in ("add", "plain") and path not in model.values():
            model[len(names.keys)] = path
            names.add(np.array([len(names.keys)], np.uint32), [path])
        elif step == "remove" and id_ in model:
            names.remove(id_)
            del model[id_]
        elif step == "rename" and id_ in model and path not in model.values():
            names.rename(id_, path)
            model[id_] = path
        elif step == "ask":
            tagged = {i: p for i, p in model.items() if ";" in p}
            assert tags.find([f"{tag}={value}"]) == sorted((p, i) for i, p in tagged.items() if f";{tag}={value}" in p)
            assert tags.values("name").keys() == {p.split(";")[0] for p in tagged.values()}
            if not all(satisfies("x", one.replace("name", "other")) for one in asked):
                expected = sorted((p, i) for i, p in tagged.items() if all(satisfies(p, one) for one in asked))
                assert tags.find(asked) == expected
                others = {text.split("=")[0] for p, _ in expected for text in p.split(";")[1:]} | (
                    {"name"} if expected else set()
                )
                own = {re.match("[^=!]+", one)[0] for one in asked}
                assert tags.complete_tags(asked, "", 9) == sorted(others - own)
                with_a = {p.partition(";a=")[2].partition(";")[0] for p, _ in expected} - {""}
                assert tags.complete_values(asked, "a", "", 9) == sorted(with_a)
