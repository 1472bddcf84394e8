"""The grammar of targets."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.functions.alias import WRAPPED
from ingestd.query.limits import LimitError, QueryError, QueryLimits
from ingestd.query.parse import Call, Literal, Node, Path, first_path, parse

LIMITS = QueryLimits()


def tree(target: str) -> Node:
    return parse(target, LIMITS)


def call(name: str, *args: Node | float | str | None, raw: str = "", **kwargs: float | str | None) -> Call:
    nodes = tuple(each if isinstance(each, Path | Call) else Literal(each) for each in args)
    return Call(name, nodes, tuple((key, Literal(value)) for key, value in kwargs.items()), raw)


def without_raw(node: Node) -> Node:
    if not isinstance(node, Call):
        return node
    kwargs = tuple((name, without_raw(each)) for name, each in node.kwargs)
    return Call(node.name, tuple(without_raw(each) for each in node.args), kwargs, "")


A, B = Path("a.b"), Path("b")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("a.b", A),
        ("a.{b,c}*.[0-9]?", Path("a.{b,c}*.[0-9]?")),
        ("m;t=v;u=w", Path("m;t=v;u=w")),
        ("gr\u00fc\u00dfe.a", Path("gr\u00fc\u00dfe.a")),
        ("a.b\\,c\\(d\\)", Path("a.b,c(d)")),
        ("a.plus\\+x", Path("a.plus")),
        ("a.{b{c,d},e}.f", Path("a")),
        ("a.{b.c,d}", Path("a")),
        ("a..b", Path("a")),
        ("5", Path("5")),
        ("true", Path("true")),
        (" f ( a.b , 2 ) ", call("f", A, 2)),
        ("f()", call("f")),
        ("f(a.b)extra", call("f", A)),
        ("f(a.b),", call("f", A)),
        ("f(1,-2,1.50,-1.5E-2,1e2)", call("f", 1, -2, 1.5, -0.015, 100.0)),
        ("f(1e+5,0x10,1.b)", call("f", Path("1e+5"), Path("0x10"), Path("1.b"))),
        ("f(TRUE,False,None,INF)", call("f", True, False, None, float("inf"))),
        ("f(truely,nones)", call("f", Path("truely"), Path("nones"))),
        ('f(\'x\',"it\'s","\\1 \\"A\\"","")', call("f", "x", "it's", '\\1 \\"A\\"', "")),
        ("f(a.b,k=1,l='x')", call("f", A, k=1, l="x")),
        ("f(a=,b)", call("f", Path("a="), B)),
        ("a.b|f(1)|g()", call("g", call("f", A, 1))),
        ("a.b | f(1) | c", call("f", A, 1)),
        ("f(a.b|g(),2)", call("f", call("g", A), 2)),
        ("f(a.b,.5)", Path("f")),
        ("f(a.b,5.)", Path("f")),
        ("f(true.x)", Path("f")),
        ("f(k=1)", Path("f")),
        ("f(a.b,k=1,b)", Path("f")),
        ("f(g(a.b,.5))", Path("f")),
        ('f("a\nb")', Path("f")),
    ],
)
def test_trees(target: str, expected: Node) -> None:
    assert without_raw(tree(target)) == expected


def test_a_call_keeps_its_text() -> None:
    node = tree(" g( f ( a , 1 ) , 2) rest")
    assert isinstance(node, Call)
    assert node.raw == "g( f ( a , 1 ) , 2)"
    assert isinstance(node.args[0], Call)
    assert node.args[0].raw == "f ( a , 1 )"


@pytest.mark.parametrize("target", ["", "()", '"text"', ",a", "|f()", "{", "'", "f(" + "9" * 400 + ")"])
def test_no_targets(target: str) -> None:
    with pytest.raises(QueryError):
        tree(target)


@pytest.mark.parametrize("pattern", ["f({})", "f(a,k={})", "{}|f()"])
def test_depth_is_limited(pattern: str) -> None:
    target = "a"
    for _ in range(LIMITS.depth):
        target = pattern.format(target)
    assert isinstance(tree(target), Call)
    with pytest.raises(LimitError, match=r"query_depth.*|64"):
        tree(pattern.format(pattern.format(target)))


def test_unfinished_nesting_ends_at_the_limit_too() -> None:
    for text in ("f(" * 30_000, "f(a,k=" * 10_000, "{" * 60_000, "f(a=" * 15_000):
        with pytest.raises(QueryError):
            tree(text)


def test_length_is_limited() -> None:
    with pytest.raises(LimitError, match="65536"):
        tree("a" * 65_537)


@given(st.text(max_size=60) | st.text("ab.1f(){}|,='\"\\ \n*-e", max_size=60))
def test_garbage_gives_a_tree_or_a_query_error(text: str) -> None:
    with suppress(QueryError):
        assert isinstance(tree(text), Path | Literal | Call)


@given(
    st.lists(st.sampled_from(["f(", "g(", "a.b", "1.5", '"x"', ",", ", ", ")", "))", "true", "t.u", "-3"]), max_size=9)
)
def test_the_fast_way_to_the_first_path_is_the_parsers(parts: list[str]) -> None:
    name = "".join(parts)
    wrapped = WRAPPED.fullmatch(name)
    if wrapped and name.count("(") == name.count(")"):
        assert first_path(name, LIMITS) == wrapped[1]


def test_first_path() -> None:
    assert first_path('movingAverage(scale(a.b,2),"1min")', LIMITS) == "a.b"
    assert first_path("constantLine(3)", LIMITS) is None
    with pytest.raises(QueryError, match="no path"):
        first_path("f(g())", LIMITS)


def test_pipes_behind_nested_calls_count_as_depth() -> None:
    half = LIMITS.depth // 2
    tower = "f(" * half + "x" + ")" * half
    assert parse(tower + "|f()" * (LIMITS.depth - half), LIMITS)
    with pytest.raises(LimitError, match="query_depth"):
        parse(tower + "|f()" * (LIMITS.depth - half + 1), LIMITS)
