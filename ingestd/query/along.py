"""Along series from point to point: what depends on the points before. Arrays float64[rows, n], NaN = no data.

The kernels of :mod:`ingestd._speed` do the same, bit by bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ingestd._speed import along_compiled, windows_compiled
from ingestd.points import Values
from ingestd.query.reduce import REDUCERS, enough

MANNERS: Final = ("sum", "average", "min", "max")
_FOLDS: Final = {
    "sum": (np.add, 0.0),
    "average": (np.add, 0.0),
    "min": (np.minimum, np.inf),
    "max": (np.maximum, -np.inf),
}
IN_ORDER: Final = 16
"""Points of a window up to which there is a pass for each: as many as there are for 180."""
PIECE: Final = 1 << 18
"""Values of windows that are laid out and sorted at a time: 2 MB stay in the cache."""


def around(values: Values) -> tuple[NDArray[np.bool_], NDArray[np.int32], NDArray[np.int32]]:
    """Where a row has no value, and the columns of the last value up to each point (-1) and of the next from it (n).

    Three arrays [rows, n].
    """
    empty = np.isnan(values)
    points = values.shape[1]
    index = np.arange(points, dtype=np.int32)
    last = np.maximum.accumulate(np.where(empty, np.int32(-1), index), axis=1)
    following = np.minimum.accumulate(np.where(empty, np.int32(points), index)[:, ::-1], axis=1)[:, ::-1]
    return empty, last, following


def filled(values: Values, limit: float) -> Values:
    """``values`` with gaps between a value and the next, or the end, of at most ``limit`` points filled with it."""
    if along_compiled is not None:
        return _walked(along_compiled.fill, values, limit)
    empty, last, following = around(values)
    rows, columns = np.nonzero(empty & (last >= 0) & (following - last - 1 <= limit))
    out = values.copy()
    out[rows, columns] = values[rows, last[rows, columns]]
    return out


def bridged(values: Values, limit: float) -> Values:
    """``values`` with a straight line across gaps of at most ``limit`` points between two values."""
    if along_compiled is not None:
        return _walked(along_compiled.bridge, values, limit)
    empty, last, following = around(values)
    inside = empty & (last >= 0) & (following < values.shape[1])
    rows, columns = np.nonzero(inside & (following - last - 1 <= limit))
    left, right = last[rows, columns], following[rows, columns]
    begin, end = values[rows, left], values[rows, right]
    out = values.copy()
    out[rows, columns] = begin + (columns - left) * (end - begin) / (right - left)
    return out


def changes(values: Values) -> Values:
    """1 where a value differs from the last one before it, else 0."""
    if along_compiled is not None:
        return _walked(along_compiled.changes, values)
    _, last, _ = around(values)
    before = np.maximum(last[:, :-1], 0)
    out = np.zeros(values.shape)
    earlier = np.take_along_axis(values, before, axis=1)
    out[:, 1:] = (last[:, :-1] >= 0) & ~np.isnan(values[:, 1:]) & (values[:, 1:] != earlier)
    return out


def running_deviations(values: Values, points: int, tolerance: float) -> Values:
    """Deviations of the last ``points`` values, at least 1, from running sums of them and their squares.

    None where fewer than ``tolerance`` of them are known. What leaves the window is taken off before what enters is
    added, one by one as in graphite-web: where the sums cancel its result is noise, and this is the same noise.
    """
    if along_compiled is not None:
        return _walked(along_compiled.spreads, values, points, tolerance)
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    counts = _running(there.astype(np.float64), points)
    sums = _running(known, points)
    squares = _running(known * known, points)
    enough = (counts > 0) & (counts / points >= tolerance)
    return np.where(enough, np.sqrt(counts * squares - sums * sums) / counts, np.nan)


def _running(values: Values, points: int) -> Values:
    """Sums of the last ``points`` columns, by taking off and adding in turn."""
    steps = np.empty((values.shape[0], 2 * values.shape[1]))
    steps[:, 1::2] = values
    steps[:, 0 : 2 * points : 2] = 0.0
    steps[:, 2 * points :: 2] = -values[:, : max(values.shape[1] - points, 0)]
    return np.asarray(np.cumsum(steps, axis=1)[:, 1::2])


def averages(values: Values, weight: float, firsts: Values) -> Values:
    """``weight * value + (1 - weight) * average before`` at each value.

    ``firsts`` float64[rows] are the averages before all.
    """
    if along_compiled is not None:
        return _walked(along_compiled.averages, values, weight, np.ascontiguousarray(firsts), _block(values.shape[1]))
    there = ~np.isnan(values)
    out = recurrence(np.where(there, 1 - weight, 1.0), np.where(there, weight * values, 0.0), firsts)
    return np.where(there, out, np.nan)


def recurrence(factors: Values, additions: Values, firsts: Values) -> Values:
    """``y[i] = factors[i] * y[i - 1] + additions[i]`` along rows; ``firsts`` float64[rows] are those before all.

    Rows are cut into about sqrt(n) blocks of which all are run through at once, each as if nothing came before it; then
    each block is given what did. That takes 2 sqrt(n) steps instead of n.
    """
    rows, points = additions.shape
    size = _block(points)
    if along_compiled is not None:
        arrays = np.ascontiguousarray(additions), np.ascontiguousarray(firsts)
        return _walked(along_compiled.recur, factors, *arrays, size)
    blocks = -(-points // size)
    # Steps lie beside each other in memory, so that each works on runs of rows.
    scale, out = np.zeros((2, blocks * size, rows))
    scale[:points], out[:points] = factors.T, additions.T
    scale, out = scale.reshape(blocks, size, rows), out.reshape(blocks, size, rows)
    for at in range(1, size):
        out[:, at] += scale[:, at] * out[:, at - 1]
        scale[:, at] *= scale[:, at - 1]
    before = np.empty((blocks, 1, rows))
    carried = firsts
    for block in range(blocks):
        before[block] = carried
        carried = scale[block, -1] * carried + out[block, -1]
    scale *= before
    out += scale
    return np.asarray(out.reshape(blocks * size, rows)[:points].T)


def medians(values: Values, size: int) -> Values:
    """The medians of every run of ``size`` columns but the first: float64[rows, n - size], 0 < size <= n."""
    out = np.empty((values.shape[0], values.shape[1] - size))
    if windows_compiled is not None:
        windows_compiled.medians(np.ascontiguousarray(values), size, out)
        return out
    views = sliding_window_view(values, size, axis=1)[:, 1:]
    width = min(max(PIECE // size, 1), max(views.shape[1], 1))
    height = max(PIECE // (size * width), 1)
    for row in range(0, views.shape[0], height):
        for column in range(0, views.shape[1], width):
            piece = slice(row, row + height), slice(column, column + width)
            out[piece] = REDUCERS["median"](views[piece], size)
    return out


def deviations(values: Values, size: int) -> Values:
    """The standard deviations (of the population) of every run of ``size`` columns but the first, as :func:`medians`.

    Runs keep a count, a mean and a sum of squared distances from it, which merge without cancellation.
    """
    if windows_compiled is not None:
        out = np.empty((values.shape[0], values.shape[1] - size))
        windows_compiled.deviations(np.ascontiguousarray(values), size, out)
        return out

    def merged(one: Values, other: Values) -> Values:
        count = one[0] + other[0]
        weight = other[0] / np.where(count == 0, 1.0, count)
        distance = other[1] - one[1]
        mean = np.where(one[0] == 0, other[1], one[1] + distance * weight)
        return np.stack((count, mean, one[2] + other[2] + distance * distance * weight * one[0]))

    there = ~np.isnan(values)
    single = (there.astype(np.float64), np.where(there, values, 0.0), np.zeros(values.shape))
    count, _, squares = doubled(np.stack(single), size, merged)
    return np.asarray(np.sqrt(squares / count)[:, 1:])


def windows(values: Values, size: int, manner: str, factors: Values) -> Values:
    """Every run of ``size`` columns but the first made one by ``manner`` of :data:`MANNERS`: float64[rows, n - size].

    Only known values count; none where there are none of them, or a part of less than ``factors`` float64[rows, 1].
    0 < size <= n.
    """
    if windows_compiled is not None:
        out = np.empty((values.shape[0], values.shape[1] - size))
        levels = np.ascontiguousarray(factors[:, 0])
        windows_compiled.windows(np.ascontiguousarray(values), size, MANNERS.index(manner), IN_ORDER, levels, out)
        return out
    there = ~np.isnan(values)
    counts = sliding(there.astype(np.int32), size, np.add)[:, 1:]
    operation, neutral = _FOLDS[manner]
    made = sliding(np.where(there, values, neutral), size, operation)[:, 1:]
    return np.where(enough(counts, size, factors), made / counts if manner == "average" else made, np.nan)


def sliding(values: NDArray[Any], size: int, operation: np.ufunc) -> NDArray[Any]:
    """``operation`` over every run of ``size`` columns: [rows, n] to [rows, n - size + 1], 0 < size <= n.

    Short runs are folded in order, so that sums round as graphite-web's do; longer ones are :func:`doubled`.
    ``operation`` is an associative ufunc.
    """
    if size > IN_ORDER:
        return doubled(values, size, operation)
    runs = values.shape[1] - size + 1
    folded = values[:, :runs].copy()
    for at in range(1, size):
        operation(folded, values[:, at : at + runs], out=folded)
    return folded


def doubled(
    values: NDArray[Any], size: int, operation: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]
) -> NDArray[Any]:
    """``operation`` over every run of ``size`` on the last axis: [..., n] to [..., n - size + 1], 0 < size <= n.

    Runs of 1, 2, 4, ... are made of two of the length before, and the run wanted of those in the binary form of
    ``size``: some 2 log(size) passes. Unlike a difference of running sums this adds only what is in the run, so nothing
    cancels and an infinity stays where it is.
    """
    runs = values.shape[-1] - size + 1
    power, width, offset = values, 1, 0
    out: NDArray[Any] | None = None
    while True:
        if size & width:
            part = power[..., offset : offset + runs]
            out = part if out is None else operation(out, part)
            offset += width
        if out is not None and offset == size:
            return out
        power = operation(power[..., :-width], power[..., width:])
        width *= 2


def _block(points: int) -> int:
    return max(math.isqrt(points), 1)


def _walked(kernel: Callable[..., None], values: Values, *arguments: object) -> Values:
    """What a kernel makes of ``values``, of the same shape."""
    out = np.empty(values.shape)
    kernel(np.ascontiguousarray(values), *arguments, out)
    return out
