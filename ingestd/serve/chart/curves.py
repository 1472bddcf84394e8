"""Series as a picture shows them: consolidated to its pixels, stacked, cut into runs at gaps.

Consolidation is graphite-web's (render/glyph.py, ``consolidateDataPoints``): where points would be closer together
than ``minXStep`` pixels, as many as fill one become one, by the consolidation function of their series.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.query.reduce import reduce_buckets
from ingestd.serve.chart.colors import Color, ColorError, parse_color, with_alpha
from ingestd.serve.chart.options import ChartError, ChartOptions
from ingestd.serve.chart.shapes import Values, clean

_DASH: Final = 0.5
"""Pixels of a dash below which a line looks solid, and takes for ever."""
_DENSE: Final = 2
"""Points a pixel beyond which only the lowest and the highest of each column of pixels is drawn."""


@dataclass(slots=True)
class Curve:
    """One series to be drawn: ``values`` float64[n] at ``times`` float64[n], in seconds; NaN = nothing."""

    name: str
    color: Color
    times: Values
    values: Values
    step: float
    width: float
    dash: float
    right: bool
    stacked: bool
    infinite: bool
    invisible: bool
    empty: bool
    """It had no value before nulls became zeros."""
    filled: bool = False
    lower: Values | None = None
    """What an area stands on, float64[n]; None = zero."""


def extent(series: Sequence[Series], line_mode: str) -> tuple[int, int]:
    """The first and the last second of a chart; a staircase goes on to the end of its last step."""
    start = min(each.start for each in series)
    end = max(each.end - (0 if line_mode == "staircase" else each.step) for each in series)
    return start, max(end, start + 1)


def _bucket_sizes(series: Sequence[Series], span: float, pixels: float, min_x_step: float) -> list[int]:
    sizes = []
    for each in series:
        points = span / max(each.step, 1)
        if min_x_step > 0 and points > 0 and pixels / points < min_x_step:
            sizes.append(math.ceil(points / max(int(pixels / min_x_step), 1)))
        else:
            sizes.append(1)
    return sizes


def _reduced(series: Sequence[Series], sizes: list[int]) -> list[Values]:
    """The values of all series in buckets of ``sizes``, those of one shape at a time."""
    out: list[Values] = [each.values for each in series]
    groups: dict[tuple[int, int, str], list[int]] = {}
    for at, (each, size) in enumerate(zip(series, sizes, strict=True)):
        if size > 1 and len(each.values):
            groups.setdefault((size, len(each.values), each.consolidation_func), []).append(at)
    with np.errstate(all="ignore"):
        for (size, _, function), places in groups.items():
            factors = np.array([[series[at].x_files_factor] for at in places])
            try:
                rows = reduce_buckets(np.stack([out[at] for at in places]), size, function, factors)
            except QueryError as error:
                raise ChartError(str(error)) from None
            for at, row in zip(places, rows, strict=True):
                out[at] = row
    return out


def color_of(series: Series, fallback: Color) -> Color:
    """The colour that a series asks for, or else ``fallback``.

    :raises ChartError: it asks for what is none.
    """
    text = series.options.get("color")
    if text is None:
        return fallback
    try:
        return parse_color(str(text))
    except ColorError as error:
        raise ChartError(f"color(): {error}") from None


def _number(series: Series, name: str, default: float) -> float:
    """A number among the options of a series; what is none, as its functions allow, counts as if it were not there."""
    value = series.options.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def curves_of(series: Sequence[Series], options: ChartOptions, span: float, pixels: float) -> list[Curve]:
    """The curves of a chart that is ``pixels`` wide and shows ``span`` seconds.

    :raises ChartError: a series asks for a colour that is none.
    """
    sizes = _bucket_sizes(series, span, pixels, options.min_x_step)
    two_axes = any(each.options.get("secondYAxis") for each in series)
    out: list[Curve] = []
    colors_used = 0
    for each, size, reduced in zip(series, sizes, _reduced(series, sizes), strict=True):
        if "color" not in each.options:
            colors_used += 1
        color = color_of(each, options.colors[(colors_used - 1) % len(options.colors)])
        right = bool(each.options.get("secondYAxis"))
        side = options.right_side if right else options.left_side
        width, dash = _number(each, "lineWidth", options.line_width), _number(each, "dashed", 0.0)
        if two_axes:
            color = side.color or color
            width = width if side.width is None else side.width
            dash = dash if side.dash is None else side.dash
        values = np.where(np.isfinite(reduced), reduced, np.nan)
        step = each.step * max(each.values_per_point, 1) * size
        out.append(
            Curve(
                name=clean(str(each.name)),
                color=with_alpha(color, _number(each, "alpha", 1.0)),
                times=each.start + np.arange(len(values), dtype=np.float64) * step,
                values=np.nan_to_num(values, nan=0.0) if options.null_as_zero else values,
                step=step,
                width=min(max(width, 0.0), 100.0),
                dash=min(dash, 1000.0) if dash >= _DASH else 0.0,
                right=right,
                stacked=bool(each.options.get("stacked")),
                infinite=bool(each.options.get("drawAsInfinite")),
                invisible=bool(each.options.get("invisible")),
                empty=bool(np.isnan(values).all()),
            )
        )
    return out


def stack(curves: list[Curve], area_mode: str) -> None:
    """Fill what is to be filled, and put upon each other what is to be stacked, on each axis by itself."""
    plain = [curve for curve in curves if not curve.infinite]
    if area_mode == "first":
        for curve in plain[:1]:
            curve.filled = True
    elif area_mode == "all":
        for curve in plain:
            curve.filled = True
    for right in (False, True):
        below: Curve | None = None
        top: Values | None = None
        for curve in plain:
            # Values of stacked() have been added up; those of areaMode have not.
            adds = area_mode == "stacked" and not curve.stacked
            if curve.right is not right or not (adds or curve.stacked):
                continue
            curve.filled = True
            if below is not None and top is not None:
                curve.lower = _on(curve.times, below.times, top)
                curve.values = _sum(curve.values, curve.lower) if adds else np.fmax(curve.values, curve.lower)
            floor = 0.0 if curve.lower is None else curve.lower
            below, top = curve, np.where(np.isnan(curve.values), floor, curve.values)


def _sum(values: Values, lower: Values) -> Values:
    """Element by element, as large as a float can be where it is larger."""
    with np.errstate(over="ignore"):
        return np.clip(values + lower, -sys.float_info.max, sys.float_info.max)


def _on(times: Values, other_times: Values, other: Values) -> Values:
    """Values at ``times`` of a curve given at other times."""
    if len(times) == len(other_times) and (not len(times) or times[0] == other_times[0]):
        return other
    if not len(other_times):
        return np.zeros(len(times))
    return np.interp(times, other_times, other)


def limits_of(curves: Sequence[Curve]) -> tuple[float, float]:
    """The lowest and the highest value to be drawn, zero included where areas stand on it; (0, 1) if there is none."""
    low, high = math.inf, -math.inf
    for curve in curves:
        if curve.infinite or not len(curve.values) or np.isnan(curve.values).all():
            continue
        low, high = min(low, float(np.nanmin(curve.values))), max(high, float(np.nanmax(curve.values)))
        if curve.filled and curve.lower is None and not curve.invisible:
            low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if low <= high else (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Run:
    """Values without a gap: float64[n] each; ``lower`` is what their area stands on, None = zero."""

    times: Values
    values: Values
    lower: Values | None


def runs_of(curve: Curve, line_mode: str, connected_limit: float) -> list[Run]:
    """The parts of a curve that are drawn in one stroke; a staircase has the corners of its steps."""
    known = np.flatnonzero(~np.isnan(curve.values))
    if not len(known):
        return []
    allowed = connected_limit if line_mode == "connected" else 0
    breaks = np.flatnonzero(np.diff(known) - 1 > allowed) + 1
    runs = []
    for places in np.split(known, breaks):
        times, values = curve.times[places], curve.values[places]
        lower = None if curve.lower is None else curve.lower[places]
        if line_mode == "staircase":
            times = np.repeat(times, 2)
            times[1::2] += curve.step
            values = np.repeat(values, 2)
            lower = None if lower is None else np.repeat(lower, 2)
        runs.append(Run(times, values, lower))
    return runs


def envelope(points: Values) -> Values:
    """A line float64[n, 2], x ascending, with two points at most for each column of pixels: its lowest and highest."""
    if len(points) < 4:
        return points
    columns = np.floor(points[:, 0])
    starts = np.flatnonzero(np.diff(columns, prepend=columns[0] - 1))
    if len(points) <= _DENSE * len(starts):
        return points
    out = np.empty((2 * len(starts), 2))
    out[:, 0] = np.repeat(points[starts, 0], 2)
    out[0::2, 1] = np.minimum.reduceat(points[:, 1], starts)
    out[1::2, 1] = np.maximum.reduceat(points[:, 1], starts)
    return out
