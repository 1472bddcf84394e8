"""Functions that change names and nothing else. The path expression stays: an enclosing function prints that."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import suppress
from operator import itemgetter
from typing import Final, cast

import numpy as np

from ingestd.query.context import Invocation
from ingestd.query.functions.registry import INTEGER, NODE_OR_TAG, SERIES, STRING, Param, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.query.parse import Scalar, first_path
from ingestd.query.reduce import REDUCERS, WHOLE, summaries
from ingestd.query.substitute import Substitution
from ingestd.query.units import SYSTEMS, with_unit

_WORD: Final = r"[A-Za-z0-9_*?\[\]!:;@%+#$&/<>^`~-]+"
WRAPPED: Final = re.compile(
    rf"(?:[A-Za-z_]\w*\()+(?!(?:true|false|none|inf)\.)([A-Za-z_]{_WORD}(?:\.{_WORD})+)"
    r'(?:(?:, ?(?:-?\d+(?:\.\d+)?|"[^"\\\r\n()]*"|true))*\))+',
    re.ASCII | re.IGNORECASE,
)
"""``f(g(a.b,1),"x")``: most names that end in a parenthesis. The parser finds the same path, ten times slower."""

FORMAT: Final = re.compile(r"%(?:%|[#0 +-]{0,5}\d{0,3}(?:\.\d{0,3})?[hlL]?[diouxXeEfFgGrsa])", re.ASCII)
"""What ``%`` of Python formats a number with, up to 999 characters of it."""


@function("alias", group="Alias", params=(SERIES, Param("newName", STRING)))
def alias(call: Invocation, series: SeriesList, new_name: Scalar) -> SeriesList:
    """Shows each series as ``newName``."""
    # A number stays one: see Labels.names.
    return series.shown([cast(str, new_name)] * len(series))


@function("aliasByNode", group="Alias", params=(SERIES, Param("nodes", NODE_OR_TAG, multiple=True)))
def alias_by_node(call: Invocation, series: SeriesList, *nodes: Scalar) -> SeriesList:
    """Shows of each series' path the nodes with these numbers (negative ones count from the end), or values of tags."""
    return series.shown(node_names(series, nodes, call.context.limits))


@function("aliasSub", group="Alias", params=(SERIES, Param("search", STRING), Param("replace", STRING)))
def alias_sub(call: Invocation, series: SeriesList, search: Scalar, replace: Scalar) -> SeriesList:
    """Replaces in each name what the regular expression ``search`` matches; ``\\1`` is its first group."""
    if not isinstance(search, str) or not isinstance(replace, str):
        raise QueryError("aliasSub: the pattern and the replacement must be strings")
    substitute = Substitution(search, replace)
    names = series.names
    if not all(isinstance(name, str) for name in names):
        raise QueryError("aliasSub: a series' name is a number")
    return series.shown(substitute.within(names))


@function("aliasByTags", group="Alias", params=(SERIES, Param("tags", NODE_OR_TAG, multiple=True)))
def alias_by_tags(call: Invocation, series: SeriesList, *tags: Scalar) -> SeriesList:
    """Shows of each series the values of these tags, or nodes of its path: another name of aliasByNode."""
    return alias_by_node(call, series, *tags)


@function("aliasByMetric", group="Alias", params=(SERIES,))
def alias_by_metric(call: Invocation, series: SeriesList) -> SeriesList:
    """Shows the last node of each series' path."""
    names = series.names
    if are_paths(names) and "," not in "".join(names):
        return series.shown([name.rpartition(".")[2] for name in names])
    return series.shown([nodes_of(str(name))[-1].partition(",")[0] for name in names])


def nodes_of(name: str) -> list[str]:
    """The nodes of what stands between the last opening and the first closing parenthesis of a name."""
    closing = name.find(")")
    return name[name.rfind("(") + 1 : closing if closing >= 0 else None].split(".")


@function(
    "aliasQuery",
    group="Alias",
    params=(SERIES, Param("search", STRING), Param("replace", STRING), Param("newName", STRING)),
)
def alias_query(call: Invocation, series: SeriesList, search: Scalar, replace: Scalar, new_name: Scalar) -> SeriesList:
    """Shows the last value of another series in the format ``newName``, which is one of C such as ``"%d MHz"``.

    The other series is the target that a name becomes when ``replace`` takes the place of what ``search`` matches.
    """
    if not isinstance(search, str) or not isinstance(replace, str) or not isinstance(new_name, str):
        raise QueryError("aliasQuery: the pattern, the replacement and the name must be strings")
    substitute = Substitution(search, replace)
    if sum(text != "%%" for text in FORMAT.findall(new_name)) != 1 or "%" in FORMAT.sub("", new_name):
        raise QueryError(f"aliasQuery: {new_name[:80]!r} must hold one format of a number")
    names = []
    for name in series.names:
        query = substitute(str(name))
        found = call.context.evaluate_text(query).series()
        if not found:
            raise QueryError(f"No series found with query: {query}")
        values = found[0].values[~np.isnan(found[0].values)]
        if not len(values):
            raise QueryError(f"Cannot get last value of series: {found[0].name}")
        try:
            names.append(new_name % (int(values[-1]) if found[0].ints else float(values[-1])))
        except (TypeError, ValueError, OverflowError) as error:
            raise QueryError(f"aliasQuery: {new_name[:80]!r} is no format of the number {values[-1]}") from error
    return series.shown(names)


@function(
    "legendValue",
    group="Alias",
    params=(
        SERIES,
        optional(
            "valuesTypes",
            STRING,
            multiple=True,
            options=(*REDUCERS, *(f"{name}Series" for name in REDUCERS), "si", "binary"),
            keyword="valueTypes",
        ),
    ),
)
def legend_value(call: Invocation, series: SeriesList, *kinds: Scalar) -> SeriesList:
    """Appends aggregations of its values to each name: ``avg``, ``max``, ..., with the last argument ``si`` or
    ``binary`` in columns and with the units of that system.
    """
    system = kinds[-1] if kinds and kinds[-1] in SYSTEMS else None
    for kind in kinds if system is None else kinds[:-1]:
        numbers = summaries(series, str(kind)).tolist() if kind in REDUCERS else [None] * len(series)
        labels = series.labels
        if system is None:
            rows = zip(labels.names, numbers, labels.ints, strict=True)
            whole = kind in WHOLE
            series.shown([f"{name} ({kind}: {_number(number, ints and whole)})" for name, number, ints in rows])
        else:
            named = zip(labels.names, numbers, strict=True)
            series.shown(
                [f"{name!s:<20}{kind!s:<5}{_number(number, False, str(system)):<10}" for name, number in named]
            )
    return series


def _number(number: float | None, whole: bool, system: str = "") -> str:
    if number is None:
        return "(?)"
    if math.isnan(number):
        return "None"
    if system:
        return "{:.2f}{}".format(*with_unit(number, system))
    return str(int(number)) if whole and math.isfinite(number) else str(number)


@function("upper", group="Alias", params=(SERIES, optional("pos", INTEGER, multiple=True)))
def upper(call: Invocation, series: SeriesList, *positions: int) -> SeriesList:
    """Capitals in each name: all letters, or those at these positions; negative ones count from the end."""
    return _letters(series, str.upper, positions)


@function("lower", group="Alias", params=(SERIES, optional("pos", INTEGER, multiple=True)))
def lower(call: Invocation, series: SeriesList, *positions: int) -> SeriesList:
    """Small letters in each name: all, or those at these positions; negative ones count from the end."""
    return _letters(series, str.lower, positions)


def _letters(series: SeriesList, change: Callable[[str], str], positions: tuple[int, ...]) -> SeriesList:
    if not positions:
        return series.shown([change(str(name)) for name in series.names])
    names = []
    for name in series.names:
        letters = list(str(name))
        for at in positions:
            if -len(letters) <= at < len(letters):
                letters[at] = change(letters[at])
        names.append("".join(letters))
    return series.shown(names)


def node_names(series: SeriesList, nodes: tuple[Scalar, ...], limits: QueryLimits) -> list[str]:
    """Of each series the chosen nodes of its name's first path, or values of tags, joined by dots; a missing one is
    empty.

    Raises :class:`QueryError` where a name is empty or cannot be taken apart.
    """
    labels = series.labels
    paths = are_paths(labels.names)
    if paths and nodes and all(isinstance(node, int) for node in nodes):
        with suppress(IndexError):
            return _nodes_of_paths(labels.names, nodes)
    if paths and len(nodes) == 1 and isinstance(nodes[0], str):
        return [tags.get(nodes[0], "") for tags in labels.tags]
    parts = [_parts(name, limits) for name in labels.names]
    return [".".join([_node(own, tags, node) for node in nodes]) for own, tags in zip(parts, labels.tags, strict=True)]


def are_paths(names: list[str]) -> bool:
    """Whether all names are paths without tags, as they mostly are."""
    if not all(type(name) is str for name in names) or "" in names:
        return False
    text = "".join(names)
    return ")" not in text and "(" not in text and ";" not in text


def _nodes_of_paths(names: list[str], nodes: tuple[Scalar, ...]) -> list[str]:
    """Raises IndexError where one is missing."""
    chosen = itemgetter(*nodes)
    if len(nodes) == 1:
        return [chosen(name.split(".")) for name in names]
    return [".".join(chosen(name.split("."))) for name in names]


def _parts(name: str, limits: QueryLimits) -> list[str]:
    """The nodes of a name's first path."""
    if not isinstance(name, str) or not name:
        raise QueryError("a series without a name has no nodes")
    if name.endswith(")"):
        wrapped = WRAPPED.fullmatch(name) if name.count("(") == name.count(")") <= limits.depth else None
        name = (wrapped[1] if wrapped else first_path(name, limits)) or name
    return (name.partition(";")[0] if ";" in name else name).split(".")


def _node(parts: list[str], tags: dict[str, str], node: Scalar) -> str:
    if isinstance(node, int) and -len(parts) <= node < len(parts):
        return parts[node]
    if node is None or (isinstance(node, float) and node.is_integer()):
        raise QueryError(f"{node!r} is neither a node's number nor a tag")
    return tags.get(str(node), "")
