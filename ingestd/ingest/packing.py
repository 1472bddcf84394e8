"""From what a relay has gathered to messages: points by partition, in vectorised form, a message at a time.

Points are sorted by partition in one stable pass (numpy's radix sort over 16 bits), so those of a series keep their
order. A series' path stands once in a message, however many of its points are in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Batch, Ids, Times, Values, keys_of
from ingestd.telemetry import Books
from ingestd.wire.batch import PARTITIONS, BatchLimits, pack_batch
from ingestd.wire.partition import partitions_of

MESSAGE_BYTES: Final = BatchLimits().message
_POINT_BYTES: Final = 20
_OVERHEAD: Final = 256
"""Bytes of a message beside its points and paths, at most."""
_FIRST_SERIES: Final = 1024


@dataclass(slots=True, eq=False)
class Packed:
    """Points of one partition, to be encoded under a sequence number. The columns are as they stand in a message."""

    partition: int
    paths: list[bytes]
    ends: NDArray[np.uint32]
    """Where each path ends in all of them joined."""
    index: NDArray[np.uint32]
    """The path of each point."""
    timestamps: Times
    values: Values
    shares: tuple[tuple[Books, int], ...]
    """Whose points they are."""

    def __len__(self) -> int:
        return len(self.timestamps)

    def encode(self, producer: bytes, sequence: int) -> bytes:
        """The message."""
        columns = (self.ends, self.index, self.timestamps, self.values)
        paths = b"".join(self.paths)
        return pack_batch(producer, sequence, self.partition, paths, *(column.tobytes() for column in columns))


@dataclass(frozen=True, slots=True)
class _Sorted:
    """What was gathered, by partition."""

    timestamps: Times
    values: Values
    books: NDArray[np.uint8] | None
    """The number of each point's books; None where all are of one."""
    index: NDArray[np.uint32]
    """The path of each point, as its place among those of its partition."""
    keys: list[bytes]
    """The paths of all partitions."""
    ends: NDArray[np.uint32]
    """Where each of them ends among those of its partition."""


class Partitioned:
    """The series of a relay, and the partition of each: worked out once, when a series is new."""

    def __init__(self, host_nodes: int) -> None:
        self._host_nodes = host_nodes
        self._partitions = np.empty(_FIRST_SERIES, np.uint16)
        self.series = 0

    def create(self, paths: Sequence[str]) -> Ids:
        """New series in the order of ``paths``: their ids, uint32[n]."""
        keys = keys_of(paths)
        first, self.series = self.series, self.series + len(keys)
        if self.series > len(self._partitions):
            grown = np.empty(max(2 * len(self._partitions), self.series), np.uint16)
            grown[:first] = self._partitions[:first]
            self._partitions = grown
        self._partitions[first : self.series] = partitions_of(keys, self._host_nodes)
        return np.arange(first, self.series, dtype=np.uint32)

    def of(self, ids: Ids) -> NDArray[np.uint16]:
        """The partition of each of ``ids``, uint16[n]."""
        return self._partitions[ids]


class Gathered:
    """Points that wait to be packed."""

    def __init__(self, series: Partitioned, keys: Sequence[bytes | None], message_points: int) -> None:
        """``keys``: the path of each series, in UTF-8; ``message_points`` that a message has at most."""
        self.points = 0
        self._series = series
        self._keys = keys
        self._message_points = message_points
        self._batches: list[Batch] = []
        self._books: list[tuple[Books, int]] = []
        self._place = np.empty(0, np.uint32)

    def add(self, batch: Batch, books: Books) -> None:
        """Take points; the batch belongs to here from now on."""
        self._batches.append(batch)
        self.points += len(batch)
        if self._books and self._books[-1][0] is books:
            self._books[-1] = (books, self._books[-1][1] + len(batch))
        else:
            self._books.append((books, len(batch)))

    def pack(self) -> Iterator[Packed]:
        """All points as messages, by partition; what is gathered from now on is not among them."""
        batches, books, self._batches, self._books, self.points = self._batches, self._books, [], [], 0
        if not batches:
            return iter(())
        whose = list(dict.fromkeys(one for one, _ in books))
        numbers = None
        if len(whose) > 1:
            place = {id(one): np.uint8(number) for number, one in enumerate(whose)}
            numbers = np.repeat([place[id(one)] for one, _ in books], [points for _, points in books])
        ids = np.concatenate([batch.ids for batch in batches])
        partitions = self._series.of(ids)
        order = np.argsort(partitions, kind="stable")
        ids = ids[order]
        index, unique = self._numbered(ids)
        rows = np.bincount(partitions, minlength=PARTITIONS)
        series = np.bincount(self._series.of(unique), minlength=PARTITIONS)
        keys = [self._keys[number] for number in unique.tolist()]
        found = _Sorted(
            np.concatenate([batch.timestamps for batch in batches])[order].astype("<i8", copy=False),
            np.concatenate([batch.values for batch in batches])[order].astype("<f8", copy=False),
            None if numbers is None else numbers[order],
            # A partition's series follow those of the one before.
            (index - np.repeat(np.cumsum(series) - series, rows)).astype("<u4"),
            keys,
            _ends(keys, series),
        )
        return self._messages(found, rows, series, whose)

    def _numbered(self, ids: Ids) -> tuple[NDArray[np.uint32], Ids]:
        """Each row's place among the series that there are, and these, in the order of their last rows.

        No sort: a row is its series' last if what was last written at the series' place is the row's own number.
        """
        if len(self._place) < self._series.series:
            self._place = np.empty(2 * self._series.series, np.uint32)
        rows = np.arange(len(ids), dtype=np.uint32)
        self._place[ids] = rows
        last = self._place[ids]
        is_last = last == rows
        rank = np.cumsum(is_last, dtype=np.uint32) - np.uint32(1)
        return rank[last], ids[is_last]

    def _messages(
        self, found: _Sorted, rows: NDArray[np.intp], series: NDArray[np.intp], whose: list[Books]
    ) -> Iterator[Packed]:
        end = last = 0
        present = np.flatnonzero(rows)
        for partition, n, paths in zip(present.tolist(), rows[present].tolist(), series[present].tolist(), strict=True):
            start, end = end, end + n
            first, last = last, last + paths
            packed = Packed(
                partition,
                found.keys[first:last],
                found.ends[first:last],
                found.index[start:end],
                found.timestamps[start:end],
                found.values[start:end],
                self._shares(found, start, end, whose),
            )
            yield from self._within_limits(packed, found, start, whose)

    def _within_limits(self, packed: Packed, found: _Sorted, start: int, whose: list[Books]) -> Iterator[Packed]:
        """``packed``, or its halves if it is too large for a message."""
        n = len(packed)
        size = _OVERHEAD + _POINT_BYTES * n + int(packed.ends[-1]) + 4 * len(packed.paths)
        if n == 1 or (n <= self._message_points and size <= MESSAGE_BYTES):
            yield packed
            return
        for a, b in ((0, n // 2), (n // 2, n)):
            unique, index = np.unique(packed.index[a:b], return_inverse=True)
            paths = [packed.paths[place] for place in unique.tolist()]
            half = Packed(
                packed.partition,
                paths,
                _ends(paths, np.array([len(paths)])),
                index.astype("<u4"),
                packed.timestamps[a:b],
                packed.values[a:b],
                self._shares(found, start + a, start + b, whose),
            )
            yield from self._within_limits(half, found, start + a, whose)

    @staticmethod
    def _shares(found: _Sorted, start: int, end: int, whose: list[Books]) -> tuple[tuple[Books, int], ...]:
        if found.books is None:
            return ((whose[0], end - start),)
        counts = np.bincount(found.books[start:end]).tolist()
        return tuple((whose[number], points) for number, points in enumerate(counts) if points)


def _ends(keys: list[bytes], series: NDArray[np.intp]) -> NDArray[np.uint32]:
    """Where each of ``keys`` ends among those of its partition, of which the first ``series[0]`` are the first's."""
    ends = np.cumsum(np.fromiter(map(len, keys), np.int64, len(keys)))
    before = np.concatenate(([0], ends))[np.cumsum(series) - series]
    found: NDArray[np.uint32] = (ends - np.repeat(before, series)).astype("<u4")
    return found
