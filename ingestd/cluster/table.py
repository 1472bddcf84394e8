"""The series of one request: ids that are the request's own, and who has each of them under which id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.cluster.merging import NOBODY
from ingestd.cluster.routes import Routes
from ingestd.points import UNKNOWN, Ids


class Held(NamedTuple):
    """What one node has of the series that are asked for."""

    rows: NDArray[np.intp]
    """Which of them."""
    ids: Ids
    """Its own ids of these."""
    ranks: NDArray[np.uint8]
    """Its rank for each of these."""


class _Piece(NamedTuple):
    """The series of one search."""

    partitions: NDArray[np.uint16]
    ids: dict[str, Ids]
    """By node, UNKNOWN where it does not have a series."""


class Table:
    """Series by number; they are entered by searches and never leave."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes
        self._pieces: list[_Piece] = []
        self._bases: list[int] = []
        self._count = 0

    def enter(self, found: Mapping[str, tuple[Ids, list[str]]]) -> list[tuple[str, int]]:
        """The series that nodes have found, by node: (path, number), ascending by path, each once.

        What a node has and is not asked for does not count: it may be of a time when it was.
        """
        paths = sorted(set().union(*(listed for _, listed in found.values())))
        partitions = self._routes.partitions(paths)
        place = {path: row for row, path in enumerate(paths)}
        there = np.zeros(len(paths), np.bool_)
        ids: dict[str, Ids] = {}
        for name, (own, listed) in found.items():
            column = np.full(len(paths), UNKNOWN, np.uint32)
            if len(listed) == len(paths):  # sorted as all of them are, by the contract of a search
                order = None if listed == paths else np.fromiter(map(place.__getitem__, listed), np.intp)
            else:
                order = np.fromiter(map(place.__getitem__, listed), np.intp, len(listed))
            column[slice(None) if order is None else order] = own
            column[self._routes.rank[name][partitions] == NOBODY] = UNKNOWN
            there |= column != UNKNOWN
            ids[name] = column
        if not there.all():
            rows = np.flatnonzero(there)
            paths = [paths[row] for row in rows.tolist()]
            partitions, ids = partitions[rows], {name: column[rows] for name, column in ids.items()}
        base = self._count
        self._pieces.append(_Piece(partitions, ids))
        self._bases.append(base)
        self._count += len(paths)
        return list(zip(paths, range(base, self._count), strict=True))

    def held(self, numbers: Ids) -> tuple[NDArray[np.uint16], dict[str, Held]]:
        """The partitions of these series, and what each node has of them."""
        piece, base = self._piece_of(numbers)
        rows = numbers.astype(np.intp) - base
        partitions = piece.partitions[rows]
        found = {}
        for name, column in piece.ids.items():
            ids = column[rows]
            known = np.flatnonzero(ids != UNKNOWN)
            if len(known):
                found[name] = Held(known, ids[known], self._routes.rank[name][partitions[known]])
        return partitions, found

    def _piece_of(self, numbers: Ids) -> tuple[_Piece, int]:
        """One piece that holds all of them, and its first number."""
        first = int(np.searchsorted(self._bases, int(numbers.min()), "right")) - 1
        last = int(np.searchsorted(self._bases, int(numbers.max()), "right")) - 1
        if first != last:
            names = dict.fromkeys(name for piece in self._pieces for name in piece.ids)
            columns = {
                name: np.concatenate(
                    [piece.ids.get(name, np.full(len(piece.partitions), UNKNOWN, np.uint32)) for piece in self._pieces]
                )
                for name in names
            }
            whole = _Piece(np.concatenate([piece.partitions for piece in self._pieces]), columns)
            self._pieces, self._bases, first = [whole], [0], 0
        return self._pieces[first], self._bases[first]
