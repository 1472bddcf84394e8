"""What an answer lacks because it could not be had: how a reader says so to whoever asked.

A reader over many nodes answers with what there is. Between it and whoever writes the answer lie functions, caches and
grids that have no room for a word on the side, so it goes past them: it is kept beside the thread of the request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final


class Missing:
    """Why the answers of one request are partial, in order, each reason once."""

    def __init__(self) -> None:
        self._reasons: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._reasons)

    def __str__(self) -> str:
        return "; ".join(self._reasons)

    @property
    def reasons(self) -> list[str]:
        """The reasons, one line each."""
        return list(self._reasons)

    def add(self, reason: str) -> None:
        self._reasons[reason] = None


_NOW: Final[ContextVar[Missing | None]] = ContextVar("missing", default=None)


@contextmanager
def watched() -> Iterator[Missing]:
    """What is reported in this thread until the block ends."""
    missing = Missing()
    token = _NOW.set(missing)
    try:
        yield missing
    finally:
        _NOW.reset(token)


def report(reason: str) -> None:
    """The answer that this thread is making is partial, because of ``reason``: one line."""
    missing = _NOW.get()
    if missing is not None:
        missing.add(reason)


def reported() -> list[str]:
    """What was reported in this thread so far."""
    missing = _NOW.get()
    return missing.reasons if missing is not None else []
