"""The registry: the only place of names. An append-only log of layouts, profiles and created series.

docs/format/registry.md draws its records. Encoding is pure: the event loop encodes, the journal thread appends.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ingestd.points import Ids
from ingestd.storage.fileformat import LogRecord, pack_log_record, pad8

LAYOUT: Final = 1
PROFILE: Final = 2
CREATE: Final = 3
_PAIR: Final = struct.Struct("<QQ")
_FACTOR: Final = struct.Struct("<d")


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
    damage: list[str] = field(default_factory=list)

    @property
    def incomplete(self) -> str | None:
        """What series refer to and the log has lost."""
        if len(self.layout) and int(self.layout.max()) >= len(self.layouts):
            return f"layout {int(self.layout.max())} is lost"
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
    names = [p.encode() for p in paths]
    offsets = np.zeros(len(names) + 1, "<u4")
    np.cumsum([len(n) for n in names], out=offsets[1:])
    parts = [layout.astype("<u2").tobytes(), profile.astype("<u2").tobytes(), offsets.tobytes(), b"".join(names)]
    return pack_log_record(CREATE, len(names), first, parts)


def decode(records: Sequence[LogRecord], damage: Sequence[str]) -> Loaded:
    """The registry's state after all ``records``; what cannot be used is added to the damage."""
    loaded = Loaded(damage=list(damage))
    ids: list[NDArray[np.uint32]] = []
    blobs: list[bytes] = []
    lengths: list[NDArray[np.int64]] = []
    layouts: list[NDArray[np.uint16]] = []
    profiles: list[NDArray[np.uint16]] = []
    count = 0
    for record in records:
        if record.kind == LAYOUT and record.number == len(loaded.layouts):
            loaded.layouts.append(tuple(_PAIR.unpack_from(record.body, 16 * i) for i in range(record.n)))
        elif record.kind == PROFILE and record.number == len(loaded.profiles):
            method = bytes(record.body[8 : 8 + record.n]).decode()
            loaded.profiles.append((method, _FACTOR.unpack_from(record.body)[0]))
        elif record.kind == CREATE and record.number >= count:
            lost = record.number - count
            if lost:
                loaded.damage.append(f"series {count} to {record.number - 1} have lost their names")
                layouts.append(np.zeros(lost, np.uint16))
                profiles.append(np.zeros(lost, np.uint16))
            layout, profile, offsets, blob = _created(record)
            ids.append(np.arange(record.number, record.number + record.n, dtype=np.uint32))
            layouts.append(layout)
            profiles.append(profile)
            lengths.append(np.diff(offsets))
            blobs.append(blob)
            count = record.number + record.n
    if ids:
        loaded.layout = np.concatenate(layouts)
        loaded.profile = np.concatenate(profiles)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths))])
        loaded.names = NameBlob(np.concatenate(ids), b"".join(blobs), bounds)
    return loaded


def _created(record: LogRecord) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.int64], bytes]:
    n = record.n
    at = pad8(2 * n)
    offsets = np.frombuffer(record.body, "<u4", n + 1, 2 * at).astype(np.int64)
    blob_at = 2 * at + pad8(4 * (n + 1))
    blob = bytes(record.body[blob_at : blob_at + int(offsets[-1])])
    return (
        np.frombuffer(record.body, "<u2", n, 0),
        np.frombuffer(record.body, "<u2", n, at),
        offsets,
        blob,
    )
