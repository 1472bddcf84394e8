"""What the load generator sends: kernel and twin write the same, wherever the bounds of the names lie."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

import numpy as np
from fuzz_mutate import Mutator
from fuzz_target import Target, dice

from ingestd._speed import load_datagrams_compiled, load_lines_compiled
from ingestd.load.material import pure_datagrams, pure_lines

BOUNDS: Final = (0, 0, 1, 5, 9, 30, 60, -1, 1 << 40, -(1 << 63), (1 << 63) - 1)
REFUSED: Final = "refused"


class Made(Target):
    """Lines or datagrams of an input's bytes: names, the bounds of each, rows, and room for what is written."""

    name = "load"
    largest = 400

    def seeds(self) -> list[bytes]:
        return [bytes(range(100)), b"a.b.c" * 30]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        return mutator.changed(seed, self.largest)

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        numbers = np.random.default_rng(roll)
        names = np.frombuffer(data, np.uint8)
        rows = numbers.integers(0, 8, roll % 30).astype(np.uint32)
        state, stamp = int(numbers.integers(0, 1 << 63)) * (roll % 64 != 1), int(numbers.integers(0, 1 << 33))
        room = roll >> 8 & 0x1FFF
        if roll & 0x80:
            given = (names, _starts(numbers, names.size, 8), rows, stamp, state)
            found = _outcome(pure_lines, room, given)
            assert load_lines_compiled is None or found == _outcome(load_lines_compiled, room, given)
        else:
            lists = roll >> 21 & 3
            counts = numbers.integers(0, 256 if roll & 0x40 else 4, lists).astype(np.uint8)
            hosts, parts = (_starts(numbers, names.size, n) for n in (5, 2 * lists))
            given = (names, hosts, names, parts, counts, rows, stamp, 10, state)
            ends = np.zeros(roll >> 24 & 7, np.uint32)
            found = _outcome(pure_datagrams, room, given, ends)
            assert load_datagrams_compiled is None or found == _outcome(load_datagrams_compiled, room, given, ends)
        return REFUSED if found == REFUSED else (roll & 0x80, *(min(int(n), 4) for n in found[0][:2]))


def _starts(numbers: np.random.Generator, size: int, texts: int) -> np.ndarray:
    """Bounds of ``texts`` texts, mostly in order within ``size`` bytes, and now and then one of them anywhere."""
    starts = np.sort(numbers.integers(0, size + 1, texts + 1)).astype(np.int64)
    if numbers.random() < 0.2:
        starts[numbers.integers(0, texts + 1)] = numbers.choice(BOUNDS)
    return starts


def _outcome(write: Any, room: int, given: tuple[Any, ...], ends: np.ndarray | None = None) -> Any:
    """Numbers, bytes and ends that were written, or that it was refused."""
    out = bytearray(room)
    try:
        found = write(*given, out) if ends is None else write(*given, out, ends)
    except ValueError:
        return REFUSED
    last = found[0] if ends is None else int(ends[found[0] - 1]) if found[0] else 0
    return found, bytes(out[:last]), None if ends is None else ends[: found[0]].tolist()
