"""Series that are chosen by what they hold or how they are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import (
    AGG_FUNC,
    FLOAT,
    INTEGER,
    NUMBER,
    SERIES,
    SERIES_LIST,
    SERIES_LISTS,
    STRING,
    Param,
    function,
    optional,
)
from ingestd.query.functions.sorting import head, ordered
from ingestd.query.grid import SeriesList, concatenate
from ingestd.query.limits import QueryError
from ingestd.query.parse import parse
from ingestd.query.reduce import enough, known, percentile, summaries
from ingestd.query.substitute import Search, Substitution

N: Final = Param("n", FLOAT)
HOW_MANY: Final = Param("n", NUMBER)
FUNC: Final = optional("func", AGG_FUNC, "average")
OPERATORS: Final[dict[str, Callable[[Values, float], NDArray[Any]]]] = {
    "=": lambda values, than: values == than,
    "!=": lambda values, than: values != than,
    ">": lambda values, than: values > than,
    ">=": lambda values, than: values >= than,
    "<": lambda values, than: ~(values >= than),
    "<=": lambda values, than: ~(values > than),
}
"""Nothing, NaN, is less than and different from everything."""


@function(
    "filterSeries",
    group="Filter Series",
    params=(
        SERIES,
        Param("func", AGG_FUNC),
        Param("operator", STRING, options=tuple(OPERATORS)),
        Param("threshold", FLOAT),
    ),
)
def filter_series(call: Invocation, series: SeriesList, func: str, operator: str, threshold: float) -> SeriesList:
    """The series of which ``func`` makes a value that compares with ``threshold``; none is less than every number."""
    compare = OPERATORS.get(str(operator))
    if compare is None:
        raise QueryError(f"Unsupported operator: {operator}")
    return chosen(series, compare(summaries(series, func), threshold))


@function("averageAbove", group="Filter Series", params=(SERIES, N))
def average_above(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is above ``n``."""
    return filter_series(call, series, "average", ">", n)


@function("averageBelow", group="Filter Series", params=(SERIES, N))
def average_below(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is ``n`` or below, or that have none."""
    return filter_series(call, series, "average", "<=", n)


@function("currentAbove", group="Filter Series", params=(SERIES, N))
def current_above(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series whose last value is above ``n``."""
    return filter_series(call, series, "last", ">", n)


@function("currentBelow", group="Filter Series", params=(SERIES, N))
def current_below(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series whose last value is ``n`` or below, or that have none."""
    return filter_series(call, series, "last", "<=", n)


@function("maximumAbove", group="Filter Series", params=(SERIES, N))
def maximum_above(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series that rise above ``n``."""
    return filter_series(call, series, "max", ">", n)


@function("maximumBelow", group="Filter Series", params=(SERIES, N))
def maximum_below(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series that never rise above ``n``."""
    return filter_series(call, series, "max", "<=", n)


@function("minimumAbove", group="Filter Series", params=(SERIES, N))
def minimum_above(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series that are always above ``n``."""
    return filter_series(call, series, "min", ">", n)


@function("minimumBelow", group="Filter Series", params=(SERIES, N))
def minimum_below(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series that are at or below ``n`` once, or have no value."""
    return filter_series(call, series, "min", "<=", n)


@function("highest", group="Filter Series", params=(SERIES, Param("n", NUMBER, default=1, shown=None), FUNC))
def highest(call: Invocation, series: SeriesList, n: float, func: str) -> SeriesList:
    """The ``n`` series of which ``func`` makes the largest values, the largest first."""
    return ordered(series, summaries(series, func), reverse=True, n=n)


@function("lowest", group="Filter Series", params=(SERIES, Param("n", NUMBER, default=1, shown=None), FUNC))
def lowest(call: Invocation, series: SeriesList, n: float, func: str) -> SeriesList:
    """The ``n`` series of which ``func`` makes the smallest values, the smallest first; none is less than all."""
    return ordered(series, summaries(series, func), n=n)


@function("highestAverage", group="Filter Series", params=(SERIES, HOW_MANY))
def highest_average(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the largest averages."""
    return highest(call, series, n, "average")


@function("highestCurrent", group="Filter Series", params=(SERIES, HOW_MANY))
def highest_current(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the largest last values."""
    return highest(call, series, n, "current")


@function("highestMax", group="Filter Series", params=(SERIES, HOW_MANY))
def highest_max(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the largest maxima."""
    return highest(call, series, n, "max")


@function("lowestAverage", group="Filter Series", params=(SERIES, HOW_MANY))
def lowest_average(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the smallest averages."""
    return lowest(call, series, n, "average")


@function("lowestCurrent", group="Filter Series", params=(SERIES, HOW_MANY))
def lowest_current(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The ``n`` series with the smallest last values."""
    return lowest(call, series, n, "current")


@function("limit", group="Filter Series", params=(SERIES, Param("n", INTEGER)))
def limit(call: Invocation, series: SeriesList, n: int) -> SeriesList:
    """The first ``n`` series; all but the last -n if that is negative."""
    return series.pick(head(np.arange(len(series)), n))


@function("mostDeviant", group="Filter Series", params=(SERIES, Param("n", INTEGER)))
def most_deviant(call: Invocation, series: SeriesList, n: int) -> SeriesList:
    """The ``n`` series with the largest variance, the largest first."""
    known = summaries(series, "count") > 0
    return ordered(series, summaries(series, "stddev"), reverse=True, keep=known, n=n)


@function("averageOutsidePercentile", group="Filter Series", params=(SERIES, N))
def average_outside_percentile(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series whose average is not between the n-th and the (100 - n)-th percentile of all averages."""
    if not series:
        return series
    averages = summaries(series, "average")
    low, high = middle(averages, n)
    return chosen(series, ~((low < averages) & (averages < high)))


@function("removeBetweenPercentile", group="Filter Series", params=(SERIES, N))
def remove_between_percentile(call: Invocation, series: SeriesList, n: float) -> SeriesList:
    """The series that at one point are not between the n-th and the (100 - n)-th percentile of all series there.

    graphite-web crashes where a value is missing; here only values there are count.
    """
    if not series:
        return series
    width = max(grid.values.shape[1] for grid in series.grids)
    call.context.charge(len(series), width)
    matrix = np.full((len(series), width), np.nan)
    for grid in series.grids:
        matrix[grid.places, : grid.values.shape[1]] = grid.values
    low, high = middle(matrix.T, n)
    inside = (low < matrix) & (matrix < high)
    return chosen(series, np.any(~np.isnan(matrix) & ~inside, axis=1))


def middle(values: Values, n: float) -> tuple[Values, Values]:
    """The (100 - n)-th and the n-th percentile over the last axis of ``values``, the lower one first."""
    if n < 50:
        n = 100 - n
    return percentile(values, 100 - n), percentile(values, n)


@function("removeEmptySeries", group="Filter Series", params=(SERIES, optional("xFilesFactor", FLOAT)))
def remove_empty_series(call: Invocation, series: SeriesList, x_files_factor: float | None) -> SeriesList:
    """The series that have a value at least at one point, and at that part of their points."""
    keep = np.zeros(len(series), np.bool_)
    for grid in series.grids:
        if points := grid.values.shape[1]:
            keep[grid.places] = enough(known(grid.values), points, x_files_factor or 0.0)
    return chosen(series, keep)


@function("unique", group="Filter Series", params=(SERIES_LISTS,))
def unique(call: Invocation, *series_lists: SeriesList) -> SeriesList:
    """The series of all lists, the first of each name."""
    series = concatenate(series_lists)
    first: dict[str, int] = {}
    for place, name in enumerate(series.names):
        first.setdefault(name, place)
    return series if len(first) == len(series) else series.pick(np.array(list(first.values()), np.intp))


@function("grep", group="Filter Series", params=(SERIES, Param("pattern", STRING)))
def grep(call: Invocation, series: SeriesList, pattern: str) -> SeriesList:
    """The series in whose name the regular expression is found."""
    return chosen(series, found(series, pattern))


@function("exclude", group="Filter Series", params=(SERIES, Param("pattern", STRING)))
def exclude(call: Invocation, series: SeriesList, pattern: str) -> SeriesList:
    """The series in whose name the regular expression is not found."""
    return chosen(series, ~found(series, pattern))


@function("fallbackSeries", group="Special", params=(SERIES, Param("fallback", SERIES_LIST)))
def fallback_series(call: Invocation, series: SeriesList, fallback: SeriesList) -> SeriesList:
    """The series, or ``fallback`` if there are none."""
    return series or fallback


@function(
    "useSeriesAbove",
    group="Filter Series",
    params=(SERIES, Param("value", FLOAT), Param("search", STRING), Param("replace", STRING)),
)
def use_series_above(call: Invocation, series: SeriesList, value: float, search: str, replace: str) -> SeriesList:
    """Of the series that rise above ``value`` those that are called alike, with ``replace`` for ``search``."""
    substitute = Substitution(str(search), str(replace))
    some = chosen(series, summaries(series, "max") > value)
    if not some:
        return some
    context = call.context
    names = ",".join(substitute(str(name)) for name in some.names)
    return context.evaluate(context, parse(f"group({names})", context.limits))


def found(series: SeriesList, pattern: str) -> NDArray[np.bool_]:
    """In which names the regular expression is found: bool[series]. Raises :class:`QueryError`."""
    return np.array(Search(str(pattern)).within(list(map(str, series.names))), np.bool_)


def chosen(series: SeriesList, keep: NDArray[np.bool_]) -> SeriesList:
    """The series for which ``keep`` bool[n] is set, in their order."""
    return series.pick(np.flatnonzero(keep))
