"""Who sent which row of a batch. It is worked out only when somebody asks: nearly every batch is taken whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ingestd.ingest.sources import Source
from ingestd.points import Parsed


class Crowd:
    """Senders of one parsed piece of input, of which nothing was refused: each LF of their lines is a row.

    Only for those who may write everything at any rate (:func:`free`): what they sent is not told apart on its way.
    """

    __slots__ = ("_ends", "_lines", "_sources")

    def __init__(self, sources: Sequence[Source], lines: bytes, ends: Sequence[int]) -> None:
        """``lines`` that the ``sources`` have sent, and where in it what each of them sent ends."""
        self._sources = sources
        self._lines = lines
        self._ends = ends

    def runs(self) -> Iterator[tuple[int, Source]]:
        """Rows of each sender, in their order."""
        start = 0
        for source, end in zip(self._sources, self._ends, strict=True):
            yield self._lines.count(b"\n", start, end), source
            start = end


Part: TypeAlias = tuple[Parsed, Source | Crowd]
"""What a parser found, and who sent it."""


def free(source: Source) -> bool:
    """Whether a sender may write every series as often as it likes."""
    return source.grant is None and source.points is None


class Senders:
    """The source of each row of a batch: runs of rows, one for each sender."""

    __slots__ = ("_ends", "_kept", "_parts", "_sources")

    def __init__(self, parts: Sequence[Part], kept: Sequence[Parsed]) -> None:
        """``kept``: what is left of each of ``parts`` after rights and rates."""
        self._parts = parts
        self._kept = kept
        self._sources: list[Source] = []
        self._ends: list[int] | None = None

    def _counted(self) -> list[int]:
        if self._ends is None:
            self._ends, end = [], 0
            for (_, sender), kept in zip(self._parts, self._kept, strict=True):
                runs = sender.runs() if isinstance(sender, Crowd) else [(len(kept.batch), sender)]
                for rows, source in runs:
                    end += rows
                    self._ends.append(end)
                    self._sources.append(source)
        return self._ends

    def of(self, row: int) -> Source:
        """The source of a row."""
        return self._sources[bisect_right(self._counted(), row)]

    def choose(self, kept: NDArray[np.bool_]) -> None:
        """The rows that are not ``kept`` (bool[n]) have left the batch."""
        self._ends = np.concatenate([[0], np.cumsum(kept)])[self._counted()].tolist()
