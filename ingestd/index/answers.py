"""Answers of searches that are asked again: dashboards ask the same patterns every few seconds, and names rarely come.

An answer counts for one state of the names. Once a name has come, gone or been renamed, all answers are void.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sized
from typing import Any, Final, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ingestd.index.globs import Globs
from ingestd.index.names import Names
from ingestd.index.walk import Match

T = TypeVar("T", bound=Sized | None)
State: TypeAlias = tuple[int, int, int]

BYTES: Final = 32 << 20
"""Of all answers: a dashboard's over 18,000 hosts are ten of 3 MB."""
_SPARE: Final = 1_024
"""Bytes of an entry beside its pattern and its results."""
_LEAF, _MATCH, _ID = 200, 300, 4
"""Bytes of a result: a path of 70 characters, its number or its last node, and what holds them."""


class Searches:
    """Searches as of :class:`Globs`, whose answers are remembered, and are not to be changed. Thread-safe."""

    def __init__(self, globs: Globs, names: Names, limit: int = BYTES) -> None:
        """``names`` are those of ``globs``. ``limit``: bytes of all answers; those longest unused go."""
        self._globs = globs
        self._names = names
        self._limit = limit
        self._lock = threading.Lock()
        self._state: State = (0, 0, 0)
        self._known: OrderedDict[object, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """How many answers are remembered."""
        return len(self._known)

    def find_leaves(self, pattern: str) -> list[tuple[str, int]]:
        """As :meth:`Globs.find_leaves`."""
        return self._answer(("leaves", pattern), _LEAF, lambda: self._globs.find_leaves(pattern))

    def find_ids(self, pattern: str) -> NDArray[np.uint32] | None:
        """As :meth:`Globs.find_ids`."""
        return self._answer(("ids", pattern), _ID, lambda: self._globs.find_ids(pattern))

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        """As :meth:`Globs.find_matches`."""
        search = lambda: self._globs.find_matches(pattern, leaves_only)  # noqa: E731
        return self._answer((leaves_only, pattern), _MATCH, search)

    def paths(self) -> list[str]:
        """As :meth:`Globs.paths`; not remembered."""
        return self._globs.paths()

    def _answer(self, key: tuple[object, str], each: int, search: Callable[[], T]) -> T:
        """What ``search()`` gives, or gave for this key and these names; ``each``: bytes of one of its results."""
        names = self._names
        # Before the search: what it finds of later changes only makes the answer newer than its state.
        state = (len(names.keys), len(names.gone), len(names.renamed))
        with self._lock:
            if self._state == state and key in self._known:
                self._known.move_to_end(key)
                return cast(T, self._known[key][0])
        found = search()
        size = _SPARE + len(key[1]) + (0 if found is None else each * len(found))
        with self._lock:
            if self._state != state:
                self._known.clear()
                self._bytes = 0
                self._state = state
            if key not in self._known and size <= self._limit:
                self._known[key] = (found, size)
                self._bytes += size
            while self._bytes > self._limit:
                self._bytes -= self._known.popitem(last=False)[1][1]
        return found
