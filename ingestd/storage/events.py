"""The log of events: notifications of collectd and what clients POST, the newest of them by number.

docs/format/events.md draws its records. Every event is synced before its id is given.
"""

from __future__ import annotations

import bisect
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ingestd.storage.fileformat import EVENTS_MAGIC, LogRecord, pack_log_record
from ingestd.storage.files import Files
from ingestd.storage.logfile import LogFile

EVENT: Final = 1
LIMIT: Final = 100_000
"""Events kept: at half a kilobyte each about 50 MB of memory."""
SLACK: Final = 4
"""The log is rewritten when this part of the limit has been written beyond it: four appends pay one event rewritten."""


class EventLog:
    """The events of one file. Thread-safe; every call may block on the disk or on another call."""

    def __init__(self, files: Files, path: Path, limit: int = LIMIT) -> None:
        """Read the log or begin one. Raises OSError, or CorruptFileError where the file is no log of events."""
        if limit < 1:
            raise ValueError("at least one event is kept")
        self.damage: list[str] = []
        """What was found broken in the file and skipped."""
        self._limit = limit
        self._lock = threading.Lock()
        self._log = LogFile(files, path, EVENTS_MAGIC)
        self._events: OrderedDict[int, dict[str, Any]] = OrderedDict()
        self._order: list[tuple[int, int]] = []
        self._written = 0
        self._next = 1
        self._distrusted = False
        try:
            records, damage = self._log.load()
            self.damage += damage
            if self._log.torn:
                self.damage.append(f"{path}: the last {self._log.torn} bytes are no whole event and were cut")
                self._log.trim()
        except BaseException:
            self._log.close()
            raise
        for record in records:
            self._take(record)

    def _take(self, record: LogRecord) -> None:
        self._written += 1
        self._next = max(self._next, record.number + 1)
        event = decode_event(record)
        if event is None or record.number in self._events:
            self.damage.append(f"event {record.number} cannot be used")
            return
        self._keep(event)

    def _keep(self, event: dict[str, Any]) -> None:
        self._events[event["id"]] = event
        bisect.insort(self._order, (event["when"], event["id"]))
        if len(self._events) > self._limit:
            number, oldest = self._events.popitem(last=False)
            del self._order[bisect.bisect_left(self._order, (oldest["when"], number))]

    def add(self, when: int, what: str, tags: list[str], data: str) -> int:
        """Keep an event of ``when`` (seconds) durably and return its id. Raises OSError with nothing kept."""
        with self._lock:
            number = self._next
            event = {"id": number, "when": when, "what": what, "tags": list(tags), "data": data}
            record = encode_event(event)
            # A file whose sync failed may have lost pages without saying so again: a fresh one takes its place.
            worn = self._written >= self._limit + max(self._limit // SLACK, 1)
            if self._distrusted or worn:
                kept = [encode_event(e) for e in self._events.values()]
                self._log.replace([*kept, record])
                self._written = len(kept) + 1
                self._distrusted = False
            else:
                self._append(record)
                self._written += 1
            self._next = number + 1
            self._keep(event)
            return number

    def _append(self, record: bytes) -> None:
        try:
            self._log.append([record])
            self._log.sync()
        except OSError:
            self._distrusted = True
            raise

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        """Events with start <= when <= until, ordered by when, then id: ``{"id", "when", "what", "tags", "data"}``.

        Of those with all of ``tags``; with any of them where ``set_operation`` is "union".
        """
        wanted = set(tags or ())
        with self._lock:
            low = bisect.bisect_left(self._order, (start, 0))
            high = bisect.bisect_left(self._order, (until + 1, 0))
            found = [self._events[number] for _, number in self._order[low:high]]
        if wanted and set_operation == "union":
            found = [e for e in found if not wanted.isdisjoint(e["tags"])]
        elif wanted:
            found = [e for e in found if wanted.issubset(e["tags"])]
        return [_copy(e) for e in found]

    def times(self, tags: Sequence[str], start: int, until: int) -> list[int]:
        """When events with all of ``tags`` happened, start <= when <= until, ascending."""
        return [event["when"] for event in self.query(start, until, list(tags), None)]

    def get(self, id: int) -> dict[str, Any] | None:  # noqa: A002
        """One event, or None."""
        with self._lock:
            event = self._events.get(id)
        return None if event is None else _copy(event)

    def __len__(self) -> int:
        return len(self._events)

    def close(self) -> None:
        """Give up the file."""
        with self._lock:
            self._log.close()


def encode_event(event: dict[str, Any]) -> bytes:
    """The record of an event."""
    body = json.dumps([event["when"], event["what"], event["tags"], event["data"]], separators=(",", ":")).encode()
    return pack_log_record(EVENT, len(body), event["id"], [body])


def decode_event(record: LogRecord) -> dict[str, Any] | None:
    """The event of a record; None if it holds none."""
    try:
        when, what, tags, data = json.loads(bytes(record.body[: record.n]))
    except (ValueError, TypeError, RecursionError):
        return None
    if record.kind != EVENT or not isinstance(when, int) or not isinstance(tags, list):
        return None
    return {"id": record.number, "when": when, "what": what, "tags": tags, "data": data}


def _copy(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "tags": list(event["tags"])}
