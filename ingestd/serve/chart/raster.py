"""Pictures as PNG: paths by matplotlib's Agg, texts by Pillow.

matplotlib's figures, axes and artists are left out: they cost more than the picture. Its renderer is the part of it
that is made to be called by itself. What is imported here takes 33 MB and about a second, so only the first picture
imports it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path
from matplotlib.transforms import Bbox, IdentityTransform
from numpy.typing import NDArray
from PIL import Image

from ingestd.serve.chart.fonts import face, width_of
from ingestd.serve.chart.options import ChartError
from ingestd.serve.chart.shapes import Box, Fill, Font, Group, Lines, Picture, Shape, Text, Values

_AGG: Any = RendererAgg  # untyped
_AS_IS = IdentityTransform()
_DPI = 72
"""At which a point is a pixel."""
_PIECE = 65_536
"""Pixels of a line that are drawn at once: 2 ms."""
_KEPT = 20_000
"""Pixels of a text, or so, that is kept to be drawn again: 20 MB in all at most."""
_SHORT = 8
"""Points of a run that is drawn with others, above all lines of a grid."""


def png_of(picture: Picture, stop: Callable[[], bool]) -> bytes:
    """The picture as a file; without an alpha channel if its background is opaque.

    :raises ChartError: ``stop``, which is asked before each shape, says so.
    """
    pen = _Pen(picture, stop)
    for shape in picture.shapes:
        pen.draw(shape)
    image = Image.fromarray(pen.pixels, "RGBA") if picture.background[3] < 1 else Image.fromarray(pen.opaque(), "RGB")
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def path_of(runs: tuple[Values, ...], height: float, closed: bool = False) -> Path:
    """Runs as one path, from the lower left corner, as matplotlib counts."""
    points = np.concatenate(runs)
    codes = np.full(len(points), Path.LINETO, Path.code_type)
    starts = np.cumsum([0, *map(len, runs)])
    codes[starts[:-1]] = Path.MOVETO
    if closed:
        codes[starts[1:] - 1] = Path.CLOSEPOLY
    path = Path(np.column_stack((points[:, 0], height - points[:, 1])), codes)
    # They have been brought down to a few points a pixel.
    path.should_simplify = False
    return path


def pieces(run: Values, length: float) -> list[tuple[Values, float]]:
    """A run cut after every ``length`` pixels or so, and how long it is before each piece.

    The renderer does not let other threads run while it draws a path.
    """
    ends = np.cumsum(np.hypot(*np.diff(run, axis=0).T))
    cuts = [0, *(np.flatnonzero(np.diff(ends // length)) + 1).tolist(), len(run) - 1]
    return [(run[first : last + 1], float(ends[first - 1]) if first else 0.0) for first, last in pairwise(cuts)]


def closed(polygons: tuple[Values, ...]) -> tuple[Values, ...]:
    """The polygons with their first points at their ends again."""
    return tuple(np.concatenate((polygon, polygon[:1])) for polygon in polygons)


class _Pen:
    """Draws shapes into an array of pixels."""

    def __init__(self, picture: Picture, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._height = picture.height
        self._renderer: Any = _AGG(picture.width, picture.height, _DPI)
        self.pixels: NDArray[np.uint8] = np.asarray(self._renderer.buffer_rgba())
        self.pixels[:] = [round(part * 255) for part in picture.background]
        self._clip: Box | None = None

    def opaque(self) -> NDArray[np.uint8]:
        """The pixels without their alpha."""
        return np.ascontiguousarray(self.pixels[..., :3])

    def draw(self, shape: Shape) -> None:
        # Who waits for the interpreter need not wait until it is taken away: points come in meanwhile.
        time.sleep(0)
        if self._stop():
            raise ChartError("given up")
        if isinstance(shape, Group):
            before = self._clip
            self._clip = shape.clip or before
            for each in shape.shapes:
                self.draw(each)
            self._clip = before
        elif isinstance(shape, Text):
            self._text(shape)
        elif isinstance(shape, Lines):
            self._lines(shape)
        elif isinstance(shape, Fill):
            self._polygons(shape)
        else:
            right, bottom = shape.left + shape.width, shape.top + shape.height
            corners = [(shape.left, shape.top), (right, shape.top), (right, bottom), (shape.left, bottom)]
            self._polygons(Fill((np.array(corners),), shape.color))

    def _context(self) -> Any:
        context = self._renderer.new_gc()
        context.set_snap(False)
        if self._clip is not None:
            box = self._clip
            bottom = self._height - box.top - box.height
            context.set_clip_rectangle(Bbox.from_bounds(box.left, bottom, box.width, box.height))
        return context

    def _lines(self, lines: Lines) -> None:
        if not lines.runs or not lines.width:
            return
        context = self._context()
        context.set_linewidth(lines.width)
        context.set_foreground(lines.color, isRGBA=True)
        context.set_alpha(lines.color[3])
        context.set_capstyle("round" if lines.round else "butt")
        context.set_joinstyle("round" if lines.round else "miter")
        if lines.color[3] < 1:
            # Ends that lie on each other would be seen.
            self._stroke(context, lines.runs, lines.dash, 0.0)
            return
        whole = tuple(run for run in lines.runs if len(run) < _SHORT)
        if whole:
            self._stroke(context, whole, lines.dash, 0.0)
        for run in lines.runs:
            if len(run) >= _SHORT:
                for piece, before in pieces(run, _PIECE):
                    self._stroke(context, (piece,), lines.dash, before)

    def _stroke(self, context: Any, runs: tuple[Values, ...], dash: float, before: float) -> None:
        """Draw runs; ``before``: how far back the first dash began."""
        if dash:
            context.set_dashes(before % (2 * dash), [dash, dash])
        self._renderer.draw_path(context, path_of(runs, self._height), _AS_IS)

    def _polygons(self, fill: Fill) -> None:
        if not fill.polygons:
            return
        context = self._context()
        context.set_linewidth(0)
        context.set_alpha(fill.color[3])
        path = path_of(closed(fill.polygons), self._height, closed=True)
        self._renderer.draw_path(context, path, _AS_IS, fill.color[:3])

    def _text(self, text: Text) -> None:
        inked = _kept_mask if len(text.text) * text.font.size**2 <= _KEPT else _mask
        mask, ascent = inked(text.text, text.font)
        shift = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.align] * width_of(text.text, text.font)
        if text.angle in {0, 90, -90}:
            mask, left, top = _turned(mask, text, shift, ascent)
        else:
            mask, left, top = _tilted(mask, text, shift, ascent)
        self._blend(mask, left, top, text.color[:3], text.color[3])

    def _blend(
        self, mask: NDArray[np.uint8], left: int, top: int, color: tuple[float, float, float], alpha: float
    ) -> None:
        """Lay a colour over the pixels, as thick as the mask says."""
        height, width = self.pixels.shape[:2]
        first_row, first_column = max(-top, 0), max(-left, 0)
        mask = mask[first_row : max(height - top, 0), first_column : max(width - left, 0)]
        if not mask.size:
            return
        top, left = max(top, 0), max(left, 0)
        target = self.pixels[top : top + mask.shape[0], left : left + mask.shape[1]]
        cover = mask[..., np.newaxis] * np.float32(alpha / 255)
        below = target.astype(np.float32)
        held = below[..., 3:] / 255 * (1 - cover)
        total = cover + held
        ink = np.array(color, np.float32) * 255
        mixed = (ink * cover + below[..., :3] * held) / np.maximum(total, 1e-6)
        target[..., :3] = np.rint(mixed)
        target[..., 3:] = np.rint(total * 255)


def _mask(text: str, font: Font) -> tuple[NDArray[np.uint8], int]:
    """How thick ink lies where a text is, uint8[rows, columns], and how many of the rows are above the baseline."""
    drawn, (left, top) = face(font).getmask2(text, mode="L", anchor="ls")
    width, height = drawn.size
    mask = np.array(drawn, np.uint8).reshape(height, width)
    # Some glyphs begin left or right of where the pen stands.
    if left > 0:
        mask = np.pad(mask, ((0, 0), (left, 0)))
    return mask, -top


_kept_mask = lru_cache(maxsize=1024)(_mask)


def _turned(mask: NDArray[np.uint8], text: Text, shift: float, ascent: int) -> tuple[NDArray[np.uint8], int, int]:
    """A mask along an axis, with its left upper corner."""
    if text.angle == 0:
        return mask, round(text.x - shift), round(text.y) - ascent
    if text.angle < 0:  # upwards
        turned = np.rot90(mask)
        return turned, round(text.x) - ascent, round(text.y + shift) - turned.shape[0]
    turned = np.rot90(mask, -1)
    return turned, round(text.x) + ascent - turned.shape[1], round(text.y - shift)


def _tilted(mask: NDArray[np.uint8], text: Text, shift: float, ascent: int) -> tuple[NDArray[np.uint8], int, int]:
    """A mask in any direction, with its left upper corner."""
    turned = Image.fromarray(mask, "L").rotate(-text.angle, Image.Resampling.BICUBIC, expand=True)
    # From the pen to the middle of the mask, before and after it is turned.
    across, down = mask.shape[1] / 2 - shift, mask.shape[0] / 2 - ascent
    angle = math.radians(text.angle)
    x = text.x + across * math.cos(angle) - down * math.sin(angle)
    y = text.y + across * math.sin(angle) + down * math.cos(angle)
    return np.asarray(turned), round(x - turned.width / 2), round(y - turned.height / 2)
