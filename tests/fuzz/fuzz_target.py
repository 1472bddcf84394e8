"""What a target of the fuzzer is: seeds, a way to make hostile inputs of them, and a run that holds the invariants."""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Final

from fuzz_mutate import Mutator

CORPUS: Final = Path(__file__).parent / "corpus"
GOLDEN: Final = Path(__file__).parents[1] / "golden"


class Target:
    """One parser. A subclass says how inputs are made (:meth:`make`) and what holds of every one (:meth:`run`)."""

    name = ""
    tokens: Sequence[bytes] = ()
    """Pieces of the grammar, for the mutator."""
    largest = 2048
    """Bytes of an input."""
    longest = 16_000
    """Bytes of the few inputs that are one piece over and over."""
    share = 1.0
    """Of the inputs that were asked for: below 1 where the parser is fuzzed in full elsewhere, or takes no input."""
    allowed = 0.05
    """Seconds of CPU that an input may take however fast the others are: what the parser's own limits allow."""
    fresh_after = 10_000
    """Inputs until the parser begins anew: what it may remember by design must not look like growth."""

    def seeds(self) -> list[bytes]:
        """Inputs to begin with, besides those of the corpus."""
        return []

    def corpus(self) -> list[tuple[str, bytes]]:
        """The kept inputs: name of the file, content."""
        return [(file.name, file.read_bytes()) for file in sorted((CORPUS / self.name).glob("*"))]

    def begin(self) -> None:
        """Make the parser, or make it anew."""

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        """A hostile input, of ``seed`` or of nothing."""
        return mutator.changed(seed, self.largest)

    def run(self, data: bytes) -> Hashable:
        """Parse, and assert what must hold. What is returned tells inputs apart: those of a new kind become seeds.

        Any error that gets out is a finding.
        """
        raise NotImplementedError


def dice(data: bytes) -> int:
    """32 random bits that the input itself fixes: what else a run needs to choose."""
    return zlib.crc32(data)
