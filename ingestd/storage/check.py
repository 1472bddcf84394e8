"""Verify a data directory, or show what one file holds. Reads only, takes no lock and repairs nothing.

On the directory of a running store a block file may vanish and a tail may be half written while this looks; findings
there are to be confirmed with the store stopped.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from ingestd.storage import manifest, registry
from ingestd.storage.blocks import BlockDirectory, BlockFile
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.events import decode_event
from ingestd.storage.fileformat import (
    BLOCK_MAGIC,
    COMPLETE,
    EVENTS_MAGIC,
    JOURNAL_MAGIC,
    MANIFEST_MAGIC,
    PAGE,
    REGISTRY_MAGIC,
    SEGMENT_HEADER,
    unpack_segment_header,
)
from ingestd.storage.files import Files
from ingestd.storage.journal import Journal
from ingestd.storage.layout import Key
from ingestd.storage.logfile import read_log
from ingestd.storage.view import BlockRef

LOGS: Final = {REGISTRY_MAGIC: "registry", MANIFEST_MAGIC: "manifest", EVENTS_MAGIC: "events"}


@dataclass(slots=True)
class Report:
    """What a directory holds, counted, and what is wrong with it."""

    findings: list[str] = field(default_factory=list)
    series: int = 0
    layouts: int = 0
    profiles: int = 0
    blocks: int = 0
    rows: int = 0
    journal_from: int = 0
    journal_end: int = 0
    journal_records: int = 0
    journal_points: int = 0
    events: int = 0

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check(directory: Path, files: Files | None = None) -> Report:
    """Verify every checksum below ``directory``. Raises StorageError if there is no store, OSError."""
    files = files or Files()
    report = Report()
    names = files.names(directory)
    if "registry.log" not in names and "manifest.log" not in names:
        raise StorageError(f"{directory} holds no store")
    known = _check_registry(files, directory / "registry.log", report)
    live = _check_manifest(files, directory / "manifest.log", report)
    _check_blocks(files, directory, live, known, report)
    _check_journal(files, directory, known, report)
    if "events.log" in names:
        records, report.events = _log(files, directory / "events.log", EVENTS_MAGIC, report), 0
        for record in records:
            if decode_event(record) is None:
                report.findings.append(f"{directory / 'events.log'}: the event at byte {record.offset} cannot be used")
            else:
                report.events += 1
    return report


def _log(files: Files, path: Path, magic: bytes, report: Report) -> list[Any]:
    try:
        records, damage, end = read_log(files, path, magic)
    except (CorruptFileError, FileNotFoundError) as e:
        report.findings.append(str(e))
        return []
    report.findings += damage
    size = _size(files, path)
    if size > end:
        report.findings.append(f"{path}: {size - end} bytes after byte {end} are no record (a torn tail)")
    return list(records)


def _size(files: Files, path: Path) -> int:
    fd = files.open(path, os.O_RDONLY)
    try:
        return files.size(fd)
    finally:
        files.close(fd)


def _check_registry(files: Files, path: Path, report: Report) -> registry.Loaded:
    loaded = registry.decode(_log(files, path, REGISTRY_MAGIC, report), ())
    report.findings += [f"{path}: {what}" for what in loaded.damage]
    report.series, report.layouts, report.profiles = len(loaded.layout), len(loaded.layouts), len(loaded.profiles)
    for what, column, count in (
        ("layout", loaded.layout, report.layouts),
        ("profile", loaded.profile, report.profiles),
    ):
        lost = int((column >= count).sum())
        if lost:
            report.findings.append(f"{path}: {lost} series have a {what} that is not recorded")
    for i in range(len(loaded.names.ids)):
        name = loaded.names.blob[loaded.names.offsets[i] : loaded.names.offsets[i + 1]]
        try:
            name.decode()
        except UnicodeDecodeError:
            report.findings.append(f"{path}: the name of series {loaded.names.ids[i]} is not UTF-8")
    return loaded


def _check_manifest(files: Files, path: Path, report: Report) -> dict[Key, BlockRef]:
    live, report.journal_from, _ = manifest.decode(_log(files, path, MANIFEST_MAGIC, report))
    return live


def _check_blocks(
    files: Files, directory: Path, live: dict[Key, BlockRef], known: registry.Loaded, report: Report
) -> None:
    root = directory / "blocks"
    paths: dict[Path, Key] = {}
    for key, ref in live.items():
        paths[root / f"L{key.layout}" / f"a{key.archive}" / f"{key.block}.g{ref.generation}.blk"] = key
    for path, key in paths.items():
        try:
            _check_block(files, path, key, live[key], known, report)
        except FileNotFoundError:
            report.findings.append(f"{path}: the manifest names it, but it is missing")
        except (CorruptFileError, OSError) as e:
            report.findings.append(str(e))
    if files.names(root):
        for path, _, _ in BlockDirectory(root, files, "pread").listed():
            if path not in paths:
                report.findings.append(f"{path}: the manifest does not name it (the next start removes it)")


def _check_block(files: Files, path: Path, key: Key, ref: BlockRef, known: registry.Loaded, report: Report) -> None:
    file = BlockFile(files, path, "pread")
    header = file.header
    report.blocks += 1
    report.rows += header.n
    own = Key(header.layout, header.archive, header.block), header.generation, header.lsn
    if own != (key, ref.generation, ref.lsn) or bool(header.flags & COMPLETE) != ref.complete:
        report.findings.append(f"{path}: its header says another block than the manifest: {header}")
    if not (np.diff(file.ids.astype(np.int64)) > 0).all():
        report.findings.append(f"{path}: its ids do not ascend")
    if int(file.ids.max()) >= len(known.layout):
        report.findings.append(f"{path}: it has series that the registry does not know")
    if key.layout >= len(known.layouts) or key.archive >= len(known.layouts[key.layout]):
        report.findings.append(f"{path}: the registry does not know its layout")
    report.findings += damage_of(file, files)


def damage_of(file: BlockFile, files: Files) -> list[str]:
    """What is wrong with the tiles of a block file, and with the bytes that belong to nothing and are zero."""
    found = []
    header = file.header
    for number in range(header.tiles):
        try:
            file.tile(number)
        except CorruptFileError as e:
            found.append(str(e))
    fd = files.open(file.path, os.O_RDONLY)
    try:
        gaps = [(PAGE + 4 * header.n, header.crcs_at), (header.crcs_at + 4 * header.tiles, header.data_at)]
        for start, end in gaps:
            if any(files.read(fd, end - start, start)):
                found.append(f"{file.path}: bytes {start} to {end - 1} belong to nothing and are not zero (harmless)")
        if files.size(fd) > header.size:
            found.append(f"{file.path}: {files.size(fd) - header.size} bytes after its end (harmless)")
    finally:
        files.close(fd)
    return found


def _check_journal(files: Files, directory: Path, known: registry.Loaded, report: Report) -> None:
    if "journal" not in files.names(directory):
        return
    journal = Journal(directory / "journal", files)
    segments = journal.segments()
    if segments and segments[0][0] > report.journal_from:
        start = segments[0][0]
        report.findings.append(f"{directory / 'journal'}: LSN {report.journal_from} to {start} are missing")
    unknown = 0
    for record in journal.replay(report.journal_from):
        report.journal_records += 1
        report.journal_points += len(record.ids)
        unknown += int((record.ids >= len(known.layout)).sum())
    report.journal_end = journal.end
    if journal.end < report.journal_from:
        what = f"it ends at LSN {journal.end}, before {report.journal_from}, which the manifest names"
        report.findings.append(f"{directory / 'journal'}: {what}")
    report.findings += journal.damage
    if unknown:
        report.findings.append(f"{directory / 'journal'}: {unknown} points of series that the registry does not know")


def inspect(path: Path, files: Files | None = None) -> dict[str, Any]:
    """What one file of a store holds, by its magic. Raises StorageError if it is none of them, OSError."""
    files = files or Files()
    fd = files.open(path, os.O_RDONLY)
    try:
        head = files.read(fd, SEGMENT_HEADER.size, 0)
    finally:
        files.close(fd)
    magic = head[:8]
    if magic in LOGS:
        return _inspect_log(files, path, magic)
    if magic == BLOCK_MAGIC:
        return _inspect_block(files, path)
    if magic == JOURNAL_MAGIC:
        return _inspect_segment(files, path, head)
    raise StorageError(f"{path} is no file of a store")


def _inspect_log(files: Files, path: Path, magic: bytes) -> dict[str, Any]:
    records, damage, end = read_log(files, path, magic)
    found: dict[str, Any] = {"type": LOGS[magic], "records": len(records), "bytes": end, "damage": damage}
    if magic == REGISTRY_MAGIC:
        loaded = registry.decode(records, damage)
        found |= {"series": len(loaded.layout), "layouts": loaded.layouts, "profiles": loaded.profiles}
        found["damage"] = loaded.damage
    elif magic == MANIFEST_MAGIC:
        live, journal_from, _ = manifest.decode(records)
        found |= {"blocks": [{**k._asdict(), **r._asdict()} for k, r in live.items()], "journal_from": journal_from}
    return found


def _inspect_block(files: Files, path: Path) -> dict[str, Any]:
    file = BlockFile(files, path, "pread")
    damage: list[str] = []
    points = 0
    for number in range(file.header.tiles):
        try:
            points += int((~np.isnan(file.tile(number))).sum())
        except CorruptFileError as e:
            damage.append(str(e))
    return {"type": "block", **file.header._asdict(), "points": points, "damage": damage}


def _inspect_segment(files: Files, path: Path, head: bytes) -> dict[str, Any]:
    start = unpack_segment_header(head)
    if start is None:
        raise CorruptFileError(path, 0, "the segment header fails its checksum")
    journal = Journal(path.parent, files)
    records = list(journal.read_segment(path, start))
    end = records[-1].lsn + records[-1].size if records else start
    points = sum(len(r.ids) for r in records)
    found = {"type": "journal", "start": start, "end": end, "records": len(records), "points": points}
    return {**found, "damage": journal.damage}
