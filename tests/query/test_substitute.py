"""Substitution by RE2 gives what Python's re gives, and ends."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingestd.query.limits import QueryError
from ingestd.query.substitute import SHORT, Search, Substitution, is_quick


@pytest.mark.parametrize(
    ("search", "replace"),
    [
        ("(^.*$)", "\\1 A"),
        ("(^.*$)", "\\\\1 A"),
        ("web", "WEB"),
        ("^\\w+\\.(\\w+)\\..*$", "\\1 user"),
        ("(?P<host>w\\w+)", "<\\g<host>|\\g<1>|\\g<0>>"),
        ("(x)?b", "[\\1]"),
        (".*", "z"),
        ("x*", "-"),
        ("$", "!"),
        ("[aeiou]+", ""),
        ("[^]a.]", "_"),
        ("[]a]", "\\n\\t\\011\\."),
        ("[\\d.]+", "#"),
        ("\\d\\Z", "#"),
        ("[\u0430-\u044f]", "ya"),
        ("\\w+", "W"),
        ("(?i)WEB", "x"),
        ("((((((((((b))))))))))", "\\10"),
        ("b", ""),
    ],
)
@pytest.mark.parametrize(
    "name", ["collectd.web01.cpu-0", "", "b", "\u0437\u0430\u043f\u0438\u0441\u044c.\u0665", "a]b[c.1"]
)
def test_as_python(search: str, replace: str, name: str) -> None:
    assert Substitution(search, replace)(name) == re.sub(search, replace, name)


def test_boundaries_of_words_are_those_of_ascii() -> None:
    assert Substitution("\\b", "|")("web01.cpu-0") == "|web01|.|cpu|-|0|"
    assert Substitution("\\b", "|")("\u0437.a") == "\u0437.|a|"


@given(st.text("ab.1[]()*+?|^$\\wd", max_size=8), st.text("ab\\1g<>", max_size=5), st.text("ab.1x", max_size=8))
def test_what_both_understand_is_the_same(search: str, replace: str, name: str) -> None:
    assume("(?" not in search and "?" not in search.replace("\\?", "")[1:])
    assume(not re.search(r"[*+?]\s*[*+?]|\(\)|\[\[|\|\||\|\)|\(\||^\||\|$|\^[*+?]|\$[*+?]", search))
    try:
        expected = re.sub(search, replace, name)
        got = Substitution(search, replace)(name)
    except (re.error, QueryError, FutureWarning):
        return
    assert got == expected


ANCHORED = [
    f"{before}{opening}{inside}.{repeated}{end}{closing}{after}"
    for opening, closing in (("", ""), ("(", ")"))
    for before in ("", "^")
    for inside in ("", "^")
    for repeated in "*+"
    for end in ("", "$")
    for after in ("", "$")
]


@given(
    st.sampled_from(ANCHORED),
    st.sampled_from(["x", "\\1 A", "\\g<0>", "<\\1|\\1>", "\\g<0>\\1", "\\n"]),
    st.lists(st.text("ab.\n\r\u2028", max_size=6) | st.just("x" * (SHORT + 1))),
)
def test_many_names_become_what_each_does(search: str, replace: str, names: list[str]) -> None:
    if "\\1" in replace and "(" not in search:
        search = f"({search})"
    # RE2 takes a line's end for that of the text where Python takes the one before a last line break for it, too.
    expected = [
        re.sub(search, replace, name) if len(name) <= SHORT else Substitution(search, replace)(name) for name in names
    ]
    assert Substitution(search, replace).within(names) == expected


@given(st.text("ab.1-_ ", max_size=3), st.lists(st.text("ab.1-_ \n", max_size=6)))
def test_a_text_is_found_where_its_pattern_is(text: str, names: list[str]) -> None:
    for pattern in (text, re.escape(text)):
        assert Search(pattern).within(names) == [re.search(pattern, name) is not None for name in names]


@pytest.mark.parametrize("search", ["(", "a(?=b)", "(a)\\1", "[z-a]", "*", "\ud800", "a{2000}"])
def test_patterns_that_are_refused(search: str) -> None:
    with pytest.raises(QueryError, match="regular expression"):
        Substitution(search, "x")


@pytest.mark.parametrize("replace", ["\\1", "\\g<1>", "\\g<x>", "\\g<", "\\q", "\\", "\\g<-1>", "\\99"])
def test_replacements_that_are_refused(replace: str) -> None:
    with pytest.raises(QueryError):
        Substitution("a", replace)


def test_what_would_run_for_hours_does_not() -> None:
    assert Substitution("(a+)+$", "x")("a" * 5_000 + "b") == "a" * 5_000 + "b"
    assert Substitution("(.*)*(.*)*x", "y")("a" * 5_000) == "a" * 5_000


@pytest.mark.parametrize(
    "search",
    [
        "(^.*$)",
        r"^.*\.(\w+)$",
        "[a-z]+",
        "[^.]*",
        "foo.*?bar",
        r"\d+\.",
        "[]a]+",
        "a(b)c",
        "",
        r"(^\w+)\.(.*)",
    ],
)
def test_quick_patterns(search: str) -> None:
    assert is_quick(search)


@pytest.mark.parametrize(
    "search",
    [
        "(a+)+$",
        "(.*)(.*)",
        "x*y*",
        "(a)*",
        "(a|a)*b",
        "a{3}",
        "a?b",
        "a**",
        r"\1",
        ".*(?=a)",
        "^.*.*.*x",
        "^*",
        "[[a]",
        "[a&&b]",
    ],
)
def test_patterns_that_may_take_longer(search: str) -> None:
    assert not is_quick(search)


def test_names_do_not_grow_without_end() -> None:
    with pytest.raises(QueryError, match="65536"):
        Substitution("", "x" * 1_000)("a" * 1_000)
