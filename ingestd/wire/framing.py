"""A stream of bytes cut into whole lines. The lowest module of the floor: it defines the floor's error.

A line ends at LF (0x0A) and at nothing else. Its length is that of its bytes before the LF, a CR included.
"""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

LINE_LIMIT: Final = 16 * 1024
"""Bytes of a line: carbon's own limit for a line; a path with its tags stays well below."""


class WireError(Exception):
    """Base of the errors of this floor: input or settings that a parser cannot take."""


_Pieces_co = TypeVar("_Pieces_co", covariant=True)


class Splitter(Protocol[_Pieces_co]):
    """What cuts a stream that arrives in pieces of any size into what a parser takes."""

    @property
    def too_long(self) -> int:
        """Lines or frames left out because they were over their limit."""

    @property
    def broken(self) -> bool:
        """Whether nothing more can come of the stream."""

    def feed(self, chunk: bytes | bytearray, start: int = 0, end: int | None = None, /) -> _Pieces_co:
        """Take ``chunk[start:end]``, the next piece, and keep no view of it; return what is whole now."""

    def close(self) -> bool:
        """The stream has ended. Return whether something unfinished, not counted yet, was dropped."""


class LineSplitter:
    """Gives back the whole lines of a stream that arrives in pieces of any size.

    What it gives depends on the stream alone, never on where the stream was cut. A line longer than ``limit`` bytes
    is left out up to its LF and counted once in ``too_long``. At most ``limit`` bytes are kept between two calls, and
    no byte is searched twice for an LF.
    """

    __slots__ = ("_limit", "_skipping", "_tail", "too_long")
    broken: Final = False
    """Never: after a line that is too long come others."""

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        if limit < 1:
            raise WireError(f"line limit of {limit} bytes: must be at least 1")
        self._limit = limit
        self._tail = bytearray()
        self._skipping = False
        self.too_long = 0

    @property
    def pending(self) -> bool:
        """Whether an unfinished line goes before what comes next."""
        return self._skipping or bool(self._tail)

    def feed(self, chunk: bytes | bytearray, start: int = 0, end: int | None = None) -> bytes:
        """Take ``chunk[start:end]``, the next piece of the stream; return all lines that are whole now, with their LF.

        They are copied once, or not at all where they are all there is of some bytes.
        """
        stop = len(chunk) if end is None else end
        pieces: list[bytes | memoryview] = []
        if self._skipping or self._tail:
            first = chunk.find(b"\n", start, stop) + 1
            if not first:
                self._keep(chunk[start:stop])
                return b""
            self._finish_first(chunk[start:first], pieces)
            start = first
        rest = self._cut(chunk, start, stop, pieces)
        if rest < stop:
            self._keep(chunk[rest:stop])
        if isinstance(chunk, bytes) and start == 0 and pieces and len(pieces[-1]) == len(chunk):
            return chunk  # all of it is one piece, and the only one
        return b"".join(pieces)

    def close(self) -> bool:
        """The stream has ended. Return whether a last line without LF, not blank and not counted yet, was dropped."""
        partial = bool(self._tail.strip(b" \t\r"))
        self._tail.clear()
        self._skipping = False
        return partial

    def _finish_first(self, end: bytes | bytearray, pieces: list[bytes | memoryview]) -> None:
        """``end`` closes the line that earlier pieces began."""
        if self._skipping:
            self._skipping = False
            return
        if len(self._tail) + len(end) - 1 > self._limit:
            self.too_long += 1
        else:
            pieces.append(bytes(self._tail) + end)
        self._tail.clear()

    def _cut(self, chunk: bytes | bytearray, start: int, stop: int, pieces: list[bytes | memoryview]) -> int:
        """Append the runs of whole lines of ``chunk[start:stop]`` within the limit; return where the rest begins.

        From the start of a line one looks for the *last* LF within the limit: every line that ends up to there is
        within it, so a chunk takes ``len(chunk) / limit`` searches, not one a line.
        """
        view = memoryview(chunk)
        run = position = start
        while True:
            end = chunk.rfind(b"\n", position, min(position + self._limit + 1, stop))
            if end >= 0:
                position = end + 1
                continue
            if stop - position <= self._limit:
                break
            end = chunk.find(b"\n", position + self._limit + 1, stop)
            if end < 0:
                break
            self.too_long += 1
            if position > run:
                pieces.append(view[run:position])
            run = position = end + 1
        if position > run:
            pieces.append(view[run:position])
        return position

    def _keep(self, rest: bytes | bytearray) -> None:
        """``rest`` holds no LF: it goes on an unfinished line."""
        if self._skipping:
            return
        if len(self._tail) + len(rest) > self._limit:
            self.too_long += 1
            self._skipping = True
            self._tail.clear()
        else:
            self._tail += rest
