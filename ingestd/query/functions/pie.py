"""What a pie chart makes of a series: one number for its slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ingestd.points import Values
from ingestd.query.functions.registry import ONE_SERIES, Param, described

_SERIES: Final = (Param("series", ONE_SERIES),)


@dataclass(frozen=True, slots=True)
class PieFunction:
    """A function of the values float64[n] of one series; NaN where it has none."""

    name: str
    body: Callable[[Values], float]

    def describe(self) -> dict[str, Any]:
        """The function as /functions?type=pie shows it."""
        return described(self.name, "Pie", _SERIES, self.body)


def average(values: Values) -> float:
    """The mean of the values there are."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan


def maximum(values: Values) -> float:
    """The largest value."""
    return float(np.fmax.reduce(values, initial=np.nan))


def minimum(values: Values) -> float:
    """The smallest value."""
    return float(np.fmin.reduce(values, initial=np.nan))


PIES: Final = {body.__name__: PieFunction(body.__name__, body) for body in (average, maximum, minimum)}
"""What ``pieMode`` chooses from."""
