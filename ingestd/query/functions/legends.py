"""Names for legends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from ingestd.query.context import Invocation
from ingestd.query.functions.alias import are_paths, nodes_of
from ingestd.query.functions.registry import NUMBER, SERIES, STRING, ParamType, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import summaries
from ingestd.query.units import SYSTEMS, with_unit

NODE_NUMBER: Final = ParamType("node", NUMBER.convert)


@function(
    "substr",
    group="Special",
    params=(SERIES, optional("start", NODE_NUMBER, 0), optional("stop", NODE_NUMBER, 0)),
)
def substr(call: Invocation, series: SeriesList, start: float, stop: float) -> SeriesList:
    """The nodes from ``start`` to before ``stop`` (0: to the last) of the path in the innermost parentheses."""
    if not math.isfinite(start) or not math.isfinite(stop):
        raise QueryError("substr: a node's number is finite")
    nodes = slice(int(start), int(stop) or None)
    names = series.names
    if are_paths(names) and "," not in "".join(names):
        return series.shown([".".join(name.split(".")[nodes]) for name in names])
    return series.shown([".".join(nodes_of(str(name))[nodes]).partition(",")[0] for name in names])


@function(
    "cactiStyle",
    group="Special",
    params=(SERIES, optional("system", STRING, options=tuple(SYSTEMS)), optional("units", STRING)),
)
def cacti_style(call: Invocation, series: SeriesList, system: Scalar, units: Scalar) -> SeriesList:
    """Names with the last, the largest and the smallest value in columns, as cacti shows them."""
    if system and system not in SYSTEMS:
        raise QueryError(f"cactiStyle: unknown system {system!r}; there are {', '.join(SYSTEMS)}")
    if not series:
        return series
    show = _formatter(str(system) if system else None, str(units) if units else "")
    columns = [summaries(series, func) for func in ("last", "max", "min")]
    texts = [["nan" if math.isnan(value) else show(value) for value in column.tolist()] for column in columns]
    # The width is that of the whole part, of 3 where it is 0 or missing, and 3 more.
    wholes = [np.where(np.isfinite(column) & (column != 0), np.trunc(column), 3.0) for column in columns]
    widths = [max(len(show(value)) for value in np.unique(whole).tolist()) + 3 for whole in wholes]
    names = series.names
    longest = max(len(str(name)) for name in names)
    return series.shown(
        [
            f"{name!s:<{longest}} Current:{last:<{widths[0]}} Max:{largest:<{widths[1]}} Min:{smallest:<{widths[2]}} "
            for name, last, largest, smallest in zip(names, *texts, strict=True)
        ]
    )


def _formatter(system: str | None, units: str) -> Callable[[float], str]:
    def show(value: float) -> str:
        if system is None:
            return f"{value:.2f} {units}" if units else f"{value:.2f}"
        number, prefix = with_unit(value, system)
        return f"{number:.2f} {prefix}{units}" if units else f"{number:.2f}{prefix}"

    return show
