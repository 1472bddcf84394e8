"""How a function of the query language is declared, found and given its arguments.

    @function("scale", group="Transform", params=(SERIES, Param("factor", FLOAT)))
    def scale(call: Invocation, series: SeriesList, factor: float) -> SeriesList: ...

Arguments arrive converted to the declared types. Where graphite-web only logs that an argument is of another type and
then mostly crashes, :class:`QueryError` names the parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from ingestd.query.attime import parse_offset
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar

Argument: TypeAlias = Scalar | SeriesList
Body: TypeAlias = Callable[..., SeriesList]
_Body = TypeVar("_Body", bound=Body)


@dataclass(frozen=True, slots=True)
class ParamType:
    """A type as /functions names it; ``convert`` raises ValueError, TypeError or OverflowError."""

    name: str
    convert: Callable[[Argument], Argument]


def _series_list(value: Argument) -> Argument:
    if not isinstance(value, SeriesList):
        raise TypeError
    return value


def _scalar(value: Argument) -> Scalar:
    if isinstance(value, SeriesList):
        raise TypeError
    return value


def _float(value: Argument) -> Argument:
    if isinstance(value, SeriesList) or value is None:
        raise TypeError
    return float(value)


def _integer(value: Argument) -> Argument:
    if isinstance(value, SeriesList | float) or value is None:
        raise TypeError
    return int(value)


def _int_or_inf(value: Argument) -> Argument:
    return value if isinstance(value, float) else _integer(value)


def _interval(value: Argument) -> Argument:
    if not isinstance(value, str):
        raise TypeError
    parse_offset(value)
    return value


def _boolean(value: Argument) -> Argument:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return bool(_scalar(value))


SERIES_LIST: Final = ParamType("seriesList", _series_list)
FLOAT: Final = ParamType("float", _float)
INTEGER: Final = ParamType("integer", _integer)
INT_OR_INF: Final = ParamType("intOrInf", _int_or_inf)
INT_OR_INTERVAL: Final = ParamType("intOrInterval", _scalar)
INTERVAL: Final = ParamType("interval", _interval)
BOOLEAN: Final = ParamType("boolean", _boolean)
STRING: Final = ParamType("string", _scalar)
NODE_OR_TAG: Final = ParamType("nodeOrTag", _scalar)
AGG_FUNC: Final = ParamType("aggFunc", _scalar)


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter. A ``multiple`` one is the last and takes all further arguments, or none."""

    name: str
    type: ParamType
    required: bool = True
    default: Scalar = None
    multiple: bool = False

    def accept(self, function: str, value: Argument) -> Argument:
        """``value`` converted, or the default for an optional None."""
        if value is None and not self.required:
            return self.default
        try:
            return self.type.convert(value)
        except (TypeError, ValueError, OverflowError) as error:
            shown = "a list of series" if isinstance(value, SeriesList) else repr(value)
            raise QueryError(f'{function}: "{self.name}" must be of type {self.type.name}, not {shown}') from error


SERIES: Final = Param("seriesList", SERIES_LIST)
SERIES_LISTS: Final = Param("seriesLists", SERIES_LIST, multiple=True)


def optional(name: str, kind: ParamType, default: Scalar = None) -> Param:
    """A parameter that may be left out."""
    return Param(name, kind, required=False, default=default)


@dataclass(frozen=True, slots=True)
class Function:
    """A registered function."""

    name: str
    group: str
    params: tuple[Param, ...]
    body: Body

    def bind(self, args: Sequence[Argument], kwargs: Sequence[tuple[str, Argument]]) -> list[Argument]:
        """One converted argument for each parameter, and those of a ``multiple`` one. Raises :class:`QueryError`."""
        named = dict(kwargs)
        last = self.params[-1]
        if len(args) > len(self.params) and not last.multiple:
            raise QueryError(f"{self.name} takes at most {len(self.params)} arguments, not {len(args)}")
        bound = [self.params[min(at, len(self.params) - 1)].accept(self.name, value) for at, value in enumerate(args)]
        for param in self.params[len(args) :]:
            if param.name in named:
                bound.append(param.accept(self.name, named.pop(param.name)))
            elif param.required and not param.multiple:
                raise QueryError(f'{self.name}: the parameter "{param.name}" is missing')
            elif not param.multiple:
                bound.append(param.default)
        if named:
            raise QueryError(f"{self.name} takes no parameter {', '.join(named)}")
        return bound


FUNCTIONS: Final[dict[str, Function]] = {}
"""Every function by name; filled when :mod:`ingestd.query.functions` is imported, and not changed afterwards."""


def function(*names: str, group: str, params: tuple[Param, ...]) -> Callable[[_Body], _Body]:
    """Registers a function under each of ``names``."""

    def register(body: _Body) -> _Body:
        for name in names:
            assert name not in FUNCTIONS, name
            FUNCTIONS[name] = Function(name, group, params, body)
        return body

    return register


def lookup(name: str) -> Function:
    """The function of that name. Raises :class:`QueryError`."""
    found = FUNCTIONS.get(name)
    if found is None:
        raise QueryError(f"Received request for unknown function: {name}")
    return found
