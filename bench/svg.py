"""Charts as plain SVG: bars in panels, and lines over a logarithmic axis. No fonts, scripts or styles from outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

COLOURS: Final = ("#2f6db5", "#c8772d", "#5b8f4d", "#8a5ea6")
_WIDTH: Final = 880
_GAP: Final = 40
_BAR: Final = 18
_LABEL: Final = 116
_PANEL: Final = (_WIDTH - 3 * _GAP) // 2


@dataclass(frozen=True, slots=True)
class Bars:
    """A panel: a title, and a bar each for (label, length, text at its end)."""

    title: str
    bars: Sequence[tuple[str, float, str]]


@dataclass(frozen=True, slots=True)
class Lines:
    """A panel: a title, x positions (positive), and by label the values at them; y begins at 0."""

    title: str
    x: Sequence[float]
    lines: dict[str, Sequence[float]]


def bar_chart(title: str, panels: Sequence[Bars], colours: dict[str, str]) -> str:
    """Panels two in a row, bars of each in proportion to its longest; ``colours`` by label of a bar."""
    parts: list[str] = []
    top, row_height = 56, 0
    for number, panel in enumerate(panels):
        left = _GAP + number % 2 * (_PANEL + _GAP)
        if number and number % 2 == 0:
            top += row_height
            row_height = 0
        row_height = max(row_height, 40 + len(panel.bars) * (_BAR + 6))
        parts.append(_text(left, top, panel.title, 'font-weight="bold"'))
        longest = max((length for _, length, _ in panel.bars), default=0.0) or 1.0
        room = _PANEL - _LABEL - 80
        for place, (label, length, end) in enumerate(panel.bars):
            y = top + 12 + place * (_BAR + 6)
            width = max(1.0, room * length / longest)
            parts.append(_text(left + _LABEL - 8, y + 14, label, 'text-anchor="end"'))
            parts.append(
                f'<rect x="{left + _LABEL}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colours[label]}"/>'
            )
            parts.append(_text(left + _LABEL + width + 6, y + 14, end))
    return _document(title, top + row_height, parts)


def line_chart(title: str, panels: Sequence[Lines]) -> str:
    """Panels two in a row; x is logarithmic, ticks stand where points were measured."""
    parts: list[str] = []
    height = 220
    for number, panel in enumerate(panels):
        left = _GAP + 24 + number % 2 * (_PANEL + _GAP)
        top = 76 + number // 2 * (height + 90)
        parts += _lines(panel, left, top, _PANEL - 24, height)
    return _document(title, 76 + (len(panels) + 1) // 2 * (height + 90), parts)


def _lines(panel: Lines, left: float, top: float, width: float, height: float) -> list[str]:
    first, last = math.log(panel.x[0]), math.log(panel.x[-1])
    most = _round_up(max((value for values in panel.lines.values() for value in values), default=1.0))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - first) / (last - first) if last > first else 0.5
        return left + across * width, top + height * (1 - y / most)

    parts = [_text(left - 20, top - 20, panel.title, 'font-weight="bold"')]
    for quarter in range(5):
        y = place(panel.x[0], most * quarter / 4)[1]
        parts.append(f'<path d="M{left} {y:.1f}h{width}" stroke="#ddd"/>')
        parts.append(_text(left - 6, y + 4, f"{most * quarter / 4:g}", 'text-anchor="end" font-size="11"'))
    for x in panel.x:
        parts.append(_text(place(x, 0)[0], top + height + 16, _count(x), 'text-anchor="middle" font-size="11"'))
    for number, (label, values) in enumerate(panel.lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [place(x, y) for x, y in zip(panel.x, values, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        parts.append(_text(left + number * width / len(panel.lines), top + height + 38, label, f'fill="{colour}"'))
    return parts


def _round_up(value: float) -> float:
    """The next of 1, 2, 4 and 8 times a power of ten: quarters of it are short numbers."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(one * power for one in (1, 2, 4, 8, 10) if one * power >= value)


def _count(x: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if x >= size:
            return f"{x / size:g}{letter}"
    return f"{x:g}"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    colour = "" if "fill=" in more else 'fill="#223" '
    return f'<text x="{x:.1f}" y="{y:.1f}" {colour}{more}>{escape(text)}</text>'.replace(" >", ">")


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" font-family="sans-serif" '
        'font-size="13" role="img">'
    )
    back = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join((head, f"<title>{escape(title)}</title>", back, _text(_GAP, 26, title), *parts, "</svg>", ""))
