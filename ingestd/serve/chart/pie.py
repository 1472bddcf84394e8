"""Pie charts: the share that each series has of the sum of all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ingestd.query.functions.pie import PIES
from ingestd.query.grid import Series
from ingestd.serve.chart.colors import Color, over, readable_on, with_alpha
from ingestd.serve.chart.curves import color_of
from ingestd.serve.chart.fonts import MIDDLE, width_of
from ingestd.serve.chart.layout import Area, Entry, add_legend, add_title, ground_of, note, sheet
from ingestd.serve.chart.options import ChartOptions
from ingestd.serve.chart.shapes import Fill, Group, Lines, Picture, Shape, Text, clean
from ingestd.serve.chart.units import label_of

_ARC: Final = math.radians(1)
"""Between two corners of a polygon that looks like a circle."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A part of a pie; angles in radians, clockwise from the top."""

    name: str
    value: float
    share: float
    color: Color
    begin: float
    end: float


def value_of(series: Series, mode: str) -> float:
    """What a series counts in a pie: its average, maximum or minimum; 0 if it has no value."""
    with np.errstate(over="ignore"):
        value = PIES[mode].body(np.where(np.isfinite(series.values), series.values, np.nan))
    return value if math.isfinite(value) else 0.0


def slices_of(series: Sequence[Series], options: ChartOptions) -> list[Slice]:
    """The slices, in the order of the series; a value below zero has none."""
    values = [max(value_of(each, options.pie_mode), 0.0) for each in series]
    largest = max(values, default=0.0)
    if largest <= 0:
        return []
    # Divided first: the sum of large values would be infinite.
    shares = [value / largest for value in values]
    total = math.fsum(shares)
    out: list[Slice] = []
    begin = 0.0
    for at, (each, value, part) in enumerate(zip(series, values, shares, strict=True)):
        color = color_of(each, options.colors[at % len(options.colors)])
        end = begin + 2 * math.pi * part / total
        out.append(Slice(clean(str(each.name)), value, part / total, color, begin, end))
        begin = end
    return out


def pie_chart(series: Sequence[Series], options: ChartOptions) -> Picture:
    """The pie of ``series``.

    :raises ChartError: a series asks for a colour that is none.
    """
    picture, area = sheet(options)
    add_title(picture, area, options)
    slices = slices_of(series, options)
    if not slices:
        picture.shapes.append(Group("nodata", (note(area, options, "No Data"),)))
        return picture
    alpha = 1.0 if options.area_alpha is None else options.area_alpha
    entries = [Entry(each.name, with_alpha(each.color, alpha), area=True) for each in slices]
    # Without it nobody knows what the slices are, however many.
    add_legend(picture, area, replace(options, show_legend=options.show_legend is not False), entries)
    radius = min(area.width, area.height) / 2 * 0.95
    if radius < 2:
        return picture
    parts: list[Shape] = []
    for each in slices:
        if each.share > 0:
            fill = Fill((_wedge(each, area, radius),), with_alpha(each.color, alpha))
            parts.append(Group("slice", (fill,), title=each.name))
    parts.extend(_edges(slices, area, radius, options))
    picture.shapes.append(Group("pie", tuple(parts)))
    labels = [_label(each, area, radius, options, alpha) for each in slices if _is_labelled(each, options)]
    if labels:
        picture.shapes.append(Group("labels", tuple(_apart(labels))))
    return picture


def _centre(area: Area) -> tuple[float, float]:
    return (area.left + area.right) / 2, (area.top + area.bottom) / 2


def _wedge(each: Slice, area: Area, radius: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    x, y = _centre(area)
    angles = np.linspace(each.begin, each.end, max(2, math.ceil((each.end - each.begin) / _ARC) + 1))
    rim = np.column_stack((x + radius * np.sin(angles), y - radius * np.cos(angles)))
    return np.concatenate((rim, [(x, y)]))


def _edges(slices: Sequence[Slice], area: Area, radius: float, options: ChartOptions) -> list[Shape]:
    """Lines in the colour of the ground that keep neighbours apart."""
    x, y = _centre(area)
    shown = [each for each in slices if each.share > 0]
    if len(shown) < 2 or len(shown) > 100:
        return []
    rays = tuple(
        np.array([(x, y), (x + radius * math.sin(each.begin), y - radius * math.cos(each.begin))]) for each in shown
    )
    return [Lines(rays, ground_of(options), 1.0)]


def _is_labelled(each: Slice, options: ChartOptions) -> bool:
    if options.value_labels == "none" or each.share <= 0:
        return False
    size = each.share * 100 if options.value_labels == "percent" else each.value
    return size >= options.value_labels_min


def _apart(labels: Sequence[Text]) -> list[Text]:
    """The labels without those that would lie on others."""
    shown: list[Text] = []
    taken: list[tuple[float, float, float, float]] = []
    for label in labels:
        size, across = label.font.size, width_of(label.text, label.font) / 2
        angle = math.radians(label.angle)
        wide = across * abs(math.cos(angle)) + size / 2 * abs(math.sin(angle))
        high = across * abs(math.sin(angle)) + size / 2 * abs(math.cos(angle))
        box = (label.x - wide, label.x + wide, label.y - high, label.y + high)
        if not any(box[0] < b[1] and b[0] < box[1] and box[2] < b[3] and b[2] < box[3] for b in taken):
            shown.append(label)
            taken.append(box)
    return shown


def _label(each: Slice, area: Area, radius: float, options: ChartOptions, alpha: float) -> Text:
    text = f"{each.share * 100:.1f} %" if options.value_labels == "percent" else label_of(each.value, "si")
    seen = over(with_alpha(each.color, alpha), ground_of(options))
    color = options.value_labels_color or readable_on(seen)
    x, y = _centre(area)
    middle = (each.begin + each.end) / 2
    # Far enough out to have room, and with its own width inside of the rim.
    distance = max(radius * 0.5, radius * 0.92 - width_of(text, options.font) / 2)
    if each.share > 0.999:
        distance = 0.0
    x, y = x + distance * math.sin(middle), y - distance * math.cos(middle)
    angle = 0.0
    if options.pie_labels == "rotated":
        angle = math.degrees(middle) - 90
        angle = angle - 180 if 90 < angle <= 270 else angle
    drop = options.font.size * MIDDLE
    turned = math.radians(angle)
    return Text(x - drop * math.sin(turned), y + drop * math.cos(turned), text, options.font, color, "middle", angle)
