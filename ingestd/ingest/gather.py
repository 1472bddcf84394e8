"""What several turns have brought shares the cost of a batch: some 0.1 ms, however few its points are.

Who reads says when no more is to be had at once, and hands over what there is; so does who flushes or stops.
"""

from __future__ import annotations

from typing import Final

from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.senders import Part
from ingestd.telemetry import Books

POINTS: Final = 2_000
"""Points that need no others: the fixed cost of a batch is 5 % here."""


class Gather:
    """What a listener's turns have brought, until it is accepted."""

    def __init__(self, pipeline: Pipeline, books: Books) -> None:
        self._pipeline = pipeline
        self._books = books
        self._parts: list[Part] = []
        self._points = 0

    def add(self, *parts: Part) -> None:
        """Take what a turn brought, by its senders."""
        self._parts += parts
        self._points += sum([parsed.received for parsed, _ in parts])
        if self._points >= POINTS:
            self.flush()

    def flush(self) -> None:
        """Hand over what there is."""
        if self._parts:
            parts, self._parts, self._points = self._parts, [], 0
            self._pipeline.accept(self._books, parts)
