"""One data directory: the lock, the registry, the journal, the manifest and the block files together.

``lock`` · ``registry.log`` · ``manifest.log`` · ``journal/*.jnl`` · ``blocks/L*/a*/*.blk`` · ``events.log`` ·
``marks.log``
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ingestd.points import Ids, Values
from ingestd.storage import manifest, registry
from ingestd.storage.blocks import BlockDirectory
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.fileformat import MANIFEST_MAGIC, REGISTRY_MAGIC
from ingestd.storage.files import Files, make_durably
from ingestd.storage.journal import SEGMENT_BYTES, Journal
from ingestd.storage.layout import Key
from ingestd.storage.logfile import LogFile, read_log
from ingestd.storage.snapshot import Copied, copy_store
from ingestd.storage.view import BlockRef, Fold, Places

log = logging.getLogger(__name__)

FEW_FORGOTTEN: Final = 10_000
"""The registry is written anew at a start when it names more forgotten series than living ones, and these few more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What stands in the directory."""

    registry: registry.Loaded
    files: dict[Key, BlockRef]
    journal_from: int
    expired: frozenset[Key]


class Home:
    """The files of a store. Nothing but the lock is touched before :meth:`open`."""

    def __init__(
        self,
        directory: Path,
        access: Literal["mmap", "pread"],
        segment_bytes: int = SEGMENT_BYTES,
        files: Files | None = None,
    ) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._access: Literal["mmap", "pread"] = access
        self._files = files or Files()
        self._lock = -1
        self._notes: list[str] = []
        self.journal: Journal
        self.registry = LogFile(self._files, directory / "registry.log", REGISTRY_MAGIC)
        self._manifest = LogFile(self._files, directory / "manifest.log", MANIFEST_MAGIC)
        self._blocks: BlockDirectory

    @property
    def damage(self) -> list[str]:
        """What was found broken since the start."""
        return [*self._notes, *self.journal.damage, *self._blocks.damage]

    def snapshot(self, target: Path) -> Copied:
        """Copy the store to ``target`` while nobody commits. Raises StorageError or OSError."""
        return copy_store(self._directory, target, self._files)

    def note(self, what: str) -> None:
        """Add to the damage."""
        self._notes.append(what)

    def lock(self) -> None:
        """Make the directory, and take it for this process. Raises StorageError or OSError."""
        make_durably(self._files, self._directory)
        self._lock = self._files.lock(self._directory / "lock")

    def open(self) -> Opened:
        """Read registry and manifest; locks unless :meth:`lock` was called. Raises StorageError or OSError."""
        if self._lock < 0:
            self.lock()
        try:
            return self._open()
        except BaseException:
            self.registry.close()
            self._manifest.close()
            self._files.close(self._lock)
            raise

    def _open(self) -> Opened:
        self._blocks = BlockDirectory(self._directory / "blocks", self._files, self._access)
        self.journal = Journal(self._directory / "journal", self._files, self._segment_bytes)
        self._refuse_without_logs()
        try:
            records, damage = self._manifest.load()
            loaded = registry.decode(*self.registry.load())
        except CorruptFileError as e:
            raise self.refusal(str(e)) from e
        if damage:
            raise self.refusal(damage[0])
        files, journal_from, expired = manifest.decode(records)
        self._look_for_lost(files, journal_from)
        self._refuse_without_series(files, loaded)
        self._remove_unlisted(files)
        self._manifest.trim()
        self.registry.trim()
        self._notes += loaded.damage
        if loaded.forgotten > len(loaded.names.ids) + FEW_FORGOTTEN and not loaded.damage:
            self.registry.replace(registry.encode_all(loaded))
        return Opened(loaded, files, journal_from, frozenset(expired))

    def refusal(self, why: str) -> StorageError:
        """The error of a start that would lose what can still be saved."""
        return StorageError(f"{why}; try: ingestd check --repair {self._directory}")

    def _refuse_without_logs(self) -> None:
        """The logs are made before anything else: without them, what is there would count for nothing."""
        names = self._files.names(self._directory)
        data = bool(self._blocks.listed() or self.journal.segments())
        if "manifest.log" not in names and (data or "registry.log" in names):
            raise self.refusal(f"{self._directory / 'manifest.log'} is missing")
        if "registry.log" not in names and data:
            raise self.refusal(f"{self._directory / 'registry.log'} is missing")

    def _look_for_lost(self, files: Mapping[Key, BlockRef], journal_from: int) -> None:
        """What the manifest counts on and is gone is noted.

        Where the manifest itself may have lost its last record, which named what stands there now, nothing is touched.
        """
        present = {path for path, _, _ in self._blocks.listed()}
        named = {self._blocks.path(key, ref.generation) for key, ref in files.items()}
        lost = [f"{path} is missing" for path in sorted(named - present)]
        segments = self.journal.segments()
        if segments and segments[0][0] > journal_from:
            lost.append(f"the journal from LSN {journal_from} to {segments[0][0]} is missing")
        if lost and (self._manifest.torn or present - named):
            raise self.refusal(f"{self._directory / 'manifest.log'} has lost commits: {lost[0]}")
        self._notes += lost
        self._blocks.give_up(named - present)

    def _refuse_without_series(self, files: Mapping[Key, BlockRef], loaded: registry.Loaded) -> None:
        """Ids that the registry lost are not to be given to other series while there are points of theirs."""
        path = self._directory / "registry.log"
        if loaded.incomplete:
            raise self.refusal(f"{path}: {loaded.incomplete}")
        for key in files:
            if key.layout >= len(loaded.layouts) or key.archive >= len(loaded.layouts[key.layout]):
                raise self.refusal(f"{path}: the layout of blocks/L{key.layout}/a{key.archive} is lost")
        # Where the tail is torn every file is asked; else the newest of each archive, which know all but the silent.
        newest = {key._replace(block=0): key for key in sorted(files)}
        for key in files if self.registry.torn else newest.values():
            ids = self._blocks.series(key, files[key].generation)
            if len(ids):
                self.require(int(ids[-1]), len(loaded.layout))

    def require(self, series: int, known: int) -> None:
        """Raise StorageError if the id ``series``, which points have, is not among the ``known`` of the registry."""
        if series >= known:
            path = self._directory / "registry.log"
            raise self.refusal(f"{path}: series {known} to {series} have points but no names")

    def _remove_unlisted(self, files: Mapping[Key, BlockRef]) -> None:
        """Files that no commit names: a checkpoint was interrupted before it, or its removals after it."""
        for path, key, generation in self._blocks.listed():
            ref = files.get(key) if key is not None else None
            if ref is None or ref.generation != generation:
                self._files.unlink(path)

    def free_bytes(self) -> int:
        """Bytes free on the disk of the directory; none where it does not say."""
        try:
            return self._files.free_bytes(self._directory)
        except OSError as e:
            log.error("the free space cannot be told: %s", e)
            return 0

    # -- block files, as reading and checkpoints use them --------------------------------------------------------------

    def lay(self, out: Values, key: Key, generation: int, ids: Ids, low: int, high: int) -> None:
        """As :meth:`BlockDirectory.lay`."""
        self._blocks.lay(out, key, generation, ids, low, high)

    def fold(self, into: Fold, key: Key, generation: int, ids: Ids, places: Places, low: int, high: int) -> bool:
        """As :meth:`BlockDirectory.fold`."""
        return self._blocks.fold(into, key, generation, ids, places, low, high)

    def series(self, key: Key, generation: int) -> Ids:
        """As :meth:`BlockDirectory.series`."""
        return self._blocks.series(key, generation)

    def write(
        self, key: Key, ref: BlockRef, step: int, ids: Ids, parts: Sequence[slice], values: Callable[[Ids], Values]
    ) -> None:
        """As :meth:`BlockDirectory.write`."""
        self._blocks.write(key, ref, step, ids, parts, values)

    def commit(self, added: Mapping[Key, BlockRef], removed: Mapping[Key, BlockRef], journal_from: int) -> None:
        """Enter a checkpoint in the manifest, durably: the only commit point."""
        self._manifest.append_durably([manifest.encode_commit(added, removed, journal_from)])
        if self._manifest.size > manifest.REWRITE_BYTES:
            try:
                records, _, _ = read_log(self._files, self._directory / "manifest.log", MANIFEST_MAGIC)
                self._manifest.replace([manifest.decode(records).encode()])
            except OSError as e:
                # The commit stands; a shorter manifest can wait for the next one.
                log.warning("manifest: rewriting it failed: %s", e)

    def remove(self, files: Mapping[Key, BlockRef]) -> None:
        """Unlink block files that a commit removed; what cannot be unlinked is unlinked at the next start."""
        for key, ref in files.items():
            try:
                self._blocks.remove(key, ref.generation)
            except OSError as e:
                log.warning("a block file that is not needed stays: %s", e)

    def close(self) -> None:
        """Close everything and give up the lock."""
        self.journal.close()
        self._blocks.close()
        self.registry.close()
        self._manifest.close()
        self._files.close(self._lock)
