"""The manifest: which block files count, and from where the journal is needed.

Its records are the only commit points.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ingestd.storage.errors import StorageError
from ingestd.storage.fileformat import COMPLETE, LogRecord, pack_log_record
from ingestd.storage.layout import Key
from ingestd.storage.view import BlockRef

COMMIT: Final = 1
_ENTRY: Final = struct.Struct("<IIqIIQ")
"""layout, archive, block, generation, flags, LSN; first those added (n of them), then those removed."""
REWRITE_BYTES: Final = 4 << 20
EXPIRED_KEPT: Final = 10_000
"""Expired blocks that a rewritten manifest still names: two months of one layout, where the journal spans hours."""


def encode_commit(added: Mapping[Key, BlockRef], removed: Mapping[Key, BlockRef], journal_from: int) -> bytes:
    """A commit; a block that is in both gets a new generation."""
    parts = [_entry(k, r) for files in (added, removed) for k, r in files.items()]
    return pack_log_record(COMMIT, len(added), journal_from, parts)


def _entry(key: Key, ref: BlockRef) -> bytes:
    return _ENTRY.pack(key.layout, key.archive, key.block, ref.generation, COMPLETE if ref.complete else 0, ref.lsn)


class State(NamedTuple):
    """What a manifest says."""

    files: dict[Key, BlockRef]
    """The block files that count."""
    journal_from: int
    """The LSN from which the journal is needed."""
    expired: dict[Key, BlockRef]
    """Blocks that went for good, in order: the journal may still hold points of theirs, which are not to come back."""

    def encode(self) -> bytes:
        """One commit that says the same, of blocks expired long ago no more."""
        recent = dict(list(self.expired.items())[-EXPIRED_KEPT:])
        return encode_commit(self.files, recent, self.journal_from)


def decode(records: Sequence[LogRecord]) -> State:
    """The state after all ``records``. Raises StorageError for one that is no commit."""
    files: dict[Key, BlockRef] = {}
    expired: dict[Key, BlockRef] = {}
    journal_from = 0
    for record in records:
        if record.kind != COMMIT or len(record.body) % _ENTRY.size:
            raise StorageError(f"the manifest's record at byte {record.offset} is no commit")
        entries = [
            (Key(layout, archive, block), BlockRef(generation, lsn, bool(flags & COMPLETE)))
            for layout, archive, block, generation, flags, lsn in _ENTRY.iter_unpack(record.body)
        ]
        for key, ref in entries[record.n :]:
            files.pop(key, None)
            expired[key] = ref
        for key, ref in entries[: record.n]:
            files[key] = ref
            expired.pop(key, None)
        journal_from = record.number
    return State(files, journal_from, expired)
