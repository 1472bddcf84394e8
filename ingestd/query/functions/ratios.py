"""Series against series: pairs, percentages, weights. A quotient by zero is none."""

from __future__ import annotations

from typing import Final

import numpy as np

from ingestd.points import Values
from ingestd.query.arrays import CACHED, blanked
from ingestd.query.context import Invocation
from ingestd.query.functions.alias import node_names
from ingestd.query.functions.combine import agg_func, aggregated
from ingestd.query.functions.groups import aggregated_groups, aggregated_labels
from ingestd.query.functions.registry import (
    AGG_FUNC,
    ANY,
    FLOAT,
    NODE_OR_TAG,
    SERIES,
    SERIES_LIST,
    Argument,
    Param,
    function,
    optional,
)
from ingestd.query.functions.together import (
    Places,
    common_window,
    expressions,
    in_groups,
    in_pairs,
    padded,
    stepped,
    zipped,
)
from ingestd.query.grid import Grid, SeriesList, concatenate
from ingestd.query.labels import Labels, taken
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar
from ingestd.query.reduce import across, enough, known, reducer

FIRST: Final = Param("seriesListFirstPos", SERIES_LIST)
SECOND: Final = Param("seriesListSecondPos", SERIES_LIST)


def ratio(dividend: Values, divisor: Values) -> Values:
    """The quotient; NaN where the divisor is zero or one of them is NaN."""
    lost = divisor == 0
    out = np.asarray(dividend / divisor)
    return blanked(out, np.broadcast_to(lost, out.shape)) if lost.any() else out


def _places(count: int) -> Places:
    return np.arange(count, dtype=np.intp)


# --- lists of one length: the first with the first, the second with the second, ... -----------------------------------


@function(
    "aggregateSeriesLists",
    group="Combine",
    params=(FIRST, SECOND, Param("func", AGG_FUNC), optional("xFilesFactor", FLOAT)),
)
def aggregate_series_lists(
    call: Invocation, firsts: SeriesList, seconds: SeriesList, func: str, x_files_factor: float | None
) -> SeriesList:
    """``func`` of the first series of both lists, of the second of both, and so on; the lists have one length."""
    return _paired(call, firsts, seconds, func, x_files_factor)


@function("sumSeriesLists", group="Combine", params=(FIRST, SECOND), aggregator=True)
def sum_series_lists(call: Invocation, firsts: SeriesList, seconds: SeriesList) -> SeriesList:
    """The sum of the first series of both lists, of the second of both, and so on; the lists have one length."""
    return _paired(call, firsts, seconds, "sum")


@function("diffSeriesLists", group="Combine", params=(FIRST, SECOND), aggregator=True)
def diff_series_lists(call: Invocation, firsts: SeriesList, seconds: SeriesList) -> SeriesList:
    """The series of the first list, each less the one of the second at its place; the lists have one length."""
    return _paired(call, firsts, seconds, "diff")


@function("multiplySeriesLists", group="Combine", params=(FIRST, SECOND), aggregator=True)
def multiply_series_lists(call: Invocation, firsts: SeriesList, seconds: SeriesList) -> SeriesList:
    """The product of the first series of both lists, of the second of both, and so on; the lists have one length."""
    return _paired(call, firsts, seconds, "multiply")


def _paired(
    call: Invocation, firsts: SeriesList, seconds: SeriesList, func: str, x_files_factor: float | None = None
) -> SeriesList:
    if len(firsts) != len(seconds):
        raise QueryError("seriesListFirstPos and seriesListSecondPos argument must have equal length")
    if not firsts:
        return SeriesList()
    func = agg_func(func)
    factor = call.context.x_files_factor if x_files_factor is None else x_files_factor
    count = len(firsts)
    both = concatenate((firsts, seconds))
    labels = both.labels
    called = [f"{func}Series({one},{two})" for one, two in zip(firsts.names, seconds.names, strict=True)]
    grids = []
    for pairs in in_pairs(call.context, both, _places(count), _places(count) + count):
        at = pairs.at.tolist()
        made = aggregated_labels(labels, [(place, place + count) for place in at], func, factor)
        made.names = taken(called, at)
        few = max(CACHED // max(pairs.first.shape[1], 1), 1)
        values = np.empty(pairs.first.shape)
        for row in range(0, len(at), few):
            stack = np.moveaxis(np.stack((pairs.first[row : row + few], pairs.second[row : row + few])), 0, -1)
            values[row : row + few] = np.where(enough(known(stack), 2, factor), reducer(func)(stack, 2), np.nan)
        grids.append(Grid(pairs.start, pairs.end, pairs.step, values, made, pairs.at))
    return SeriesList(grids)


# --- quotients --------------------------------------------------------------------------------------------------------


def quotients(call: Invocation, series: SeriesList, dividends: Places, divisors: Places, name: str) -> SeriesList:
    """``series[dividends[i]] / series[divisors[i]]``, each pair at its own common step, named ``name(one,other)``."""
    names = series.names
    called = [
        f"{name}({names[one]},{names[two]})" for one, two in zip(dividends.tolist(), divisors.tolist(), strict=True)
    ]
    scale = 100.0 if name == "asPercent" else 1.0
    grids = []
    for pairs in in_pairs(call.context, series, dividends, divisors):
        made = Labels.called(taken(called, pairs.at.tolist()), call.context.x_files_factor)
        values = ratio(pairs.first, pairs.second) * scale
        grids.append(Grid(pairs.start, pairs.end, pairs.step, values, made, pairs.at))
    return SeriesList(grids)


@function(
    "divideSeries",
    group="Combine",
    params=(Param("dividendSeriesList", SERIES_LIST), Param("divisorSeries", SERIES_LIST)),
)
def divide_series(call: Invocation, dividends: SeriesList, divisor: SeriesList) -> SeriesList:
    """Each series of the list divided by the one series; without that one all are none, and say MISSING."""
    if not divisor:
        return dividends.named("divideSeries", ",MISSING").map(lambda values: np.full_like(values, np.nan))
    if len(divisor) > 1:
        raise QueryError(f"divideSeries second argument must reference exactly 1 series (got {len(divisor)})")
    count = len(dividends)
    return quotients(
        call, concatenate((dividends, divisor)), _places(count), np.full(count, count, np.intp), "divideSeries"
    )


@function(
    "divideSeriesLists",
    group="Combine",
    params=(Param("dividendSeriesList", SERIES_LIST), Param("divisorSeriesList", SERIES_LIST)),
)
def divide_series_lists(call: Invocation, dividends: SeriesList, divisors: SeriesList) -> SeriesList:
    """The series of the first list, each divided by the one of the second at its place; the lists have one length."""
    if len(dividends) != len(divisors):
        raise QueryError("dividendSeriesList and divisorSeriesList argument must have equal length")
    count = len(dividends)
    return quotients(call, concatenate((dividends, divisors)), _places(count), _places(count) + count, "divideSeries")


@function(
    "asPercent",
    "pct",
    group="Combine",
    params=(SERIES, optional("total", ANY), optional("nodes", NODE_OR_TAG, multiple=True)),
    aggregator=True,
)
def as_percent(call: Invocation, series: SeriesList, total: Argument, *nodes: Scalar) -> SeriesList:
    """Each series in percent of a total: a number, one series, the series of a list of the same length, or else the
    sum of all.

    With ``nodes`` that are nodes of the names or tags, it is in percent of the sum of those of ``total``, or else of
    the series themselves, that agree with it in them. What finds no counterpart is none, and says MISSING.
    """
    if not series:
        return SeriesList()
    if nodes:
        return _of_groups(call, series, total, nodes)
    if total is None:
        totals = across(zipped(call.context, series)[3], "sum", 0.0)
        return _of_one(call, series, [series], totals, f"sumSeries({expressions(series.labels)})")
    if isinstance(total, SeriesList):
        if len(total) == len(series):
            both = concatenate((series, total))
            ordered = [_by_name(both, range(len(series))), _by_name(both, range(len(series), len(both)))]
            return quotients(call, both, ordered[0], ordered[1], "asPercent")
        if len(total) != 1:
            raise QueryError(
                "asPercent second argument must be missing, a single digit, reference exactly 1 series or reference "
                "the same number of series as the first argument"
            )
        step = common_window([*series.grids, *total.grids])[2]
        return _of_one(call, series, [series, total], stepped(total.grids[0], step)[0], total.names[0])
    if isinstance(total, str):
        raise QueryError(f"asPercent: the total {total!r} is no number")
    return _of_one(call, series, [series], np.full(series.first.values.shape[1], float(total)), str(total))


def _by_name(series: SeriesList, places: range) -> Places:
    names = series.names
    return np.array(sorted(places, key=lambda place: str(names[place])), np.intp)


def _of_one(call: Invocation, series: SeriesList, together: list[SeriesList], totals: Values, name: str) -> SeriesList:
    """The series in percent of ``totals`` float64[points] at the common step of the lists ``together``.

    As in graphite-web each keeps its own start and step although its points were consolidated to the common one.
    """
    step = common_window([grid for each in together for grid in each.grids])[2]
    for grid in series.grids:
        values = stepped(grid, step)
        width = max(values.shape[1], len(totals))
        call.context.charge(len(grid.labels), width)
        grid.values = ratio(padded(values, width), padded(totals[np.newaxis], width)) * 100.0
        grid.labels = Labels.called(grid.labels.wrapped("asPercent", f",{name}"), call.context.x_files_factor)
    return series


def _of_groups(call: Invocation, series: SeriesList, total: Argument, nodes: tuple[Scalar, ...]) -> SeriesList:
    if not (total is None or isinstance(total, SeriesList)):
        raise QueryError("total must be None or a seriesList")
    limits = call.context.limits
    groups = in_groups(node_names(series, nodes, limits))
    if total is None:
        totals, of = _totals(call, series, groups), groups
    else:
        of = in_groups(node_names(total, nodes, limits))
        totals = _totals(call, total, of)
    number = {key: at + len(series) for at, key in enumerate(of)}
    # A row of the answer: places of a series and of a total among both lists, -1 for a missing one.
    rows = [(place, number.get(key, -1)) for key, places in groups.items() for place in places]
    rows += [(-1, number[key]) for key in of if key not in groups]
    both = concatenate((series, totals))
    firsts, seconds = np.array(rows, np.intp).T
    matched = np.flatnonzero((firsts >= 0) & (seconds >= 0))
    made = quotients(call, both, firsts[matched], seconds[matched], "asPercent")
    for grid in made.grids:
        grid.places = matched[grid.places]
    if len(matched) < len(rows):
        summed = [number[key] for key, places in of.items() if len(places) > 1]
        made.grids += _missing(call, both, [series, made], firsts, seconds, summed[-1] if summed else None)
    return made


def _totals(call: Invocation, series: SeriesList, groups: dict[str, list[int]]) -> SeriesList:
    """The sum of each group; a group of one stays that series."""
    made = aggregated_groups(call, series, "sum", list(groups.values()), 0.0)
    labels = series.labels
    alone = [places[0] if len(places) == 1 else -1 for places in groups.values()]
    for grid in made.grids:
        own, rows = grid.labels, taken(alone, grid.places.tolist())
        own.names = [labels.names[row] if row >= 0 else name for name, row in zip(own.names, rows, strict=True)]
        own.consolidation_funcs = [labels.consolidation_funcs[row] if row >= 0 else "average" for row in rows]
        own.x_files_factors = [labels.x_files_factors[row] if row >= 0 else 0.0 for row in rows]
    return made


def _missing(
    call: Invocation, both: SeriesList, made: list[SeriesList], firsts: Places, seconds: Places, before: int | None
) -> list[Grid]:
    """The rows without a counterpart: ``firsts`` or ``seconds``, places among ``both``, is -1.

    ``made`` are the series, consolidated to their common step, and the pairs, placed by row. As in graphite-web a row
    has the window of the last pair above it, or of the sum ``before`` all, and its own if there is none of those.
    """
    series, pairs = made
    common = common_window(series.grids)[2]
    own: dict[int, tuple[int, int, int, int]] = {}
    for grid in both.grids:
        for place in grid.places.tolist():
            points = grid.values.shape[1]
            own[place] = (
                grid.start,
                grid.end,
                grid.step,
                -(-points * grid.step // common) if place < len(series) else points,
            )
    windows = {at: (grid.start, grid.end, grid.step) for grid in pairs.grids for at in grid.places.tolist()}
    window = None if before is None else own[before][:3]
    all_names = both.names
    found: dict[tuple[int, int, int, int], list[tuple[int, str]]] = {}
    for at, places in enumerate(zip(firsts.tolist(), seconds.tolist(), strict=True)):
        window = windows.get(at, window)
        if at not in windows:
            *alone, points = own[max(places)]
            names = [all_names[place] if place >= 0 else "MISSING" for place in places]
            found.setdefault((*(window or alone), points), []).append((at, f"asPercent({names[0]},{names[1]})"))
    grids = []
    for (start, end, step, points), rows in found.items():
        call.context.charge(len(rows), points)
        values = np.full((len(rows), points), np.nan)
        labels = Labels.called([name for _, name in rows], call.context.x_files_factor)
        grids.append(Grid(start, end, step, values, labels, np.array([at for at, _ in rows])))
    return grids


@function(
    "weightedAverage",
    group="Combine",
    params=(
        Param("seriesListAvg", SERIES_LIST),
        Param("seriesListWeight", SERIES_LIST),
        optional("nodes", NODE_OR_TAG, multiple=True),
    ),
)
def weighted_average(call: Invocation, averages: SeriesList, weights: SeriesList, *nodes: Scalar) -> SeriesList:
    """The mean of all averages, each weighted with the series that agrees with it in these nodes or tags.

    It is the sum of the products over the sum of all weights. Of several that agree among themselves the last counts.
    """
    if len(averages) != len(weights):
        raise QueryError(
            "weightedAverage must receive the same number of series for seriesListAvg and seriesListWeight "
            f"but received respectively {len(averages)} and {len(weights)}"
        )
    limits = call.context.limits
    ends = [{name: at for at, name in enumerate(node_names(each, nodes, limits))} for each in (averages, weights)]
    matched = [key for key in ends[0] if key in ends[1]]
    if not matched:
        return SeriesList()
    texts = [",".join(sorted(set(each.labels.path_expressions))) for each in (averages, weights)]
    both = concatenate((averages, weights))
    firsts = np.array([ends[0][key] for key in matched], np.intp)
    seconds = np.array([ends[1][key] + len(averages) for key in matched], np.intp)
    products = aggregated(call, _products(call, both, firsts, seconds), "sum")
    total = aggregated(call, weights, "sum").grids[0].values[0]
    (grid,) = products.grids
    width = max(grid.values.shape[1], len(total))
    grid.values = ratio(padded(grid.values, width), padded(total[np.newaxis], width))
    name = f"weightedAverage({texts[0]}, {texts[1]}, {','.join(map(str, nodes))})"
    grid.labels = Labels.called([name], call.context.x_files_factor)
    return products


def _products(call: Invocation, series: SeriesList, firsts: Places, seconds: Places) -> SeriesList:
    """``series[firsts[i]] * series[seconds[i]]``, laid together by index alone, over the window of the first."""
    one, other = series.pick(firsts), series.pick(np.unique(seconds))
    rows: list[Values] = [np.empty(0)] * len(other)
    for grid in other.grids:
        for place, row in zip(grid.places.tolist(), grid.values, strict=True):
            rows[place] = row
    chosen = np.searchsorted(np.unique(seconds), seconds)
    for grid in one.grids:
        factors = [rows[chosen[place]] for place in grid.places.tolist()]
        width = max(grid.values.shape[1], *(len(row) for row in factors))
        call.context.charge(len(factors), width)
        matrix = np.full((len(factors), width), np.nan)
        for at, row in enumerate(factors):
            matrix[at, : len(row)] = row
        grid.values = padded(grid.values, width) * matrix
    return one.floats()
