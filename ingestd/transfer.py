"""What a store has of some partitions, given to another one and taken from it: part of the composition root.

Questions are messages as between nodes that gather (``docs/format/peer.md``), at a URL of their own, for
administrators. A block is named by its retentions (``10:2160,60:10080``: step and slots of each archive), archive and
number: what two stores call their layouts differs.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from crc32c import crc32c

from ingestd.cluster.messages import Kind, PeerError, decode, encode
from ingestd.index.names import Names
from ingestd.points import UNKNOWN, Ids, Values
from ingestd.registrar import Registrar
from ingestd.storage.errors import StorageError
from ingestd.storage.layout import Key, Layout
from ingestd.storage.store import Store
from ingestd.wire.partition import partitions_of

ANSWER: Final = 900 << 10
"""Bytes of an answer, about: it must fit into a body (http.body) of the node that takes it."""
AT_ONCE: Final = 1 << 17
"""Values that are read at once: 1 MB."""
_OWN: Final = b"ingestd."
"""Series that each node has of itself: they are no other's."""


class _Share(NamedTuple):
    """The series of some partitions, by path."""

    keys: list[bytes]
    ids: Ids


class Transfer:
    """Pieces out of this store, and into it. Reads run in other threads, all else on the event loop."""

    def __init__(self, names: Names, store: Store, registrar: Registrar, clock: Callable[[], int]) -> None:
        """``clock``: the accept clock, in seconds."""
        self._names = names
        self._store = store
        self._registrar = registrar
        self._clock = clock
        self._last: tuple[tuple[Any, ...], _Share] | None = None

    async def answer(self, message: bytes) -> bytes:
        """The message that answers one. Raises :class:`PeerError` and RegistrarError."""
        try:
            return await self._answer(*decode(message))
        except StorageError as error:
            raise PeerError(str(error)) from error

    async def _answer(self, kind: Kind, values: list[Any]) -> bytes:
        if kind is Kind.PLACE:
            return encode(Kind.TAKEN, await self._place(*values))
        reads: dict[Kind, Callable[..., bytes]] = {
            Kind.HELD: self._held,
            Kind.PIECE: self._piece,
            Kind.DIGEST: self._digest,
        }
        if kind not in reads:
            raise PeerError("not a question about pieces")
        share = await asyncio.to_thread(self._share, *values[:2])
        return await asyncio.to_thread(reads[kind], share, *values[2:])

    def _share(self, host_nodes: int, partitions: Ids) -> _Share:
        """The series of some partitions; the last ones asked for are remembered, as a copy asks often."""
        names = self._names
        asked = (host_nodes, partitions.tobytes(), len(names.keys), len(names.gone))
        if self._last is not None and self._last[0] == asked:
            return self._last[1]
        if host_nodes < 0:
            raise PeerError("a key of less than no nodes")
        wanted = np.zeros(1024, np.bool_)
        wanted[partitions[partitions < len(wanted)]] = True
        living = [(key, id_) for id_, key in enumerate(names.keys) if key is not None and not key.startswith(_OWN)]
        inside = wanted[partitions_of([key for key, _ in living], host_nodes)].tolist()
        chosen = sorted(pair for pair, mine in zip(living, inside, strict=True) if mine)
        share = _Share([key for key, _ in chosen], np.array([id_ for _, id_ in chosen], np.uint32))
        self._last = asked, share
        return share

    def _held(self, share: _Share) -> bytes:
        series = self._store.series
        numbers = np.unique(series.layout_of[share.ids]).tolist()
        place_of = {number: place for place, number in enumerate(numbers)}
        changed = len(series.history.keys() & set(share.ids.tolist())) if series.history else 0
        blocks = [key for key in self._store.held() if key.layout in place_of]
        ends = [series.layouts[key.layout].span(key)[1] for key in blocks]
        columns = [
            np.array(column, np.int64) for column in ([k.archive for k in blocks], [k.block for k in blocks], ends)
        ]
        which = np.array([place_of[key.layout] for key in blocks], np.uint32)
        texts = [retentions_of(series.layouts[number]) for number in numbers]
        return encode(Kind.BLOCKS, changed, texts, which, *columns)

    def _piece(self, share: _Share, retentions: str, archive: int, block: int, after: str, most: int) -> bytes:
        key, length = self._block(retentions, archive, block)
        begin = bisect_right(share.keys, after.encode())
        end = min(len(share.keys), begin + max(1, min(most, AT_ONCE // length)))
        size = 0
        for place in range(begin, end):
            size += len(share.keys[place]) + 4 + 8 * length
            if size > ANSWER and place > begin:
                end = place
                break
        keys, values = self._rows(key, share, begin, end)
        last = share.keys[end - 1].decode() if end > begin else after
        return encode(Kind.SLOTS, int(end < len(share.keys)), last, [one.decode() for one in keys], values.ravel())

    def _digest(self, share: _Share, retentions: str, archive: int, block: int, until: int) -> bytes:
        key, length = self._block(retentions, archive, block)
        step = self._store.series.layouts[key.layout].archives[archive].step
        whole = max(until // step - block * length, 0)
        series = names = numbers = 0
        each = max(1, AT_ONCE // length)
        for begin in range(0, len(share.keys), each):
            keys, values = self._rows(key, share, begin, min(begin + each, len(share.keys)), whole)
            series += len(keys)
            values[np.isnan(values)] = np.nan
            names = crc32c(b"".join(one + b"\0" for one in keys), names)
            numbers = crc32c(values.tobytes(), numbers)
        return encode(Kind.DIGESTED, series, crc32c(b"%d %d" % (names, numbers)))

    def _rows(
        self, key: Key, share: _Share, begin: int, end: int, whole: int | None = None
    ) -> tuple[list[bytes], Values]:
        """The series of a stretch of the share that have values in the first ``whole`` slots, and these values."""
        ids = share.ids[begin:end]
        rows = np.flatnonzero(self._store.series.layout_of[ids] == key.layout)
        order = np.argsort(ids[rows])
        read = self._store.piece(key, ids[rows[order]])
        values = np.empty_like(read)
        values[order] = read
        values = values[:, :whole]
        some = np.flatnonzero(~np.isnan(values).all(1)) if values.size else np.empty(0, np.intp)
        return [share.keys[begin + place] for place in rows[some].tolist()], values[some]

    async def _place(
        self, retentions: str, archive: int, block: int, over: int, paths: Sequence[str], values: Values
    ) -> int:
        if len(set(paths)) != len(paths):
            raise PeerError("a path that stands there twice")
        canonical = await self._registrar.register(paths)
        ids = self._names.look_up(canonical)
        if canonical != list(paths) or bool((ids == UNKNOWN).any()):
            raise PeerError("a path that is not as a store spells it, or went meanwhile")
        if not len(ids):
            return 0
        key, length = self._block(retentions, archive, block)
        if len(values) != len(ids) * length:
            raise PeerError("values that do not fill their rows")
        order = np.argsort(ids)
        rows = values.reshape(len(ids), length)[order]
        taken = self._store.place(key, ids[order], rows, self._clock(), over=bool(over))
        await asyncio.wrap_future(self._store.settled())
        return taken

    def _block(self, retentions: str, archive: int, block: int) -> tuple[Key, int]:
        """The block that is meant, and its slots. Raises PeerError if no series here are kept so."""
        for layout in self._store.series.layouts:
            if retentions_of(layout) == retentions and 0 <= archive < len(layout.archives):
                return Key(layout.id, archive, block), layout.archives[archive].length
        raise PeerError(f"no series are kept as {retentions[:200]} here: the schemas of the nodes differ")


def retentions_of(layout: Layout) -> str:
    """Step and slots of each archive."""
    return ",".join(f"{one.step}:{one.slots}" for one in layout.archives)
