"""Compiled kernels beside their pure twins, which are the reference and do the same on any bytes.

An install without a compiler has none of them and works; ``INGESTD_PURE=1`` leaves them out as well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Columns: TypeAlias = tuple[
    NDArray[np.uint32],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.intp],
    list[bytes],
    list[int],
    dict[str, int],
]
"""Of some lines: ids, timestamps, values; of those without an id rows and spellings, and which of these may be other
than their paths; lines refused by reason."""

Parse: TypeAlias = Callable[[bytes, "PureTable", int, Callable[[bytes, int], Any], int, int], Columns]

Run: TypeAlias = tuple[int, int, bytes]
"""Rows of one sender: where they end, the datagram they stood in, the user who sealed them (b"": nobody did)."""
Refused: TypeAlias = tuple[int, bytes, dict[str, int]]
"""What was refused of a datagram: which one, the user of its first row (b"": none), points by reason."""
Found: TypeAlias = tuple[
    NDArray[np.uint32],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.intp],
    list[bytes],
    list[Run],
    list[Refused],
    list[Any],
    list[tuple[int, Exception]],
]
"""Of some datagrams: ids, timestamps, values, rows and spellings of those without an id, runs of rows, what was
refused, notifications, and the errors of those on which the reader failed."""


class Reader(Protocol):
    """What reads collectd's datagrams: a kernel, or :class:`ingestd.wire.parts.PureReader`."""

    @property
    def forgotten(self) -> int: ...
    @property
    def mismatched(self) -> int: ...
    @property
    def padded(self) -> int: ...
    @property
    def unverified(self) -> int: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def read(self, datagrams: list[bytes], names: Any, now: float, security: Any, /) -> Found: ...


class Receiver(Protocol):
    """What reads many datagrams by one call of the kernel."""

    def receive(self, socket: int, most: int, size: int, /) -> list[tuple[bytes, str]]: ...


Encode: TypeAlias = Callable[
    [list[bytes], list[NDArray[np.float64]], list[tuple[int, int, int, bool]], bool, bytes], bytes
]

Sums: TypeAlias = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]
RowSums: TypeAlias = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.intp]]]


_NONE: Final = 0xFFFFFFFF


class PureTable(dict[bytes, int]):
    """Spellings to ids: what the compiled table does, as a dict."""

    def add(self, keys: Sequence[bytes], ids: NDArray[np.uint32]) -> bool:
        """Enter ``keys`` with their ``ids``. False, with nothing entered, if one is there already or there twice."""
        fresh = dict(zip(keys, ids.tolist(), strict=True))
        if len(fresh) < len(keys) or not self.keys().isdisjoint(fresh):
            return False
        self.update(fresh)
        return True

    def missing(self, keys: Sequence[bytes]) -> NDArray[np.intp]:
        """The place in ``keys`` of the first of each spelling that is not there, ascending."""
        first: dict[bytes, int] = {}
        for place, key in enumerate(keys):
            if key not in self:
                first.setdefault(key, place)
        return np.fromiter(first.values(), np.intp, len(first))

    def look_up(self, keys: Sequence[bytes]) -> NDArray[np.uint32]:
        """The ids of ``keys``; 2**32 - 1 for those that are not there."""
        return np.fromiter((self.get(key, _NONE) for key in keys), np.uint32, len(keys))

    def look_up_spans(self, blob: bytes, ends: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The ids of the spellings that stand one after the other in ``blob`` and end at ``ends`` (uint32[n])."""
        bounds = [0, *ends.tolist()]
        if sorted(bounds) != bounds or bounds[-1] > len(blob):
            raise ValueError("a spelling that is not within its bytes")
        return self.look_up([blob[start:end] for start, end in pairwise(bounds)])


def _module(name: str) -> Any:
    """A compiled module; None where there is none."""
    if os.environ.get("INGESTD_PURE"):
        return None
    try:
        return import_module(f"ingestd._speed.{name}")
    except ImportError:
        return None


def _kernel(module: str, name: str) -> Any:
    """What a compiled module holds; None where there is none."""
    return getattr(_module(module), name, None)


Table: Final[type[PureTable]] = _kernel("table", "Table") or PureTable
parse_compiled: Final[Parse | None] = _kernel("lines", "parse")
survey_compiled: Final[Callable[..., tuple[int, int, int]] | None] = _kernel("ring", "survey")
scatter_compiled: Final[Callable[..., int] | None] = _kernel("ring", "scatter")
lay_compiled: Final[Callable[..., None] | None] = _kernel("ring", "lay")
receive_all: Final[Callable[[list[int], memoryview, int], list[int]] | None] = _kernel("reads", "receive_all")
CollectdReader: Final[Callable[..., Reader] | None] = _kernel("collectd", "Reader")
CollectdNaming: Final[Callable[..., Any] | None] = _kernel("naming", "Naming")
xor_compiled: Final[Callable[[bytes, bytes], bytes] | None] = _kernel("seal", "xor")
DatagramReceiver: Final[Callable[[], Receiver] | None] = _kernel("datagrams", "Receiver")
encode_compiled: Final[Encode | None] = _kernel("datapoints", "encode")
sums_compiled: Final[Sums | None] = _kernel("sums", "sums")
row_sums_compiled: Final[RowSums | None] = _kernel("sums", "row_sums")
rows_compiled: Final[Any] = _module("rows")
"""Rows of block files and columns of rings: the functions of ``rows.pyi``."""
along_compiled: Final[Any] = _module("along")
"""Walks along series from point to point: the functions of ``along.pyi``."""
windows_compiled: Final[Any] = _module("windows")
"""Windows that slide along series: the functions of ``windows.pyi``."""
tree_compiled: Final[Any] = _module("tree")
"""Walks through the tree of names: the functions of ``tree.pyi``."""
load_lines_compiled: Final[Callable[..., tuple[int, int, int]] | None] = _kernel("load", "lines")
load_datagrams_compiled: Final[Callable[..., tuple[int, int, int, int]] | None] = _kernel("load", "datagrams")
COMPILED: Final = parse_compiled is not None
"""Whether the kernels are there."""
