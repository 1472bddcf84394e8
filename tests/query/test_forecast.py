"""Holt-Winters by seasons against the same said point by point."""

from __future__ import annotations

import math
from datetime import UTC

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.context import Context, Costs, Source
from ingestd.query.evaluate import evaluate
from ingestd.query.functions.forecast import ALPHA, BETA, GAMMA, forecasts
from ingestd.query.limits import LimitError, QueryLimits

NONE = math.nan


def context(points: int = 10**9) -> Context:
    return Context(Source(None, 0, Costs(QueryLimits(points=points))), 0, 60, UTC, 0.0, evaluate)  # type: ignore[arg-type]


def plain(values: list[float | None], season: int) -> tuple[list[float], list[float]]:
    forecasts, deviations, seasonals = [], [], []
    level = trend = None
    for at, x in enumerate(values):
        s = seasonals[at - season] if at >= season else 0.0
        usual = deviations[at - season] if at >= season else 0.0
        ahead = NONE if level is None else level + trend + s
        if x is None:
            forecasts.append(ahead)
            deviations.append(0.0)
            seasonals.append(0.0)
            level = trend = None
            continue
        if at == 0:
            ahead = x
        before, slope = (x, 0.0) if level is None else (level, trend)
        level = ALPHA * (x - s) + (1 - ALPHA) * (before + slope)
        trend = BETA * (level - before) + (1 - BETA) * slope
        seasonals.append(GAMMA * (x - level) + (1 - GAMMA) * s)
        deviations.append(GAMMA * abs(x - (0.0 if math.isnan(ahead) else ahead)) + (1 - GAMMA) * usual)
        forecasts.append(ahead)
    return forecasts, deviations


@given(st.lists(st.none() | st.floats(-100, 100), min_size=1, max_size=80), st.integers(1, 30))
def test_forecasts(values: list[float | None], season: int) -> None:
    array = np.array([values, values[::-1]], np.float64)
    got = forecasts(context(), array, season)
    for row, each in enumerate((values, values[::-1])):
        for one, expected in zip(got, plain(each, season), strict=True):
            np.testing.assert_allclose(one[row], expected, rtol=1e-9, atol=1e-9)


def test_short_seasons_cost_what_they_take() -> None:
    forecasts(context(10_000), np.zeros((1, 1_000)), 500)
    with pytest.raises(LimitError):
        forecasts(context(10_000), np.zeros((1, 1_000)), 1)
