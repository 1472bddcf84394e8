"""Messages between nodes: what a hostile node sends, whose checksum is right more often than its fields."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any, Final

import msgpack
import numpy as np
from fuzz_batches import BOMBS, sealed
from fuzz_mutate import NUMBERS, Mutator
from fuzz_target import Target

from ingestd.cluster.messages import FORMS, Kind, PeerError, decode, encode
from ingestd.points import Rows, Window

TEXTS: Final = (b"", b"a.b", b"a", "ä".encode(), b"\xff", b"{" * 40, b"a;x=1")
_ONE: Final = Rows(Window(0, 20, 10), np.zeros(1, np.intp), np.array([[1.5, np.nan]]))
_VALUES: Final[dict[str, Any]] = {
    "number": 7,
    "text": "a.*",
    "texts": ["a", "ä", ""],
    "rows": [_ONE, _ONE],
    "uint8": np.array([0, 1], np.uint8),
    "uint32": np.array([0, 1], np.uint32),
    "int64": np.array([-1, 2], np.int64),
    "float64": np.array([0.5, np.nan]),
}


def field(mutator: Mutator, form: str) -> list[int | bytes]:
    """The fields of a value of this form, most of them sound."""
    if form == "number":
        return [mutator.number(8)]
    if form == "text":
        return [mutator.pick(TEXTS)]
    if form == "texts":
        texts = [mutator.pick(TEXTS) for _ in range(mutator.below(4))]
        ends = np.cumsum([len(text) for text in texts], dtype=np.int64).tolist()
        if ends and mutator.chance(0.1):
            ends[mutator.below(len(ends))] = mutator.number(4) & 0xFFFFFFFF
        return [b"".join(texts), struct.pack(f"<{len(ends)}I", *ends)]
    if form == "rows":
        return [part for _ in range(mutator.below(3)) for part in rows(mutator)]
    return [mutator.bytes(mutator.below(4) * np.dtype(form).itemsize)]


def rows(mutator: Mutator) -> list[int | bytes]:
    """One window of rows."""
    step, slots, count = 1 + mutator.below(60), mutator.below(4), mutator.below(3)
    first = mutator.below(9) - 4
    numbers = [first * step, (first + slots) * step, step]
    if mutator.chance(0.1):
        numbers[mutator.below(3)] = mutator.number(8)
    return [*numbers, mutator.bytes(4 * count), mutator.bytes(8 * count * slots)]


class Peers(Target):
    """:func:`decode`: values that make the same message again, or :class:`PeerError`."""

    name = "peer"
    tokens = (*BOMBS, *(bytes([number & 255]) for number in NUMBERS))
    largest = 1_000

    def seeds(self) -> list[bytes]:
        return [encode(kind, *(_VALUES[form] for form in forms)) for kind, forms in FORMS.items()]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        data = seed
        if mutator.chance(0.7):
            kind = mutator.pick(tuple(Kind))
            parts = [part for form in FORMS[kind] for part in field(mutator, form)]
            data = msgpack.packb([1 if mutator.chance(0.97) else 2, int(kind), *parts, bytes(4)])
        if mutator.chance(0.4):
            data = mutator.changed(data, self.largest)
        return sealed(data) if mutator.chance(0.95) else data

    def run(self, data: bytes) -> Hashable:
        try:
            kind, values = decode(data)
        except PeerError as error:
            return str(error)
        # Integers may be wider than they need to be, so the bytes may differ where the values do not.
        again = encode(kind, *values)
        assert encode(*self._again(again)) == again
        assert len(again) <= len(data)
        return (kind, *(len(value) if hasattr(value, "__len__") else 0 for value in values))

    @staticmethod
    def _again(message: bytes) -> tuple[Any, ...]:
        kind, values = decode(message)
        return kind, *values
