"""Texts: the files of their fonts, how wide they are, and what of them fits.

The fonts are the DejaVu family that matplotlib brings along, so a chart looks the same on all machines, those without
any font included. Measures are those of Pillow, which also draws the texts of PNGs: matplotlib takes 1.7 ms for a
label and Pillow 0.1 ms (ADR 081).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from PIL import ImageFont

from ingestd.serve.chart.shapes import Family, Font

LINE_HEIGHT: Final = 1.3
"""Distance of baselines, in sizes of the font."""
ASCENT: Final = 0.93
"""From the baseline to the top of accented capitals, in sizes of the font."""
MIDDLE: Final = 0.36
"""From the baseline to the middle of digits and capitals, in sizes of the font."""

_FACES: Final[dict[Family, tuple[str, str]]] = {
    "sans": ("DejaVuSans", "Oblique"),
    "serif": ("DejaVuSerif", "Italic"),
    "mono": ("DejaVuSansMono", "Oblique"),
}
_KEPT: Final = 100
"""Characters of a text whose width is remembered."""
_LONGEST: Final = 2_000
"""Characters of a text that are measured: wider than the widest picture."""


@lru_cache
def font_file(font: Font) -> Path:
    """The file of a face."""
    found = find_spec("matplotlib")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("matplotlib is not installed")
    name, slanted = _FACES[font.family]
    style = ("Bold" if font.bold else "") + (slanted if font.italic else "")
    file = f"{name}-{style}.ttf" if style else f"{name}.ttf"
    return Path(found.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf" / file


@lru_cache(maxsize=64)
def face(font: Font) -> ImageFont.FreeTypeFont:
    """The face of a font, ready to measure and draw."""
    # Layout of complex scripts would need a library that not all builds of Pillow have.
    return ImageFont.truetype(font_file(font), font.size, layout_engine=ImageFont.Layout.BASIC)


def width_of(text: str, font: Font) -> float:
    """Pixels that a text takes."""
    return (_kept_width if len(text) <= _KEPT else _width)(text, font)


def _width(text: str, font: Font) -> float:
    return face(font).getlength(text) if text else 0.0


_kept_width = lru_cache(maxsize=4096)(_width)


def fitted(text: str, font: Font, width: float) -> str:
    """The text, its end replaced by an ellipsis if it is wider than ``width`` pixels."""
    text = text[:_LONGEST]
    if width_of(text, font) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(text[:middle] + "…", font) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + "…" if low else ""
