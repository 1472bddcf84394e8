"""Line charts: axes, grid and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

import numpy as np

from ingestd.query.grid import Series
from ingestd.serve.chart.colors import mixed, with_alpha
from ingestd.serve.chart.curves import Curve, Run, curves_of, envelope, extent, limits_of, runs_of, stack
from ingestd.serve.chart.fonts import ASCENT, LINE_HEIGHT, MIDDLE, width_of
from ingestd.serve.chart.layout import (
    Area,
    Entry,
    add_legend,
    add_side_title,
    add_title,
    ground_of,
    muted,
    note,
    sheet,
)
from ingestd.serve.chart.options import AxisOptions, ChartOptions
from ingestd.serve.chart.scales import Scale, linear_scale, log_scale, range_of, thinned
from ingestd.serve.chart.shapes import Box, Fill, Group, Lines, Picture, Shape, Text, Values
from ingestd.serve.chart.times import TimeTicks, time_ticks

_FAR: Final = 20.0
"""Heights of the plot beyond which a value is drawn no further out."""
_SMALLEST: Final = 4.0
"""Pixels of a plot below which nothing is drawn in it."""
_ESTIMATE: Final = 5
"""Sizes of the font that the labels of an axis take before they are known."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """The axes of a plot; with one axis, ``right`` is None and ``left`` may be shown on the right."""

    left: Scale
    right: Scale | None

    def of(self, curve: Curve) -> Scale:
        return self.right if curve.right and self.right is not None else self.left


def line_chart(series: Sequence[Series], options: ChartOptions, tz: tzinfo) -> Picture:
    """The chart of ``series``, which are not empty.

    :raises ChartError: an option does not fit the data.
    """
    picture, area = sheet(options)
    mode = options.line_mode
    # A slope needs two points.
    if mode == "slope" and any(len(each.values) == 1 for each in series):
        mode = "staircase"
    span = extent(series, mode)
    _add_titles(picture, area, options, any(each.options.get("secondYAxis") for each in series))
    curves = _curves(series, options, span, area.width - options.font.size * _ESTIMATE)
    add_legend(picture, area, options, _entries(curves, options))
    labelled = options.show_axes and options.show_x_axis and area.height > options.font.size * 4
    if labelled:
        area.bottom -= options.font.size * LINE_HEIGHT * 1.25

    # The width of the labels depends on the values, and these, once consolidated, on the width that the labels leave.
    bounds = (area.left, area.right)
    _make_room(area, _axes(curves, options), options)
    curves = _curves(series, options, span, area.width)
    axes = _axes(curves, options)
    area.left, area.right = bounds
    _make_room(area, axes, options)
    if area.width < _SMALLEST or area.height < _SMALLEST:
        return picture
    _snap(area)
    if options.show_axes:
        picture.shapes.extend(_furniture(area, axes, span, options, tz, labelled))
    picture.shapes.append(_drawn(curves, axes, area, span, options, mode))
    if all(curve.empty for curve in curves):
        picture.shapes.append(Group("nodata", (note(area, options, "No Data"),)))
    return picture


def _add_titles(picture: Picture, area: Area, options: ChartOptions, two_axes: bool) -> None:
    add_title(picture, area, options)
    add_side_title(picture, area, options, options.left_title, right=False)
    if two_axes:
        add_side_title(picture, area, options, options.right_title, right=True)


def _furniture(
    area: Area, axes: _Axes, span: tuple[int, int], options: ChartOptions, tz: tzinfo, labelled: bool
) -> list[Group]:
    """Grid, labels and the line below: all that a plot stands in."""
    shapes: list[Group] = []
    ticks = time_ticks(*span, tz, area.width, lambda text: width_of(text, options.font), options.x_format)
    if options.show_grid:
        shapes.append(_grid(area, axes.left, ticks, *span, options))
    if labelled:
        shapes.append(_time_labels(area, ticks, *span, options))
    if options.show_y_axis:
        on_right = options.axis_side == "right" and axes.right is None
        shapes.append(_value_labels(area, axes.left, options, on_right))
        if axes.right is not None:
            shapes.append(_value_labels(area, axes.right, options, True))
    shapes.append(Group("axis", (_frame(area, options, options.font.size),)))
    return shapes


def _curves(series: Sequence[Series], options: ChartOptions, span: tuple[int, int], width: float) -> list[Curve]:
    curves = curves_of(series, options, span[1] - span[0], max(width - options.line_width - 1, 1.0))
    stack(curves, options.area_mode)
    return curves


def _entries(curves: Sequence[Curve], options: ChartOptions) -> list[Entry]:
    return [
        Entry(curve.name, curve.color, curve.right, curve.filled, curve.dash)
        for curve in curves
        if curve.name and not curve.invisible and (options.null_in_legend or not curve.empty)
    ]


def _axes(curves: Sequence[Curve], options: ChartOptions) -> _Axes:
    left = [curve for curve in curves if not curve.right]
    right = [curve for curve in curves if curve.right]
    if not right:
        return _Axes(_scale(left, options, options.axis), None)
    return _Axes(_scale(left, options, options.left_axis), _scale(right, options, options.right_axis))


def _scale(curves: Sequence[Curve], options: ChartOptions, asked: AxisOptions) -> Scale:
    low, high = limits_of(curves)
    if options.log_base is None:
        return linear_scale(range_of(low, high, asked), asked, options.divisors, options.unit_system, options.minor_y)
    if low <= 0 and asked.min is None:
        # What a logarithmic axis has no place for leaves a gap.
        positive = [curve.values[curve.values > 0] for curve in curves if not curve.infinite]
        low = min((float(values.min()) for values in positive if len(values)), default=low)
    return log_scale(range_of(low, high, asked), options.log_base, options.unit_system, options.minor_y)


def _make_room(area: Area, axes: _Axes, options: ChartOptions) -> None:
    """Room for the labels of the y axes."""
    if not (options.show_axes and options.show_y_axis):
        return
    room = [max((width_of(label, options.font) for label in scale.labels), default=0.0) for scale in _both(axes)]
    room = [width + options.font.size * 0.6 for width in room]
    if sum(room) > area.width / 2:
        return
    if axes.right is None and options.axis_side == "right":
        area.right -= room[0]
    else:
        area.left += room[0]
    if axes.right is not None:
        area.right -= room[1]


def _both(axes: _Axes) -> list[Scale]:
    return [axes.left] if axes.right is None else [axes.left, axes.right]


def _snap(area: Area) -> None:
    """Edges between pixels, so that lines along them are sharp."""
    area.left, area.right = math.ceil(area.left), math.floor(area.right)
    area.top, area.bottom = math.ceil(area.top), math.floor(area.bottom)


def _row(area: Area, share: float) -> float:
    """The middle of the row of pixels at this share of the height."""
    return round(area.bottom - share * area.height - 0.5) + 0.5


def _column(area: Area, share: float) -> float:
    return round(area.left + share * area.width - 0.5) + 0.5


def _grid(area: Area, scale: Scale, ticks: TimeTicks, start: int, end: int, options: ChartOptions) -> Group:
    def across(values: Sequence[float]) -> tuple[Values, ...]:
        rows = (
            _row(area, share) for share in scale.heights(np.array(values, np.float64)) if -1e-9 <= share <= 1 + 1e-9
        )
        return tuple(np.array([(area.left, row), (area.right, row)]) for row in rows)

    def down(seconds: Sequence[int]) -> tuple[Values, ...]:
        columns = (_column(area, (second - start) / (end - start)) for second in seconds)
        return tuple(np.array([(column, area.top), (column, area.bottom)]) for column in columns)

    major = tuple(tick for tick, _ in thinned(scale, _labels_most(area, options)))
    lines: list[Shape] = []
    # Lines closer than this are a wash.
    minor = scale.minor if len(scale.minor) * 6 < area.height else ()
    minor_times = ticks.minor if len(ticks.minor) * 6 < area.width else ()
    for runs, color in (
        (across(minor) + down(minor_times), options.minor_grid),
        (across(major) + down(ticks.ticks), options.major_grid),
    ):
        if runs:
            lines.append(Lines(runs, color, 1.0))
    return Group("grid", tuple(lines))


def _labels_most(area: Area, options: ChartOptions) -> int:
    return max(int(area.height / (options.font.size * 1.5)), 1) + 1


def _frame(area: Area, options: ChartOptions, size: float) -> Lines:
    """The line on which the plot stands."""
    color = mixed(options.foreground, ground_of(options), 0.6)
    row = area.bottom - 0.5
    return Lines((np.array([(area.left, row), (area.right, row)]),), color, max(1.0, round(size / 14)))


def _value_labels(area: Area, scale: Scale, options: ChartOptions, right: bool) -> Group:
    size = options.font.size
    shapes: list[Shape] = []
    for tick, label in thinned(scale, _labels_most(area, options)):
        share = float(scale.heights(np.array([tick]))[0])
        if not -1e-9 <= share <= 1 + 1e-9:
            continue
        baseline = _row(area, share) + size * MIDDLE
        x, align = (area.right + size * 0.5, "start") if right else (area.left - size * 0.5, "end")
        shapes.append(Text(x, baseline, label, options.font, muted(options), "start" if align == "start" else "end"))
    return Group("yRight" if right else "yLeft", tuple(shapes))


def _time_labels(area: Area, ticks: TimeTicks, start: int, end: int, options: ChartOptions) -> Group:
    size = options.font.size
    baseline = area.bottom + size * (ASCENT + 0.35)
    shapes: list[Shape] = []
    free = -math.inf
    for tick, label in zip(ticks.ticks, ticks.labels, strict=True):
        half = width_of(label, options.font) / 2
        x = area.left + (tick - start) / (end - start) * area.width
        # One at the very edge is moved inwards, if it comes to lie beside its line by a few letters at most.
        shift = max(half - x, 0.0) - max(x + half - options.width, 0.0)
        x += shift
        if abs(shift) > half or x - half < free:
            continue
        free = x + half + size * 0.5
        shapes.append(Text(x, baseline, label, options.font, muted(options), "middle"))
    return Group("x", tuple(shapes))


def _drawn(
    curves: Sequence[Curve], axes: _Axes, area: Area, span: tuple[int, int], options: ChartOptions, mode: str
) -> Group:
    """Areas first, so that lines lie on top of them."""
    areas: list[Shape] = []
    lines: list[Shape] = []
    for curve in curves:
        if curve.invisible:
            continue
        runs = runs_of(curve, mode, options.connected_limit)
        shapes: list[Shape] = []
        if curve.infinite:
            shapes.append(_infinite(curve, area, span))
        else:
            scale = axes.of(curve)
            if curve.filled:
                areas.append(Group("area", (_fill(curve, runs, scale, area, span, options),), title=curve.name))
            points = tuple(_dot(envelope(_points(run.times, run.values, scale, area, span))) for run in runs)
            shapes.append(Lines(points, curve.color, curve.width, curve.dash, round=not curve.dash))
        lines.append(Group("line", tuple(shapes), title=curve.name))
    if options.area_mode == "all":
        # The first is the one in front.
        areas.reverse()
    clip = Box(area.left, area.top - 1, area.width, area.height + 1, options.background)
    return Group("lines", (*areas, *lines), clip=clip)


def _xs(times: Values, area: Area, span: tuple[int, int]) -> Values:
    return area.left + (times - span[0]) / (span[1] - span[0]) * area.width


def _ys(values: Values, scale: Scale, area: Area) -> Values:
    shares = np.clip(scale.heights(values), -_FAR, _FAR)
    # What has no place on a logarithmic axis is at its foot.
    return area.bottom - np.nan_to_num(shares, nan=-_FAR) * area.height


def _points(times: Values, values: Values, scale: Scale, area: Area, span: tuple[int, int]) -> Values:
    return np.column_stack((_xs(times, area, span), _ys(values, scale, area)))


def _dot(points: Values) -> Values:
    """A value between gaps as a line so short that its round ends make it a dot."""
    if len(points) > 1:
        return points
    dot: Values = points + np.array([(-0.5, 0.0), (0.5, 0.0)])
    return dot


def _fill(
    curve: Curve, runs: Sequence[Run], scale: Scale, area: Area, span: tuple[int, int], options: ChartOptions
) -> Fill:
    polygons = []
    for run in runs:
        top = envelope(_points(run.times, run.values, scale, area, span))
        if run.lower is None:
            floor = area.bottom - scale.floor * area.height
            bottom = np.array([(top[0, 0], floor), (top[-1, 0], floor)])
        else:
            bottom = envelope(_points(run.times, run.lower, scale, area, span))
        if len(top) > 1:
            polygons.append(np.concatenate((top, bottom[::-1])))
    alpha = 1.0 if options.area_alpha is None else options.area_alpha
    return Fill(tuple(polygons), with_alpha(curve.color, alpha))


def _infinite(curve: Curve, area: Area, span: tuple[int, int]) -> Lines:
    xs = np.unique(np.round(_xs(curve.times[curve.values > 0], area, span)))
    runs = tuple(np.array([(x, area.top), (x, area.bottom)]) for x in xs.tolist())
    return Lines(runs, curve.color, curve.width, curve.dash)
