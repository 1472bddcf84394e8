"""Functions that carbonapi has and graphite-web 1.1.10 has not: correlation, fits, tests, spectra, outliers."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ingestd.points import Values
from ingestd.query.along import doubled
from ingestd.query.attime import parse_offset
from ingestd.query.context import Invocation
from ingestd.query.functions.moving import SORTED
from ingestd.query.functions.registry import (
    FLOAT,
    INT_OR_INTERVAL,
    INTEGER,
    INTERVAL,
    SERIES,
    SERIES_LIST,
    STRING,
    Param,
    function,
    optional,
)
from ingestd.query.functions.sorting import ordered
from ingestd.query.functions.together import Pairs, in_pairs
from ingestd.query.grid import Grid, SeriesList, concatenate
from ingestd.query.labels import Label, Labels
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar

MAX_DEGREE: Final = 20
"""Beyond it a polynomial of 64 bits describes its own rounding."""
WINDOW: Final = Param("windowSize", INTEGER)
PIECE: Final = 1 << 17
"""Values of windows that are sorted at a time."""


def one_pair(call: Invocation, one: SeriesList, other: SeriesList) -> tuple[Label, str, Pairs]:
    """Two lists of one series each, brought to one step: the label of the first, the name of the second, and both.

    Raises :class:`QueryError` if they are not of one series.
    """
    if len(one) != 1 or len(other) != 1:
        raise QueryError(f"{call.name} takes one series and another, not {len(one)} and {len(other)}")
    both = concatenate((one, other))
    (pairs,) = in_pairs(call.context, both, np.zeros(1, np.intp), np.ones(1, np.intp))
    return one.labels[0], other.names[0], pairs


def of_pair(call: Invocation, one: SeriesList, other: SeriesList, size: int, name: str) -> tuple[SeriesList, Pairs]:
    """A series named ``name(one,other,size)``, still without values, and the pair it is made of."""
    if size < 1:
        raise QueryError(f"{call.name}: a window of {size} points")
    label, second, pairs = one_pair(call, one, other)
    values = np.full(pairs.first.shape, np.nan)
    grid = Grid(pairs.start, pairs.end, pairs.step, values, Labels.of([label]), np.zeros(1, np.intp))
    return SeriesList([grid]).named(name, f",{second},{size}", anew=True).floats(), pairs


# --- correlation ------------------------------------------------------------------------------------------------------


@function("pearson", group="Transform", params=(SERIES, Param("otherSeriesList", SERIES_LIST), WINDOW), extension=True)
def pearson(call: Invocation, one: SeriesList, other: SeriesList, size: int) -> SeriesList:
    """Pearson's correlation of two series over the ``windowSize`` points up to each. Pairs with a gap do not count."""
    made, pairs = of_pair(call, one, other, size, "pearson")
    points = pairs.first.shape[1]
    if size <= points:
        made.grids[0].values[:, size - 1 :] = correlations(pairs.first, pairs.second, size)
    return made


def correlations(x: Values, y: Values, size: int) -> Values:
    """Correlations over every run of ``size`` columns: float64[rows, n] twice to float64[rows, n - size + 1].

    Runs have a count, two means and three sums of products of distances from them, which merge without cancellation.
    """
    there = ~(np.isnan(x) | np.isnan(y))

    def merged(one: Values, other: Values) -> Values:
        count = one[0] + other[0]
        weight = other[0] / np.where(count == 0, 1.0, count)
        away = other[1:3] - one[1:3]
        means = np.where(one[0] == 0, other[1:3], one[1:3] + away * weight)
        products = np.stack((away[0] * away[0], away[1] * away[1], away[0] * away[1])) * weight * one[0]
        return np.concatenate((count[np.newaxis], means, one[3:] + other[3:] + products))

    zeros = np.zeros(x.shape)
    single = (there.astype(np.float64), np.where(there, x, 0.0), np.where(there, y, 0.0), zeros, zeros, zeros)
    runs = doubled(np.stack(single), size, merged)
    return np.asarray(runs[5] / (np.sqrt(runs[3]) * np.sqrt(runs[4])))


@function(
    "pearsonClosest",
    group="Transform",
    params=(
        SERIES,
        Param("otherSeriesList", SERIES_LIST),
        Param("n", INTEGER),
        optional("direction", STRING, "abs", options=("abs", "pos", "neg")),
    ),
    extension=True,
)
def pearson_closest(call: Invocation, one: SeriesList, others: SeriesList, n: int, direction: Scalar) -> SeriesList:
    """The ``n`` series of the second list that correlate most with the one series; only positively, or negatively."""
    if len(one) != 1:
        raise QueryError(f"pearsonClosest takes one series to compare with, not {len(one)}")
    if direction not in ("abs", "pos", "neg"):
        raise QueryError("pearsonClosest: direction must be one of abs, pos, neg")
    reference = one.grids[0].values
    found = np.full(len(others), np.nan)
    for grid in others.grids:
        points = grid.values.shape[1]
        if points == reference.shape[1] and points:
            call.context.charge(len(grid.labels), 6 * points)
            rows = np.broadcast_to(reference, grid.values.shape)
            found[grid.places] = correlations(rows, grid.values, points)[:, 0]
    keys = np.abs(found) if direction == "abs" else found if direction == "pos" else -found
    return ordered(others, keys, reverse=True, keep=keys >= 0, n=max(n, 0))


# --- fits -------------------------------------------------------------------------------------------------------------


@function(
    "polyfit",
    group="Combine",
    params=(SERIES, optional("degree", INTEGER, 1), optional("offset", INTERVAL, "0d")),
    extension=True,
)
def polyfit(call: Invocation, series: SeriesList, degree: int, offset: str) -> SeriesList:
    """The polynomial of least squares through each series, drawn ``offset`` beyond its end.

    A series with fewer than two values has none; one with too few for the degree gets the flattest of those that fit.
    """
    if not 1 <= degree <= MAX_DEGREE:
        raise QueryError(f"polyfit: the degree must be from 1 to {MAX_DEGREE}")
    seconds = parse_offset(offset)
    text = "".join([f",{degree}", f",'{offset}'"][: max(len(call.args) - 1, 0)])
    for grid in series.grids:
        points = max(grid.values.shape[1] + int(seconds / grid.step), 0) if grid.step > 0 else grid.values.shape[1]
        call.context.charge(len(grid.labels), points + (degree + 1) ** 2)
        grid.values = fitted(grid.values, degree, points)
        grid.end += seconds
    return series.named("polyfit", text, anew=True).floats()


def fitted(values: Values, degree: int, points: int) -> Values:
    """Polynomials through rows float64[rows, n], at the columns 0 to ``points`` - 1."""
    columns = values.shape[1]
    # Chebyshev's polynomials over the columns there are: powers of them would be all but parallel.
    x = 2 * np.arange(max(points, columns)) / max(columns - 1, 1) - 1
    basis = np.polynomial.chebyshev.chebvander(x, degree)
    there = ~np.isnan(values)
    inside = basis[:columns]
    products = (inside[:, :, np.newaxis] * inside[:, np.newaxis, :]).reshape(columns, -1)
    matrices = (there @ products).reshape(-1, degree + 1, degree + 1)
    right = np.where(there, values, 0.0) @ inside
    found = np.linalg.pinv(matrices, rcond=1e-12, hermitian=True) @ right[:, :, np.newaxis]
    enough = np.count_nonzero(there, axis=1) >= 2
    return np.where(enough[:, np.newaxis], found[:, :, 0] @ basis[:points].T, np.nan)


# --- tests ------------------------------------------------------------------------------------------------------------


@function(
    "kolmogorovSmirnovTest2",
    "ksTest2",
    group="Combine",
    params=(SERIES, Param("otherSeriesList", SERIES_LIST), WINDOW),
    extension=True,
)
def kolmogorov_smirnov_test2(call: Invocation, one: SeriesList, other: SeriesList, size: int) -> SeriesList:
    """The probability that the ``windowSize`` points up to each of two series are samples of one distribution.

    As in carbonapi the first window ends at the point after the first ``windowSize``.
    """
    made, pairs = of_pair(call, one, other, size, "kolmogorovSmirnovTest2")
    if size < pairs.first.shape[1]:
        windows = [sliding_window_view(each[0], size)[1:] for each in (pairs.first, pairs.second)]
        piece = max(PIECE // size, 1)
        for at in range(0, len(windows[0]), piece):
            some = [each[at : at + piece] for each in windows]
            call.context.charge(1, 2 * some[0].size // SORTED)
            made.grids[0].values[0, size + at : size + at + len(some[0])] = same_distribution(*some)
    return made


def same_distribution(one: Values, other: Values) -> Values:
    """The p-value of the two-sample Kolmogorov-Smirnov test on rows float64[k, n]: float64[k]."""
    counts = [np.count_nonzero(~np.isnan(each), axis=1)[:, np.newaxis] for each in (one, other)]
    both = np.concatenate((one, other), axis=1)
    parts = zip((one, other), (1, -1), counts, strict=True)
    weights = np.concatenate([np.where(np.isnan(each), 0.0, sign / n) for each, sign, n in parts], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    both, steps = np.take_along_axis(both, order, axis=1), np.take_along_axis(weights, order, axis=1)
    # Of equal values only the last tells how far the distributions are apart.
    apart = np.abs(np.cumsum(steps, axis=1))
    apart[:, :-1][both[:, 1:] == both[:, :-1]] = 0.0
    n, m = (each[:, 0].astype(np.float64) for each in counts)
    return np.where((n > 0) & (m > 0), kolmogorov(np.sqrt(n * m / (n + m)) * apart.max(axis=1)), np.nan)


def kolmogorov(z: Values) -> Values:
    """The probability that Kolmogorov's distribution exceeds ``z``: theta series for small z, the dual for large."""
    z = np.maximum(z, 1e-3)
    y = np.exp(-(math.pi**2) / (8 * z * z))
    below = math.sqrt(2 * math.pi) / z * (y + y**9 + y**25 + y**49)
    x = np.exp(-2 * z * z)
    return np.asarray(np.where(z < 1.18, 1 - below, 2 * (x - x**4 + x**9)))


@function(
    "tukeyAbove",
    group="Transform",
    params=(SERIES, Param("basis", FLOAT), Param("n", INTEGER), optional("interval", INT_OR_INTERVAL, 0)),
    extension=True,
)
def tukey_above(call: Invocation, series: SeriesList, basis: float, n: int, interval: Scalar) -> SeriesList:
    """The ``n`` series with the most outliers above: ``basis`` interquartile ranges over the third quartile of all.

    Only the last ``interval`` points or seconds are looked at, or all but those if it is negative.
    """
    return _outliers(call, series, basis, n, interval, above=True)


@function(
    "tukeyBelow",
    group="Transform",
    params=(SERIES, Param("basis", FLOAT), Param("n", INTEGER), optional("interval", INT_OR_INTERVAL, 0)),
    extension=True,
)
def tukey_below(call: Invocation, series: SeriesList, basis: float, n: int, interval: Scalar) -> SeriesList:
    """The ``n`` series with the most outliers below: ``basis`` interquartile ranges under the first quartile of all.

    Only the last ``interval`` points or seconds are looked at, or all but those if it is negative.
    """
    return _outliers(call, series, basis, n, interval, above=False)


def _outliers(call: Invocation, series: SeriesList, basis: float, n: int, interval: Scalar, above: bool) -> SeriesList:
    if basis <= 0 or n < 1:
        raise QueryError(f"{call.name}: basis and n must be positive")
    seen = [grid.values[:, _last(grid, interval)] for grid in series.grids]
    points = np.sort(np.concatenate([values[~np.isnan(values)] for values in seen])) if seen else np.empty(0)
    if not len(points):
        return SeriesList()
    call.context.charge(1, len(points))
    first, third = points[int(0.25 * len(points))], points[int(0.75 * len(points))]
    counts = np.zeros(len(series))
    for grid, values in zip(series.grids, seen, strict=True):
        fence = third + basis * (third - first) if above else first - basis * (third - first)
        counts[grid.places] = np.count_nonzero(values >= fence if above else values <= fence, axis=1)
    return ordered(series, counts, reverse=True, keep=counts > 0, n=n)


def _last(grid: Grid, interval: Scalar) -> slice:
    """The columns that an interval means."""
    if isinstance(interval, str):
        points = parse_offset(interval) // max(grid.step, 1)
    elif isinstance(interval, int):
        points = interval
    else:
        raise QueryError(f"an interval of {interval!r} points")
    columns = grid.values.shape[1]
    if points < 0:
        return slice(0, columns + points if -points < columns else columns)
    return slice(columns - points if 0 < points < columns else 0, columns)


# --- spectra ----------------------------------------------------------------------------------------------------------


@function(
    "fft",
    group="Transform",
    params=(SERIES, optional("mode", STRING, "both", options=("abs", "phase", "both"))),
    extension=True,
)
def fft(call: Invocation, series: SeriesList, mode: Scalar) -> SeriesList:
    """The spectrum of each series by Fourier's transform: amplitudes and phases, or one of them. Gaps count as 0."""
    if mode not in ("", "both", "all", "abs", "phase"):
        raise QueryError("fft: mode must be one of abs, phase, both")
    kinds = [str(mode)] if mode in ("abs", "phase") else ["abs", "phase"]
    for grid in series.grids:
        rows, points = grid.values.shape
        call.context.charge(len(kinds) * rows, points)
        spectrum = np.fft.fft(np.nan_to_num(grid.values, nan=0.0), axis=1) if points else grid.values.astype(complex)
        parts = [np.abs(spectrum) if kind == "abs" else np.angle(spectrum) for kind in kinds]
        grid.values = np.stack(parts, axis=1).reshape(len(kinds) * rows, points)
        grid.places = (grid.places[:, np.newaxis] * len(kinds) + np.arange(len(kinds))).reshape(-1)
        labels = grid.labels.take(np.repeat(np.arange(rows), len(kinds)).tolist())
        texts = zip(labels.names, kinds * rows, strict=True)
        labels.renew([f"fft({name},{kind})" for name, kind in texts])
        grid.labels = labels
    return series.floats()


@function("ifft", group="Transform", params=(SERIES, optional("phaseSeriesList", SERIES_LIST)), extension=True)
def ifft(call: Invocation, series: SeriesList, phases: SeriesList | None) -> SeriesList:
    """The series that have these amplitudes, and these phases, in their spectrum: what fft took apart."""
    others = phases.series() if phases else []
    for grid in series.grids:
        rows, points = grid.values.shape
        call.context.charge(2 * rows, points)
        angles = np.zeros((rows, points))
        names = []
        for row, (place, name) in enumerate(zip(grid.places.tolist(), grid.labels.names, strict=True)):
            if place < len(others):
                width = min(points, len(others[place].values))
                angles[row, :width] = others[place].values[:width]
                names.append(f"ifft({name},{others[place].name})")
            else:
                names.append(f"ifft({name})")
        grid.labels.renew(names)
        if points:
            spectrum = np.nan_to_num(grid.values, nan=0.0) * np.exp(1j * np.nan_to_num(angles, nan=0.0))
            grid.values = np.abs(np.fft.ifft(spectrum, axis=1))
    return series.floats()
