"""The way from series to the bytes of a picture."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from datetime import tzinfo
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Final

from ingestd.query.context import never
from ingestd.query.grid import Series
from ingestd.serve.chart.layout import add_title, note, sheet
from ingestd.serve.chart.options import ChartError, ChartLimits, ChartOptions
from ingestd.serve.chart.pie import pie_chart
from ingestd.serve.chart.plot import line_chart
from ingestd.serve.chart.shapes import Group, Picture
from ingestd.serve.chart.svg import svg_of

_ONE_AT_A_TIME: Final = Lock()
"""matplotlib promises nothing to threads, and they share one interpreter lock anyway."""
_COLUMN: Final = 4
"""What a column of one series counts for of the pixels that are allowed: it takes 3 us, or 24 bytes of an SVG."""


def picture_of(series: Sequence[Series], options: ChartOptions, tz: tzinfo, limits: ChartLimits) -> Picture:
    """The picture of ``series``; without any, one that says so.

    :raises ChartError: they are too many, or an option does not fit them.
    """
    if len(series) > limits.series:
        raise ChartError(f"{len(series)} series would be drawn; the limit is {limits.series} (http.chart_series)")
    if len(series) * options.width > limits.pixels // _COLUMN:
        most = limits.pixels // _COLUMN // len(series)
        raise ChartError(f"{len(series)} series are drawn {most} pixels wide at most (http.chart_pixels)")
    if options.graph_type == "pie":
        return pie_chart(series, options)
    if any(len(each.values) for each in series):
        return line_chart(series, options, tz)
    picture, area = sheet(options)
    add_title(picture, area, options)
    picture.shapes.append(Group("nodata", (note(area, options, "No Data"),)))
    return picture


def render_chart(
    series: Sequence[Series],
    options: ChartOptions,
    tz: tzinfo,
    kind: str,
    limits: ChartLimits,
    scratch: Path | None = None,
    stop: Callable[[], bool] = never,
) -> bytes:
    """The chart of ``series`` as a file of ``kind``: png, svg or pdf. Called in worker threads.

    ``scratch``: a directory in which a file may be made for a moment; None = that of the system for such. ``stop`` is
    asked again and again: nobody waits for a picture any more.

    :raises ChartError: the series are too many, or an option does not fit them.
    """
    picture = picture_of(series, options, tz, limits)
    if kind == "svg":
        return svg_of(picture)
    with _ONE_AT_A_TIME:
        _tame(scratch)
        if kind == "pdf":
            from ingestd.serve.chart.pdf import pdf_of  # noqa: PLC0415 - see raster

            return pdf_of(picture, stop)
        from ingestd.serve.chart.raster import png_of  # noqa: PLC0415 - takes a second and 33 MB

        return png_of(picture, stop)


@lru_cache
def _tame(scratch: Path | None) -> None:
    """Import matplotlib without what it does beside that: fonts of the system, and files in somebody's home.

    It would run a program to find the fonts (fc-list), and keep a list of them, in the directory that ``MPLCONFIGDIR``
    names. Both are read when it is imported, and not again.
    """
    os.environ["MPL_IGNORE_SYSTEM_FONTS"] = "1"
    # What they say of their work is of no use to those who run a daemon.
    for name in ("matplotlib", "fontTools", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with TemporaryDirectory(prefix=".matplotlib-", dir=scratch) as directory:
        os.environ["MPLCONFIGDIR"] = directory
        import_module("matplotlib.font_manager")
