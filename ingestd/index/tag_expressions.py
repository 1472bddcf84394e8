"""Tag expressions, ``dc=a``, ``host!=b``, ``name=~cpu.*``, ``rack!=~r[12]``, as graphite-web 1.1.10 reads them.

An expression that an empty value satisfies is satisfied by series without the tag, too. Regular expressions are tied to
the beginning of the value, not to its end. One that begins with ``^`` is taken as it stands: of ``^a|b`` the second
part is then tied to nothing in the expressions that an empty value does not satisfy, because graphite-web leaves those
to the search of its database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from ingestd.index.names import NameIndexError

_EXPRESSION: Final = re.compile(r"([^;!=]+)(!?=~?)([^;]*)")


class TagExpressionError(NameIndexError):
    """What is no tag expression, or a search of expressions that an empty value satisfies."""


class Pattern(Protocol):
    """A compiled regular expression."""

    def __call__(self, text: str, /) -> bool:
        """Whether it fits anywhere."""

    def match(self, text: str, /) -> bool:
        """Whether it fits from the beginning on."""


Compile: TypeAlias = Callable[[str], Pattern]
"""Makes a pattern of a regular expression in Python's syntax; raises an error that blames who wrote it."""


@dataclass(frozen=True, slots=True)
class Expression:
    """What one expression asks of a tag's value."""

    tag: str
    value: str | None
    """The only value that ``=`` means or ``!=`` leaves out; None where a regular expression decides."""
    negated: bool
    takes_empty: bool
    """Whether an empty value satisfies it, and so a series without the tag."""
    fits: Callable[[str], bool] | None = None
    """Whether the regular expression fits a value."""


def parse_expression(text: str, compile_pattern: Compile) -> Expression:
    """The meaning of ``text``.

    :raises TagExpressionError: it is no expression; what ``compile_pattern`` raises.
    """
    parts = _EXPRESSION.fullmatch(text)
    if parts is None:
        raise TagExpressionError(f"Invalid tagspec {text[:100]}")
    tag, operator, wanted = parts.groups()
    negated = operator.startswith("!")
    if not operator.endswith("~"):
        return Expression(tag, wanted, negated, (wanted == "") != negated)
    pattern = compile_pattern(anchored(wanted))
    takes_empty = pattern.match("") != negated
    return Expression(tag, None, negated, takes_empty, pattern.match if takes_empty else pattern)


def anchored(pattern: str) -> str:
    """A regular expression tied to the beginning."""
    return pattern if pattern.startswith("^") else f"^({pattern})"
