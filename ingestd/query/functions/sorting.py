"""Functions that change the order of series. Equal ones keep theirs, and those without values count as the smallest."""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import AGG_FUNC, BOOLEAN, SERIES, function, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError
from ingestd.query.reduce import summaries

_DIGITS: Final = re.compile(r"[0-9]+")


@function(
    "sortBy",
    group="Sorting",
    params=(SERIES, optional("func", AGG_FUNC, "average"), optional("reverse", BOOLEAN, False)),
)
def sort_by(call: Invocation, series: SeriesList, func: str, reverse: bool) -> SeriesList:
    """The series in ascending order of what ``func`` makes of their values."""
    return ordered(series, summaries(series, func), reverse)


@function("sortByTotal", group="Sorting", params=(SERIES,))
def sort_by_total(call: Invocation, series: SeriesList) -> SeriesList:
    """The series in descending order of their sums."""
    return ordered(series, summaries(series, "sum"), reverse=True)


@function("sortByMaxima", group="Sorting", params=(SERIES,))
def sort_by_maxima(call: Invocation, series: SeriesList) -> SeriesList:
    """The series in descending order of their largest values."""
    return ordered(series, summaries(series, "max"), reverse=True)


@function("sortByMinima", group="Sorting", params=(SERIES,))
def sort_by_minima(call: Invocation, series: SeriesList) -> SeriesList:
    """The series in ascending order of their smallest values; those that never rise above zero are left out."""
    return ordered(series, summaries(series, "min"), keep=summaries(series, "max") > 0)


@function(
    "sortByName",
    group="Sorting",
    params=(SERIES, optional("natural", BOOLEAN, False), optional("reverse", BOOLEAN, False)),
)
def sort_by_name(call: Invocation, series: SeriesList, natural: bool, reverse: bool) -> SeriesList:
    """The series in order of their names; a ``natural`` order takes runs of digits for numbers."""
    keys = list(map(str, series.names))
    if natural:
        keys = [_DIGITS.sub(lambda digits: digits[0].lstrip("0").zfill(10), key) for key in keys]
    return series.pick(np.array(sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse), np.intp))


def ordered(
    series: SeriesList,
    keys: Values,
    reverse: bool = False,
    *,
    keep: NDArray[np.bool_] | None = None,
    n: float | None = None,
) -> SeriesList:
    """The series in the order of ``keys`` float64[n], NaN before all numbers (behind them if ``reverse``).

    Only those for which ``keep`` bool[n] is set, and of these the first ``n``, if they are given.
    """
    keys = np.where(np.isnan(keys), -np.inf, keys)
    places = np.argsort(-keys if reverse else keys, kind="stable")
    if keep is not None:
        places = places[keep[places]]
    return series.pick(places if n is None else head(places, n))


def head(places: NDArray[np.intp], n: float) -> NDArray[np.intp]:
    """As a slice ``[:n]`` in Python. Raises :class:`QueryError`."""
    if not np.isfinite(n):
        raise QueryError(f"{n} is no number of series")
    return places[: int(n)]
