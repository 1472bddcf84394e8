"""The fuzzer: ``python tests/fuzz/fuzz.py [--target NAME ...] [--inputs N] [--seed S] [--jobs J]``.

Runs hostile inputs through every parser, each in a process of its own, and prints a line for each. A finding is an
error that a parser does not promise, a broken invariant, an input that takes too long, memory that grows, or the death
of the process; its input is kept in tests/fuzz/found/ and belongs in tests/fuzz/corpus/<target>/ with the fix.
Exits with 1 if there are findings. The same seed makes the same inputs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from fuzz_loop import Loop, Window, save
from fuzz_table import TARGETS

STILL_SECONDS: Final = 120.0
"""A process that spends this much CPU on one input hangs where Python cannot break it off."""
DEAD_SECONDS: Final = 900.0
"""One that stands still for so long waits for what never comes; a machine may be busy, or asleep, for much of it."""
_POLL: Final = 0.2
_MEMORY_LIMIT: Final = 3 << 30
"""Bytes of address space of a worker: what asks for more fails there, and the machine goes on."""
_HINT: Final = "Copy each file to tests/fuzz/corpus/<target>/ under a name that says what it does, then fix the parser."


def main() -> int:
    """Run the targets that are asked for; 1 if there are findings."""
    options = _options()
    if options.worker:
        return _work(options)
    names = options.target or list(TARGETS)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    _say(f"seed {seed}, {options.inputs} inputs a parser, {options.jobs} jobs")
    waiting, running, failed = list(names), [], False
    with tempfile.TemporaryDirectory(prefix="fuzz") as directory:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                running.append(_Worker(waiting.pop(0), options.inputs, seed, Path(directory)))
            time.sleep(_POLL)
            for worker in running[:]:
                report = worker.poll()
                if report is not None:
                    running.remove(worker)
                    failed = _print(report) or failed
    if failed:
        _say(_HINT)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Hostile inputs for every parser.")
    parser.add_argument("--target", action="append", choices=list(TARGETS), help="one parser; may be repeated")
    parser.add_argument("--inputs", type=int, default=200_000, help="inputs a parser (default 200,000)")
    parser.add_argument("--seed", type=int, help="repeat a run (default: a new one, which is printed)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default 1)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def _work(options: argparse.Namespace) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    target = TARGETS[options.target[0]]()
    loop = Loop(target, options.seed, Window(Path(options.worker)))
    report = loop.run(max(int(options.inputs * target.share), 1))
    sys.stdout.write(json.dumps(report.as_dict()))
    return 0


class _Worker:
    """A process that runs one target."""

    def __init__(self, name: str, inputs: int, seed: int, directory: Path) -> None:
        self.name = name
        self._seed = seed
        self._window = directory / name
        self._answer = (directory / f"{name}.json").open("w+b")
        self._errors = (directory / f"{name}.err").open("w+b")
        arguments = ["--target", name, "--inputs", str(inputs), "--seed", str(seed), "--worker", str(self._window)]
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments], stdout=self._answer, stderr=self._errors
        )
        self._seen = (0, b"")
        self._spent = 0.0
        self._polls = 0

    def poll(self) -> dict[str, Any] | None:
        """The report once the process has ended; one that stands still is ended."""
        code = self._process.poll()
        if code is None:
            self._polls += 1
            spent = cpu_seconds(self._process.pid)
            if spent - self._spent > STILL_SECONDS or self._polls * _POLL > DEAD_SECONDS:
                seen = self._read_window()
                if seen == self._seen:
                    self._process.kill()
                    self._process.wait()
                    return self._death("hangs in C")
                self._seen, self._spent, self._polls = seen, spent, 0
            return None
        self._answer.seek(0)
        if code:
            self._errors.seek(0)
            return self._death(f"the process ended with {code}: {self._errors.read().decode(errors='replace')[-1500:]}")
        report: dict[str, Any] = json.loads(self._answer.read())
        return report

    def _read_window(self) -> tuple[int, bytes]:
        return Window.read(self._window) if self._window.exists() else (0, b"")

    def _death(self, what: str) -> dict[str, Any]:
        count, data = self._read_window()
        finding = {"what": what, "file": str(save(self.name, data)), "size": len(data)}
        return {"name": self.name, "inputs": count, "seed": self._seed, "findings": [finding]}


def cpu_seconds(pid: int) -> float:
    """User and system time of a process (proc(5): fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _print(report: dict[str, Any]) -> bool:
    """A line of a report and one for each finding; whether there are any."""
    cpu = report.get("cpu", 0.0)
    _say(
        f"{report['name']:18} {report['inputs']:>9} inputs {cpu:8.1f} s CPU {report['inputs'] / max(cpu, 1e-9):8.0f}/s"
        f"  slowest {1e3 * report.get('slowest', 0.0):7.2f} ms ({report.get('slowest_size', 0)} bytes)"
        f"  growth {report.get('growth', 0) / 2**20:5.1f} MiB  {report.get('kinds', 0)} kinds"
        f"  {len(report['findings'])} findings"
    )
    for finding in report["findings"]:
        _say(f"    {finding['what']}\n    {finding['size']} bytes kept in {finding['file']}")
    return bool(report["findings"])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
