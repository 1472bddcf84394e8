"""The store's own files: bytes that went bad, and records whose checksum is right and whose fields are absurd."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final

import numpy as np
from fuzz_mutate import Mutator
from fuzz_target import Target, dice

from ingestd.storage import manifest, registry
from ingestd.storage.blocks import BlockFile
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.events import decode_event, encode_event
from ingestd.storage.fileformat import (
    BLOCK_HEADER,
    EVENTS_MAGIC,
    JOURNAL_RECORD,
    JOURNAL_RECORD_MAGIC,
    LOG_HEADER,
    LOG_RECORD,
    LOG_RECORD_MAGIC,
    MANIFEST_MAGIC,
    PAGE,
    REGISTRY_MAGIC,
    SEGMENT_HEADER,
    BlockHeader,
    JournalKey,
    LogRecord,
    crc32c,
    pack_block_header,
    pack_log_header,
    pack_record,
    pack_segment_header,
    record_size,
)
from ingestd.storage.files import Files
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Key
from ingestd.storage.logfile import read_log
from ingestd.storage.view import BlockRef

FIRST_LSN: Final = 0x40
_CRC_AT_LOG: Final = LOG_RECORD.size - 4
_CRC_AT_JOURNAL: Final = JOURNAL_RECORD.size - 4
_CRC_AT_BLOCK: Final = BLOCK_HEADER.size - 4


class OneFile(Files):
    """A disk with one file in memory."""

    def __init__(self, name: str) -> None:
        self.data = b""
        self._name = name

    def open(self, path: Path, flags: int) -> int:
        del path, flags
        return 1

    def close(self, fd: int) -> None:
        pass

    def read(self, fd: int, size: int, offset: int) -> bytes:
        return self.data[offset : offset + size]

    def size(self, fd: int) -> int:
        return len(self.data)

    def map(self, fd: int, size: int) -> bytes:  # type: ignore[override]
        if not 0 < size <= len(self.data):
            raise ValueError("a mapping beyond the end of the file")
        return self.data[:size]

    def make_directory(self, path: Path) -> None:
        pass

    def names(self, path: Path) -> list[str]:
        return [self._name]


def _repaired(data: bytearray, magic: bytes, crc_at: int) -> None:
    """Give every record the checksum of what it holds now, so that its fields are believed."""
    at = -1
    while (at := data.find(magic, at + 1)) >= 0:
        if at + crc_at + 4 <= len(data):
            (length,) = struct.unpack_from("<I", data, at + 4)
            body = memoryview(data)[at + crc_at + 4 : at + max(length, crc_at + 4)]
            crc = crc32c(body, crc32c(bytes(data[at : at + crc_at])))
            body.release()
            struct.pack_into("<I", data, at + crc_at, crc)


def _absurd(mutator: Mutator, data: bytearray, magic: bytes, head: int) -> None:
    """Set a field of some record's header, or a number in its body, to a value at an edge."""
    places = []
    at = -1
    while (at := data.find(magic, at + 1)) >= 0:
        places.append(at)
    if not places:
        return
    at = mutator.pick(places) + 4 * (1 + mutator.below(head // 4 + (12 if mutator.chance(0.5) else 0)))
    if at + 8 <= len(data):
        width, form = mutator.pick(((2, "<H"), (4, "<I"), (4, "<I"), (8, "<Q")))
        struct.pack_into(form, data, at, mutator.number(width))


class _Records(Target):
    """A file of records; two inputs in three have right checksums again after their change."""

    magic = LOG_RECORD_MAGIC
    head = LOG_RECORD.size
    crc_at = _CRC_AT_LOG
    share = 0.2
    largest = 1500

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        way = mutator.random()
        data = bytearray(mutator.changed(seed, self.largest) if way < 0.6 else seed)
        if way > 0.3:
            for _ in range(1 + mutator.below(3)):
                _absurd(mutator, data, self.magic, self.head)
        if way > 0.2:
            _repaired(data, self.magic, self.crc_at)
        return bytes(data)


class JournalFiles(_Records):
    """A segment of the journal: every record that is given stands in the file with a right checksum."""

    name = "journal"
    magic = JOURNAL_RECORD_MAGIC
    head = JOURNAL_RECORD.size
    crc_at = _CRC_AT_JOURNAL

    def seeds(self) -> list[bytes]:
        made = []
        for counts in ((1, 2, 3), (5,), (0, 1), (3, 3, 3, 3)):
            lsn, pieces = FIRST_LSN, [pack_segment_header(FIRST_LSN)]
            for number, n in enumerate(counts):
                key = JournalKey(0, 1, 7) if number % 2 else None
                columns = np.arange(n, dtype=np.uint32), np.arange(n, dtype=np.int64), np.linspace(0.0, 1.0, n)
                pieces += map(bytes, pack_record(lsn, 1_700_000_000, key, *columns))
                lsn += record_size(n)
            made.append(b"".join(pieces) + bytes(64))
        return made

    def begin(self) -> None:
        self._files = OneFile(f"{FIRST_LSN:016x}.0000.jnl")

    def run(self, data: bytes) -> Hashable:
        self._files.data = data
        journal = Journal(Path("journal"), self._files)
        end, count = 0, 0
        for record in journal.replay(dice(data) % 3 * 64):
            assert record.lsn >= end
            at = SEGMENT_HEADER.size + record.lsn - FIRST_LSN
            assert record.size == record_size(len(record.ids)) == struct.unpack_from("<I", data, at + 4)[0]
            assert len(record.ids) == len(record.times) == len(record.values)
            whole = data[at : at + record.size]
            assert len(whole) == record.size
            head, body = whole[:_CRC_AT_JOURNAL], whole[JOURNAL_RECORD.size :]
            assert struct.unpack_from("<I", whole, _CRC_AT_JOURNAL)[0] == crc32c(body, crc32c(head))
            end, count = record.lsn + record.size, count + 1
        return (count, min(len(journal.damage), 3), journal.end > end)


def _decoded(records: list[LogRecord], damage: list[str]) -> registry.Loaded:
    """A registry with a narrow limit on ids, which bounds nothing but memory."""
    usual, registry.IDS_MAX = registry.IDS_MAX, 1 << 12
    try:
        return registry.decode(records, damage)
    finally:
        registry.IDS_MAX = usual


class LogFiles(_Records):
    """Registry, manifest and events, read and decoded: damage is noted, and nothing else is raised."""

    name = "logs"
    tokens = (LOG_RECORD_MAGIC, bytes(8), REGISTRY_MAGIC, MANIFEST_MAGIC, EVENTS_MAGIC)

    def seeds(self) -> list[bytes]:
        two = np.array([0, 0], np.uint16)
        names = [
            registry.encode_layout(0, [(10, 2160), (60, 10080)]),
            registry.encode_profile(0, "average", 0.5),
            registry.encode_create(0, two, two, ["a.b", "a.c"]),
            registry.encode_skip(2, 3),
            registry.encode_create(5, two, two, ["a.d;x=1", "ä"]),
            registry.encode_change(np.array([1, 5], np.uint32), 0, 0),
            registry.encode_forget(np.array([0], np.uint32)),
            registry.encode_rules("f" * 64),
        ]
        key, ref = Key(0, 0, 12), BlockRef(1, 0x400, True)
        commits = [
            manifest.encode_commit({key: ref, Key(0, 1, 3): BlockRef(0, 0x80, False)}, {}, 0x400),
            manifest.encode_commit({key: BlockRef(2, 0x800, False)}, {key: ref}, 0x800),
            manifest.encode_commit({}, {key: ref}, 0x900),
        ]
        event = {"id": 1, "when": 1_700_000_000, "what": "deploy", "tags": ["a"], "data": ""}
        events = [encode_event(event), encode_event({**event, "id": 2, "what": "ä" * 20})]
        return [
            pack_log_header(REGISTRY_MAGIC) + b"".join(names),
            pack_log_header(REGISTRY_MAGIC) + b"".join(names[:3]),
            pack_log_header(MANIFEST_MAGIC) + b"".join(commits),
            pack_log_header(EVENTS_MAGIC) + b"".join(events),
            *(pack_log_header(REGISTRY_MAGIC) + name for name in names),
        ]

    def begin(self) -> None:
        self._files = OneFile("a.log")

    def run(self, data: bytes) -> Hashable:
        self._files.data = data
        magic = data[:8] if data[:8] in {REGISTRY_MAGIC, MANIFEST_MAGIC, EVENTS_MAGIC} else REGISTRY_MAGIC
        try:
            records, damage, end = read_log(self._files, Path("a.log"), magic)
        except CorruptFileError:
            return "no log"
        assert LOG_HEADER.size <= end <= max(len(data), LOG_HEADER.size)
        if magic == REGISTRY_MAGIC:
            loaded = _decoded(records, damage)
            names = loaded.names
            assert len(names.offsets) == len(names.ids) + 1
            assert len(loaded.layout) == len(loaded.profile)
            registry.encode_all(loaded)
            return (magic, len(records), min(len(loaded.damage), 4), min(len(names.ids), 4), loaded.incomplete is None)
        if magic == MANIFEST_MAGIC:
            try:
                state = manifest.decode(records)
            except StorageError:
                return (magic, len(records), "refused")
            state.encode()
            return (magic, len(records), min(len(damage), 3), len(state.files), len(state.expired))
        found = [decode_event(record) for record in records]
        return (magic, len(records), min(len(damage), 3), sum(event is not None for event in found))


class BlockFiles(Target):
    """A block file: its values are given as they were written, or not at all."""

    name = "blocks"
    share = 0.2
    largest = 12_000
    _header = BlockHeader(1, 0, 1, 60, 4, 3, 12, 1, 0x400)

    def seeds(self) -> list[bytes]:
        header = self._header
        ids = np.array([1, 5, 9], "<u4").tobytes()
        values = np.arange(12, dtype="<f8").tobytes()
        crcs = struct.pack("<I", crc32c(values))
        data = pack_block_header(header, crc32c(ids), crc32c(crcs)) + ids
        data = data.ljust(header.crcs_at, b"\0") + crcs
        return [data.ljust(header.data_at, b"\0") + values]

    def begin(self) -> None:
        self._files = OneFile("12.g1.blk")
        self._seed = self.seeds()[0]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        # Most of the file is zeros between pages: changes go to the header, the ids, the checksums and the values.
        del seed
        data = bytearray(self._seed)
        header = self._header
        for _ in range(1 + mutator.below(3)):
            start, size = mutator.pick(((0, 72), (0, 72), (PAGE, 12), (header.crcs_at, 4), (header.data_at, 96)))
            change: Callable[[int], None] = mutator.pick((self._flip, self._number))
            self._mutator, self._data = mutator, data
            change(start + mutator.below(size))
        if mutator.chance(0.7):
            struct.pack_into("<I", data, _CRC_AT_BLOCK, crc32c(bytes(data[:_CRC_AT_BLOCK])))
        return bytes(data[: mutator.below(len(data))] if mutator.chance(0.1) else data)

    def _flip(self, at: int) -> None:
        if at < len(self._data):
            self._data[at] ^= 1 << self._mutator.below(8)

    def _number(self, at: int) -> None:
        if at + 8 <= len(self._data):
            width, form = self._mutator.pick(((4, "<I"), (8, "<Q")))
            struct.pack_into(form, self._data, at, self._mutator.number(width))

    def run(self, data: bytes) -> Hashable:
        self._files.data = data
        wanted = np.array([1, 5, 7, 9], np.uint32)
        out = np.full((4, 4), -1.0)
        try:
            file = BlockFile(self._files, Path("12.g1.blk"), "pread" if dice(data) & 1 else "mmap")
            high = min(file.header.length, 4)
            file.lay(out[:, :high], wanted, 0, high)
        except CorruptFileError as error:
            return error.why[:20]
        rows = {series: row for row, series in enumerate(file.ids.tolist())}
        for row, series in enumerate(wanted.tolist()):
            if series not in rows:
                assert (out[row] == -1.0).all()
        tile = struct.unpack_from("<I", data, file.header.crcs_at)[0]
        values = data[file.header.data_at : file.header.data_at + 8 * file.header.n * file.header.length]
        if (out != -1.0).any():
            assert crc32c(values) == tile
        return ("read", file.header.n, high)
