"""Which messages of which producers are stored already: a window of sequence numbers, kept in a log through crashes.

A mark says that the points of a message are on disk. It is written after the journal's sync of these points and never
before, so that a message that comes again may be passed over whenever its mark is there. The other way round nothing
is lost: a mark that a crash or a bad sector took costs no more than storing the same points in the same slots again.
docs/format/marks.md draws the records.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from ingestd.storage.errors import CorruptFileError
from ingestd.storage.fileformat import MARKS_MAGIC, LogRecord, pack_log_record
from ingestd.storage.files import Files
from ingestd.storage.logfile import LogFile

log = logging.getLogger(__name__)

SEEN: Final = 1
WINDOW_KIND: Final = 2
WINDOW: Final = 1 << 16
"""Sequence numbers below the greatest of a producer that are remembered: hours of a relay, and more than it can have
published without a confirm."""
PRODUCERS: Final = 4096
"""Producers remembered, 8 KiB each at most."""
_WORN: Final = 1 << 20
"""Bytes that are appended before the log is written anew, or as many as it then had."""
_MASK: Final = (1 << WINDOW) - 1
_PRODUCER_MAX: Final = 64


class Window:
    """The sequence numbers of one producer: bit 0 of ``bits`` is the greatest, bit i the one that is i below it."""

    __slots__ = ("bits", "greatest")

    def __init__(self, greatest: int = -1, bits: int = 0) -> None:
        self.greatest = greatest
        self.bits = bits

    def has(self, sequence: int) -> bool:
        """Whether it was added and is not below the window."""
        age = self.greatest - sequence
        return 0 <= age < WINDOW and bool(self.bits >> age & 1)

    def add(self, sequence: int) -> None:
        """Remember a sequence number; one below the window is not."""
        age = self.greatest - sequence
        if age >= WINDOW:
            return
        if age >= 0:
            self.bits |= 1 << age
        elif -age >= WINDOW:
            self.greatest, self.bits = sequence, 1
        else:
            self.greatest, self.bits = sequence, (self.bits << -age | 1) & _MASK


class Marks:
    """The windows of all producers and their log. Not thread-safe, but for :meth:`rewrite` beside :meth:`seen`."""

    def __init__(self, files: Files, path: Path, producers: int = PRODUCERS) -> None:
        """Read the log or begin one; one that is none is begun anew. Raises OSError."""
        self._producers = producers
        self._windows: OrderedDict[bytes, Window] = OrderedDict()
        self._log = LogFile(files, path, MARKS_MAGIC)
        self.problem: str | None = None
        """Why the last marks could not be written; None once some could."""
        try:
            records, damage = self._log.load()
            self._log.trim()
        except CorruptFileError as e:
            records, damage = [], [f"{e}; it is begun anew"]
            self._log.replace([])
        for what in damage:
            log.warning("marks of stored messages: %s; what they marked may be stored again", what)
        for record in records:
            self._take(record)
        self._fresh = self._log.size

    def _take(self, record: LogRecord) -> None:
        body = bytes(record.body)
        producer, rest = body[: record.number], body[-(-record.number // 8) * 8 :]
        if not 0 < record.number <= _PRODUCER_MAX:
            return
        if record.kind == SEEN and len(rest) == 8 * record.n:
            self._add(producer, np.frombuffer(rest, "<u8").tolist())
        elif record.kind == WINDOW_KIND and len(rest) >= 8 + record.n:
            greatest = int.from_bytes(rest[:8], "little")
            window = Window(greatest, int.from_bytes(rest[8 : 8 + record.n], "little") & _MASK)
            self._keep(producer, window)

    def _add(self, producer: bytes, sequences: Iterable[int]) -> None:
        window = self._windows.get(producer) or Window()
        for sequence in sequences:
            window.add(sequence)
        self._keep(producer, window)

    def _keep(self, producer: bytes, window: Window) -> None:
        self._windows[producer] = window
        self._windows.move_to_end(producer)
        if len(self._windows) > self._producers:
            self._windows.popitem(last=False)

    def __len__(self) -> int:
        """Producers remembered."""
        return len(self._windows)

    def seen(self, producer: bytes, sequence: int) -> bool:
        """Whether this message is marked; False for one below its producer's window."""
        window = self._windows.get(producer)
        return window is not None and window.has(sequence)

    def add(self, messages: Iterable[tuple[bytes, int]]) -> None:
        """Mark (producer, sequence) of messages whose points are synced.

        Written, not synced: a killed process keeps them. What cannot be written is only remembered, and
        :attr:`problem` says so.
        """
        by_producer: dict[bytes, list[int]] = {}
        for producer, sequence in messages:
            by_producer.setdefault(producer, []).append(sequence)
        for producer, sequences in by_producer.items():
            self._add(producer, sequences)
        if by_producer:
            try:
                self._log.append([_seen_record(producer, sequences) for producer, sequences in by_producer.items()])
            except OSError as e:
                self._failed(e)
            else:
                self.problem = None

    @property
    def worn(self) -> bool:
        """Whether the log is to be written anew."""
        return self._log.size - self._fresh > max(_WORN, self._fresh)

    def rewrite(self) -> None:
        """Write the log anew, a record a producer. Blocks."""
        records = [_window_record(producer, window) for producer, window in self._windows.items()]
        try:
            self._log.replace(records)
        except OSError as e:
            self._failed(e)
        self._fresh = self._log.size

    def _failed(self, error: OSError) -> None:
        if self.problem is None:
            log.error("marks of stored messages cannot be written: %s; they may be stored again after a crash", error)
        self.problem = str(error)

    def close(self) -> None:
        """Sync and give up the file."""
        try:
            self._log.sync()
        except OSError as e:
            self._failed(e)
        self._log.close()


def _seen_record(producer: bytes, sequences: list[int]) -> bytes:
    numbers = np.array(sequences, "<u8").tobytes()
    return pack_log_record(SEEN, len(sequences), len(producer), [producer, numbers])


def _window_record(producer: bytes, window: Window) -> bytes:
    bits = window.bits.to_bytes(-(-window.bits.bit_length() // 8), "little")
    return pack_log_record(
        WINDOW_KIND, len(bits), len(producer), [producer, window.greatest.to_bytes(8, "little"), bits]
    )
