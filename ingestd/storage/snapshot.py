"""A consistent copy of a data directory, which another ingestd can serve.

Block files are immutable and get a second name where the file system allows it. Of logs and of the journal's last
segment, which grow, the valid part is copied; the journal before the registry, so that every series it names is there.
Nothing else may commit or remove block files meanwhile: the copy is made in the writer's thread or under the lock.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import NamedTuple

from ingestd.storage import manifest
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.fileformat import EVENTS_MAGIC, MANIFEST_MAGIC, REGISTRY_MAGIC, SEGMENT_HEADER
from ingestd.storage.files import Files, copy, link_or_copy, make_durably
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Key
from ingestd.storage.logfile import read_log


class Copied(NamedTuple):
    """What a snapshot holds."""

    target: Path
    blocks: int
    linked: int
    """Block files that are the same file as in the source."""
    missing: int
    """Block files that the manifest names and that the source has lost."""


def snapshot(source: Path, target: Path, files: Files | None = None) -> Copied:
    """Copy the store in ``source``, which no process may use, to the new directory ``target``.

    Raises StorageError or OSError, without a ``target``.
    """
    files = files or Files()
    if "manifest.log" not in files.names(source):
        raise StorageError(f"{source} holds no store")
    lock = files.lock(source / "lock")
    try:
        return copy_store(source, target, files)
    finally:
        files.close(lock)


def copy_store(source: Path, target: Path, files: Files) -> Copied:
    """As :func:`snapshot`, for who holds the lock and lets nobody commit meanwhile; points may be journalled."""
    target = target.absolute()
    if target.exists() or target.is_symlink():
        raise StorageError(f"{target} is there already")
    if target.resolve().is_relative_to(source.resolve()):
        raise StorageError(f"{target} is inside of the data directory")
    fresh = target.with_name(f"{target.name}.tmp")
    if fresh.exists():
        raise StorageError(f"{fresh} is there, of a snapshot that was interrupted: remove it")
    if not target.parent.is_dir():
        raise StorageError(f"{target.parent} is no directory")
    files.make_directory(fresh)
    try:
        copied = _Copy(source, fresh, files).run(target)
        files.rename(fresh, target)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    files.sync_directory(target.parent)
    return copied


class _Copy:
    def __init__(self, source: Path, fresh: Path, files: Files) -> None:
        self._source = source
        self._fresh = fresh
        self._files = files

    def run(self, target: Path) -> Copied:
        state = manifest.decode(read_log(self._files, self._source / "manifest.log", MANIFEST_MAGIC)[0])
        self._log("manifest.log", MANIFEST_MAGIC)
        linked = missing = 0
        for key, ref in state.files.items():
            try:
                linked += self._block(key, ref.generation)
            except FileNotFoundError:
                missing += 1
        self._journal(state.journal_from)
        self._log("registry.log", REGISTRY_MAGIC)
        with contextlib.suppress(FileNotFoundError, CorruptFileError):
            self._log("events.log", EVENTS_MAGIC)
        for directory in sorted({p for p in self._fresh.rglob("*") if p.is_dir()}, reverse=True):
            self._files.sync_directory(directory)
        self._files.sync_directory(self._fresh)
        return Copied(target, len(state.files), linked, missing)

    def _log(self, name: str, magic: bytes) -> None:
        _, _, end = read_log(self._files, self._source / name, magic)
        copy(self._files, self._source / name, self._fresh / name, end)

    def _block(self, key: Key, generation: int) -> bool:
        name = Path("blocks", f"L{key.layout}", f"a{key.archive}", f"{key.block}.g{generation}.blk")
        if not (self._fresh / name).parent.is_dir():
            make_durably(self._files, (self._fresh / name).parent)
        return link_or_copy(self._files, self._source / name, self._fresh / name)

    def _journal(self, needed: int) -> None:
        journal = Journal(self._source / "journal", self._files)
        self._files.make_directory(self._fresh / "journal")
        segments = journal.segments()
        for first, _, path in segments:
            # A segment that is not needed may be removed while this looks at it.
            with contextlib.suppress(FileNotFoundError):
                end = first
                for record in journal.read_segment(path, first):
                    end = record.lsn + record.size
                if end > needed or path == segments[-1][2]:
                    copy(self._files, path, self._fresh / "journal" / path.name, SEGMENT_HEADER.size + end - first)
