"""collectd's notifications become events: part of the composition root.

Each event is synced, so they are written beside the loop, and a flood of them is counted as lost: it comes faster than
a disk can take.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ingestd.storage.events import EventLog
from ingestd.wire.collectd import SEVERITIES, Notification

log = logging.getLogger(__name__)

WAITING: Final = 1000
"""Notifications that wait to be written."""


class Notices:
    """Writes notifications to ``events``; ``post`` runs a callable on the event loop from another thread."""

    def __init__(self, events: EventLog, post: Callable[[Callable[[], None]], Any]) -> None:
        self.lost = 0
        """Notifications dropped because too many waited."""
        self._events = events
        self._post = post
        self._waiting = 0
        self._side = ThreadPoolExecutor(1, thread_name_prefix="events")

    def take(self, notification: Notification) -> None:
        """Keep a notification as an event, or count it as lost."""
        n = notification
        plugin = f"{n.plugin}-{n.plugin_instance}" if n.plugin_instance else n.plugin
        kind = f"{n.type}-{n.type_instance}" if n.type_instance else n.type
        what = "/".join(part for part in (n.host, plugin, kind) if part)
        tags = ["collectd", SEVERITIES[n.severity], *([n.host] if n.host else [])]
        if self._waiting >= WAITING:
            self.lost += 1
            return
        self._waiting += 1
        self._side.submit(self._keep, n.time, what, tags, n.message)

    def _keep(self, when: int, what: str, tags: list[str], data: str) -> None:
        try:
            self._events.add(when, what, tags, data)
        except OSError as e:
            log.error("a notification of %s is lost: %s", what, e)
        finally:
            self._post(self._kept)

    def _kept(self) -> None:
        self._waiting -= 1

    def close(self) -> None:
        """Write those that wait. Blocks."""
        self._side.shutdown()
