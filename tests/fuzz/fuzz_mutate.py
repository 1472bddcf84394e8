"""Hostile inputs: random choices at a few hundred nanoseconds each, and changes of bytes that need no grammar.

Targets that have a grammar put their own pieces together and hand the result to :meth:`Mutator.changed` now and then.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

CHANGES: Final = (1, 1, 1, 2, 2, 3, 5, 8)
"""How many changes an input gets, each as likely."""
BYTES: Final = bytes((0, 1, 2, 3, 4, 5, 9, 10, 13, 32, 34, 39, 46, 47, 48, 58, 59, 92, 127, 128, 192, 239, 254, 255))
"""Bytes that mean something in many formats."""
NUMBERS: Final = (0, 1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 127, 128, 255, 256, 512, 528, 4095, 4096, 32767, 32768, 65535)
WIDE: Final = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1)
WORDS: Final = (
    *(b"0 1 -1 -0 1e999 1e-999 nan inf -inf 0x1 1_000 9999999999999999999999 .5 5. 1e+ 2147483648 00".split(b" ")),
    "١٢".encode(),
    "\ufeff\u2028\U0010ffff".encode(),
    b"\xed\xa0\x80",
    b"\xc0\x80",
    b"\xff\xfe",
    b"../../etc/passwd",
    b"\r\n",
    b"%00%0a",
    b"{" * 40,
    b"(" * 40,
    b"[" * 40,
    b"A" * 130,
)
"""Pieces of text that parsers have stumbled over."""

Change = Callable[["Mutator", bytearray, int], None]


class Mutator:
    """A sequence of random choices that ``seed`` fixes."""

    def __init__(self, seed: object, tokens: Sequence[bytes] = ()) -> None:
        """``tokens``: pieces of the grammar, put in beside those that suit every parser."""
        self._random = random.Random(str(seed))
        self.random = self._random.random
        self.tokens = (*WORDS, *tokens, *tokens, *tokens)
        self.other = b""
        """Another input, of which pieces may be taken."""

    def below(self, n: int) -> int:
        """An integer from 0 to ``n`` - 1."""
        return int(self.random() * n)

    def pick(self, choices: Sequence[T]) -> T:
        """One of ``choices``."""
        return choices[int(self.random() * len(choices))]

    def chance(self, share: float) -> bool:
        """True in this share of the calls."""
        return self.random() < share

    def bytes(self, most: int) -> bytes:
        """Up to ``most`` random bytes."""
        return self._random.randbytes(self.below(most + 1))

    def number(self, width: int) -> int:
        """An unsigned integer of ``width`` bytes, likely at an edge."""
        way = self.random()
        if way < 0.5:
            return self.pick(NUMBERS) & ((1 << 8 * width) - 1)
        if way < 0.8:
            return self.pick(WIDE) & ((1 << 8 * width) - 1)
        return self._random.getrandbits(8 * width)

    def repeated(self, size: int) -> bytes:
        """One piece of the grammar, or a few, over and over up to ``size`` bytes: what is quadratic shows on it."""
        piece = b"".join([self.pick(self.tokens) for _ in range(self.pick((1, 1, 2, 3)))])[:200] or b"a"
        ends = [self.pick(self.tokens) if self.chance(0.5) else b"" for _ in range(2)]
        return ends[0] + piece * (size // len(piece)) + ends[1]

    def changed(self, data: bytes, largest: int) -> bytes:
        """``data`` with a few changes, cut at ``largest`` bytes."""
        out = bytearray(data)
        for _ in range(self.pick(CHANGES)):
            self.pick(_CHANGES)(self, out, self.below(len(out) + 1))
        return bytes(out[:largest])


def _flip(mutator: Mutator, out: bytearray, at: int) -> None:
    if at < len(out):
        out[at] ^= 1 << mutator.below(8)


def _set(mutator: Mutator, out: bytearray, at: int) -> None:
    if at < len(out):
        out[at] = mutator.pick(BYTES)


def _insert(mutator: Mutator, out: bytearray, at: int) -> None:
    out[at:at] = mutator.pick(mutator.tokens)


def _replace(mutator: Mutator, out: bytearray, at: int) -> None:
    out[at : at + mutator.below(12)] = mutator.pick(mutator.tokens)


def _delete(mutator: Mutator, out: bytearray, at: int) -> None:
    del out[at : at + 1 + mutator.below(min(16, len(out) + 1))]


def _cut(_: Mutator, out: bytearray, at: int) -> None:
    del out[at:]


def _copy(mutator: Mutator, out: bytearray, at: int) -> None:
    start = mutator.below(len(out) + 1)
    out[at:at] = out[start : start + mutator.below(64)]


def _repeat(mutator: Mutator, out: bytearray, at: int) -> None:
    piece = out[at : at + 1 + mutator.below(8)]
    out[at:at] = piece * (1 << mutator.below(8))


def _narrow(mutator: Mutator, out: bytearray, at: int) -> None:
    if at + 2 <= len(out):
        struct.pack_into(">H" if mutator.chance(0.7) else "<H", out, at, mutator.number(2))


def _wide(mutator: Mutator, out: bytearray, at: int) -> None:
    if at + 8 <= len(out):
        struct.pack_into(">Q" if mutator.chance(0.6) else "<Q", out, at, mutator.number(8))


def _splice(mutator: Mutator, out: bytearray, at: int) -> None:
    other = mutator.other
    start = mutator.below(len(other) + 1)
    out[at : at + mutator.below(32)] = other[start : start + mutator.below(64)]


_CHANGES: Final[tuple[Change, ...]] = (
    _flip,
    _flip,
    _set,
    _set,
    _insert,
    _replace,
    _delete,
    _cut,
    _copy,
    _repeat,
    _narrow,
    _wide,
    _splice,
    _splice,
)
