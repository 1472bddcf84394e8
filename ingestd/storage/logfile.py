"""An append-only file of checksummed records: what the registry, the manifest, the events and the marks are kept in."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ingestd.storage.errors import CorruptFileError
from ingestd.storage.fileformat import (
    EVENTS_MAGIC,
    LOG_HEADER,
    LOG_RECORD_MAGIC,
    MANIFEST_MAGIC,
    MARKS_MAGIC,
    REGISTRY_MAGIC,
    LogRecord,
    pack_log_header,
    pack_log_record,
    unpack_log_record,
)
from ingestd.storage.files import Files

OTHERS: Final = frozenset(
    pack_log_header(magic) for magic in (REGISTRY_MAGIC, MANIFEST_MAGIC, EVENTS_MAGIC, MARKS_MAGIC)
)
"""The headers of all logs."""


def read_log(files: Files, path: Path, magic: bytes, *, trust: bool = True) -> tuple[list[LogRecord], list[str], int]:
    """The valid records of a log, what is damaged, and the length up to its last valid record.

    Raises CorruptFileError where the file is not such a log at all, FileNotFoundError where there is none. Without
    ``trust`` a broken header is only damage: the path says what the file is, unless it is another log for certain.
    """
    fd = files.open(path, os.O_RDONLY)
    try:
        whole = files.read(fd, files.size(fd), 0)
    finally:
        files.close(fd)
    records: list[LogRecord] = []
    damage: list[str] = []
    if whole[: LOG_HEADER.size] != pack_log_header(magic):
        error = CorruptFileError(path, 0, f"the header is not {magic.decode()}'s")
        if trust or whole[: LOG_HEADER.size] in OTHERS:
            raise error
        damage.append(str(error))
    data = memoryview(whole)
    at = end = LOG_HEADER.size
    while True:
        record = unpack_log_record(data, at)
        if record is None:
            following = _next_valid(whole, data, at)
            if following is None:
                break
            damage.append(f"{path}: bytes {at} to {following.offset} are damaged and were skipped")
            record = following
        records.append(record)
        at = end = record.offset + record.size
    return records, damage, end


def _next_valid(whole: bytes, data: memoryview, at: int) -> LogRecord | None:
    while (at := whole.find(LOG_RECORD_MAGIC, at + 1)) >= 0:
        if at % 8 == 0 and (record := unpack_log_record(data, at)) is not None:
            return record
    return None


class LogFile:
    """A log that is open for appending. Not thread-safe."""

    def __init__(self, files: Files, path: Path, magic: bytes) -> None:
        self._files = files
        self._path = path
        self._magic = magic
        self._fd = -1
        self._distrusted = False
        self.size = 0
        """Bytes up to the last record."""
        self.torn = 0
        """Bytes behind the last record that are none, until :meth:`trim` cuts them."""

    def load(self) -> tuple[list[LogRecord], list[str]]:
        """Read all records and open for appending, which :meth:`trim` allows; a log that is not there is begun.

        What is read is synced with its name: a process that was killed may have left it in the page cache alone.
        """
        try:
            records, damage, self.size = read_log(self._files, self._path, self._magic)
        except FileNotFoundError:
            records, damage = [], []
            self.replace([])
            return records, damage
        self._fd = self._files.open(self._path, os.O_RDWR)
        self.torn = max(0, self._files.size(self._fd) - self.size)
        self._files.sync(self._fd)
        self._files.sync_directory(self._path.parent)
        return records, damage

    def trim(self) -> None:
        """Cut a torn tail, once the caller knows that nothing depends on what stood there."""
        if self.torn:
            self._files.truncate(self._fd, self.size)
            self._files.sync(self._fd)
            self.torn = 0

    def append(self, records: Sequence[bytes]) -> None:
        """Write records behind the last; a failed append is overwritten by the next."""
        data = b"".join(records)
        self._files.write(self._fd, data, self.size)
        self.size += len(data)

    def sync(self) -> None:
        self._files.sync(self._fd)

    def append_durably(self, records: Sequence[bytes]) -> None:
        """Append and sync. Raises OSError with the log as it was.

        The call after a failure writes the whole log to a new file, because a file whose sync failed may have lost
        pages without saying so again.
        """
        before = self.size
        try:
            if self._distrusted:
                kept, damage, _ = read_log(self._files, self._path, self._magic)
                if damage:
                    raise OSError(errno.EIO, damage[0])
                again = [pack_log_record(r.kind, r.n, r.number, [bytes(r.body)]) for r in kept if r.offset < before]
                self.replace([*again, *records])
            else:
                self.append(records)
                self.sync()
        except OSError:
            self.size = before
            self._distrusted = True
            raise

    def replace(self, records: Sequence[bytes]) -> None:
        """Put a log of just these records in the place of the old one, durably."""
        fresh = self._path.with_suffix(".tmp")
        fd = self._files.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            data = pack_log_header(self._magic) + b"".join(records)
            self._files.write(fd, data, 0)
            self._files.sync(fd)
            self._files.rename(fresh, self._path)
        except OSError:
            self._files.close(fd)
            self._files.unlink(fresh)
            raise
        # From here on the old file has no name: what would be appended to it would be lost.
        self.close()
        self._fd, self.size = fd, len(data)
        self._distrusted = True
        self._files.sync_directory(self._path.parent)
        self._distrusted = False

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._files.close(fd)
