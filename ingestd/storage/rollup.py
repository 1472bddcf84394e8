"""Coarser values from finer ones: carbon's aggregation methods over whole arrays of series.

The arithmetic is whisper's (whisper 1.1.10, ``aggregate`` and ``__propagate``): sums run over a slot's values in order
of time, a coarse slot is valid if known / ratio >= xFilesFactor and at least one value is known, and the full ratio is
the denominator also where the slot is not complete yet. The loop runs over the ratio, each step over all series and
slots at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values, Window


class Profile(NamedTuple):
    """How a series rolls up: aggregation method (a key of :data:`METHODS`) and xFilesFactor (0 to 1)."""

    method: str
    x_files_factor: float


def _sum(fine: Values, known: NDArray[np.bool_]) -> Values:
    total = np.zeros(fine.shape[:2])
    for i in range(fine.shape[2]):
        np.add(total, fine[:, :, i], out=total, where=known[:, :, i])
    return total


def _average(fine: Values, known: NDArray[np.bool_]) -> Values:
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Values = np.divide(_sum(fine, known), known.sum(axis=2))
    return mean


def _average_zero(fine: Values, known: NDArray[np.bool_]) -> Values:
    total: Values = np.divide(_sum(fine, known), fine.shape[2])
    return total


def _last(fine: Values, known: NDArray[np.bool_]) -> Values:
    return _choose(fine, known, lambda best, candidate: np.ones(best.shape, np.bool_))


def _max(fine: Values, known: NDArray[np.bool_]) -> Values:
    return _choose(fine, known, lambda best, candidate: candidate > best)


def _min(fine: Values, known: NDArray[np.bool_]) -> Values:
    return _choose(fine, known, lambda best, candidate: candidate < best)


def _absolute_max(fine: Values, known: NDArray[np.bool_]) -> Values:
    return _choose(fine, known, lambda best, candidate: np.abs(candidate) > np.abs(best))


def _absolute_min(fine: Values, known: NDArray[np.bool_]) -> Values:
    return _choose(fine, known, lambda best, candidate: np.abs(candidate) < np.abs(best))


def _choose(fine: Values, known: NDArray[np.bool_], better: Callable[[Values, Values], NDArray[np.bool_]]) -> Values:
    best = fine[:, :, 0].copy()
    with np.errstate(invalid="ignore"):
        for i in range(1, fine.shape[2]):
            candidate = fine[:, :, i]
            np.copyto(best, candidate, where=known[:, :, i] & (np.isnan(best) | better(best, candidate)))
    return best


METHODS: Final[dict[str, Callable[[Values, NDArray[np.bool_]], Values]]] = {
    "average": _average,
    "sum": _sum,
    "last": _last,
    "max": _max,
    "min": _min,
    "avg_zero": _average_zero,
    "absmax": _absolute_max,
    "absmin": _absolute_min,
}
"""carbon's aggregation methods: ([series, slots, ratio] values, the same of known) to [series, slots]."""


def roll_up(fine: Values, ratio: int, profiles: Sequence[Profile], profile_of: NDArray[np.uint16]) -> Values:
    """Coarse values float64[n, m] of ``fine`` float64[n, m * ratio]; NaN where the slot is not valid.

    ``profile_of`` uint16[n] gives each row's index into ``profiles``.
    """
    rows, slots = fine.shape
    stacked = fine.reshape(rows, slots // ratio, ratio)
    used = np.unique(profile_of)
    if len(used) == 1:
        return _roll_up_one(stacked, profiles[int(used[0])])
    coarse = np.empty(stacked.shape[:2])
    for number in used:
        chosen = profile_of == number
        coarse[chosen] = _roll_up_one(stacked[chosen], profiles[int(number)])
    return coarse


def resample(
    values: Values, start: int, step: int, window: Window, profiles: Sequence[Profile], profile_of: NDArray[np.uint16]
) -> Values:
    """``values`` float64[n, m] of slots of ``step`` from ``start`` on as slots of ``window``: float64[n, window.slots].

    Slots that hold several are rolled up by the series' profile, any known value sufficing; slots that are shorter get
    a value where one begins in them.
    """
    into = (start + step * np.arange(values.shape[1]) - window.start) // window.step
    out = np.full((len(values), window.slots), np.nan)
    if window.step <= step:
        inside = (into >= 0) & (into < window.slots)
        out[:, into[inside]] = values[:, inside]
        return out
    ratio = -(-window.step // step)
    any_known = [profile._replace(x_files_factor=0.0) for profile in profiles]
    for slot in np.unique(into[(into >= 0) & (into < window.slots)]).tolist():
        part = values[:, into == slot]
        padded = np.full((len(values), ratio), np.nan)
        padded[:, : part.shape[1]] = part
        out[:, slot] = roll_up(padded, ratio, any_known, profile_of)[:, 0]
    return out


def _roll_up_one(stacked: Values, profile: Profile) -> Values:
    known = ~np.isnan(stacked)
    count = known.sum(axis=2)
    coarse = METHODS[profile.method](stacked, known)
    # whisper keeps the factor in single precision: one value of ten does not reach 0.1 there, nor here.
    least = float(np.float32(profile.x_files_factor))
    coarse[(count == 0) | (count / stacked.shape[2] < least)] = np.nan
    return coarse
