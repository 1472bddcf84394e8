"""Kernels of the way out: JSON, sums and walks of any numbers, against their references."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Final

import numpy as np
from fuzz_mutate import Mutator
from fuzz_target import Target, dice

from ingestd.query import along, reduce
from ingestd.query.functions import transform
from ingestd.query.grid import Series
from ingestd.serve.formats import json_bytes, to_json

NUMBERS: Final = (
    0.0, -0.0, 1.0, 0.5, 123.45, 1e15, 1e16, 1e17, 1e-4, 9.9e-5, 1e-5, 2.0**53, 2.0**53 + 2, 2.0**54 + 4, 5e-324,
    1.7976931348623157e308, 2.2250738585072014e-308, 0.1 + 0.2, 1 / 3, 1e22, 1e23, 99999999.0, 100000000.0, 12345678.5,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip
STARTS: Final = (1_795_389_000, 0, -25, 9_999_999_985, 2**61, 2**62, -(2**62) - 1)


class Answers(Target):
    """:func:`json_bytes`, whose numbers are eight bytes each of the input; :func:`reduce.across`; walks along them."""

    name = "answers"
    tokens = tuple(struct.pack("<d", number) for number in NUMBERS)
    largest = 512

    def seeds(self) -> list[bytes]:
        return [b"".join(self.tokens), *self.tokens, np.arange(50.0).tobytes(), (np.arange(50) / 7).tobytes()]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.5):
            return mutator.changed(seed, self.largest)
        return b"".join(
            mutator.pick(self.tokens) if mutator.chance(0.5) else mutator.bytes(8) for _ in range(mutator.below(40))
        )

    def run(self, data: bytes) -> Hashable:
        roll = dice(data)
        values = np.frombuffer(data[: len(data) // 8 * 8], "<f8")
        if roll & 1:
            with np.errstate(all="ignore"):
                values = np.trunc(values)
        parts = np.array_split(values, 1 + roll % 3)
        if roll & 2:
            parts = [part[:: -1 - roll % 2] for part in parts]
        name = data[: roll % 9].decode("utf-8", "replace")
        start, step = STARTS[(roll >> 4) % len(STARTS)], 1 + (roll >> 8) % 90
        series = [
            Series(name, name, {"name": name}, start, start + step * (len(part) + roll % 4 - 1), step, part)
            for part in parts
        ]
        for one in series[: roll % 5]:
            one.ints = True
        no_nulls, pretty = bool(roll & 64), bool(roll & 128)
        text = to_json(series, no_nulls, pretty)
        assert json_bytes(series, no_nulls, pretty).decode() == text
        self._add(values, 1 + roll % 7)
        self._walk(values, 1 + roll % 7, 1 + roll % 5, roll >> 8)
        return (min(len(values), 5), "e-" in text, "e+" in text, "null" in text, "9999" in text, roll & 3)

    @staticmethod
    def _walk(values: np.ndarray[tuple[int], np.dtype[np.float64]], points: int, size: int, way: int) -> None:
        """Rows of ``points`` walked along in one of the ways, with the kernels and without."""
        rows = values[: len(values) // points * points].reshape(-1, points)
        kernels = along.along_compiled, along.windows_compiled
        firsts, factors = np.arange(float(len(rows))), np.full((len(rows), 1), 0.5)
        walks = [
            lambda: along.filled(rows, size),
            lambda: along.bridged(rows, size),
            lambda: along.changes(rows),
            lambda: along.running_deviations(rows, size, 0.5),
            lambda: along.averages(rows, 0.25, firsts),
            lambda: along.recurrence(rows, rows, firsts),
            lambda: transform.rounded(rows, size - 2),
        ]
        if size <= points:
            walks += [lambda: along.medians(rows, size), lambda: along.deviations(rows, size)]
            walks += [lambda manner=manner: along.windows(rows, size, manner, factors) for manner in along.MANNERS]
        with np.errstate(all="ignore"):
            walk = walks[way % len(walks)]
            found = walk()
            try:
                along.along_compiled = transform.along_compiled = along.windows_compiled = None
                expected = walk()
            finally:
                along.along_compiled, along.windows_compiled = kernels
                transform.along_compiled = along.along_compiled
            assert np.array_equal(found, expected, equal_nan=True)

    @staticmethod
    def _add(values: np.ndarray[tuple[int], np.dtype[np.float64]], points: int) -> None:
        """Rows of ``points`` added with the kernel and without."""
        rows = values[: len(values) // points * points].reshape(-1, points)
        if not len(rows):
            return
        kernel = reduce.sums_compiled
        with np.errstate(all="ignore"):
            for name in ("sum", "average", "count"):
                found = reduce.across(rows, name, 0.0)
                try:
                    reduce.sums_compiled = None
                    expected = reduce.across(rows, name, 0.0)
                finally:
                    reduce.sums_compiled = kernel
                assert np.array_equal(found, expected, equal_nan=True), name
                assert np.array_equal(np.signbit(found) & (found == 0), np.signbit(expected) & (expected == 0)), name
