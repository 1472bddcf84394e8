"""Graphite's aggregations: many values to one, over the last axis of an array. NaN = no data.

Each takes ``values`` float64[..., n], n > 0, and ``sizes``, how many of them count (broadcast over the leading axes;
less than n where buckets are padded with NaN at their ends), and gives float64[...], NaN where there is nothing.
Sums, extremes and so on over another axis work on a transposed view without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import row_sums_compiled, sums_compiled
from ingestd.points import Values
from ingestd.query.arrays import by_rows, zeroed
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError

Sizes: TypeAlias = int | NDArray[np.intp]
Reducer: TypeAlias = Callable[[Values, Sizes], Values]


SHORT: Final = 8
"""Up to this length of the axis a pass per position beats numpy's loop per bucket: fmax over 10,000 x 52 x 7 takes
10 ms, not 28."""


def fold(operation: np.ufunc, values: NDArray[Any]) -> NDArray[Any]:
    """``operation.reduce`` over the last axis, which is not empty."""
    if values.shape[-1] > SHORT:
        return np.asarray(operation.reduce(values, axis=-1))
    out = np.array(values[..., 0])
    for at in range(1, values.shape[-1]):
        operation(out, values[..., at], out=out)
    return out


def known(values: Values) -> NDArray[np.intp]:
    """How many values there are: intp[...]."""
    there = ~np.isnan(values)
    if values.shape[-1] > SHORT:
        return np.asarray(np.count_nonzero(there, axis=-1))
    return fold(np.add, there.view(np.int8)).astype(np.intp)


def total(values: Values) -> Values:
    """The sum of the values there are, 0.0 where there are none."""
    return fold(np.add, zeroed(values))


def totals(values: Values) -> tuple[Values, NDArray[np.intp]]:
    """:func:`total` and :func:`known`, of rows by a kernel."""
    rows = values.ndim == 2 and values.shape[1] > SHORT and values.flags.c_contiguous
    if row_sums_compiled is not None and rows:
        return row_sums_compiled(values)
    return total(values), known(values)


def _sum(values: Values, sizes: Sizes) -> Values:
    sums, counts = totals(values)
    return np.where(counts > 0, sums, np.nan)


def _average(values: Values, sizes: Sizes) -> Values:
    sums, counts = totals(values)
    return sums / counts


def _average_zero(values: Values, sizes: Sizes) -> Values:
    return total(values) / sizes


def _max(values: Values, sizes: Sizes) -> Values:
    return fold(np.fmax, values)


def _min(values: Values, sizes: Sizes) -> Values:
    return fold(np.fmin, values)


def _median(values: Values, sizes: Sizes) -> Values:
    ordered = np.sort(values, axis=-1)
    count = known(values)
    low = _at(ordered, np.maximum(count - 1, 0) // 2)
    high = _at(ordered, np.minimum(count // 2, values.shape[-1] - 1))
    return np.where(count % 2 == 1, low, (low + high) / 2)


def _at(values: Values, index: NDArray[np.intp]) -> Values:
    return np.take_along_axis(values, index[..., np.newaxis], axis=-1)[..., 0]


def _first(values: Values, sizes: Sizes) -> Values:
    # Mostly it is among the first few points.
    out = np.array(values[..., 0])
    for at in range(1, min(values.shape[-1], SHORT)):
        missing = np.isnan(out)
        if not missing.any():
            return out
        np.copyto(out, values[..., at], where=missing)
    missing = np.isnan(out)
    if values.shape[-1] > SHORT and missing.any():
        rest = values[missing]
        out[missing] = _at(rest, np.argmax(~np.isnan(rest), axis=-1))
    return out


def _last(values: Values, sizes: Sizes) -> Values:
    return _first(values[..., ::-1], sizes)


def _diff(values: Values, sizes: Sizes) -> Values:
    """The first value less all others; values before the first are none, so the second may become the minuend."""
    if values.shape[-1] <= SHORT:
        out = np.array(values[..., 0])
        for at in range(1, values.shape[-1]):
            value = values[..., at]
            out = np.where(np.isnan(out), value, out - zeroed(value))
        return out
    there = ~np.isnan(values)
    first = np.argmax(there, axis=-1)[..., np.newaxis]
    rest = np.where(there & (np.arange(values.shape[-1]) != first), values, 0.0)
    return np.asarray(_at(values, first[..., 0]) - np.sum(rest, axis=-1))


def _stddev(values: Values, sizes: Sizes) -> Values:
    """Of the population, in two passes."""
    # In C's order whatever that of the values is: numpy adds in the order of memory, and squares round.
    distance = np.subtract(values, _average(values, sizes)[..., np.newaxis], order="C")
    return np.asarray(np.sqrt(_average(distance * distance, sizes)))


def _count(values: Values, sizes: Sizes) -> Values:
    return known(values).astype(np.float64)


def _range(values: Values, sizes: Sizes) -> Values:
    return _max(values, sizes) - _min(values, sizes)


def _multiply(values: Values, sizes: Sizes) -> Values:
    """The product; none as soon as one factor is."""
    product = np.prod(np.where(np.isnan(values), 1.0, values), axis=-1)
    return np.where(known(values) == sizes, product, np.nan)


REDUCERS: Final[dict[str, Reducer]] = {
    "average": _average,
    "avg_zero": _average_zero,
    "median": _median,
    "sum": _sum,
    "min": _min,
    "max": _max,
    "diff": _diff,
    "stddev": _stddev,
    "count": _count,
    "range": _range,
    "multiply": _multiply,
    "last": _last,
    "rangeOf": _range,
    "avg": _average,
    "total": _sum,
    "current": _last,
}
"""The names that functions take; /functions lists them as options."""

WHOLE: Final = ("sum", "total", "min", "max", "diff", "last", "current", "count")
"""Aggregations that make integers of integers."""

ALONE: Final = (
    "average",
    "avg",
    "avg_zero",
    "median",
    "sum",
    "total",
    "min",
    "max",
    "diff",
    "multiply",
    "last",
    "current",
)
"""Aggregations that make of a single value that value."""

CONSOLIDATORS: Final[dict[str, Reducer]] = {
    "sum": _sum,
    "average": _average,
    "avg": _average,
    "avg_zero": _average_zero,
    "max": _max,
    "min": _min,
    "first": _first,
    "last": _last,
}
"""The names that consolidation takes: another set than that of functions."""


def reducer(name: object) -> Reducer:
    """The aggregation of that name. Raises :class:`QueryError`."""
    found = REDUCERS.get(name) if isinstance(name, str) else None
    if found is None:
        raise QueryError(f"Unsupported aggregation function: {name}")
    return found


def summaries(series: SeriesList, name: str) -> Values:
    """One number of each series by the aggregation of that name: float64[n] in the order of the list, NaN = none.

    Raises :class:`QueryError`.
    """
    reduce = reducer(name)
    out = np.full(len(series), np.nan)
    for grid in series.grids:
        values, points = grid.values, grid.values.shape[1]
        if points and reduce in _OF_MANY_STEPS:
            out[grid.places] = by_rows(values, reduce, points)
        elif points:
            out[grid.places] = reduce(values, points)
    return out


def percentile(values: Values, n: float, interpolate: bool = False) -> Values:
    """The n-th percentile over the last axis: float64[...], NaN where there is nothing.

    The rank is n / 100 of one more than the number of values, as in NIST's handbook, rounded up unless the result is
    to be between two values. Beyond the last value it is the last; a negative rank counts from there.

    :raises QueryError: ``n`` is infinite or NaN.
    """
    if not np.isfinite(n):
        raise QueryError(f"there is no percentile {n}")
    ordered = np.sort(values, axis=-1)
    count = known(values)
    exact = n / 100 * (count + 1)
    rank = np.trunc(exact)
    fraction = exact - rank
    if not interpolate:
        rank += np.ceil(fraction)
    last = np.maximum(count - 1, 0)
    at = np.where(rank < 0, count + rank - 1, rank - 1)
    out = _at(ordered, np.clip(at, 0, last).astype(np.intp))
    if not interpolate:
        return out
    following = _at(ordered, np.clip(np.where(rank < 0, count + rank, rank), 0, last).astype(np.intp))
    return np.asarray(out + fraction * (following - out))


def across(rows: Values, name: str, x_files_factor: float) -> Values:
    """Rows float64[n, points] to one, float64[points], by the aggregation of that name; NaN where too few are known.

    Sums and averages of whole rows go through a kernel that adds in numpy's order: row after row.
    """
    reduce = reducer(name)
    n, points = rows.shape
    if sums_compiled is not None and adds_up(name, n, points) and rows.flags.c_contiguous:
        return of_totals(*sums_compiled(rows), n, name, x_files_factor)
    columns = rows.T
    return np.where(enough(known(columns), n, x_files_factor), reduce(columns, n), np.nan)


def adds_up(name: str, n: int, points: int) -> bool:
    """Whether a kernel makes so many rows one by the aggregation of that name.

    Few rows are added in another order (:data:`SHORT`), and so is one column: by pairs.
    """
    return sums_compiled is not None and REDUCERS[name] in _OF_SUMS and n > SHORT and points > 1


def of_totals(totals: Values, counts: Values, n: int, name: str, x_files_factor: float) -> Values:
    """What :func:`across` gives of n rows, of each point's total (of the manner :data:`MANNERS`) and values known."""
    reduce = REDUCERS[name]
    if reduce is _average:
        totals = totals / counts
    elif reduce is _average_zero:
        totals = totals / n
    elif reduce is _count:
        totals = counts
    return np.where(enough(counts, n, x_files_factor), totals, np.nan)


_OF_MANY_STEPS: Final = (_median, _diff, _stddev, _multiply)
_OF_SUMS: Final = (_sum, _average, _average_zero, _count)

MANNERS: Final[dict[str, str]] = {
    name: "sum" if reduce in _OF_SUMS else "max" if reduce is _max else "min"
    for name, reduce in REDUCERS.items()
    if reduce in (*_OF_SUMS, _max, _min)
}
"""Which totals of a :class:`ingestd.query.grid.TotalReader` an aggregation is made of, by its name."""


def enough(counts: NDArray[np.integer[Any]] | Values, size: float, x_files_factor: float | Values) -> NDArray[np.bool_]:
    """Where at least one value, and at least that fraction of ``size``, is known: bool[...]."""
    if np.max(x_files_factor, initial=-np.inf) <= 0:
        return np.asarray(counts > 0)
    return (counts > 0) & (counts / size >= x_files_factor)


def reduce_buckets(values: Values, size: int, consolidator: str, x_files_factor: float | Values) -> Values:
    """Every ``size`` columns of float64[rows, n] become one: float64[rows, ceil(n / size)].

    A bucket with too few values becomes NaN; the last, shorter bucket is held to the full size too.
    ``x_files_factor`` is one number or float64[rows, 1].
    """
    function = CONSOLIDATORS.get(consolidator)
    if function is None:
        raise QueryError(f"Invalid consolidation function: '{consolidator}'")
    rows, points = values.shape
    buckets = -(-points // size)
    # A bucket may be longer than all points are, by far: it is not filled up.
    width = min(size, points) or 1
    if buckets * width != points:
        padding = np.full((rows, buckets * width - points), np.nan)
        values = np.concatenate((values, padding), axis=1)
    sizes = np.full(buckets, width, np.intp)
    if buckets:
        sizes[-1] = points - (buckets - 1) * width
    cube = values.reshape(rows, buckets, width)
    return np.where(enough(known(cube), size, x_files_factor), function(cube, sizes), np.nan)
