"""Pictures as PDF, by matplotlib; a pixel is a point."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font
from matplotlib.transforms import Bbox, IdentityTransform

from ingestd.serve.chart.fonts import font_file, width_of
from ingestd.serve.chart.options import ChartError
from ingestd.serve.chart.raster import closed, path_of
from ingestd.serve.chart.shapes import Box, Fill, Font, Group, Lines, Picture, Shape, Text

_POINTS = 72
_AS_IS = IdentityTransform()


def pdf_of(picture: Picture, stop: Callable[[], bool]) -> bytes:
    """The picture as a document of one page, with its fonts.

    :raises ChartError: ``stop``, which is asked before each shape, says so.
    """
    figure = Figure(figsize=(picture.width / _POINTS, picture.height / _POINTS), dpi=_POINTS, frameon=False)
    figure.add_artist(_Everything(picture, stop))
    file = BytesIO()
    # Without a date the same chart is the same file.
    canvas: Any = FigureCanvasPdf(figure)
    canvas.print_pdf(file, metadata={"CreationDate": None, "Title": picture.title})
    return file.getvalue()


class _Everything(Artist):
    """All of a picture as one of matplotlib's artists."""

    def __init__(self, picture: Picture, stop: Callable[[], bool]) -> None:
        super().__init__()
        self._stop = stop
        self._picture = picture

    def draw(self, renderer: Any) -> None:
        ground = Box(0, 0, self._picture.width, self._picture.height, self._picture.background)
        for shape in (ground, *self._picture.shapes):
            self._shape(renderer, shape, None)

    def _shape(self, renderer: Any, shape: Shape, clip: Box | None) -> None:
        if isinstance(shape, Group):
            for each in shape.shapes:
                self._shape(renderer, each, shape.clip or clip)
            return
        if self._stop():
            raise ChartError("given up")
        height = self._picture.height
        context = renderer.new_gc()
        if clip is not None:
            context.set_clip_rectangle(
                Bbox.from_bounds(clip.left, height - clip.top - clip.height, clip.width, clip.height)
            )
        context.set_alpha(shape.color[3])
        context.set_foreground(shape.color, isRGBA=True)
        if isinstance(shape, Text):
            _write(renderer, context, shape, height)
        elif isinstance(shape, Lines):
            if shape.runs and shape.width:
                context.set_linewidth(shape.width)
                context.set_capstyle("round" if shape.round else "butt")
                context.set_joinstyle("round" if shape.round else "miter")
                if shape.dash:
                    context.set_dashes(0, [shape.dash, shape.dash])
                renderer.draw_path(context, path_of(shape.runs, height), _AS_IS)
        else:
            polygons = shape.polygons if isinstance(shape, Fill) else (_corners(shape),)
            if polygons:
                context.set_linewidth(0)
                renderer.draw_path(context, path_of(closed(polygons), height, closed=True), _AS_IS, shape.color)
        context.restore()


def _corners(box: Box) -> Any:
    right, bottom = box.left + box.width, box.top + box.height
    return np.array([(box.left, box.top), (right, box.top), (right, bottom), (box.left, bottom)])


def _write(renderer: Any, context: Any, text: Text, height: float) -> None:
    shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.align] * width_of(text.text, text.font)
    angle = np.deg2rad(text.angle)
    x, y = text.x - shift * np.cos(angle), text.y - shift * np.sin(angle)
    face = FontProperties(fname=str(font_file(text.font)), size=text.font.size)
    renderer.draw_text(context, x, height - y, _known(text.text, text.font), face, -text.angle, ismath=False)


def _known(text: str, font: Font) -> str:
    """The text with what the font has no glyph for replaced: matplotlib would warn of each."""
    glyphs = get_font(str(font_file(font))).get_charmap()
    return "".join(character if ord(character) in glyphs else "\ufffd" for character in text)
