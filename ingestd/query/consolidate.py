"""maxDataPoints: fewer, larger buckets, aligned to absolute time (graphite-web 1.1.10, renderViewJson).

Only JSON consolidates. The rule reads: buckets hold as many points as bring the longest span of *all* series under the
limit; each series starts at the next bucket boundary and loses one point less than stand before it. A point is lost
relative to intuition; panels that reload every few seconds rely on the alignment.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.query.reduce import reduce_buckets

MEANS: Final = ("average", "avg", "avg_zero")
"""Manners that make fractions of integers."""


def consolidate(series: list[Series], max_data_points: int | None) -> list[Series]:
    """The series as JSON shows them; those given are left as they are.

    With None they are not consolidated. When none of them has a single point the answer is empty.
    Raises :class:`QueryError`.
    """
    if not any(len(each.values) for each in series):
        return []
    if max_data_points is None:
        return series
    if max_data_points < 1:
        raise QueryError("maxDataPoints must be at least 1")
    span = max(each.end for each in series) - min(each.start for each in series)
    shaped = [_nudge(each, span, max_data_points) for each in series]
    groups: dict[tuple[int, int, str], list[Series]] = {}
    for each in shaped:
        if each.values_per_point > 1:
            groups.setdefault((each.values_per_point, len(each.values), each.consolidation_func), []).append(each)
    with np.errstate(all="ignore"):
        for (size, _, function), members in groups.items():
            factors = np.array([[each.x_files_factor] for each in members])
            rows = reduce_buckets(np.stack([each.values for each in members]), size, function, factors)
            for each, row in zip(members, rows, strict=True):
                each.values = row
                each.ints = each.ints and function not in MEANS
    return shaped


def _nudge(series: Series, span: int, max_data_points: int) -> Series:
    """A copy with its bucket size set and the points before the first boundary dropped."""
    if max_data_points == 1:
        return replace(series, values_per_point=max(len(series.values), 1))
    step = series.step
    if step <= 0 or span <= max_data_points * step:
        return replace(series)
    size = math.ceil((span / step) / max_data_points)
    seconds = size * step
    nudge = seconds + series.start % step - series.start % seconds
    lost = max(nudge // step - 1, 0)
    return replace(series, start=series.start + nudge, values=series.values[lost:], values_per_point=size)
