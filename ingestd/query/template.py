"""``template(target, ...)``: a target with variables, replaced before it is evaluated (graphite-web 1.1.10, evaluator).

In path expressions inside of it ``$name`` stands for the argument of that name, ``$1`` for the first one, and a
request's ``template[name]`` comes before both. A whole expression ``$name`` becomes a number where the value is one.
Strings are left as they are, and so is ``$name`` outside of a template.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from ingestd.query.limits import LimitError, QueryError, QueryLimits
from ingestd.query.parse import Call, Literal, Node, Path

NUMBER: Final = re.compile(r"-?[\d.]+", re.ASCII)
_Values = Mapping[str, str | int | float]


def resolve(node: Node, given: Mapping[str, str], limits: QueryLimits) -> Node:
    """The tree without templates; ``given`` holds the request's values by name. Raises :class:`QueryError`."""
    return _resolved(node, {}, given, limits)


def _resolved(node: Node, values: _Values, given: Mapping[str, str], limits: QueryLimits) -> Node:
    if isinstance(node, Path):
        return _replaced(node, values, limits)
    if isinstance(node, Literal):
        return node
    if node.name == "template":
        values = {**_arguments(node), **given}
        return _resolved(node.args[0], values, given, limits)
    args = tuple(_resolved(each, values, given, limits) for each in node.args)
    kwargs = tuple((name, _resolved(each, values, given, limits)) for name, each in node.kwargs)
    return node if args == node.args and kwargs == node.kwargs else replace(node, args=args, kwargs=kwargs)


def _arguments(call: Call) -> dict[str, str | int | float]:
    """The values that a call of template brings along, by name or by number from 1.

    Its grammar has no pipe behind the first argument, and not both kinds of others.
    """
    plain = [(str(at), each) for at, each in enumerate(call.args)][1:]
    values: dict[str, str | int | float] = {}
    for name, node in (*plain, *call.kwargs):
        value = node.value if isinstance(node, Literal) else None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            break
        values[name] = value
    else:
        target = call.args[0] if call.args else Literal(None)
        piped = isinstance(target, Call) and not call.raw.partition("(")[2].lstrip().startswith(target.raw)
        if not isinstance(target, Literal) and not piped and not (plain and call.kwargs):
            return values
    raise QueryError("invalid template() syntax, only string/numeric arguments are allowed")


def _replaced(path: Path, values: _Values, limits: QueryLimits) -> Node:
    text = path.text
    for name, value in values.items():
        variable = f"${name}"
        if text == variable:
            return Literal(_number(value) if isinstance(value, str) and NUMBER.fullmatch(value) else value)
        if variable in text:
            length = len(text) + text.count(variable) * (len(str(value)) - len(variable))
            if length > limits.target_length:
                what = f"a path of {length} characters made by template()"
                raise LimitError("limits.query_target_length", what, limits.target_length)
            text = text.replace(variable, str(value))
    return Path(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise QueryError(f"template: {text[:80]!r} is no number") from error
