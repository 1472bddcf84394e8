"""What a request says of its picture, validated: the options of graphite-web's LineGraph and PieGraph.

As in graphite-web, ``default`` and nothing mean an option's default, and unknown options, templates and unit systems
mean nothing. What graphite-web crashes on is an error with one line of text. Bounds that name no setting are the edge
of what can be read or drawn, not of what can be afforded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

from ingestd.serve.chart.colors import DEFAULT, TEMPLATES, Color, ColorError, mixed, over, parse_color
from ingestd.serve.chart.shapes import Family, Font, clean

SIZE_MAX: Final = 20_000
"""Pixels of a side: what image viewers open, and formats' own limits are near."""
TITLE_MAX: Final = 1_000
"""Characters of a title."""
COLORS_MAX: Final = 1_000
"""Colours of a list."""
FORMAT_MAX: Final = 64
"""Characters of a format of times."""
LEGEND_AUTO: Final = 10
"""Entries beyond which a legend is shown on request only (graphite-web's LEGEND_MAX_ITEMS)."""

_MARGIN: Final = 10
_WHITE: Final = (1.0, 1.0, 1.0, 1.0)
_FAMILIES: Final[Mapping[str, Family]] = {
    "serif": "serif",
    "times": "serif",
    "georgia": "serif",
    "mono": "mono",
    "courier": "mono",
    "consolas": "mono",
    "menlo": "mono",
}


class ChartError(Exception):
    """A request for a picture that cannot be; its text is for its author."""


@dataclass(frozen=True, slots=True)
class ChartLimits:
    """What a picture may cost."""

    pixels: int = 4_000_000
    """Width times height: four bytes each in memory, and 50 ns of CPU. A screen of 4K has twice as many."""
    series: int = 1_000
    """Series drawn: 2 ms each where they are noisy."""


@dataclass(frozen=True, slots=True)
class AxisOptions:
    """One y axis. None = as the data say."""

    min: float | None = None
    max: float | None = None
    """Infinity: the largest value of the data, not rounded up."""
    limit: float | None = None
    step: float | None = None


@dataclass(frozen=True, slots=True)
class SideOptions:
    """How the lines of one axis of two are drawn, whatever they say themselves."""

    color: Color | None = None
    width: float | None = None
    dash: float | None = None


@dataclass(frozen=True, slots=True)
class ChartOptions:
    """All options; lengths in pixels."""

    width: int
    height: int
    margin: int
    font: Font
    background: Color
    foreground: Color
    major_grid: Color
    minor_grid: Color
    colors: tuple[Color, ...]
    title: str
    left_title: str
    right_title: str
    line_mode: str
    line_width: float
    area_mode: str
    area_alpha: float | None
    connected_limit: float
    null_as_zero: bool
    show_legend: bool | None
    """None: if it has at most :data:`LEGEND_AUTO` entries."""
    unique_legend: bool
    null_in_legend: bool
    show_axes: bool
    show_x_axis: bool
    show_y_axis: bool
    show_grid: bool
    graph_only: bool
    axis_side: str
    axis: AxisOptions
    left_axis: AxisOptions
    right_axis: AxisOptions
    left_side: SideOptions
    right_side: SideOptions
    unit_system: str
    log_base: float | None
    minor_y: int
    divisors: tuple[int, ...]
    x_format: str
    min_x_step: float
    graph_type: str
    pie_mode: str
    pie_labels: str
    value_labels: str
    value_labels_min: float
    value_labels_color: Color | None


@dataclass(frozen=True, slots=True)
class _Palette:
    background: Color
    foreground: Color
    major_grid: Color
    minor_grid: Color
    lines: tuple[Color, ...]


class _Fields:
    """The options that a request sets."""

    def __init__(self, params: Mapping[str, str]) -> None:
        self._params = params

    def text(self, name: str, default: str = "") -> str:
        value = self._params.get(name, "")
        return default if value == "" or value.lower() == "default" else value

    def __contains__(self, name: str) -> bool:
        return self.text(name) != ""

    def number(self, name: str, low: float, high: float) -> float | None:
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text) if len(text) <= 64 else math.nan
        except ValueError:
            value = math.nan
        if not low <= value <= high or not math.isfinite(value):
            raise ChartError(f"{name} is no number from {low:g} to {high:g}")
        return value

    def numeral(self, name: str, low: float, high: float, default: float) -> float:
        value = self.number(name, low, high)
        return default if value is None else value

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        return int(self.numeral(name, low, high, default))

    def flag(self, name: str, default: bool = False) -> bool:
        # Whatever is not "false" or 0 is true, as in graphite-web.
        text = self.text(name)
        return text.lower() not in {"false", "0"} if text else default

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        text = self.text(name, default).lower()
        if text not in choices:
            raise ChartError(f"{name} is none of {', '.join(choices)}")
        return text

    def title(self, name: str) -> str:
        # Graphite decodes titles a second time, and senders have adapted to it.
        text = unquote_plus(self.text(name), errors="replace")
        if len(text) > TITLE_MAX:
            raise ChartError(f"{name} has {len(text)} characters; at most {TITLE_MAX} are drawn")
        return text

    def color(self, name: str) -> Color | None:
        text = self.text(name)
        if not text:
            return None
        try:
            return parse_color(text)
        except ColorError as error:
            raise ChartError(f"{name}: {error}") from None


def _numbers(fields: _Fields, names: tuple[str, ...]) -> float | None:
    """The number of the first of ``names`` that the request sets."""
    for name in names:
        if name in fields:
            return fields.number(name, -1e300, 1e300)
    return None


def _axis(fields: _Fields, side: str, aliases: bool = False) -> AxisOptions:
    maxima = ("yMax", "max") if aliases else (f"yMax{side}",)
    top = next((name for name in maxima if name in fields), maxima[0])
    highest = math.inf if fields.text(top).lower() == "max" else _numbers(fields, maxima)
    return AxisOptions(
        min=_numbers(fields, ("yMin", "min") if aliases else (f"yMin{side}",)),
        max=highest,
        limit=None if fields.text(f"yLimit{side}").lower() == "inf" else _numbers(fields, (f"yLimit{side}",)),
        step=fields.number(f"yStep{side}", 1e-300, 1e300),
    )


def _side(fields: _Fields, side: str) -> SideOptions:
    dashed = fields.text(f"{side}Dashed").lower()
    return SideOptions(
        color=fields.color(f"{side}Color"),
        width=fields.number(f"{side}Width", 0, 100),
        dash={"true": 5.0, "false": 0.0}.get(dashed)
        if dashed in {"true", "false"}
        else fields.number(f"{side}Dashed", 0, 1000),
    )


def _margin(fields: _Fields) -> int:
    margin = fields.whole("margin", -SIZE_MAX, SIZE_MAX, _MARGIN)
    return margin if margin >= 0 else _MARGIN


def _font(fields: _Fields) -> Font:
    name = fields.text("fontName", "sans").lower()
    family: Family = next((family for word, family in _FAMILIES.items() if word in name), "sans")
    if "sans" in name and "mono" not in name:
        family = "sans"
    size = fields.numeral("fontSize", 4, 100, 10)
    return Font(family, size, fields.flag("fontBold"), fields.flag("fontItalic"))


def _log_base(fields: _Fields) -> float | None:
    if fields.text("logBase").lower() == "e":
        return math.e
    base = fields.number("logBase", -1e300, 1e300)
    # Below one, graphite-web draws a linear axis.
    if base is None or base < 1:
        return None
    if base < 1.01 or base > 1e6:
        raise ChartError("logBase is no number from 1.01 to 1e+06")
    return base


def _divisors(fields: _Fields) -> tuple[int, ...]:
    parts = fields.text("yDivisors", "4,5,6").split(",")
    if len(parts) > 20 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise ChartError("yDivisors is no list of at most 20 numbers")
    numbers = tuple(int(part.strip()[:9]) for part in parts)
    if not all(1 <= number <= 100 for number in numbers):
        raise ChartError("yDivisors has a number that is not from 1 to 100")
    return numbers


def _x_format(fields: _Fields) -> str:
    text = fields.text("xFormat")
    if len(text) > FORMAT_MAX:
        raise ChartError(f"xFormat has {len(text)} characters; the limit is {FORMAT_MAX}")
    return clean(text)


def _palette(fields: _Fields) -> _Palette:
    template = TEMPLATES.get(fields.text("template").lower(), DEFAULT)
    background = fields.color("bgcolor") or parse_color(template.background)
    foreground = fields.color("fgcolor") or parse_color(template.foreground)
    ground = over(background, _WHITE)
    text = unquote_plus(fields.text("colorList"))
    parts = [part for part in text.split(",") if part.strip()] if text else list(template.lines)
    if len(parts) > COLORS_MAX:
        raise ChartError(f"colorList has {len(parts)} colours; the limit is {COLORS_MAX}")
    try:
        colors = tuple(parse_color(part) for part in parts or template.lines)
    except ColorError as error:
        raise ChartError(f"colorList: {error}") from None

    def grid(name: str, of_template: str, share: float) -> Color:
        chosen = fields.color(name)
        if chosen is not None:
            return chosen
        return parse_color(of_template) if of_template else mixed(foreground, ground, share)

    return _Palette(
        background,
        foreground,
        grid("majorGridLineColor", template.major, 0.20),
        grid("minorGridLineColor", template.minor, 0.08),
        colors,
    )


def _size(fields: _Fields, limits: ChartLimits) -> tuple[int, int]:
    width = fields.whole("width", 1, SIZE_MAX, 330)
    height = fields.whole("height", 1, SIZE_MAX, 250)
    if width * height > limits.pixels:
        raise ChartError(f"the picture has {width * height} pixels; the limit is {limits.pixels} (http.chart_pixels)")
    return width, height


def parse_options(params: Mapping[str, str], limits: ChartLimits) -> ChartOptions:
    """The options that ``params`` say.

    :raises ChartError: one of them says nothing that can be drawn.
    """
    fields = _Fields(params)
    width, height = _size(fields, limits)
    only = fields.flag("graphOnly")
    palette = _palette(fields)
    return ChartOptions(
        width=width,
        height=height,
        margin=0 if only else _margin(fields),
        font=_font(fields),
        background=palette.background,
        foreground=palette.foreground,
        major_grid=palette.major_grid,
        minor_grid=palette.minor_grid,
        colors=palette.lines,
        title="" if only else fields.title("title"),
        left_title="" if only else fields.title("vtitle"),
        right_title="" if only else fields.title("vtitleRight"),
        line_mode=fields.choice("lineMode", ("slope", "staircase", "connected"), "slope"),
        line_width=fields.numeral("lineWidth" if "lineWidth" in fields else "thickness", 0, 100, 1.2),
        area_mode=fields.choice("areaMode", ("none", "first", "all", "stacked"), "none"),
        area_alpha=fields.number("areaAlpha", 0, 1),
        connected_limit=fields.numeral("connectedLimit", 0, 1e12, math.inf),
        null_as_zero=fields.flag("drawNullAsZero"),
        show_legend=False if only else (not fields.flag("hideLegend") if "hideLegend" in fields else None),
        unique_legend=fields.flag("uniqueLegend"),
        null_in_legend=not fields.flag("hideNullFromLegend"),
        show_axes=not (only or fields.flag("hideAxes")),
        show_x_axis=not fields.flag("hideXAxis"),
        show_y_axis=not fields.flag("hideYAxis"),
        show_grid=not (only or fields.flag("hideGrid")),
        graph_only=only,
        axis_side=fields.choice("yAxisSide", ("left", "right"), "left"),
        axis=_axis(fields, "", aliases=True),
        left_axis=_axis(fields, "Left"),
        right_axis=_axis(fields, "Right"),
        left_side=_side(fields, "left"),
        right_side=_side(fields, "right"),
        unit_system=fields.text("yUnitSystem", "si").lower(),
        log_base=_log_base(fields),
        minor_y=fields.whole("minorY", 0, 20, 1),
        divisors=_divisors(fields),
        x_format=_x_format(fields),
        min_x_step=fields.numeral("minXStep", 0, SIZE_MAX, 1),
        graph_type=fields.choice("graphType", ("line", "pie"), "line"),
        pie_mode=fields.choice("pieMode", ("average", "maximum", "minimum"), "average"),
        pie_labels=fields.choice("pieLabels", ("horizontal", "rotated"), "horizontal"),
        value_labels=fields.choice("valueLabels", ("percent", "number", "none"), "percent"),
        value_labels_min=fields.numeral("valueLabelsMin", -1e300, 1e300, 5),
        value_labels_color=fields.color("valueLabelsColor"),
    )
