"""Series lists: labels in columns, values in 2-D arrays.

Graphite's functions take and give lists of series. Here the series of such a list that share a window lie in one
:class:`Grid`, a float64 array with a row for each, and a function works on whole arrays. NaN = no data.

Ownership: a function owns the :class:`SeriesList`, grids and labels it is given and may change them; their arrays may
be shared with the cache of the request and are never written to, only replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, Rows, Totals, Values, Window
from ingestd.query.arrays import by_rows
from ingestd.query.labels import NO_OPTIONS, Label, Labels, Option, taken


class Reader(Protocol):
    """Where series come from. All methods may be called from a worker thread."""

    def find(self, pattern: str) -> list[tuple[str, int]]:
        """Leaves (path, id) that match ``pattern``, sorted by path in order of code points, without duplicates."""
        ...

    def find_tagged(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        """Series whose tags satisfy all of ``expressions`` (``dc=a``, ``host!=~b``), as :meth:`find` gives them."""
        ...

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """Rows of ``ids`` over (start, until] with whisper's choice of archive at ``now``; some ids may have none."""
        ...


@runtime_checkable
class TotalReader(Reader, Protocol):
    """A reader that makes one series of many itself, without an array of all their points."""

    def find_ids(self, pattern: str) -> Ids | None:
        """The ids of what :meth:`find` gives, uint32[n]; None where that is not quicker, or some of them have tags."""
        ...

    def total(
        self, ids: Ids, start: int, until: int, now: int, manner: str, before: Callable[[int], None]
    ) -> Totals | None:
        """What :meth:`fetch` gives, each slot's values made one by ``manner``: ``sum``, ``max`` or ``min``.

        ``ids`` uint32[n], each once; their values are added in this order. ``before`` is told how many points are about
        to be read, piece by piece, and may raise. None: they are to be fetched, above all where they differ in windows.
        """
        ...


@runtime_checkable
class EventReader(Protocol):
    """A reader that knows of events."""

    def events(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        """When events with all of ``tags`` happened, start <= time <= until, ascending; of any tags if there are none.

        May be called from a worker thread.
        """
        ...


class Grid:
    """Rows of one window: the value at column i belongs to ``start + i * step``.

    ``end`` is exclusive; as in graphite-web the number of points may differ from ``(end - start) / step`` (after
    timeShift, constantLine). ``places`` are the ascending positions of the rows in the series list.
    """

    __slots__ = ("_rows", "_values", "end", "labels", "places", "start", "step")

    def __init__(
        self, start: int, end: int, step: int, values: Values, labels: Labels, places: NDArray[np.intp]
    ) -> None:
        self.start = start
        self.end = end
        self.step = step
        self.labels = labels
        self.places = places
        self._values = values
        self._rows: NDArray[np.intp] | None = None

    @property
    def values(self) -> Values:
        """The array float64[rows, points]."""
        if self._rows is not None:
            self._values = self._values[self._rows]
            self._rows = None
        return self._values

    @values.setter
    def values(self, values: Values) -> None:
        self._values = values
        self._rows = None

    def rows(self) -> list[Values]:
        """The rows one by one, as views."""
        rows = self._rows
        return list(self._values) if rows is None else [self._values[row] for row in rows.tolist()]

    def at(self, places: NDArray[np.intp]) -> Grid:
        """The same at other places."""
        grid = Grid(self.start, self.end, self.step, self._values, self.labels, places)
        grid._rows = self._rows
        return grid

    def part(self, rows: NDArray[np.intp], places: NDArray[np.intp]) -> Grid:
        """Some rows, each at its place. Most of all are laid together when their array is asked for, if it ever is."""
        grid = Grid(self.start, self.end, self.step, self._values, self.labels.take(rows.tolist()), places)
        chosen = rows if self._rows is None else self._rows[rows]
        if 2 * len(rows) > len(self._values):
            grid._rows = chosen
        else:
            grid._values = self._values[chosen]
        return grid


@dataclass(slots=True)
class Series:
    """One series of an answer; ``values`` float64[points] is a view of a grid's row."""

    name: str
    path_expression: str
    tags: dict[str, str]
    start: int
    end: int
    step: int
    values: Values
    consolidation_func: str = "average"
    x_files_factor: float = 0.0
    values_per_point: int = 1
    ints: bool = False
    options: Mapping[str, Option] = field(default_factory=lambda: NO_OPTIONS)

    def timestamps(self) -> range:
        """The times of JSON's datapoints, to be zipped with ``values``: the shorter of the two ends the pairs."""
        return range(self.start, self.end + 1, max(self.step * self.values_per_point, 1))


@dataclass(slots=True)
class SeriesList:
    """An ordered list of series as grids. The places of all grids together are 0 to n - 1."""

    grids: list[Grid] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(len(grid.labels) for grid in self.grids)

    @property
    def labels(self) -> Labels:
        """The labels in the order of the list, to be read: what is to be changed are those of the grids."""
        if len(self.grids) == 1:
            return self.grids[0].labels
        if not self.grids:
            return Labels.of([])
        return Labels.joined([grid.labels for grid in self.grids]).take(self._order().tolist())

    @property
    def names(self) -> list[str]:
        """The names in the order of the list."""
        if len(self.grids) == 1:
            return self.grids[0].labels.names
        names = [name for grid in self.grids for name in grid.labels.names]
        return taken(names, self._order().tolist())

    def _order(self) -> NDArray[np.intp]:
        """Of each place, which row of all grids one after the other it is."""
        return np.argsort(np.concatenate([grid.places for grid in self.grids])) if self.grids else np.zeros(0, np.intp)

    @property
    def first(self) -> Grid:
        """The grid that holds the first series. The list is not empty."""
        return next(grid for grid in self.grids if grid.places[0] == 0)

    def map(self, change: Callable[[Values], Values]) -> SeriesList:
        """This list with the values of each grid replaced by ``change(values)``."""
        for grid in self.grids:
            grid.values = change(grid.values)
        return self

    def map_rows(self, change: Callable[[Values], Values]) -> SeriesList:
        """As :meth:`map`, where ``change`` takes many steps with each row by itself."""
        return self.map(lambda values: by_rows(values, change))

    def named(self, function: str, arguments: str = "", tag: object = None, *, anew: bool = False) -> SeriesList:
        """This list with each series called ``function(name...)``; ``arguments`` is what follows the name.

        ``tag`` is the value of the tag ``function``, if it sets one; ``anew`` as in :meth:`Labels.renew`.
        """
        for grid in self.grids:
            names = grid.labels.wrapped(function, arguments)
            if anew:
                grid.labels.renew(names)
            else:
                grid.labels.become(names)
        return self if tag is None else self.tagged(function, tag)

    def tagged(self, tag: str, value: object) -> SeriesList:
        """This list with that tag on every series."""
        for grid in self.grids:
            grid.labels.tag(tag, str(value))
        return self

    def shown(self, names: Sequence[str]) -> SeriesList:
        """This list with each series shown by its name of ``names``, which are in the order of the list."""
        for grid in self.grids:
            whole = len(grid.places) == len(names)
            grid.labels.names = list(names) if whole else taken(names, grid.places.tolist())
        return self

    def floats(self) -> SeriesList:
        """This list with values that print with a fraction."""
        for grid in self.grids:
            grid.labels.all(ints=False)
        return self

    def pick(self, places: NDArray[np.intp]) -> SeriesList:
        """The series at ``places``, none of them twice, in the order of ``places`` intp[k]."""
        to = np.full(len(self), -1, np.intp)
        to[places] = np.arange(len(places))
        grids = []
        for grid in self.grids:
            target = to[grid.places]
            rows = np.flatnonzero(target >= 0)
            rows = rows[np.argsort(target[rows], kind="stable")]
            if len(rows):
                whole = len(rows) == len(target) and bool(np.all(rows == np.arange(len(rows))))
                grids.append(grid.at(target[rows]) if whole else grid.part(rows, target[rows]))
        return SeriesList(grids)

    def series(self) -> list[Series]:
        """Every series by itself, in order, with views of the grids' rows."""
        out: list[Series] = []
        for grid in self.grids:
            start, end, step, labels = grid.start, grid.end, grid.step, grid.labels
            rows = zip(
                labels.names,
                labels.path_expressions,
                labels.tags,
                grid.rows(),
                labels.consolidation_funcs,
                labels.x_files_factors,
                labels.ints,
                labels.options,
                strict=True,
            )
            out += [
                Series(name, expression, tags, start, end, step, values, func, factor, 1, ints, options)
                for name, expression, tags, values, func, factor, ints, options in rows
            ]
        if len(self.grids) > 1:
            out = taken(out, self._order().tolist())
        return out


def single(label: Label, start: int, end: int, step: int, values: Values) -> SeriesList:
    """A list of one series; ``values`` float64[points]."""
    return SeriesList([Grid(start, end, step, values[np.newaxis, :], Labels.of([label]), np.zeros(1, np.intp))])


def concatenate(lists: Iterable[SeriesList]) -> SeriesList:
    """One list of all series, list after list."""
    grids: list[Grid] = []
    total = 0
    for each in lists:
        grids += [grid.at(grid.places + total) for grid in each.grids]
        total += len(each)
    return SeriesList(grids)


def from_rows(rows: Sequence[Rows], labels: Labels) -> SeriesList:
    """The list of the series that ``rows`` hold, in order of their positions, which are the rows of ``labels``.

    Positions that no row covers leave no gap. Rows of one window are laid together.
    """
    by_window: dict[Window, list[Rows]] = {}
    for each in rows:
        if len(each.positions):
            by_window.setdefault(each.window, []).append(each)
    if not by_window:
        return SeriesList()
    present = np.sort(np.concatenate([each.positions for group in by_window.values() for each in group]))
    grids = []
    for (start, end, step), group in by_window.items():
        positions = group[0].positions if len(group) == 1 else np.concatenate([each.positions for each in group])
        values = group[0].values if len(group) == 1 else np.concatenate([each.values for each in group])
        if np.any(positions[1:] < positions[:-1]):
            order = np.argsort(positions, kind="stable")
            positions, values = positions[order], values[order]
        places = np.searchsorted(present, positions)
        some = labels if len(positions) == len(labels) else labels.take(positions.tolist())
        grids.append(Grid(start, end, step, values, some, places))
    return SeriesList(grids)
