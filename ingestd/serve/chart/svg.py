"""Pictures as SVG.

Written by hand, not by matplotlib: what it writes takes its looks from style attributes, which the policy of all our
answers forbids (serve/headers.py), and a viewer that keeps to it would see black on black. Here they are attributes of
their own. Texts are texts: they can be searched and read out. Verdana is as wide as DejaVu Sans, of which it is the
elder sister, so the layout holds where that is not installed.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from ingestd.serve.chart.colors import Color
from ingestd.serve.chart.shapes import Box, Family, Fill, Group, Lines, Picture, Shape, Text, Values

_FAMILIES: Final[dict[Family, str]] = {
    "sans": "DejaVu Sans, Verdana, sans-serif",
    "serif": "DejaVu Serif, Georgia, serif",
    "mono": "DejaVu Sans Mono, Menlo, monospace",
}


def svg_of(picture: Picture) -> bytes:
    """The picture as a document of its own."""
    width, height = picture.width, picture.height
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img">\n<title>{escape(picture.title)}</title>\n',
        _box(Box(0, 0, width, height, picture.background)),
    ]
    out.extend(_shape(shape) for shape in picture.shapes)
    out.append("</svg>\n")
    return "".join(out).encode()


def _shape(shape: Shape) -> str:
    if isinstance(shape, Text):
        return _text(shape)
    if isinstance(shape, Lines):
        return _lines(shape)
    if isinstance(shape, Fill):
        data = "".join(_path(polygon) + "Z" for polygon in shape.polygons)
        return f'<path d="{data}"{_paint("fill", shape.color)}/>\n'
    if isinstance(shape, Box):
        return _box(shape)
    return _group(shape)


def _group(group: Group) -> str:
    title = f"<title>{escape(group.title)}</title>\n" if group.title else ""
    inside = title + "".join(_shape(shape) for shape in group.shapes)
    if group.clip is not None:
        box = group.clip
        sides = f"{_number(box.left)} {_number(box.top)} {_number(box.width)} {_number(box.height)}"
        # A picture in the picture cuts off what is outside; a clip path would need a name that is used nowhere else.
        inside = (
            f'<svg x="{_number(box.left)}" y="{_number(box.top)}" width="{_number(box.width)}" '
            f'height="{_number(box.height)}" viewBox="{sides}" overflow="hidden">\n{inside}</svg>\n'
        )
    return f"<g class={quoteattr(group.kind)}>\n{inside}</g>\n"


def _text(text: Text) -> str:
    font = text.font
    anchor = "" if text.align == "start" else f' text-anchor="{text.align}"'
    weight = ' font-weight="bold"' if font.bold else ""
    style = ' font-style="italic"' if font.italic else ""
    x, y = _number(text.x), _number(text.y)
    # Else a viewer makes one blank of several, and columns of a legend (cactiStyle) are none.
    space = ' xml:space="preserve"' if "  " in text.text else ""
    turn = f' transform="rotate({_number(text.angle)} {x} {y})"' if text.angle else ""
    return (
        f'<text x="{x}" y="{y}" font-family="{_FAMILIES[font.family]}" font-size="{_number(font.size)}"'
        f"{weight}{style}{anchor}{_paint('fill', text.color)}{turn}{space}>{escape(text.text)}</text>\n"
    )


def _lines(lines: Lines) -> str:
    ends = ' stroke-linecap="round" stroke-linejoin="round"' if lines.round else ""
    dash = f' stroke-dasharray="{_number(lines.dash)}"' if lines.dash else ""
    data = "".join(_path(run) for run in lines.runs)
    return (
        f'<path d="{data}" fill="none"{_paint("stroke", lines.color)} stroke-width="{_number(lines.width)}"'
        f"{ends}{dash}/>\n"
    )


def _box(box: Box) -> str:
    return (
        f'<rect x="{_number(box.left)}" y="{_number(box.top)}" width="{_number(box.width)}" '
        f'height="{_number(box.height)}"{_paint("fill", box.color)}/>\n'
    )


def _path(points: Values) -> str:
    pairs = np.round(points, 1).tolist()
    return "M" + "L".join([f"{x:g} {y:g}" for x, y in pairs])


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _paint(what: str, color: Color) -> str:
    red, green, blue = (round(part * 255) for part in color[:3])
    alpha = "" if color[3] >= 1 else f' {what}-opacity="{_number(color[3])}"'
    return f' {what}="#{red:02x}{green:02x}{blue:02x}"{alpha}'
