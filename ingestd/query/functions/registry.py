"""How a function of the query language is declared, found and given its arguments.

    @function("scale", group="Transform", params=(SERIES, Param("factor", FLOAT)))
    def scale(call: Invocation, series: SeriesList, factor: float) -> SeriesList: ...

Arguments arrive converted to the declared types. Where graphite-web only logs that an argument is of another type and
then mostly crashes, :class:`QueryError` names the parameter.

The same declaration is what /functions tells (:meth:`Function.describe`): the docstring is the description.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, Final, TypeAlias, TypeVar

from ingestd.query.attime import parse_offset
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import REDUCERS

Argument: TypeAlias = Scalar | SeriesList
Body: TypeAlias = Callable[..., SeriesList]
_Body = TypeVar("_Body", bound=Body)

LARGEST_INTEGER: Final = 2**63 - 1
"""What numpy and the kernels count with."""


@dataclass(frozen=True, slots=True)
class ParamType:
    """A type as /functions names it; ``convert`` raises ValueError, TypeError or OverflowError."""

    name: str
    convert: Callable[[Argument], Argument]
    options: tuple[str, ...] = ()
    """The values to choose from, unless they are too many."""


def _series_list(value: Argument) -> Argument:
    if value is None:  # graphite-web's aggregations take it for no series
        return SeriesList()
    if not isinstance(value, SeriesList):
        raise TypeError
    return value


def _scalar(value: Argument) -> Scalar:
    if isinstance(value, SeriesList):
        raise TypeError
    return value


def _any(value: Argument) -> Argument:
    return value


def _float(value: Argument) -> Argument:
    if isinstance(value, SeriesList) or value is None:
        raise TypeError
    return float(value)


def _integer(value: Argument) -> Argument:
    if isinstance(value, SeriesList | float) or value is None:
        raise TypeError
    number = int(value)
    if not -LARGEST_INTEGER <= number <= LARGEST_INTEGER:
        raise OverflowError
    return number


def _node(value: Argument) -> Argument:
    return int(value) if isinstance(value, float) and value.is_integer() else _integer(value)


def _number(value: Argument) -> Argument:
    return value if isinstance(value, float) else _integer(value)


def _int_or_inf(value: Argument) -> Argument:
    if isinstance(value, float):
        return value
    return math.inf if isinstance(value, str) and value.strip().lower() in ("inf", "infinity") else _integer(value)


def _interval(value: Argument) -> Argument:
    if not isinstance(value, str):
        raise TypeError
    parse_offset(value)
    return value


def _boolean(value: Argument) -> Argument:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return bool(_scalar(value))


def _func(value: Argument) -> Argument:
    if not isinstance(value, str):
        raise TypeError
    return value


SERIES_LIST: Final = ParamType("seriesList", _series_list)
LISTS_OF_SERIES: Final = ParamType("seriesLists", _series_list)
"""What mapSeries gives to reduceSeries: here a list like any other, group after group."""
FLOAT: Final = ParamType("float", _float)
INTEGER: Final = ParamType("integer", _integer)
NUMBER: Final = ParamType("integer", _number)
"""Called an integer, but graphite-web, which only logs that it is none, computes with any number."""
INT_OR_INF: Final = ParamType("intOrInf", _int_or_inf)
INT_OR_INTERVAL: Final = ParamType("intOrInterval", _scalar)
INTERVAL: Final = ParamType("interval", _interval)
DATE: Final = ParamType("date", _scalar)
BOOLEAN: Final = ParamType("boolean", _boolean)
STRING: Final = ParamType("string", _scalar)
NODE: Final = ParamType("node", _node)
TAG: Final = ParamType("tag", _scalar)
NODE_OR_TAG: Final = ParamType("nodeOrTag", _scalar)
ANY: Final = ParamType("any", _any)
ONE_SERIES: Final = ParamType("series", _series_list)
"""What functions of pie charts take."""
AGG_FUNC: Final = ParamType("aggFunc", _func, tuple(REDUCERS))
"""A name of :data:`~ingestd.query.reduce.REDUCERS`; whoever uses it, checks it."""
AGG_OR_SERIES_FUNC: Final = ParamType("aggOrSeriesFunc", _func, tuple(REDUCERS))
"""One of those, or the name of a function."""


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter. A ``multiple`` one is the last and takes all further arguments, or none.

    The rest is for /functions and where graphite-web's signature and its description differ.
    """

    name: str
    type: ParamType
    required: bool = True
    default: Scalar = None
    """What the function gets if the parameter is left out, and what the signature shows. One that is required may have
    a default, too: then it may be left out all the same."""
    multiple: bool = False
    options: tuple[Scalar, ...] = ()
    """The values to choose from, besides those of the type."""
    suggestions: tuple[Scalar, ...] = ()
    keyword: str = ""
    """The name in the signature, by which the argument is given, if it is not ``name``."""
    shown: Scalar | EllipsisType = ...
    """The default in the description, if it is not ``default``; None for none."""

    def accept(self, function: str, value: Argument) -> Argument:
        """``value`` converted, or the default for an optional None (unless any number of them is taken)."""
        if value is None and not self.multiple and (not self.required or self.default is not None):
            return self.default
        try:
            return self.type.convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            shown = "a list of series" if isinstance(value, SeriesList) else repr(value)
            raise QueryError(f'{function}: "{self.name}" must be of type {self.type.name}, not {shown}') from error

    def signature(self) -> str:
        """As it stands between the parentheses of a definition in Python."""
        name = self.keyword or self.name
        if self.multiple:
            return f"*{name}"
        return name if self.required and self.default is None else f"{name}={self.default!r}"

    def describe(self) -> dict[str, Any]:
        """The parameter as /functions shows it; what does not hold is left out."""
        default = self.default if isinstance(self.shown, EllipsisType) else self.shown
        options = {*self.options, *self.type.options}
        if self.type is AGG_OR_SERIES_FUNC:
            options.update(name for name, each in FUNCTIONS.items() if each.aggregator)
        described: dict[str, Any] = {"name": self.name, "type": self.type.name}
        if self.required:
            described["required"] = True
        elif default is not None:
            described["default"] = default
        if self.multiple:
            described["multiple"] = True
        if options:
            described["options"] = sorted(options, key=str)
        if self.suggestions:
            described["suggestions"] = list(self.suggestions)
        return described


SERIES: Final = Param("seriesList", SERIES_LIST)
SERIES_LISTS: Final = Param("seriesLists", SERIES_LIST, multiple=True)


def optional(
    name: str,
    kind: ParamType,
    default: Scalar = None,
    *,
    multiple: bool = False,
    options: tuple[Scalar, ...] = (),
    suggestions: tuple[Scalar, ...] = (),
    keyword: str = "",
    shown: Scalar | EllipsisType = ...,
) -> Param:
    """A parameter that may be left out."""
    return Param(name, kind, False, default, multiple, options, suggestions, keyword, shown)


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function."""

    name: str
    group: str
    params: tuple[Param, ...]
    body: Body
    aggregator: bool = False
    """Whether groupByNode and its kin offer it as a callback."""
    extension: bool = False
    """Whether graphite-web 1.1.10 does not have it."""

    def bind(self, args: Sequence[Argument], kwargs: Sequence[tuple[str, Argument]] = ()) -> list[Argument]:
        """One converted argument for each parameter, and those of a ``multiple`` one. Raises :class:`QueryError`."""
        named = dict(kwargs)
        params = self.params
        if len(args) > len(params) and not (params and params[-1].multiple):
            raise QueryError(f"{self.name} takes at most {len(params)} arguments, not {len(args)}")
        bound = [params[min(at, len(params) - 1)].accept(self.name, value) for at, value in enumerate(args)]
        for param in params[len(args) :]:
            given = next((key for key in (param.keyword, param.name) if key in named), None)
            if given is not None:
                bound.append(param.accept(self.name, named.pop(given)))
            elif param.required and param.default is None and not param.multiple:
                raise QueryError(f'{self.name}: the parameter "{param.name}" is missing')
            elif not param.multiple:
                bound.append(param.default)
        if named:
            raise QueryError(f"{self.name} takes no parameter {', '.join(named)}")
        return bound

    def describe(self) -> dict[str, Any]:
        """The function as /functions shows it."""
        description = described(self.name, self.group, self.params, self.body)
        return {**description, "extension": True} if self.extension else description


def described(name: str, group: str, params: tuple[Param, ...], body: Callable[..., object]) -> dict[str, Any]:
    """A function as /functions shows it."""
    return {
        "name": name,
        "function": f"{name}({', '.join(param.signature() for param in params)})",
        "description": inspect.getdoc(body),
        "module": body.__module__,
        "group": group,
        "params": [param.describe() for param in params],
    }


FUNCTIONS: Final[dict[str, Function]] = {}
"""Every function by name; filled when :mod:`ingestd.query.functions` is imported, and not changed afterwards."""


def function(
    *names: str, group: str, params: tuple[Param, ...], aggregator: bool = False, extension: bool = False
) -> Callable[[_Body], _Body]:
    """Registers a function under each of ``names``."""

    def register(body: _Body) -> _Body:
        for name in names:
            assert name not in FUNCTIONS, name
            FUNCTIONS[name] = Function(name, group, params, body, aggregator, extension)
        return body

    return register


def lookup(name: str) -> Function:
    """The function of that name. Raises :class:`QueryError`."""
    found = FUNCTIONS.get(name)
    if found is None:
        raise QueryError(f"Received request for unknown function: {name}")
    return found
