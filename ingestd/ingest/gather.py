"""Small reads share the cost of a batch.

A fleet of agents sends ten lines a connection every interval: a batch costs some 0.1 ms however few its points are, so
what several reads have brought is accepted together. Nobody notices the delay; who ends a connection, flushes or stops
hands over at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.senders import Part
from ingestd.telemetry import Books

SECONDS: Final = 0.01
"""How long a point may wait for others: an interval is a thousand times as long, the journal's sync twenty."""
POINTS: Final = 2_000
"""Points that need no others: the fixed cost of a batch is 5 % here."""


class Gather:
    """What a listener's reads have brought, until it is accepted. ``loop`` is known from :meth:`start` on."""

    def __init__(self, pipeline: Pipeline, books: Books) -> None:
        self._pipeline = pipeline
        self._books = books
        self._parts: list[Part] = []
        self._points = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """From here on :meth:`add` may be called, on the running loop."""
        self._loop = asyncio.get_running_loop()

    def add(self, *parts: Part) -> None:
        """Take what a read brought, by its senders."""
        self._parts += parts
        self._points += sum(parsed.received for parsed, _ in parts)
        if self._points >= POINTS:
            self.flush()
        elif self._timer is None and self._parts:
            self._timer = self._loop.call_later(SECONDS, self.flush)

    def flush(self) -> None:
        """Hand over what there is."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._parts:
            parts, self._parts, self._points = self._parts, [], 0
            self._pipeline.accept(self._books, parts)
