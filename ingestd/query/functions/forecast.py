"""Holt-Winters: forecasts from level, trend and season, and the bands of what is usual around them.

Of a value x, with s the season's part one season before, graphite-web makes

    level     = 0.1 (x - s) + 0.9 (level + trend before)
    trend     = 0.0035 (level - level before) + 0.9965 trend before
    season    = 0.1 (x - level) + 0.9 s
    deviation = 0.1 |x - forecast| + 0.9 deviation one season before

and the forecast of a point is level + trend before it + s. A missing value forgets level and trend: the next value
itself is the level before it, and has no forecast. Within a season s is known, so that level and trend are a linear
recurrence, which in the basis of its eigenvectors is two independent ones.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Values
from ingestd.query.along import recurrence
from ingestd.query.attime import parse_offset
from ingestd.query.context import Context, Invocation
from ingestd.query.functions.registry import INTEGER, INTERVAL, SERIES, function, optional
from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import Labels, Tags
from ingestd.query.limits import QueryError

ALPHA: Final = 0.1
BETA: Final = 0.0035
GAMMA: Final = 0.1
STATE: Final = np.array([[1 - ALPHA, 1 - ALPHA], [-ALPHA * BETA, 1 - ALPHA * BETA]])
"""What becomes of level and trend, besides ``ALPHA * (1, BETA)`` times x - s."""
ROOTS, BASIS = np.linalg.eig(STATE)
INVERSE: Final = np.linalg.inv(BASIS)
PER_SEASON: Final = 64
"""Points that are made in the time that a season takes however short it is."""

BOOTSTRAP: Final = optional("bootstrapInterval", INTERVAL, "7d", suggestions=("7d", "30d"))
SEASON: Final = optional("seasonality", INTERVAL, "1d", suggestions=("1d", "7d"))
DELTA: Final = optional("delta", INTEGER, 3)


def forecasts(context: Context, values: Values, season: int) -> tuple[Values, Values]:
    """Forecasts and deviations of rows float64[rows, n], ``season`` points to a season."""
    rows, points = values.shape
    forecast, deviation = np.empty((2, rows, points))
    seasonal, usual = np.zeros((2, rows, season))
    state, known = np.zeros((2, rows)), np.zeros(rows, np.bool_)
    for start in range(0, points, season):
        x = values[:, start : start + season]
        context.charge(1, max(8 * x.size, PER_SEASON))
        there = ~np.isnan(x)
        after = np.concatenate((known[:, np.newaxis], there[:, :-1]), axis=1)
        before = seasonal[:, : x.shape[1]]
        state = _states(x, before, there, after, state)
        level, trend = np.tensordot(BASIS, state, axes=1)
        ahead = np.where(after, level[:, :-1] + trend[:, :-1] + before, np.nan)
        if start == 0:
            ahead[:, 0] = x[:, 0]
        miss = np.abs(x - np.where(np.isnan(ahead), 0.0, ahead))
        usual = np.where(there, GAMMA * miss + (1 - GAMMA) * usual[:, : x.shape[1]], 0.0)
        seasonal = np.where(there, GAMMA * (x - level[:, 1:]) + (1 - GAMMA) * before, 0.0)
        forecast[:, start : start + season] = ahead
        deviation[:, start : start + season] = usual
        state, known = state[..., -1], there[:, -1]
    return forecast, deviation


def _states(x: Values, season: Values, there: NDArray[np.bool_], after: NDArray[np.bool_], state: Values) -> Values:
    """Level and trend after each point of one season, in the basis of eigenvectors: float64[2, rows, 1 + n].

    ``state`` float64[2, rows] is the one before, which comes first; ``after`` tells the points that follow a known one.
    """
    level = ALPHA * (x - season) + (1 - ALPHA) * x
    anew = INVERSE @ np.stack((level, BETA * (level - x))).reshape(2, -1)
    along = np.outer(INVERSE @ (ALPHA, ALPHA * BETA), x - season)
    additions = np.where(there, np.where(after, along.reshape(2, *x.shape), anew.reshape(2, *x.shape)), 0.0)
    factors = np.where(there & after, ROOTS[:, np.newaxis, np.newaxis], 0.0)
    states = recurrence(factors.reshape(-1, x.shape[1]), additions.reshape(-1, x.shape[1]), state.reshape(-1))
    return np.concatenate((state[..., np.newaxis], states.reshape(2, *x.shape)), axis=2)


def _analysed(call: Invocation, bootstrap: str, seasonality: str) -> tuple[SeriesList, list[Values]]:
    """The first argument with a preview of ``bootstrap``, its values the forecasts, and the deviations of its grids.

    Both begin where the preview ends. Tags tell of the analysis.
    """
    seconds, season = parse_offset(bootstrap), parse_offset(seasonality)
    again = call.series_again(call.context.start - seconds, call.context.until)
    deviations = []
    for grid in again.grids:
        if grid.step <= 0 or season < grid.step:
            raise QueryError(f"{call.name}: the season {seasonality!r} is shorter than a step of {grid.step} s")
        grid.values, deviation = forecasts(call.context, grid.values, season // grid.step)
        points = seconds // grid.step
        grid.values = grid.values[:, points:]
        deviations.append(deviation[:, points:])
        grid.start += seconds
    return again.tagged("holtWintersForecast", 1).tagged("holtWintersDeviation", 1), deviations


@function("holtWintersForecast", group="Calculate", params=(SERIES, BOOTSTRAP, SEASON))
def holt_winters_forecast(call: Invocation, series: SeriesList, bootstrap: str, seasonality: str) -> SeriesList:
    """The Holt-Winters forecast of each series, which begins to learn ``bootstrapInterval`` before the window."""
    again, _ = _analysed(call, bootstrap, seasonality)
    for grid in again.grids:
        grid.labels.all(consolidation_func="average")
    return again.named("holtWintersForecast", anew=True).floats()


@function("holtWintersConfidenceBands", group="Calculate", params=(SERIES, DELTA, BOOTSTRAP, SEASON))
def holt_winters_confidence_bands(
    call: Invocation, series: SeriesList, delta: int, bootstrap: str, seasonality: str
) -> SeriesList:
    """The Holt-Winters forecast of each series less and plus ``delta`` deviations: the lower and the upper band."""
    return _bands(call, delta, bootstrap, seasonality)


def _bands(call: Invocation, delta: int, bootstrap: str, seasonality: str) -> SeriesList:
    """Lower and upper bands in turn."""
    again, deviations = _analysed(call, bootstrap, seasonality)
    for grid, deviation in zip(again.grids, deviations, strict=True):
        width = delta * deviation
        bands = np.stack((grid.values - width, grid.values + width), axis=1)
        grid.values = bands.reshape(2 * len(grid.labels), -1)
        grid.places = np.stack((2 * grid.places, 2 * grid.places + 1), axis=1).reshape(-1)
        grid.labels = _banded(grid.labels)
    return again.tagged("holtWintersConfidenceUpper", 1).tagged("holtWintersConfidenceLower", 1)


def _banded(labels: Labels) -> Labels:
    """Each of them twice: of the lower and of the upper band."""
    twice = labels.take(np.repeat(np.arange(len(labels)), 2).tolist())
    sides = ("Lower", "Upper") * len(labels)
    made = Labels.called(
        [f"holtWintersConfidence{side}({name})" for side, name in zip(sides, twice.names, strict=True)], 0.0, twice.tags
    )
    made.path_expressions, made.x_files_factors = twice.path_expressions, twice.x_files_factors
    return made


@function("holtWintersAberration", group="Calculate", params=(SERIES, DELTA, BOOTSTRAP, SEASON))
def holt_winters_aberration(
    call: Invocation, series: SeriesList, delta: int, bootstrap: str, seasonality: str
) -> SeriesList:
    """How far each series is above the upper or below the lower Holt-Winters band; 0 between them or without a value.

    Points meet those of the bands by index; if the preview made the bands coarser, by time. There graphite-web crashes.
    """
    bands = _bands(call, delta, bootstrap, seasonality)
    rows = {}
    for band in bands.grids:
        for row, name in enumerate(band.labels.names):
            rows[name] = band, row
    for grid in series.grids:
        call.context.charge(len(grid.labels), 3 * grid.values.shape[1])
        limits = np.full((2, *grid.values.shape), np.nan)
        for at, name in enumerate(grid.labels.names):
            for limit, side in zip(limits, ("Lower", "Upper"), strict=True):
                found = rows.get(f"holtWintersConfidence{side}({name})")
                if found is not None:
                    limit[at] = _beside(grid, *found)
        x = grid.values
        beyond = np.where(x > limits[1], x - limits[1], np.where(x < limits[0], x - limits[0], 0.0))
        grid.values = beyond
        grid.labels.all(consolidation_func="average")
    return series.named("holtWintersAberration", tag=1, anew=True).floats()


def _beside(grid: Grid, band: Grid, row: int) -> Values:
    """The values of a band at the points of ``grid``."""
    points = np.arange(grid.values.shape[1])
    at = points if band.step == grid.step else (grid.start + grid.step * points - band.start) // band.step
    inside = (at >= 0) & (at < band.values.shape[1])
    return np.where(inside, np.append(band.values[row], np.nan)[np.where(inside, at, -1)], np.nan)


@function("holtWintersConfidenceArea", group="Calculate", params=(SERIES, DELTA, BOOTSTRAP, SEASON))
def holt_winters_confidence_area(
    call: Invocation, series: SeriesList, delta: int, bootstrap: str, seasonality: str
) -> SeriesList:
    """The area between the Holt-Winters bands of one series, for a stacked chart."""
    bands = _bands(call, delta, bootstrap, seasonality)
    if len(bands) != 2:
        raise QueryError(f"holtWintersConfidenceArea takes one series, not {len(bands) // 2}")
    labels = bands.grids[0].labels
    name = f"areaBetween({labels.path_expressions[1]})".replace("areaBetween", "holtWintersConfidenceArea")
    labels.become([name, name])
    labels.options = [{"stacked": True, "invisible": True}, {"stacked": True}]
    labels.tags = Tags([{tag: text for tag, text in tags.items() if tag != "areaBetween"} for tags in labels.tags])
    return bands.tagged("holtWintersConfidenceArea", 1)
