"""The vocabulary that every floor shares: batches of points, windows of slots, rows of values.

Points travel as three columns and never as objects. All arrays are C-contiguous and in native byte order; whoever
receives a :class:`Batch` may keep it, because whoever made it does not write to its arrays again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

Ids: TypeAlias = NDArray[np.uint32]
Times: TypeAlias = NDArray[np.int64]
Values: TypeAlias = NDArray[np.float64]

UNKNOWN: Final = 0xFFFFFFFF
"""The series id of a row whose name the name table does not hold yet."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Points as columns: ``ids`` uint32[n], ``timestamps`` int64[n] in seconds, ``values`` float64[n]."""

    ids: Ids
    timestamps: Times
    values: Values

    def __len__(self) -> int:
        return len(self.ids)


class NameTable(Protocol):
    """What a parser needs to know of names: the id of a spelling as it stood on the wire, or None."""

    def get(self, spelling: bytes, /) -> int | None: ...


class NewName(NamedTuple):
    """A row whose series is not known yet."""

    row: int
    """Position in the columns."""
    spelling: bytes
    """The name as it stood on the wire: what the name table is to remember."""
    path: str
    """The canonical path of that spelling."""


class Paths(Sequence[str]):
    """Canonical paths in UTF-8: what becomes of a million new names without a text of each."""

    __slots__ = ("keys",)

    def __init__(self, keys: list[bytes]) -> None:
        """``keys`` belong to the paths from here on, which never change."""
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self.keys)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Paths: ...
    def __getitem__(self, at: int | slice) -> str | Paths:
        return Paths(self.keys[at]) if isinstance(at, slice) else self.keys[at].decode()


def keys_of(paths: Sequence[str]) -> list[bytes]:
    """``paths`` in UTF-8; the list is not to be changed."""
    return paths.keys if isinstance(paths, Paths) else [path.encode() for path in paths]


class NewNames(Sequence[NewName]):
    """Names that are their own canonical paths, as columns: ``rows`` intp[n] ascending and n ``keys`` in UTF-8.

    So are nearly all that come: a fleet's first interval makes no object of each but its bytes. Equal to any sequence
    of the same names.
    """

    __slots__ = ("keys", "rows")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, rows: NDArray[np.intp], keys: list[bytes]) -> None:
        """Both belong to the names from here on, which never change."""
        self.rows = rows
        self.keys = keys

    @classmethod
    def of(cls, names: Sequence[NewName]) -> NewNames | None:
        """These as columns; None if one of them is not its own path."""
        if isinstance(names, NewNames):
            return names
        keys = [name.spelling for name in names]
        if keys != [name.path.encode() for name in names]:
            return None
        return cls(np.fromiter((name.row for name in names), np.intp, len(names)), keys)

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[NewName]:
        return map(NewName, self.rows.tolist(), self.keys, map(bytes.decode, self.keys))

    @overload
    def __getitem__(self, at: int) -> NewName: ...
    @overload
    def __getitem__(self, at: slice) -> NewNames: ...
    def __getitem__(self, at: int | slice) -> NewName | NewNames:
        if isinstance(at, slice):
            return NewNames(self.rows[at], self.keys[at])
        return NewName(int(self.rows[at]), self.keys[at], self.keys[at].decode())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)


@dataclass(slots=True)
class Parsed:
    """What a parser made of a piece of input.

    ``batch.ids`` is :data:`UNKNOWN` at exactly the rows that ``unknown`` lists, in ascending order of rows.
    ``rejected`` counts the points that were refused, by reason (one of :data:`ingestd.telemetry.REASONS`).
    """

    batch: Batch
    unknown: Sequence[NewName] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def received(self) -> int:
        """Points received: those in the batch and those refused."""
        return len(self.batch) + sum(self.rejected.values())


class Window(NamedTuple):
    """A run of slots: from ``start`` (inclusive) to ``end`` (exclusive), seconds, both multiples of ``step``."""

    start: int
    end: int
    step: int

    @property
    def slots(self) -> int:
        return (self.end - self.start) // self.step


@dataclass(frozen=True, slots=True)
class Rows:
    """Values of some series of one layout over one window: an answer of the store.

    ``positions`` intp[n] gives the position of each row in the ids that were asked for; ``values`` is
    float64[n, slots], NaN = no point, owned by the receiver.
    """

    window: Window
    positions: NDArray[np.intp]
    values: Values


@dataclass(frozen=True, slots=True)
class Totals:
    """Many series in one: of each slot of a window the sum, the largest or the smallest of their values, float64[slots]
    (0.0 or NaN where there is none), and how many these were, float64[slots]."""

    window: Window
    values: Values
    counts: Values


def empty_batch() -> Batch:
    """A batch of no points."""
    return Batch(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.float64))
