"""Large arrays of values: some rows at a time, and without a branch at each value that may be missing.

A branch that nobody can foresee costs ten times what is done behind it: these are two or three times as fast as
numpy.where.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values

CACHED: Final = 1 << 15
"""Values of rows that all steps are done with before the next rows: what is made in between stays in the cache."""


def by_rows(values: Values, change: Callable[..., Values], *arguments: object) -> Values:
    """``change(values, *arguments)``, which makes something of each row of float64[rows, n] by itself.

    For changes of many steps: one that makes no other arrays than its result is quicker at once.
    """
    few = max(CACHED // max(values.shape[1], 1), 1)
    if len(values) <= few:
        return change(values, *arguments)
    first = change(values[:few], *arguments)
    out = np.empty((len(values), *first.shape[1:]))
    out[:few] = first
    for at in range(few, len(values), few):
        out[at : at + few] = change(values[at : at + few], *arguments)
    return out


def zeroed(values: Values) -> Values:
    """``values`` float64[...] with 0.0 for NaN: a new array."""
    keep = np.asarray(np.equal(values, values), np.int64)
    np.negative(keep, out=keep)
    return np.bitwise_and(keep, values.view(np.int64), out=keep).view(np.float64)


def blanked(values: Values, where: NDArray[np.bool_]) -> Values:
    """``values`` float64[...] with NaN where ``where`` bool[...] of that shape is set: a new array."""
    lost = np.array(where, np.int64)
    np.negative(lost, out=lost)
    return np.bitwise_or(lost, values.view(np.int64), out=lost).view(np.float64)
