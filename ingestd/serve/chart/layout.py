"""What stands around a plot: titles, legend, and the room that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ingestd.serve.chart.colors import Color, mixed, over
from ingestd.serve.chart.fonts import ASCENT, LINE_HEIGHT, MIDDLE, fitted, width_of
from ingestd.serve.chart.options import LEGEND_AUTO, ChartOptions
from ingestd.serve.chart.shapes import Align, Box, Font, Group, Lines, Picture, Shape, Text, clean

_WHITE: Final = (1.0, 1.0, 1.0, 1.0)
_TITLE_SIZE: Final = 1.3
_TITLE_SHARE: Final = 0.4
"""Of a side, at most, for titles along it."""
_LEGEND_SHARE: Final = 0.45
_SWATCH: Final = 1.4
_GAP: Final = 0.5
"""Sizes of the font: a swatch of the legend, and what keeps things apart."""


@dataclass(slots=True)
class Area:
    """What is left of a picture, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a legend."""

    name: str
    color: Color
    right: bool = False
    area: bool = False
    dash: float = 0.0


def ground_of(options: ChartOptions) -> Color:
    """The background as it is seen."""
    return over(options.background, _WHITE)


def muted(options: ChartOptions) -> Color:
    """The colour of what should not be read first."""
    return mixed(options.foreground, ground_of(options), 0.75)


def sheet(options: ChartOptions) -> tuple[Picture, Area]:
    """An empty picture and all of its room within the margin."""
    described = clean(options.title) or "chart"
    picture = Picture(options.width, options.height, options.background, title=described)
    margin = min(options.margin, options.width / 4, options.height / 4)
    return picture, Area(margin, margin, options.width - margin, options.height - margin)


def add_title(picture: Picture, area: Area, options: ChartOptions) -> None:
    """The title, in the middle above the rest."""
    font = replace(options.font, size=options.font.size * _TITLE_SIZE)
    lines = [clean(line) for line in options.title.splitlines() if clean(line)]
    lines = lines[: int(area.height * _TITLE_SHARE / (font.size * LINE_HEIGHT))]
    shapes: list[Shape] = []
    for line in lines:
        text = fitted(line, font, area.width)
        baseline = area.top + font.size * ASCENT
        shapes.append(Text((area.left + area.right) / 2, baseline, text, font, options.foreground, "middle"))
        area.top += font.size * LINE_HEIGHT
    if shapes:
        picture.shapes.append(Group("title", tuple(shapes)))
        area.top += options.font.size * _GAP


def add_side_title(picture: Picture, area: Area, options: ChartOptions, text: str, right: bool) -> None:
    """A title along the left or the right side, read from below or from above."""
    font = options.font
    lines = [clean(line) for line in text.splitlines() if clean(line)]
    lines = lines[: int(area.width * _TITLE_SHARE / 2 / (font.size * LINE_HEIGHT))]
    shapes: list[Shape] = []
    for line in lines:
        shown = fitted(line, font, area.height)
        middle, color = (area.top + area.bottom) / 2, muted(options)
        if right:
            shapes.append(Text(area.right - font.size * ASCENT, middle, shown, font, color, "middle", 90))
            area.right -= font.size * LINE_HEIGHT
        else:
            shapes.append(Text(area.left + font.size * ASCENT, middle, shown, font, color, "middle", -90))
            area.left += font.size * LINE_HEIGHT
    if shapes:
        picture.shapes.append(Group("vtitleRight" if right else "vtitle", tuple(shapes)))
        room = font.size * _GAP
        area.left, area.right = (area.left, area.right - room) if right else (area.left + room, area.right)


def _shown(entries: Sequence[Entry], options: ChartOptions) -> list[Entry]:
    if options.show_legend is False or (options.show_legend is None and len(entries) > LEGEND_AUTO):
        return []
    if not options.unique_legend:
        return list(entries)
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.name, entry)
    return list(first.values())


def add_legend(picture: Picture, area: Area, options: ChartOptions, entries: Sequence[Entry]) -> None:
    """The legend, in columns below the rest; entries that have no room are counted in its last line."""
    entries = _shown(entries, options)
    font = options.font
    size = font.size
    line = size * LINE_HEIGHT * 1.1
    rows = int(area.height * _LEGEND_SHARE / line)
    if not entries or rows < 1 or area.width < size * 4:
        return
    names = [entry.name + (" (right)" if entry.right else "") for entry in entries]
    lead = size * (_SWATCH + _GAP)
    widest = max(width_of(name[:1000], font) for name in names)
    columns = max(1, min(len(entries), int((area.width + size) // (lead + widest + size))))
    hidden = 0
    if math.ceil(len(entries) / columns) > rows:
        hidden = len(entries) - (rows * columns - 1)
        entries, names = entries[: len(entries) - hidden], names[: len(names) - hidden]
    used = math.ceil((len(entries) + bool(hidden)) / columns)
    column = min(area.width / columns, lead + widest + size * 1.5)
    top = area.bottom - used * line
    shapes: list[Shape] = []
    for at, (entry, name) in enumerate(zip(entries, names, strict=True)):
        left, baseline = area.left + at % columns * column, top + at // columns * line + size
        shapes.append(_swatch(entry, left, baseline - size * MIDDLE, size))
        text = fitted(name, font, min(column, area.right - left) - lead)
        shapes.append(Text(left + lead, baseline, text, font, options.foreground))
    if hidden:
        at = len(entries)
        left, baseline = area.left + at % columns * column, top + at // columns * line + size
        shapes.append(Text(left + lead, baseline, f"and {hidden} more", font, muted(options)))
    picture.shapes.append(Group("legend", tuple(shapes)))
    area.bottom = top - size * _GAP


def _swatch(entry: Entry, left: float, middle: float, size: float) -> Shape:
    """What a curve looks like."""
    if entry.area:
        return Box(round(left), round(middle - size * 0.4), round(size * _SWATCH), round(size * 0.8), entry.color)
    run = np.array([(left, middle), (left + size * _SWATCH, middle)])
    return Lines((run,), entry.color, max(2.0, size * 0.22), min(entry.dash, size * 0.35))


def note(area: Area, options: ChartOptions, text: str) -> Text:
    """A word in the middle of the room that is left."""
    size = max(min(options.font.size * 2, area.height / 2, area.width / 6), 4.0)
    font = Font(options.font.family, size, options.font.bold, options.font.italic)
    align: Align = "middle"
    baseline = (area.top + area.bottom) / 2 + size * MIDDLE
    return Text((area.left + area.right) / 2, baseline, text, font, muted(options), align)
