"""``re.sub`` on names in time linear in their length: RE2 matches, Python's templates replace.

Why RE2: docs/adr/020-regex.md. What differs from Python's re: lookaround, backreferences in the pattern and repetitions
over 1,000 are refused with an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeAlias

import re2  # type: ignore[import-untyped]

from ingestd.query.limits import QueryError

MAX_NAME: Final = 65_536
"""Characters of a name after substitution: 4,000 replacements of 16 characters each stay below; nobody reads more."""
ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
TEMPLATE: Final = re.compile(
    r"\\(?:g<(?P<group>[^>]*)>|(?P<octal>0[0-7]{0,2}|[0-3][0-7]{2})|(?P<number>[1-9][0-9]?)|(?P<char>.)|\Z)", re.DOTALL
)
OUTSIDE: Final = {"w": r"[\p{L}\p{N}_]", "W": r"[^\p{L}\p{N}_]", "d": r"\p{Nd}", "D": r"\P{Nd}", "Z": r"\z"}
INSIDE: Final = {"w": r"\p{L}\p{N}_", "d": r"\p{Nd}", "D": r"\P{Nd}"}
"""Python's classes know all of Unicode, RE2's only ASCII: what stands for them outside of and inside brackets."""


_ATOM: Final = r"(?:\\[dDwWsS]|\\[^\w\s]|\[\^?\]?[^\[\]\\&|~-]*(?:-[^\[\]\\&|~-]+)*\]|[^\\\[\]()*+?{}|^$])"
_PLAIN: Final = re.compile(rf"(?:{_ATOM}(?:[*+]\??)?(?![*+?{{])|\((?![?*+])|[)^$](?![?*+{{]))*")
"""Characters, classes, groups and anchors in a row; nothing but a character or a class is repeated."""
_REPEATED: Final = re.compile(rf"{_ATOM}[*+]")
_LITERAL: Final = re.compile(r"[^\\\[\]()*+?{}|^$.]*")
"""Text that stands for itself."""
_WHOLE: Final = re.compile(r"(?:\^\.[*+]|\.\+|\((?:\^\.[*+]|\.\+)\$?\)|\^\(\.[*+]\$?\))\$?")
"""All of a name on one line, once, and as its only group if there is one: what Grafana wraps its targets in."""
SHORT: Final = 256
"""Characters of a name, a pattern and a replacement for which Python's own re is asked."""


def is_quick(search: str) -> bool:
    """Whether Python's own re matches it in at most the square of a name's length in steps.

    RE2's wrapper costs 10 us a match: names of a thousand series take 17 ms, and 2 by re.
    """
    repeated = len(_REPEATED.findall(search))
    return _PLAIN.fullmatch(search) is not None and (repeated < 2 or (repeated == 2 and search.lstrip("(")[:1] == "^"))


class Match(Protocol):
    def span(self) -> tuple[int, int]: ...
    def group(self, key: int | str, /) -> str | None: ...


Template: TypeAlias = list[str | int]


def _compiled(search: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_python_classes(search), options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if error.args else error
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise QueryError(f"the regular expression {search[:80]!r} is not supported: {text}") from error


class Search:
    """A pattern to be found anywhere in names. Raises :class:`QueryError` if it is malformed."""

    def __init__(self, search: str) -> None:
        self._pattern = _compiled(search)
        self._quick = re.compile(search) if len(search) <= SHORT and is_quick(search) else None
        self._literal = search if _LITERAL.fullmatch(search) else None

    def within(self, names: Iterable[str]) -> list[bool]:
        """In which of the names it is found."""
        literal = self._literal
        return [self(name) for name in names] if literal is None else [literal in name for name in names]

    def __call__(self, name: str) -> bool:
        if self._quick is not None and len(name) <= SHORT:
            return self._quick.search(name) is not None
        return self._pattern.search(name) is not None

    def match(self, name: str) -> bool:
        """Whether it is found at the beginning of a name."""
        if self._quick is not None and len(name) <= SHORT:
            return self._quick.match(name) is not None
        return self._pattern.match(name) is not None


class Substitution:
    """A pattern and its replacement, ready for many names. Raises :class:`QueryError` if either is malformed."""

    def __init__(self, search: str, replace: str) -> None:
        self._pattern = _compiled(search)
        self._template = parse_template(replace, self._pattern.groups, self._pattern.groupindex.get)
        quick = len(search) <= SHORT and len(replace) <= SHORT and is_quick(search)
        self._quick = re.compile(search).sub if quick else None
        self._around = _around(self._template) if quick and _WHOLE.fullmatch(search) else None

    def within(self, names: Iterable[str]) -> list[str]:
        """Each name with every match replaced."""
        around = self._around
        if around is None:
            return [self(name) for name in names]
        return [name.join(around) if name and len(name) <= SHORT and "\n" not in name else self(name) for name in names]

    def __call__(self, name: str) -> str:
        """``name`` with every match replaced; an empty match that follows another match counts, as in Python."""
        if self._quick is not None and len(name) <= SHORT:
            return self._quick(self._expand, name)
        pieces: list[str] = []
        end = length = 0
        last = (-1, -1)
        for match in self._pattern.finditer(name):
            span: tuple[int, int] = match.span()
            if span == last:
                continue
            pieces += (name[end : span[0]], self._expand(match))
            length += len(pieces[-1]) + len(pieces[-2])
            if length > MAX_NAME:
                raise QueryError(f"a substitution makes a name of over {MAX_NAME} characters")
            end, last = span[1], span
        return "".join(pieces) + name[end:]

    def _expand(self, match: Match) -> str:
        return "".join([part if isinstance(part, str) else match.group(part) or "" for part in self._template])


def _around(template: Template) -> list[str]:
    """The texts before, between and after the groups of a template."""
    texts = [""]
    for part in template:
        if isinstance(part, str):
            texts[-1] += part
        else:
            texts.append("")
    return texts


def parse_template(text: str, groups: int, index: Callable[[str], int | None]) -> Template:
    r"""Literal texts and group numbers of a replacement: ``\1``, ``\g<1>``, ``\g<name>``, ``\n``, ``\\``, octal.

    Raises :class:`QueryError` where Python raises re.error.
    """
    parts: Template = []
    at = 0
    for match in TEMPLATE.finditer(text):
        parts.append(text[at : match.start()])
        parts.append(_escape(match, groups, index))
        at = match.end()
    parts.append(text[at:])
    return [part for part in parts if part != ""]


def _escape(match: re.Match[str], groups: int, index: Callable[[str], int | None]) -> str | int:
    if match["octal"]:
        return chr(int(match["octal"], 8))
    if match["number"] or match["group"] is not None:
        key = match["number"] or match["group"]
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 6 else index(key)
        if number is None or number > groups:
            raise QueryError(f"the replacement refers to an unknown group {key!r}")
        return number
    char = match["char"]
    if char is None or (char not in ESCAPES and char.isascii() and char.isalpha()):
        raise QueryError(f"bad escape {match[0]!r} in the replacement")
    return ESCAPES.get(char, match[0])


def _python_classes(pattern: str) -> str:
    r"""``pattern`` with ``\w``, ``\d`` and ``\Z`` spelled so that RE2 means by them what Python does."""
    out: list[str] = []
    inside = False
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if char == "\\" and at + 1 < len(pattern):
            out.append((INSIDE if inside else OUTSIDE).get(pattern[at + 1], pattern[at : at + 2]))
            at += 2
            continue
        if char == "[" and not inside:
            inside = True
            opening = re.compile(r"\[\^?\]?").match(pattern, at)
            char = opening[0] if opening else char
        elif char == "]":
            inside = False
        out.append(char)
        at += len(char)
    return "".join(out)
