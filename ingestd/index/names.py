"""Path <-> id: the name table.

One table from spelling to id (a dict, or its compiled twin) answers the parsers, without Python between. It holds the
canonical spelling of every series (its path in UTF-8) and, up to a bound, other spellings of it (``a..b`` for ``a.b``).
A path is kept as bytes; texts are decoded when somebody asks.

Ids ascend and are never used again. The event loop alone changes the table; other threads may read it. Whoever keeps
an order over the names (:mod:`ingestd.index.globs`, :mod:`ingestd.index.tags`) follows append-only lists, and so
costs nothing when a name is added: :attr:`Names.keys`, and :attr:`Names.gone` of the names that went.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import Table
from ingestd.points import Ids, keys_of

ALIASES_MIN: Final = 65_536
"""Other spellings that are remembered at least: 10 MB at 70 bytes each. Above it two for each series, because a
daemon whose clients all spell names oddly must not look each of them up the long way, while random spellings of a
few series must not grow without bound."""


class NameIndexError(Exception):
    """The index refuses: the base of this floor's errors."""


class NameTakenError(NameIndexError):
    """A path belongs to another series already."""


class Names:
    """The table of names. Spellings are bytes, paths are text, ids are integers below 2**32 - 1."""

    def __init__(self, aliases_min: int = ALIASES_MIN) -> None:
        self._ids = self.table = Table()
        """From every spelling, canonical or not, to its id: what parsers are given."""
        self._aliases: dict[bytes, int] = {}
        self._aliases_of: dict[int, list[bytes]] = {}
        self._aliases_min = aliases_min
        self._count = 0
        self.keys: list[bytes | None] = []
        """The canonical spelling of each id, None where there is no series. Grows at its end."""
        self.tagged: array[int] = array("I")
        """Ids that came with a tagged path, in order. Grows at its end."""
        self.gone: list[tuple[int, bytes]] = []
        """Ids and spellings that went (removed, renamed), in order. Grows at its end."""
        self.renamed: list[int] = []
        """Ids that were given another name, in order. Grows at its end."""
        self.get = self._ids.get
        """``get(spelling) -> id | None``, over canonical and other spellings; the table's own bound method."""

    def __len__(self) -> int:
        return self._count

    def add(self, ids: Ids, paths: Sequence[str]) -> None:
        """Enter new series: ``ids`` uint32[n], ascending and above all before; ``paths`` n canonical paths.

        :raises NameTakenError: a path is taken, by the table or within ``paths``; nothing is entered.
        """
        keys = keys_of(paths)
        self._enter(ids, keys, b";" in b"".join(keys))

    def load(self, ids: Ids, blob: bytes, offsets: NDArray[np.integer]) -> None:
        """Enter many series: path ``i`` in UTF-8 is ``blob[offsets[i]:offsets[i + 1]]``; ``offsets`` has n + 1.

        :raises NameTakenError: as :meth:`add`.
        """
        bounds = offsets.tolist()
        self._enter(ids, [blob[a:b] for a, b in itertools.pairwise(bounds)], b";" in blob)

    def _enter(self, ids: Ids, keys: list[bytes], tagged: bool) -> None:
        if len(ids) != len(keys):
            raise ValueError(f"{len(ids)} ids for {len(keys)} names")
        if not keys:
            return
        first, last = int(ids[0]), int(ids[-1])
        if first < len(self.keys) or not bool(np.all(ids[1:] > ids[:-1])):
            raise ValueError("ids must ascend and be above all before")
        if not self._ids.add(keys, ids):
            self._clear(keys)
            self._ids.add(keys, ids)
        self._count += len(keys)
        # A reader in another thread must see a key at its final place, so the holes come first.
        self.keys.extend([None] * (first - len(self.keys)))
        if last - first + 1 == len(keys):
            self.keys.extend(keys)
        else:
            placed: list[bytes | None] = [None] * (last - first + 1)
            for key, id_ in zip(keys, ids.tolist(), strict=True):
                placed[id_ - first] = key
            self.keys.extend(placed)
        if tagged:
            self.tagged.extend([id_ for key, id_ in zip(keys, ids.tolist(), strict=True) if b";" in key])

    def _clear(self, keys: list[bytes]) -> None:
        """Forget which of ``keys`` are other spellings of series that there are."""
        if len(set(keys)) != len(keys):
            raise NameTakenError("a path is given twice")
        for key in [key for key in keys if key in self._ids]:
            if key not in self._aliases:
                raise NameTakenError(f"the path {key.decode()!r} is taken")
            self._forget_alias(key)

    def missing(self, paths: Sequence[str]) -> NDArray[np.intp]:
        """Which of ``paths`` are new: the place of the first of each, ascending."""
        return self._ids.missing(keys_of(paths))

    def look_up(self, paths: Sequence[str]) -> Ids:
        """The ids of ``paths``, uint32[n]; :data:`~ingestd.points.UNKNOWN` for those that are no series."""
        return self._ids.look_up(keys_of(paths))

    def remember(self, spelling: bytes, id: int) -> None:  # noqa: A002 (the floors' contract names it so)
        """Let ``spelling`` also mean series ``id``. Over the bound, the oldest such spelling is forgotten."""
        if self._key(id) == spelling:
            return
        known = self._ids.get(spelling)
        if known is not None:
            if known == id:
                return
            if spelling not in self._aliases:
                raise NameTakenError(f"{spelling!r} is the path of another series")
            self._forget_alias(spelling)
        self._ids[spelling] = id
        self._aliases[spelling] = id
        self._aliases_of.setdefault(id, []).append(spelling)
        if len(self._aliases) > max(self._aliases_min, 2 * self._count):
            self._forget_alias(next(iter(self._aliases)))

    def _forget_alias(self, spelling: bytes) -> None:
        del self._ids[spelling]
        id_ = self._aliases.pop(spelling)
        spellings = self._aliases_of[id_]
        spellings.remove(spelling)
        if not spellings:
            del self._aliases_of[id_]

    def _key(self, id_: int) -> bytes:
        key = self.keys[id_] if 0 <= id_ < len(self.keys) else None
        if key is None:
            raise KeyError(id_)
        return key

    def path(self, id: int) -> str:  # noqa: A002
        """The path of a series.

        :raises KeyError: there is no such series.
        """
        return self._key(id).decode()

    def paths(self, ids: Ids | Iterable[int]) -> list[str]:
        """The paths of ``ids``, in their order.

        :raises KeyError: one of them is no series.
        """
        return [self._key(id_).decode() for id_ in (ids.tolist() if isinstance(ids, np.ndarray) else ids)]

    def remove(self, id: int) -> None:  # noqa: A002
        """Forget a series and every spelling of it.

        :raises KeyError: there is no such series.
        """
        key = self._key(id)
        for spelling in self._aliases_of.get(id, [])[:]:
            self._forget_alias(spelling)
        del self._ids[key]
        self.keys[id] = None
        self._count -= 1
        self.gone.append((id, key))

    def rename(self, id: int, path: str) -> None:  # noqa: A002
        """Give a series another path. Its other spellings are forgotten: they spelt the old path.

        :raises KeyError: there is no such series.
        :raises NameTakenError: the path is taken; nothing changes.
        """
        old, new = self._key(id), path.encode()
        if new == old:
            return
        if new in self._ids and new not in self._aliases:
            raise NameTakenError(f"the path {path!r} is taken")
        if new in self._aliases:
            self._forget_alias(new)
        for spelling in self._aliases_of.get(id, [])[:]:
            self._forget_alias(spelling)
        del self._ids[old]
        self._ids[new] = id
        self.keys[id] = new
        self.gone.append((id, old))
        self.renamed.append(id)
