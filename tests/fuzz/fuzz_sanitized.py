"""The compiled kernels under AddressSanitizer and UndefinedBehaviorSanitizer: a part of ``make fuzz``.

Builds the kernels anew with both in a directory of their own, and runs hostile inputs through those targets that use
them, in a process that has the sanitizers' libraries loaded. A finding ends it with what the sanitizer says. Needs gcc;
without it nothing is compiled, and nothing is there to be fuzzed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FLAGS: Final = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g -O1"
TARGETS_OF_KERNELS: Final = (
    "lines",
    "collectd",
    "collectd-signed",
    "collectd-encrypted",
    "batch",
    "answers",
    "globs",
    "load",
)


def main() -> int:
    """0 if nothing was found, or there is no compiler."""
    parser = argparse.ArgumentParser(description="Hostile inputs for the kernels, under sanitizers.")
    parser.add_argument("--inputs", type=int, default=200_000, help="inputs a target (default 200,000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return _work(options.inputs, options.seed)
    if shutil.which("gcc") is None:
        sys.stdout.write("sanitized: no gcc, no kernels, nothing to do\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="sanitized") as directory:
        _build(Path(directory))
        return _run(Path(directory), options.inputs, options.seed)


def _build(directory: Path) -> None:
    for name in ("ingestd", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, directory / name)
    for made in (*directory.glob("ingestd/_speed/*.so"), *directory.glob("ingestd/_speed/*.c")):
        made.unlink()
    environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)


def _run(directory: Path, inputs: int, seed: int) -> int:
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter leaves much behind
        "PYTHONMALLOC": "malloc",  # else small objects lie side by side in blocks that the sanitizer does not know
        "PYTHONPATH": str(directory),
    }
    command = [sys.executable, __file__, "--worker", "--inputs", str(inputs), "--seed", str(seed)]
    return subprocess.run(command, env=environment, check=False).returncode


def _work(inputs: int, seed: int) -> int:
    from fuzz_mutate import Mutator
    from fuzz_table import TARGETS

    from ingestd._speed import COMPILED
    from ingestd._speed import __file__ as where

    if not COMPILED or ROOT in Path(where).parents:
        raise RuntimeError("these are not the sanitized kernels")
    for name in TARGETS_OF_KERNELS:
        target = TARGETS[name]()
        target.begin()
        mutator, chosen = Mutator(seed, target.tokens), random.Random(seed)
        seeds = [*target.seeds(), *(data for _, data in target.corpus())]
        for data in seeds:
            target.run(data)
        for _ in range(inputs):
            target.run(target.make(mutator, chosen.choice(seeds)))
        sys.stdout.write(f"{name:18} {inputs:>9} inputs under sanitizers, 0 findings\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
