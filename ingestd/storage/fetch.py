"""Reads over many series, from one view: on any thread."""

from __future__ import annotations

import contextlib

import numpy as np

from ingestd.points import Ids, Rows, Values, Window
from ingestd.storage.checkpoint import BlockFiles
from ingestd.storage.layout import fetch_window
from ingestd.storage.rollup import resample
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import Reading, View


def fetch(
    view: View, blocks: BlockFiles, series: SeriesTable, ids: Ids, start: int, until: int, now: int
) -> list[Rows]:
    """As :meth:`ingestd.storage.store.Store.fetch`, from one view; FileNotFoundError if it is out of date."""
    unique, inverse = np.unique(ids, return_inverse=True)
    layout_of = series.layout_of[unique]
    answer: list[Rows] = []
    for number in np.unique(layout_of):
        layout = series.layouts[number]
        found = fetch_window(layout, start, until, now)
        if found is None:
            continue
        archive, window = found
        mine = layout_of == number
        chosen = unique[mine]
        reading = Reading(view, blocks, layout, series.profiles, series.profile_of[chosen])
        values = reading.values(archive, chosen, window.start // window.step, window.end // window.step)
        if series.history:
            _lay_under(values, view, blocks, series, chosen, window, now - start)
        positions = np.flatnonzero(mine[inverse])
        rows = (np.cumsum(mine) - 1)[inverse[positions]]
        if len(rows) != len(values) or not (rows == np.arange(len(rows))).all():
            values = values[rows]
        answer.append(Rows(window, positions, values))
    return answer


def _lay_under(
    values: Values, view: View, blocks: BlockFiles, series: SeriesTable, ids: Ids, window: Window, age: int
) -> None:
    """Fill slots without a value from the layouts that series had before their schema was changed."""
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(ids.tolist()):
        for earlier in series.history.get(number, ()):
            rows_of.setdefault(earlier, []).append(row)
    for number in sorted(rows_of, reverse=True):
        layout = series.layouts[number]
        archive = layout.choose(max(age, 0))
        if archive is None:
            archive = len(layout.archives) - 1
        rows = np.array(rows_of[number])
        profile_of = series.profile_of[ids[rows]]
        step = layout.archives[archive].step
        first, last = window.start // step, -(-window.end // step)
        old = Reading(view, blocks, layout, series.profiles, profile_of).values(archive, ids[rows], first, last)
        under = resample(old, first * step, step, window, series.profiles, profile_of)
        values[rows] = np.where(np.isnan(values[rows]), under, values[rows])


def find_silent(view: View, blocks: BlockFiles, series: SeriesTable, clock: int, forget_after: int) -> Ids:
    """Living series without a row in any file of the last ``forget_after`` seconds (0: their layout's retention)."""
    n = len(series)
    alive = np.zeros(n, np.bool_)
    for key, ref in view.files.items():
        layout = series.layouts[key.layout]
        if layout.span(key)[1] > clock - (forget_after or layout.retention):
            with contextlib.suppress(FileNotFoundError):
                ids = blocks.series(key, ref.generation)
                alive[ids[ids < n]] = True
    return np.flatnonzero(~alive & ~series.gone[:n]).astype(np.uint32)
