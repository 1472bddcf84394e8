"""Put a damaged data directory in order: what is broken goes to quarantine, what can be rebuilt is.

Nothing is deleted and nothing invented. The order makes a repair that was interrupted one that can be run again: new
files first, then the manifest, and only then the old files leave their places. docs/repair.md says what comes back from
where.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ingestd.storage import manifest, registry
from ingestd.storage.blocks import UNREAD, BlockDirectory, BlockFile
from ingestd.storage.check import damage_of
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.events import decode_event
from ingestd.storage.fileformat import (
    COMPLETE,
    EVENTS_MAGIC,
    MANIFEST_MAGIC,
    REGISTRY_MAGIC,
    LogRecord,
    pack_log_record,
    pack_segment_header,
)
from ingestd.storage.files import Files, link_or_copy, make_durably
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Key
from ingestd.storage.logfile import LogFile, read_log
from ingestd.storage.names_repair import mend_registry
from ingestd.storage.rebuild import Past, Rebuilder
from ingestd.storage.salvage import runs, salvage_block, top_series
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import BlockRef

QUARANTINE: Final = "quarantine"


@dataclass(slots=True)
class Outcome:
    """What a repair did, and what could not be rebuilt: one line each."""

    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def repair(directory: Path, now: float | None = None, files: Files | None = None) -> Outcome:
    """Repair the store in ``directory``, which no process may use. Running it again changes nothing.

    ``now``: seconds since the epoch, which name the quarantine. Raises StorageError if there is no store or it is in
    use, OSError.
    """
    files = files or Files()
    names = files.names(directory)
    if not {"registry.log", "manifest.log", "blocks", "journal"} & set(names):
        raise StorageError(f"{directory} holds no store")
    lock = files.lock(directory / "lock")
    try:
        return _Repair(directory, time.time() if now is None else now, files).run()
    finally:
        files.close(lock)


class _Repair:
    def __init__(self, directory: Path, now: float, files: Files) -> None:
        self._directory = directory
        self._files = files
        self._now = int(now)
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        taken = files.names(directory / QUARANTINE)
        number = next(n for n in range(len(taken) + 2) if _numbered(stamp, n) not in taken)
        self._quarantine = directory / QUARANTINE / _numbered(stamp, number)
        self._outcome = Outcome()
        self._blocks = BlockDirectory(directory / "blocks", files, "pread")
        unread = directory / UNREAD / "blocks"
        self._unread = BlockDirectory(unread, files, "pread").listed() if files.names(unread) else []
        self._series = SeriesTable()

    def run(self) -> Outcome:
        self._mend_registry()
        said, sound = self._read_manifest()
        state = said
        self._mend_journal(state.journal_from)
        past = Past(self._directory / "journal", self._files, self._series)
        if past.start > state.journal_from:
            if sound:
                self._outcome.lost.append(f"journal: LSN {state.journal_from} to {past.start} are missing")
            state = state._replace(journal_from=past.start)
        if past.end < state.journal_from:
            if sound:
                self._outcome.lost.append(f"journal: what stood behind LSN {past.end}")
            state = state._replace(journal_from=past.end)
        if not sound:
            state = self._find_blocks(state, past)
        mended = self._mend_blocks(state, past)
        if not sound:
            mended = past.without_expired(mended, self._now)
        if mended != said or not sound:
            self._write_log("manifest.log", MANIFEST_MAGIC, [mended.encode()])
            if not sound:
                self._outcome.done.append(f"manifest.log: rebuilt from {len(mended.files)} block files")
        self._clear(mended)
        self._mend_events()
        return self._outcome

    # -- quarantine ----------------------------------------------------------------------------------------------------

    def _place(self, path: Path) -> Path:
        place = self._quarantine / path.relative_to(self._directory)
        make_durably(self._files, place.parent)
        return place

    def _keep_copy(self, path: Path) -> None:
        """A copy of a file that is written anew."""
        if path.name in self._files.names(path.parent):
            link_or_copy(self._files, path, self._place(path))
            self._files.sync_directory(self._place(path).parent)

    def _move(self, path: Path, under: Path = Path()) -> None:
        """Move a file to quarantine, where it stands as it does below ``under``."""
        place = self._quarantine / path.relative_to(self._directory / under)
        make_durably(self._files, place.parent)
        self._files.rename(path, place)
        self._files.sync_directory(place.parent)
        self._files.sync_directory(path.parent)
        self._outcome.done.append(f"{path}: moved to {place.parent}")

    # -- logs ----------------------------------------------------------------------------------------------------------

    def _read(self, name: str, magic: bytes) -> tuple[list[LogRecord], bool]:
        """The valid records of a log, and whether that is all there was."""
        path = self._directory / name
        try:
            records, damage, end = read_log(self._files, path, magic, trust=False)
        except (FileNotFoundError, CorruptFileError):
            return [], False
        return records, not damage and path.stat().st_size == end

    def _write_log(self, name: str, magic: bytes, records: list[bytes]) -> None:
        self._keep_copy(self._directory / name)
        fresh = LogFile(self._files, self._directory / name, magic)
        fresh.replace(records)
        fresh.close()

    def _mend_registry(self) -> None:
        records, sound = self._read("registry.log", REGISTRY_MAGIC)
        listed = [path for path, key, _ in self._blocks.listed() if key is not None]
        journal = Journal(self._directory / "journal", self._files)
        top = max((int(r.ids.max()) for r in journal.replay(0) if len(r.ids)), default=-1)
        mended = mend_registry(records, max(top, top_series(self._files, listed)))
        if not sound or mended.lost:
            self._write_log("registry.log", REGISTRY_MAGIC, mended.records)
            self._outcome.done.append(f"registry.log: rewritten with {mended.series} series")
            self._outcome.lost += [f"registry.log: {what}" for what in mended.lost]
        self._series.load(registry.decode(self._read("registry.log", REGISTRY_MAGIC)[0], ()))
        self._mended = mended

    def _mend_events(self) -> None:
        if "events.log" not in self._files.names(self._directory):
            return
        records, sound = self._read("events.log", EVENTS_MAGIC)
        usable = {r.number: r for r in records if decode_event(r) is not None}
        if sound and len(usable) == len(records):
            return
        kept = [pack_log_record(r.kind, r.n, r.number, [bytes(r.body)]) for r in usable.values()]
        self._write_log("events.log", EVENTS_MAGIC, kept)
        self._outcome.done.append(f"events.log: rewritten with {len(kept)} events")
        gone = max(usable) - min(usable) + 1 - len(usable) if usable else 0
        self._outcome.lost.append(f"events.log: {gone} events of known numbers, and what stood behind the last")

    # -- the journal ---------------------------------------------------------------------------------------------------

    def _mend_journal(self, needed: int) -> None:
        """Every unbroken run of records becomes a segment of its own; the damaged segment goes to quarantine."""
        directory = self._directory / "journal"
        for first, _, path in Journal(directory, self._files).segments():
            found = runs(self._files, path, first)
            if found is None:
                continue
            whole, gaps = found
            for start, data in whole:
                self._write_segment(directory, start, data)
            self._move(path)
            self._outcome.done.append(f"{path}: {sum(len(data) for _, data in whole)} bytes of records kept")
            for gap in gaps:
                if gap.end > needed:
                    size = gap.end - gap.start
                    self._outcome.lost.append(
                        f"{path}: {size} bytes from LSN {gap.start} on, of points or of a write that was cut off"
                    )

    def _write_segment(self, directory: Path, start: int, data: bytes) -> None:
        tries = [number for first, number, _ in Journal(directory, self._files).segments() if first == start]
        path = directory / f"{start:016x}.{max(tries, default=-1) + 1:04x}.jnl"
        fresh = path.with_suffix(".tmp")
        fd = self._files.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            self._files.write(fd, pack_segment_header(start) + data, 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(fresh, path)
        self._files.sync_directory(directory)

    # -- manifest and blocks -------------------------------------------------------------------------------------------

    def _read_manifest(self) -> tuple[manifest.State, bool]:
        """What the manifest says, and whether it can have lost nothing that is of importance here."""
        records, sound = self._read("manifest.log", MANIFEST_MAGIC)
        state = manifest.decode(records)
        present = {path for path, _, _ in self._blocks.listed()}
        named = {self._blocks.path(key, ref.generation) for key, ref in state.files.items()}
        lost_commits = bool(named - present) and bool(present - named)
        return state, sound and not lost_commits

    def _find_blocks(self, state: manifest.State, past: Past) -> manifest.State:
        """The blocks by their files: the highest generation whose header and ids stand, or else the highest.

        One that was named and has no file was lost, unless it is so old that a commit that is lost let it expire.
        """
        best: dict[Key, tuple[bool, int, BlockRef]] = {}
        for path, key, generation in self._blocks.listed():
            if key is None:
                continue
            try:
                header = BlockFile(self._files, path, "pread").header
                if (header.layout, header.archive, header.block, header.generation) != (*key, generation):
                    raise CorruptFileError(path, 0, "the header is another block's")
                ref, sound = BlockRef(generation, header.lsn, bool(header.flags & COMPLETE)), True
            except CorruptFileError:
                known = state.files.get(key)
                same = known is not None and known.generation == generation
                ref, sound = known if same and known else BlockRef(generation, 0, key.archive > 0), False
            best[key] = max(best.get(key, (False, -1, ref)), (sound, generation, ref), key=lambda b: b[:2])
        named = {key: ref for key, (_, _, ref) in best.items()}
        gone = {key: ref for key, ref in state.files.items() if key not in named}
        old = {key: ref for key, ref in gone.items() if past.outlived(key, named, self._now)}
        lost = {key: ref for key, ref in gone.items() if key not in old}
        expired = {key: ref for key, ref in state.expired.items() if key not in named}
        return state._replace(files={**lost, **named}, expired=expired | old)

    def _mend_blocks(self, state: manifest.State, past: Past) -> manifest.State:
        live, expired = dict(state.files), dict(state.expired)
        strange = [k for k in live if not past.knows(k) or k.layout in self._mended.stand_ins]
        for key in strange:
            self._outcome.lost.append(f"{self._blocks.path(key, live[key].generation)}: its layout is lost")
            expired[key] = live.pop(key)
        damaged = {key: found for key, ref in sorted(live.items()) if (found := self._damage(key, ref))}
        for path, owner, generation in self._unread:
            if owner is not None and (key := owner) in live:
                damaged.setdefault(key, []).append(f"{path}: was written anew while it could not be read")
                geometry = self._series.layouts[key.layout].archives[key.archive]
                remains = salvage_block(self._files, path, key, generation, geometry)
                if remains is None or not remains.whole:
                    self._outcome.lost.append(f"{path}: {'all' if remains is None else len(remains.lost)} rows of it")
        if not damaged:
            return state._replace(files=live, expired=expired)
        past.collect(damaged)
        generations = self._generations()
        rebuilder = Rebuilder(self._blocks, self._files, self._series, past, live, roll=not self._mended.unprofiled)
        for key in sorted(damaged, key=lambda k: k.archive):
            self._outcome.done += damaged[key]
            rebuilder.rebuild(key, generations.get(key, []), self._outcome.done, self._outcome.lost)
        return state._replace(files=rebuilder.live, expired=expired)

    def _damage(self, key: Key, ref: BlockRef) -> list[str]:
        path = self._blocks.path(key, ref.generation)
        try:
            file = BlockFile(self._files, path, "pread")
        except FileNotFoundError:
            return [f"{path}: is missing"]
        except CorruptFileError as e:
            return [str(e)]
        own = file.header
        if (own.layout, own.archive, own.block, own.generation) != (*key, ref.generation):
            return [f"{path}: the header is another block's"]
        return damage_of(file, self._files)

    def _generations(self) -> dict[Key, list[tuple[Path, int]]]:
        """Every file there is of a block, in quarantine too."""
        found: dict[Key, list[tuple[Path, int]]] = {}
        old = [
            self._directory / QUARANTINE / name / "blocks" for name in self._files.names(self._directory / QUARANTINE)
        ]
        directories = [BlockDirectory(root, self._files, "pread") for root in old if self._files.names(root)]
        for directory in (*directories, self._blocks):
            for path, key, generation in directory.listed():
                if key is not None:
                    found.setdefault(key, []).append((path, generation))
        return found

    def _clear(self, state: manifest.State) -> None:
        """Move away what counts for nothing."""
        named = {self._blocks.path(key, ref.generation) for key, ref in state.files.items()}
        for path, _, _ in self._unread:
            self._move(path, UNREAD)
        strays: Iterable[Path] = [path for path, _, _ in self._blocks.listed() if path not in named]
        for path in strays:
            self._move(path)
        for directory in (self._directory, self._directory / "journal"):
            for name in self._files.names(directory):
                if name.endswith(".tmp") and not name.startswith("."):
                    self._move(directory / name)


def _numbered(stamp: str, number: int) -> str:
    return f"{stamp}-{number}" if number else stamp
