"""The registry: the only place of names. An append-only log of layouts, profiles and created series.

docs/format/registry.md draws its records. Encoding is pure: the event loop encodes, the journal thread appends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids, keys_of
from ingestd.storage.fileformat import LogRecord, pack_log_record, pad8, record_kind
from ingestd.storage.schema import METHODS

LAYOUT: Final = 1
PROFILE: Final = 2
CREATE: Final = 3
FORGET: Final = 4
SKIP: Final = 5
CHANGE: Final = 6
RULES: Final = 7
_RANKS: Final = {LAYOUT: 0, PROFILE: 0, RULES: 2}
"""Records that others depend on come to the disk before these; all that are not named have rank 1."""
_PAIR: Final = struct.Struct("<QQ")
_FACTOR: Final = struct.Struct("<d")
IDS_MAX: Final = 1 << 28
"""Ids of a registry, given and lost: half a gigabyte a column. A record that says more is not believed."""
_UNUSABLE: Final = (ValueError, OverflowError, struct.error)
"""What fields raise that no encoder has written, under a right checksum."""


class Log(Protocol):
    """A log that is appended to."""

    def append_durably(self, records: Sequence[bytes]) -> None:
        """Append and sync. Raises OSError with the log as it was."""


@dataclass(frozen=True, slots=True)
class NameBlob:
    """Names as columns: path ``i`` of series ``ids[i]`` is ``blob[offsets[i]:offsets[i + 1]]`` in UTF-8."""

    ids: Ids
    blob: bytes
    offsets: NDArray[np.int64]


@dataclass(slots=True)
class Loaded:
    """What the registry says: columns ``layout`` and ``profile`` uint16[n] by series id."""

    layouts: list[tuple[tuple[int, int], ...]] = field(default_factory=list)
    profiles: list[tuple[str, float]] = field(default_factory=list)
    layout: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    profile: NDArray[np.uint16] = field(default_factory=lambda: np.empty(0, np.uint16))
    names: NameBlob = field(default_factory=lambda: NameBlob(np.empty(0, np.uint32), b"", np.zeros(1, np.int64)))
    history: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Earlier layouts of series whose schema was changed, the latest first."""
    rules: str = ""
    """Fingerprint of the rules that the series were last matched against."""
    forgotten: int = 0
    """Series that have an id and no name any more."""
    damage: list[str] = field(default_factory=list)

    @property
    def incomplete(self) -> str | None:
        """What series refer to and the log has lost."""
        earlier = [number for numbers in self.history.values() for number in numbers]
        highest = max([int(self.layout.max()), *earlier]) if len(self.layout) else -1
        if highest >= len(self.layouts):
            return f"layout {highest} is lost"
        if len(self.profile) and int(self.profile.max()) >= len(self.profiles):
            return f"profile {int(self.profile.max())} is lost"
        return None


def encode_layout(number: int, archives: Sequence[tuple[int, int]]) -> bytes:
    """Layout ``number``: (step, slots) of each archive."""
    return pack_log_record(LAYOUT, len(archives), number, [_PAIR.pack(*a) for a in archives])


def encode_profile(number: int, method: str, x_files_factor: float) -> bytes:
    """Profile ``number``."""
    return pack_log_record(PROFILE, len(method), number, [_FACTOR.pack(x_files_factor), method.encode()])


def encode_create(first: int, layout: NDArray[np.uint16], profile: NDArray[np.uint16], paths: Sequence[str]) -> bytes:
    """Series ``first``, ``first + 1``, … with these ``paths``; ``layout`` and ``profile`` uint16[n]."""
    names = keys_of(paths)
    offsets = np.zeros(len(names) + 1, "<u4")
    np.cumsum(np.fromiter(map(len, names), np.uint32, len(names)), out=offsets[1:])
    parts = [layout.astype("<u2").tobytes(), profile.astype("<u2").tobytes(), offsets.tobytes(), b"".join(names)]
    return pack_log_record(CREATE, len(names), first, parts)


def encode_forget(ids: Ids) -> bytes:
    """Series ``ids`` (uint32[n]) are forgotten; their ids are never used again."""
    return pack_log_record(FORGET, len(ids), 0, [ids.astype("<u4").tobytes()])


def encode_change(ids: Ids, layout: int, profile: int) -> bytes:
    """Series ``ids`` (uint32[n]) are kept by another layout and profile from here on."""
    return pack_log_record(CHANGE, len(ids), layout << 32 | profile, [ids.astype("<u4").tobytes()])


def encode_rules(fingerprint: str) -> bytes:
    """All series have been matched against the rules of this fingerprint."""
    return pack_log_record(RULES, len(fingerprint), 0, [fingerprint.encode()])


def encode_skip(first: int, n: int) -> bytes:
    """``n`` ids from ``first`` on that belong to nobody any more."""
    return pack_log_record(SKIP, n, first, [])


def append(log: Log, records: Sequence[bytes]) -> None:
    """Append records of this registry to its log, durably. Raises OSError; what was appended may be appended again.

    A record is written after those that it depends on are synced: power that is lost midway keeps any of the sectors
    that were not, and a series whose layout is missing would look like damage.
    """
    for _, together in groupby(sorted(records, key=_rank), _rank):
        log.append_durably(list(together))


def _rank(record: bytes) -> int:
    return _RANKS.get(record_kind(record), 1)


def encode_all(loaded: Loaded) -> list[bytes]:
    """A registry of just what is known now: the records of a log without those who were forgotten."""
    records = [encode_layout(i, a) for i, a in enumerate(loaded.layouts)]
    records += [encode_profile(i, *p) for i, p in enumerate(loaded.profiles)]
    names = loaded.names
    bounds = names.offsets.tolist()
    at = 0
    for run in np.split(np.arange(len(names.ids)), np.flatnonzero(np.diff(names.ids) != 1) + 1):
        if not len(run):
            continue
        first, last = int(names.ids[run[0]]), int(names.ids[run[-1]])
        if first > at:
            records.append(encode_skip(at, first - at))
        paths = [names.blob[bounds[i] : bounds[i + 1]].decode() for i in run.tolist()]
        at = last + 1
        layout = loaded.layout[first:at].copy()
        for number in range(first, at):
            if number in loaded.history:
                layout[number - first] = loaded.history[number][-1]
        records.append(encode_create(first, layout, loaded.profile[first:at], paths))
    if len(loaded.layout) > at:
        records.append(encode_skip(at, len(loaded.layout) - at))
    for number, earlier in loaded.history.items():
        profile = int(loaded.profile[number])
        for layout_id in (*reversed(earlier[:-1]), int(loaded.layout[number])):
            records.append(encode_change(np.array([number], np.uint32), layout_id, profile))
    return [*records, encode_rules(loaded.rules)]


def decode(records: Sequence[LogRecord], damage: Sequence[str]) -> Loaded:
    """The registry's state after all ``records``; what cannot be used is added to the damage."""
    return _Decoder(damage).decode(records)


class _Decoder:
    def __init__(self, damage: Sequence[str]) -> None:
        self.loaded = Loaded(damage=list(damage))
        self.count = 0
        self.ids: list[NDArray[np.uint32]] = []
        self.blobs: list[bytes] = []
        self.lengths: list[NDArray[np.int64]] = []
        self.layouts: list[NDArray[np.uint16]] = []
        self.profiles: list[NDArray[np.uint16]] = []
        self.forgotten: list[NDArray[np.uint32]] = []
        self.changes: list[LogRecord] = []

    def decode(self, records: Sequence[LogRecord]) -> Loaded:
        loaded = self.loaded
        take = {
            LAYOUT: self._layout,
            PROFILE: self._profile,
            CREATE: self._series,
            SKIP: self._series,
            FORGET: self._forget,
            CHANGE: self.changes.append,
            RULES: self._rules,
        }
        for record in records:
            if record.kind in take:
                self._attempt(take[record.kind], record)
            else:
                loaded.damage.append(f"the registry has a record of unknown kind {record.kind}")
        if self.layouts:
            loaded.layout = np.concatenate(self.layouts)
            loaded.profile = np.concatenate(self.profiles)
        for record in self.changes:
            self._attempt(self._change, record)
        if self.ids:
            bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(self.lengths))])
            loaded.names = _without(NameBlob(np.concatenate(self.ids), b"".join(self.blobs), bounds), self.forgotten)
        loaded.forgotten = self.count - len(loaded.names.ids)
        return loaded

    def _attempt(self, take: Callable[[LogRecord], None], record: LogRecord) -> None:
        """Take a record whole, or leave it out and say so."""
        try:
            take(record)
        except _UNUSABLE as error:
            self.loaded.damage.append(f"the registry's record at byte {record.offset} cannot be used: {error}")

    def _layout(self, record: LogRecord) -> None:
        if record.number == len(self.loaded.layouts):
            archives = tuple(_PAIR.unpack_from(record.body, 16 * i) for i in range(record.n))
            if not archives or not all(step and slots for step, slots in archives):
                raise ValueError("a layout of nothing")
            self.loaded.layouts.append(archives)

    def _profile(self, record: LogRecord) -> None:
        if record.number == len(self.loaded.profiles):
            method = bytes(record.body[8 : 8 + record.n]).decode()
            if method not in METHODS:
                raise ValueError(f"no method {method!r}")
            self.loaded.profiles.append((method, _FACTOR.unpack_from(record.body)[0]))

    def _forget(self, record: LogRecord) -> None:
        self.forgotten.append(np.frombuffer(record.body, "<u4", record.n))

    def _rules(self, record: LogRecord) -> None:
        self.loaded.rules = bytes(record.body[: record.n]).decode()

    def _series(self, record: LogRecord) -> None:
        if record.number < self.count:
            return  # written again after a failed sync
        if record.number + record.n > IDS_MAX:
            raise ValueError(f"series up to {record.number + record.n}")
        created = _created(record) if record.kind == CREATE else None
        lost = record.number - self.count
        if lost:
            self.loaded.damage.append(f"series {self.count} to {record.number - 1} have lost their names")
            self._nobody(lost)
        self.count = record.number + record.n
        if created is None:
            self._nobody(record.n)
            return
        layout, profile, offsets, blob = created
        self.ids.append(np.arange(record.number, self.count, dtype=np.uint32))
        self.layouts.append(layout)
        self.profiles.append(profile)
        self.lengths.append(np.diff(offsets))
        self.blobs.append(blob)

    def _change(self, record: LogRecord) -> None:
        ids = np.frombuffer(record.body, "<u4", record.n)
        ids = ids[ids < self.count]
        layout, profile = record.number >> 32, record.number & 0xFFFFFFFF
        if max(layout, profile) > np.iinfo(np.uint16).max:
            raise ValueError(f"layout {layout}, profile {profile}")
        for number, old in zip(ids.tolist(), self.loaded.layout[ids].tolist(), strict=True):
            if old != layout:
                self.loaded.history[number] = (old, *self.loaded.history.get(number, ()))
        self.loaded.layout[ids] = layout
        self.loaded.profile[ids] = profile

    def _nobody(self, n: int) -> None:
        self.layouts.append(np.zeros(n, np.uint16))
        self.profiles.append(np.zeros(n, np.uint16))


def _without(names: NameBlob, forgotten: Sequence[NDArray[np.uint32]]) -> NameBlob:
    if not forgotten:
        return names
    kept = np.flatnonzero(~np.isin(names.ids, np.concatenate(forgotten)))
    bounds = names.offsets.tolist()
    blob = b"".join([names.blob[bounds[i] : bounds[i + 1]] for i in kept.tolist()])
    lengths = np.diff(names.offsets)[kept]
    return NameBlob(names.ids[kept], blob, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))


def _check_names(blob: bytes, offsets: NDArray[np.int64]) -> None:
    """Raise ValueError if ``blob`` cut at ``offsets`` is no list of texts."""
    if offsets[0] or offsets[-1] != len(blob) or (np.diff(offsets) < 0).any():
        raise ValueError("names beyond the record's end")
    blob.decode()
    # A text begins at no byte of the form 10xxxxxx.
    if (np.frombuffer(blob, np.uint8)[offsets[offsets < len(blob)]] & 0xC0 == 0x80).any():
        raise ValueError("names cut within a character")


def _created(record: LogRecord) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], bytes]:
    n = record.n
    at = pad8(2 * n)
    offsets = np.frombuffer(record.body, "<u4", n + 1, 2 * at).astype(np.int64)
    blob_at = 2 * at + pad8(4 * (n + 1))
    blob = bytes(record.body[blob_at : blob_at + int(offsets[-1])])
    _check_names(blob, offsets)
    return (
        np.frombuffer(record.body, "<u2", n, 0),
        np.frombuffer(record.body, "<u2", n, at),
        offsets,
        blob,
    )
