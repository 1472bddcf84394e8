"""template(): variables in paths, from the call and from the request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ingestd.query.grid import Series
from ingestd.query.limits import LimitError, QueryError, QueryLimits
from ingestd.query.parse import Call, Literal, Path, parse
from ingestd.query.template import resolve

LIMITS = QueryLimits()


def resolved(target: str, **given: str) -> object:
    return resolve(parse(target, LIMITS), given, LIMITS)


@pytest.mark.parametrize(
    ("target", "given", "expected"),
    [
        ("template(a.$1.$2,'x','y')", {}, Path("a.x.y")),
        ("template(a.$h.$n,h='x',n=3)", {}, Path("a.x.3")),
        ("template(a.$h,h='x')", {"h": "y"}, Path("a.y")),
        ("template(a.$h)", {"h": "y", "other": "z"}, Path("a.y")),
        ("template(a.$h)", {}, Path("a.$h")),
        ("a.$h", {"h": "y"}, Path("a.$h")),
        # The first name that fits is replaced, and what comes of it is looked at again.
        ("template(a.$host,h='x',host='y')", {}, Path("a.xost")),
        ("template($n,n=3)", {}, Literal(3)),
        ("template($n)", {"n": "-2.5"}, Literal(-2.5)),
        ("template($n)", {"n": "x"}, Literal("x")),
    ],
)
def test_paths(target: str, given: dict[str, str], expected: object) -> None:
    assert resolved(target, **given) == expected


def test_calls_in_templates_and_templates_in_calls() -> None:
    outer = resolved("template(f(a.$x|g('$x'),$x),x=2)")
    assert isinstance(outer, Call)
    assert outer.args[1] == Literal(2)
    assert outer.args[0] == Call("g", (Path("a.2"), Literal("$x")), (), "g('$x')")
    inner = resolved("template(f(template(a.$x,x='in'),$x,k=$x),x='out')")
    assert isinstance(inner, Call)
    assert inner.args == (Path("a.in"), Literal("out"))
    assert inner.kwargs == (("k", Literal("out")),)


@pytest.mark.parametrize(
    "target",
    [
        "template()",
        "template('a')",
        "template(a,b.c)",
        "template(a,true)",
        "template(a,none)",
        "template(a,x=f(b))",
        "template(a,1,x=2)",
        "template(a|f(),1)",
    ],
)
def test_what_is_no_template(target: str) -> None:
    with pytest.raises(QueryError, match=r"invalid template\(\) syntax"):
        resolved(target)


def test_a_path_stays_within_the_limit() -> None:
    limits = QueryLimits(target_length=100)
    with pytest.raises(LimitError, match="query_target_length"):
        resolve(parse("template($a$a,x=1)", limits), {"a": "b" * 51}, limits)
    with pytest.raises(QueryError, match="is no number"):
        resolved("template($n)", n="1.2.3")


def test_it_is_evaluated(render: Callable[..., list[Series]]) -> None:
    (one,) = render({"a.b": (10, [1.0] * 6)}, "template(scale(a.$1,$2),'b',3)|offset(1)")
    assert (one.name, one.values.tolist()) == ("offset(scale(a.b,3),1)", [4.0] * 6)
