"""How a chart draws a series: the keys of graphite-web's ``TimeSeries.options``, and ``color``."""

from __future__ import annotations

from typing import cast

import numpy as np

from ingestd.points import Values
from ingestd.query.arrays import blanked, zeroed
from ingestd.query.attime import parse_time
from ingestd.query.context import Invocation
from ingestd.query.functions.registry import DATE, FLOAT, NUMBER, SERIES, SERIES_LIST, STRING, Param, function, optional
from ingestd.query.functions.special import constant_line
from ingestd.query.grid import Grid, SeriesList, single
from ingestd.query.labels import Label, Option, Tags, name_tags
from ingestd.query.limits import QueryError
from ingestd.query.parse import Scalar

DEFAULT_STACK = "__DEFAULT__"


@function("alpha", group="Graph", params=(SERIES, Param("alpha", FLOAT)))
def alpha(call: Invocation, series: SeriesList, alpha: float) -> SeriesList:
    """Draws with this opacity, 0 to 1."""
    return drawn(series, alpha=alpha)


@function("color", group="Graph", params=(SERIES, Param("theColor", STRING)))
def color(call: Invocation, series: SeriesList, the_color: Scalar) -> SeriesList:
    """Draws in this colour, a name or ``#rrggbb`` or ``#rrggbbaa``."""
    return drawn(series, color=str(the_color))


@function("lineWidth", group="Graph", params=(SERIES, Param("width", FLOAT)))
def line_width(call: Invocation, series: SeriesList, width: float) -> SeriesList:
    """Draws lines of this width in pixels."""
    return drawn(series, lineWidth=width)


@function("dashed", group="Graph", params=(SERIES, optional("dashLength", NUMBER, 5)))
def dashed(call: Invocation, series: SeriesList, dash_length: float) -> SeriesList:
    """Draws a line of dashes of this length in pixels."""
    return drawn(called(series, "dashed", f", {dash_length:g}", dash_length), dashed=dash_length)


@function("drawAsInfinite", group="Graph", params=(SERIES,))
def draw_as_infinite(call: Invocation, series: SeriesList) -> SeriesList:
    """Draws a vertical line wherever a value is not zero."""
    return drawn(called(series, "drawAsInfinite"), drawAsInfinite=True)


@function("secondYAxis", group="Graph", params=(SERIES,))
def second_y_axis(call: Invocation, series: SeriesList) -> SeriesList:
    """Draws against a second axis at the right."""
    return drawn(called(series, "secondYAxis"), secondYAxis=True)


@function("areaBetween", group="Graph", params=(SERIES,))
def area_between(call: Invocation, series: SeriesList) -> SeriesList:
    """Draws the area between two series, the first of which is the lower one."""
    if len(series) != 2:
        raise QueryError("areaBetween series argument must reference *exactly* 2 series")
    upper = series.labels[1]
    tags = {**upper.tags, "areaBetween": "1"}
    lowest = series.first
    for grid in series.grids:
        grid.labels.draw(stacked=True)
        grid.labels.tags = Tags([tags] * len(grid.labels))
    options = lowest.labels.options
    lowest.labels.options = [{**options[0], "invisible": True}, *options[1:]]
    return series.shown([f"areaBetween({upper.path_expression})"] * 2)


@function(
    "stacked",
    group="Graph",
    params=(
        Param("seriesList", SERIES_LIST, keyword="seriesLists"),
        optional("stack", STRING, DEFAULT_STACK, keyword="stackName", shown=None),
    ),
)
def stacked(call: Invocation, series: SeriesList, stack: Scalar) -> SeriesList:
    """Each series on top of those before it, of this call and of the earlier ones of the request with this stack."""
    name = str(stack)
    grids = sorted(series.grids, key=lambda grid: int(grid.places[0]))
    stacks = call.context.source.stacks
    below = stacks.get(name, np.zeros(0))
    width = max([len(below), *(grid.values.shape[1] for grid in grids)])
    call.context.charge(len(series) + 1, width)
    heights = np.zeros((len(series) + 1, width))
    heights[0, : len(below)] = below
    for grid in grids:
        heights[grid.places + 1, : grid.values.shape[1]] = zeroed(grid.values)
    heights = np.cumsum(heights, axis=0)
    stacks[name] = heights[-1]
    for grid in grids:
        grid.values = piled(grid, heights)
        default = name == DEFAULT_STACK
        grid.labels.renew(grid.labels.wrapped("stacked") if default else grid.labels.names)
        if default:
            grid.labels.tag("stacked", name)
    return drawn(series, stacked=True)


def piled(grid: Grid, heights: Values) -> Values:
    """The rows of ``heights`` float64[1 + series, points] that are the grid's, where it has values."""
    own = heights[grid.places + 1, : grid.values.shape[1]]
    return blanked(own, np.isnan(grid.values))


@function(
    "threshold", group="Graph", params=(Param("value", FLOAT), optional("label", STRING), optional("color", STRING))
)
def threshold(call: Invocation, value: float, label: Scalar, color: Scalar) -> SeriesList:
    """A horizontal line at ``value``."""
    series = constant_line(call, value)
    if label:
        series.shown([cast(str, label)])
    return drawn(series, color=str(color)) if color else series


@function(
    "verticalLine", group="Graph", params=(Param("ts", DATE), optional("label", STRING), optional("color", STRING))
)
def vertical_line(call: Invocation, ts: Scalar, label: Scalar, color: Scalar) -> SeriesList:
    """A vertical line at a time within the request's window."""
    context = call.context
    at = parse_time(str(ts), context.now, context.tz)
    if not context.start <= at <= context.until:
        where = "before start" if at < context.start else "after end"
        raise QueryError(f"verticalLine(): timestamp {at} exists {where} of range")
    text = str(label)
    # What is no text is printed as it is, and nothing as null: see Labels.names.
    line = Label(cast(str, label), text, name_tags(text), x_files_factor=context.x_files_factor)
    series = drawn(single(line, at, at, 1, np.ones(2)), drawAsInfinite=True)
    return drawn(series, color=str(color)) if color else series


def drawn(series: SeriesList, **options: Option) -> SeriesList:
    """The series with these options besides those they have."""
    for grid in series.grids:
        grid.labels.draw(**options)
    return series


def called(series: SeriesList, function: str, arguments: str = "", tag: object = 1) -> SeriesList:
    """The series shown as ``function(name...)`` with that tag; an enclosing function still prints what it did."""
    for grid in series.grids:
        grid.labels.names = grid.labels.wrapped(function, arguments)
    return series.tagged(function, tag)
