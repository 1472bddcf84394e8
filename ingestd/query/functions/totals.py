"""Aggregations over path expressions alone, which the reader makes itself: no array of all their points, no labels.

Their answers are those of :mod:`ingestd.query.functions.combine`, bit by bit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ingestd.query.context import Context
from ingestd.query.functions.combine import aggregated_label
from ingestd.query.grid import SeriesList, single
from ingestd.query.parse import Call, Literal, Path
from ingestd.query.reduce import MANNERS, of_totals

_FUNCTIONS: Final = {
    "sumSeries": "sum",
    "sum": "sum",
    "averageSeries": "average",
    "avg": "average",
    "maxSeries": "max",
    "minSeries": "min",
}


class _Wanted(NamedTuple):
    func: str
    patterns: list[str]
    x_files_factor: float


def totalled(context: Context, call: Call) -> SeriesList | None:
    """The answer of a call, or None where its function is to be called."""
    wanted = _wanted(call, context.x_files_factor)
    if wanted is None:
        return None
    func, patterns, factor = wanted
    found = context.source.total(patterns, context.start, context.until, MANNERS[func])
    if found is None:
        return None
    totals, series, labels = found
    context.charge(1, totals.window.slots)
    values = of_totals(totals.values, totals.counts, series, func, factor)
    return single(aggregated_label(labels, func, factor), *totals.window, values)


def _wanted(call: Call, x_files_factor: float) -> _Wanted | None:
    """What is asked, if it is an aggregation that is made of totals, over nothing but path expressions."""
    if call.kwargs:
        return None
    func: object = _FUNCTIONS.get(call.name)
    args = call.args
    if call.name == "aggregate" and len(args) == 2 and isinstance(args[1], Literal):
        func, args = args[1].value, args[:1]
    if not isinstance(func, str) or func.removesuffix("Series") not in MANNERS or not args:
        return None
    patterns = [arg.text for arg in args if isinstance(arg, Path)]
    return _Wanted(func.removesuffix("Series"), patterns, x_files_factor) if len(patterns) == len(args) else None
