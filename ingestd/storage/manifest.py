"""The manifest: which block files count, and from where the journal is needed.

Its records are the only commit points.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final

from ingestd.storage.fileformat import COMPLETE, LogRecord, pack_log_record
from ingestd.storage.layout import Key
from ingestd.storage.view import BlockRef

COMMIT: Final = 1
_ENTRY: Final = struct.Struct("<IIqIIQ")
"""layout, archive, block, generation, flags, LSN; first those added (n of them), then those removed."""
REWRITE_BYTES: Final = 4 << 20


def encode_commit(added: Mapping[Key, BlockRef], removed: Mapping[Key, BlockRef], journal_from: int) -> bytes:
    """A commit; a block that is in both gets a new generation."""
    parts = [_entry(k, r) for files in (added, removed) for k, r in files.items()]
    return pack_log_record(COMMIT, len(added), journal_from, parts)


def _entry(key: Key, ref: BlockRef) -> bytes:
    return _ENTRY.pack(key.layout, key.archive, key.block, ref.generation, COMPLETE if ref.complete else 0, ref.lsn)


def decode(records: Sequence[LogRecord]) -> tuple[dict[Key, BlockRef], int]:
    """The files that count and the LSN from which the journal is needed."""
    files: dict[Key, BlockRef] = {}
    journal_from = 0
    for record in records:
        entries = list(_ENTRY.iter_unpack(record.body))
        for layout, archive, block, generation, _, _ in entries[record.n :]:
            key = Key(layout, archive, block)
            if key in files and files[key].generation == generation:
                del files[key]
        for layout, archive, block, generation, flags, lsn in entries[: record.n]:
            files[Key(layout, archive, block)] = BlockRef(generation, lsn, bool(flags & COMPLETE))
        journal_from = record.number
    return files, journal_from
