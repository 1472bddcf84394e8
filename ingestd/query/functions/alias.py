"""Functions that change names and nothing else. The path expression stays: an enclosing function prints that."""

from __future__ import annotations

import re
from typing import Final, cast

from ingestd.query.context import Invocation
from ingestd.query.functions.registry import NODE_OR_TAG, SERIES, STRING, Param, function
from ingestd.query.grid import Label, SeriesList
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.query.parse import Scalar, first_path
from ingestd.query.substitute import Substitution

_WORD: Final = r"[A-Za-z0-9_*?\[\]!:;@%+#$&/<>^`~-]+"
WRAPPED: Final = re.compile(
    rf"(?:[A-Za-z_]\w*\()+(?!(?:true|false|none|inf)\.)([A-Za-z_]{_WORD}(?:\.{_WORD})+)"
    r'(?:(?:, ?(?:-?\d+(?:\.\d+)?|"[^"\\\r\n()]*"|true))*\))+',
    re.ASCII | re.IGNORECASE,
)
"""``f(g(a.b,1),"x")``: most names that end in a parenthesis. The parser finds the same path, ten times slower."""


@function("alias", group="Alias", params=(SERIES, Param("newName", STRING)))
def alias(call: Invocation, series: SeriesList, new_name: Scalar) -> SeriesList:
    """Shows each series as ``newName``."""
    for label in series.labels:
        label.name = cast(str, new_name)  # a number stays one: see Label.name
    return series


@function("aliasByNode", group="Alias", params=(SERIES, Param("nodes", NODE_OR_TAG, multiple=True)))
def alias_by_node(call: Invocation, series: SeriesList, *nodes: Scalar) -> SeriesList:
    """Shows of each series' path the nodes with these numbers (negative ones count from the end), or values of tags."""
    limits = call.context.limits
    for label in series.labels:
        label.name = node_name(label, nodes, limits)
    return series


@function("aliasSub", group="Alias", params=(SERIES, Param("search", STRING), Param("replace", STRING)))
def alias_sub(call: Invocation, series: SeriesList, search: Scalar, replace: Scalar) -> SeriesList:
    """Replaces in each name what the regular expression ``search`` matches; ``\\1`` is its first group."""
    if not isinstance(search, str) or not isinstance(replace, str):
        raise QueryError("aliasSub: the pattern and the replacement must be strings")
    substitute = Substitution(search, replace)
    for label in series.labels:
        if not isinstance(label.name, str):
            raise QueryError("aliasSub: a series' name is a number")
        label.name = substitute(label.name)
    return series


def node_name(label: Label, nodes: tuple[Scalar, ...], limits: QueryLimits) -> str:
    """The chosen nodes of the name's first path, or values of tags, joined by dots; a missing one is empty.

    Raises :class:`QueryError` where the name is empty or cannot be taken apart.
    """
    name = label.name
    if not isinstance(name, str) or not name:
        raise QueryError("a series without a name has no nodes")
    if name.endswith(")"):
        wrapped = WRAPPED.fullmatch(name) if name.count("(") == name.count(")") <= limits.depth else None
        name = (wrapped[1] if wrapped else first_path(name, limits)) or name
    parts = name.partition(";")[0].split(".")
    return ".".join([_node(parts, label.tags, node) for node in nodes])


def _node(parts: list[str], tags: dict[str, str], node: Scalar) -> str:
    if isinstance(node, int) and -len(parts) <= node < len(parts):
        return parts[node]
    if node is None or (isinstance(node, float) and node.is_integer()):
        raise QueryError(f"{node!r} is neither a node's number nor a tag")
    return tags.get(str(node), "")
