"""What a picture consists of: a list of shapes in pixels, from the top left corner, which every output draws.

Layout and plotting make shapes and know no output; an output knows no series. So a chart is the same in all of them,
and what a chart shows is tested without decoding an image.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd.serve.chart.colors import Color

Values: TypeAlias = NDArray[np.float64]
# What XML cannot hold, what fonts have no glyph for, and what would turn the direction of the texts around it.
_UNSEEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]+")

Align: TypeAlias = Literal["start", "middle", "end"]
Family: TypeAlias = Literal["sans", "serif", "mono"]


def clean(text: str) -> str:
    """The text in one line, without characters that are none."""
    return _UNSEEN.sub(" ", text).strip()


@dataclass(frozen=True, slots=True)
class Font:
    """A face and its size in pixels."""

    family: Family
    size: float
    bold: bool = False
    italic: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text. (x, y) is on its baseline, at its start, middle or end; ``angle`` turns it clockwise."""

    x: float
    y: float
    text: str
    font: Font
    color: Color
    align: Align = "start"
    angle: float = 0.0


@dataclass(frozen=True, slots=True)
class Lines:
    """Strokes of one pen through ``runs``, float64[n, 2] each."""

    runs: tuple[Values, ...]
    color: Color
    width: float
    dash: float = 0.0
    """Length of the dashes and of the gaps between them; 0 = solid."""
    round: bool = False
    """Ends and corners."""


@dataclass(frozen=True, slots=True)
class Fill:
    """Polygons float64[n, 2] of one colour."""

    polygons: tuple[Values, ...]
    color: Color


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle."""

    left: float
    top: float
    width: float
    height: float
    color: Color


@dataclass(frozen=True, slots=True)
class Group:
    """Shapes that belong together. ``clip``: only what is inside of it is seen; ``title``: what they are."""

    kind: str
    shapes: tuple[Shape, ...]
    clip: Box | None = None
    title: str = ""


Shape: TypeAlias = Text | Lines | Fill | Box | Group
NO_SHAPES: Final[tuple[Shape, ...]] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """All shapes of a picture, the lowest first."""

    width: int
    height: int
    background: Color
    shapes: list[Shape] = field(default_factory=list)
    title: str = ""
    """What a reader who does not see it is told."""
