"""Targets to trees: Graphite's grammar (graphite-web 1.1.10, render/grammar_unsafe.py) by recursive descent.

    target  = (call | path) {"|" call}             a|f(x) is f(a, x)
    call    = name "(" [arg {"," arg} {"," kwarg}] ")"
    kwarg   = name "=" arg
    arg     = "true" | "false" | number | "none" | string | "inf" | target
    path    = element {"." element}                no blanks inside
    element = {character | "\\" symbol | "{" word {"," word} "}"}

What surprises, and is kept because dashboards rely on it: alternatives are tried in order and never again (a call that
does not parse leaves its name as a path); whatever follows a complete target is ignored; a number is one only before
``,`` ``)`` or the end of a line and else part of a path; strings keep their backslashes. Paths may hold any character
that is neither blank nor control nor symbol, as graphite-web's with UTF8_METRICS.

Each rule tried at a position is remembered there, so that the time is linear in spite of the lookahead for kwargs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from ingestd.query.limits import LimitError, QueryError, QueryLimits

Scalar: TypeAlias = int | float | str | bool | None


@dataclass(frozen=True, slots=True)
class Path:
    """A path expression, escapes resolved."""

    text: str


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, truth value, or None."""

    value: Scalar


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; ``raw`` is its text in the target (without what was piped into it)."""

    name: str
    args: tuple[Node, ...]
    kwargs: tuple[tuple[str, Node], ...]
    raw: str


Node: TypeAlias = Path | Literal | Call

SYMBOLS: Final = "(){},.'\"\\|"
BLANK: Final = re.compile(r"[ \t\n\r]*")
NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
KEYWORD: Final = re.compile(r"(true|false|none|inf)(?![A-Za-z0-9_$])", re.IGNORECASE)
KEYWORDS: Final[dict[str, Scalar]] = {"true": True, "false": False, "none": None, "inf": float("inf")}
NUMBER: Final = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)([eE]-?[0-9]+)?(?=[ \t\n\r]*[,)]|[ \t]*(?:\n|\Z))")
STRING: Final = re.compile(
    r'"(?>(?:[^"\n\r\\]|""|\\(?:[^x]|x[0-9a-fA-F]+))*)"' + r"|'(?>(?:[^'\n\r\\]|''|\\(?:[^x]|x[0-9a-fA-F]+))*)'"
)
_CHARACTER: Final = r"(?:[^\s\x00-\x1f(){},.'\"\\|]|\\[(){},.'\"\\|=])"
_WORD: Final = rf"(?>{_CHARACTER}+)"
_ELEMENT: Final = rf"(?>(?:{_WORD}|\{{{_WORD}(?:,{_WORD})*\}})+)"
PATH: Final = re.compile(rf"{_ELEMENT}(?:\.{_ELEMENT})*")
ESCAPED: Final = re.compile(r"\\(.)")


def parse(target: str, limits: QueryLimits) -> Node:
    """The tree of ``target``. Raises :class:`QueryError`, of garbage as of nesting beyond ``limits.depth``."""
    if len(target) > limits.target_length:
        raise LimitError("limits.query_target_length", f"a target of {len(target)} characters", limits.target_length)
    parser = _Parser(target.expandtabs(), limits.depth)
    found = parser.expression(0, 0)
    if found is None:
        raise QueryError(f"cannot parse the target {target[:80]!r}")
    # A pipe wraps what stands before it, however deep that is: only the whole tree shows how deep it has become.
    height = _height(found[0])
    if height > limits.depth:
        raise LimitError("limits.query_depth", f"calls nested {height} deep", limits.depth)
    return found[0]


def _height(tree: Node) -> int:
    """Calls within calls."""
    highest, todo = 0, [(tree, 0)]
    while todo:
        node, height = todo.pop()
        if isinstance(node, Call):
            highest = max(highest, height + 1)
            todo += [(child, height + 1) for child in (*node.args, *(value for _, value in node.kwargs))]
    return highest


def first_path(name: str, limits: QueryLimits) -> str | None:
    """The first path expression inside a series name such as ``scale(a.b,2)``; None if there is a literal instead.

    Raises :class:`QueryError` if the name is no target, or its innermost first call has no arguments.
    """
    node = parse(name, limits)
    while isinstance(node, Call):
        if not node.args:
            raise QueryError(f"the series name {name[:80]!r} holds no path")
        node = node.args[0]
    return node.text if isinstance(node, Path) else None


_Found: TypeAlias = tuple[Node, int] | None


class _Parser:
    """Rules take a position and give (node, position behind it), or None where they do not apply."""

    def __init__(self, text: str, depth: int) -> None:
        self._text = text
        self._depth = depth
        self._kwargs: dict[int, tuple[str, Node, int] | None] = {}

    def expression(self, at: int, depth: int) -> _Found:
        if depth > self._depth:
            raise LimitError("limits.query_depth", f"calls nested over {depth - 1} deep", self._depth)
        found = self._call(at, depth) or self._path(at)
        while found is not None and (pipe := self._symbol("|", found[1])) is not None:
            call = self._call(pipe, depth)
            if call is None or not isinstance(call[0], Call):
                break
            piped = call[0]
            found = Call(piped.name, (found[0], *piped.args), piped.kwargs, piped.raw), call[1]
            depth += 1
            if depth > self._depth:
                raise LimitError("limits.query_depth", f"over {depth - 1} pipes", self._depth)
        return found

    def _blank(self, at: int) -> int:
        match = BLANK.match(self._text, at)
        return match.end() if match else at

    def _symbol(self, symbol: str, at: int) -> int | None:
        at = self._blank(at)
        return at + 1 if self._text.startswith(symbol, at) else None

    def _path(self, at: int) -> _Found:
        match = PATH.match(self._text, self._blank(at))
        if match is None:
            return None
        text = match[0]
        return Path(ESCAPED.sub(r"\1", text) if "\\" in text else text), match.end()

    def _call(self, at: int, depth: int) -> _Found:
        start = self._blank(at)
        name = NAME.match(self._text, start)
        if name is None:
            return None
        position = self._symbol("(", name.end())
        if position is None:
            return None
        args, position = self._args(position, depth + 1)
        kwargs: list[tuple[str, Node]] = []
        comma = self._symbol(",", position) if args else None
        while comma is not None and (kwarg := self._kwarg(comma, depth + 1)) is not None:
            kwargs.append(kwarg[:2])
            position = kwarg[2]
            comma = self._symbol(",", position)
        end = self._symbol(")", position)
        if end is None:
            return None
        return Call(name[0], tuple(args), tuple(kwargs), self._text[start:end]), end

    def _args(self, at: int, depth: int) -> tuple[list[Node], int]:
        args: list[Node] = []
        position: int | None = at
        end = at
        while position is not None and self._kwarg(position, depth) is None:
            found = self._arg(position, depth)
            if found is None:
                break
            args.append(found[0])
            end = found[1]
            position = self._symbol(",", end)
        return args, end

    def _kwarg(self, at: int, depth: int) -> tuple[str, Node, int] | None:
        if at not in self._kwargs:
            self._kwargs[at] = self._read_kwarg(at, depth)
        return self._kwargs[at]

    def _read_kwarg(self, at: int, depth: int) -> tuple[str, Node, int] | None:
        name = NAME.match(self._text, self._blank(at))
        equal = self._symbol("=", name.end()) if name else None
        if name is None or equal is None:
            return None
        found = self._arg(equal, depth)
        return (name[0], found[0], found[1]) if found else None

    def _arg(self, at: int, depth: int) -> _Found:
        start = self._blank(at)
        keyword = KEYWORD.match(self._text, start)
        if keyword is not None:
            return Literal(KEYWORDS[keyword[1].lower()]), keyword.end()
        number = NUMBER.match(self._text, start)
        if number is not None:
            return Literal(_number(number)), number.end()
        string = STRING.match(self._text, start)
        if string is not None:
            return Literal(string[0][1:-1]), string.end()
        return self.expression(start, depth)


def _number(match: re.Match[str]) -> int | float:
    digits, exponent = match[1], match[2] or ""
    if exponent or "." in digits:
        return float(digits + exponent)
    if len(digits) > 300:
        raise QueryError(f"a number of {len(digits)} digits")
    return int(digits)
