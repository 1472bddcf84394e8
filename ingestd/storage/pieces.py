"""Pieces: what one block has of some series, as another store can take it over.

A piece says what a read would see, each archive at its own resolution: points that are older than the finest archive
reaches are in the coarser ones alone, and what these have cannot be computed again. Slots without a value are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from ingestd.points import Ids, Values
from ingestd.storage.checkpoint import BlockFiles
from ingestd.storage.errors import StorageError
from ingestd.storage.intake import Part
from ingestd.storage.layout import Key, Layout
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import Reading, View

RECORD_POINTS: Final = 1 << 16
"""Points of one record of the journal: 1.3 MB."""


def held(view: View) -> list[Key]:
    """All blocks in which something can be read, finer archives first, then the older ones."""
    found = {*view.files, *view.layers, *view.dirty}
    return sorted(found, key=lambda key: (key.layout, key.archive, key.block))


def piece(view: View, blocks: BlockFiles, series: SeriesTable, key: Key, ids: Ids) -> Values:
    """Values float64[n, slots of the block] of series ``ids`` (ascending uint32[n], all of the block's layout).

    Raises StorageError for other series, and FileNotFoundError if the view is out of date.
    """
    layout = checked(series, key, ids)
    length = layout.archives[key.archive].length
    reading = Reading(view, blocks, layout, series.profiles, series.profile_of[ids])
    return reading.values(key.archive, ids, key.block * length, (key.block + 1) * length)


def checked(series: SeriesTable, key: Key, ids: Ids) -> Layout:
    """The layout of a block, if the series (ascending, each once) are all of it. Raises StorageError."""
    if key.layout >= len(series.layouts) or not 0 <= key.archive < len(series.layouts[key.layout].archives):
        raise StorageError(f"no archive {key.archive} of a layout {key.layout}")
    if len(ids) and (int(ids.max()) >= len(series) or bool((ids[1:] <= ids[:-1]).any())):
        raise StorageError("series that are not there, or not in order")
    if bool((series.layout_of[ids] != key.layout).any()):
        raise StorageError("series of another layout")
    return series.layouts[key.layout]


def parts_of(
    layout: Layout, key: Key, ids: Ids, values: Values, present: Values, last: int, *, over: bool
) -> Iterator[Part]:
    """What of ``values`` goes where ``present`` (of the same shape) has nothing, up to the second ``last``.

    ``over``: or has something else. As parts that are a record each; their times are slots within the block.
    """
    geometry = layout.archives[key.archive]
    first = key.block * geometry.length
    missing = ~np.isnan(values) & (values != present if over else np.isnan(present))
    missing[:, max(last // geometry.step + 1 - first, 0) :] = False
    rows, slots = np.nonzero(missing)
    for at in range(0, len(rows), RECORD_POINTS):
        some = slice(at, at + RECORD_POINTS)
        yield Part(key, ids[rows[some]], slots[some].astype(np.int64), values[rows[some], slots[some]])
