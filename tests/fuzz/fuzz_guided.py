"""The same targets under atheris, which watches what of a parser an input reaches: ``make fuzz GUIDED=1``.

Needs atheris (`pip install atheris`), for which there are wheels for Python 3.11 alone; nothing else does. Half of the
inputs are made by the target, half by libFuzzer out of those that reached something new. The first finding ends a
target's run; its input is kept in tests/fuzz/found/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ingestd"]):
    from fuzz_table import TARGETS

from fuzz_loop import FOUND
from fuzz_mutate import Mutator
from fuzz_target import Target

SECONDS = 2
"""An input that takes longer hangs; libFuzzer counts whole seconds."""


def main() -> None:
    """Run one target; ends the process with another status than 0 on a finding."""
    parser = argparse.ArgumentParser(description="Hostile inputs for one parser, guided by coverage.")
    parser.add_argument("--target", required=True, choices=list(TARGETS))
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    target = TARGETS[options.target]()
    target.begin()
    found = FOUND / target.name
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="guided") as directory:
        for number, data in enumerate([*(data for _, data in target.corpus()), *target.seeds()]):
            (Path(directory) / str(number)).write_bytes(data)
        arguments = [
            sys.argv[0],
            f"-runs={options.inputs}",
            f"-seed={options.seed}",
            f"-max_len={target.largest}",
            f"-timeout={SECONDS}",
            f"-artifact_prefix={found}/",
            "-rss_limit_mb=3072",
            "-print_final_stats=1",
            directory,
        ]
        atheris.Setup(arguments, _run(target), custom_mutator=_mutate(target, options.seed))
        atheris.Fuzz()


def _run(target: Target):
    count = 0

    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % target.fresh_after == 0:
            target.begin()
        target.run(data)

    return run


def _mutate(target: Target, seed: int):
    mutator = Mutator(f"{target.name} {seed}", target.tokens)

    def mutate(data: bytes, largest: int, _: int) -> bytes:
        if mutator.chance(0.5):
            mutator.other, data = data, target.make(mutator, bytes(data))
            return data[:largest]
        return atheris.Mutate(data, largest)

    return mutate


if __name__ == "__main__":
    main()
