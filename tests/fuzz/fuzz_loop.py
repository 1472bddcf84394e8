"""One target's run in one process: make an input, run it, watch its time and the process's memory, keep what fails."""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Hashable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from fuzz_mutate import Mutator
from fuzz_target import Target

FOUND: Final = Path(__file__).parent / "found"
HANG_SECONDS: Final = 1.0
"""CPU time that no input may take; a run of one is broken off after twice that."""
SLOW_FACTOR: Final = 50
"""Times the median of the target's CPU time a byte that make an input slow, if the target does not allow them."""
TRIES: Final = 3
"""A slow input is run again this often, and its best time counts."""
LONG_SHARE: Final = 0.001
"""Of the inputs are as long as the target takes them."""
POOL: Final = 4096
"""Seeds kept at most."""
SAMPLES: Final = 64
"""Times that the memory is looked at in a run."""
GROWTH_LIMIT: Final = 16 << 20
"""Bytes that the process may grow by between the second and the last quarter of a run."""
FINDINGS_KEPT: Final = 10
_SHRINK_RUNS: Final = 3_000
_PAGE: Final = 4096


class HangError(BaseException):
    """Raised in the middle of a run that takes too long; no parser may catch it."""


@dataclass
class Finding:
    """An input that broke a promise, made as small as it still does."""

    what: str
    file: str
    size: int


@dataclass
class Report:
    """What a run came to."""

    name: str
    seed: int
    inputs: int = 0
    kinds: int = 0
    cpu: float = 0.0
    slowest: float = 0.0
    slowest_size: int = 0
    growth: int = 0
    findings: list[Finding] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Window:
    """The input that is being run and how many were, where another process sees them: in a mapped file.

    A crash of the interpreter, or a hang in C, leaves its input there.
    """

    SIZE: Final = 1 << 20
    _HEAD: Final = struct.Struct("<QI")

    def __init__(self, path: Path) -> None:
        with path.open("w+b") as file:
            file.truncate(self.SIZE)
            self._map = mmap.mmap(file.fileno(), self.SIZE)

    def show(self, count: int, data: bytes) -> None:
        self._HEAD.pack_into(self._map, 0, count, len(data))
        self._map[12 : 12 + len(data)] = data

    @classmethod
    def read(cls, path: Path) -> tuple[int, bytes]:
        """How many inputs were begun, and the last of them."""
        content = path.read_bytes()
        count, size = cls._HEAD.unpack_from(content)
        return count, content[12 : 12 + size]


class _Watch:
    """Breaks off a run that stands still: a timer of CPU time that costs the runs nothing."""

    def __init__(self) -> None:
        self.count = 0
        self._seen = -1

    def _tick(self, *_: object) -> None:
        if self.count and self.count == self._seen:
            raise HangError
        self._seen = self.count

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        before = signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS, HANG_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
            signal.signal(signal.SIGPROF, before)


class Loop:
    """Runs a target."""

    def __init__(self, target: Target, seed: int, window: Window | None = None) -> None:
        self._target = target
        self._mutator = Mutator(f"{target.name} {seed}", target.tokens)
        self._window = window
        self._watch = _Watch()
        self._pool: list[bytes] = []
        self._kinds: set[Hashable] = set()
        self._places: set[str] = set()
        self._times: list[float] = []
        self.report = Report(target.name, seed)

    def run(self, inputs: int) -> Report:
        """The corpus, then ``inputs`` hostile ones."""
        report = self.report
        began = time.process_time()
        with warnings.catch_warnings(), self._watch.running():
            warnings.simplefilter("error")
            # An operator's regular expression that a later Python may read otherwise.
            warnings.filterwarnings("ignore", "Possible nested set|Possible set", FutureWarning)
            self._target.begin()
            corpus = [data for _, data in self._target.corpus()]
            self._pool = [*corpus, *self._target.seeds()] or [b""]
            for data in corpus:
                self._one(data)
            self._hostile(inputs)
        report.cpu = time.process_time() - began
        report.kinds = len(self._kinds)
        return report

    def _hostile(self, inputs: int) -> None:
        target, mutator, pool, watch = self._target, self._mutator, self._pool, self._watch
        every = max(inputs // SAMPLES, 1)
        memory: list[int] = []
        for number in range(inputs):
            if number % every == 0:
                memory.append(resident())
            if number % target.fresh_after == 0:
                target.begin()
            seed = mutator.pick(pool)
            mutator.other = mutator.pick(pool)
            watch.count = 0
            long = mutator.chance(LONG_SHARE)
            data = mutator.repeated(target.longest) if long else target.make(mutator, seed)
            kind = self._one(data)
            if kind is not None and kind not in self._kinds and not long:
                self._kinds.add(kind)
                if len(pool) < POOL:
                    pool.append(data)
                else:
                    pool[mutator.below(POOL)] = data
        quarter = len(memory) // 4
        if quarter:
            self.report.growth = min(memory[3 * quarter :]) - min(memory[quarter : 2 * quarter])
            if self.report.growth > GROWTH_LIMIT:
                self._keep("grew", f"memory grew by {self.report.growth >> 20} MiB", b"")

    def _one(self, data: bytes) -> Hashable:
        """Run one input; the kind that it is of, None if it failed."""
        report, watch = self.report, self._watch
        report.inputs += 1
        if self._window is not None:
            self._window.show(report.inputs, data)
        watch.count = report.inputs
        start = time.thread_time()
        try:
            kind = self._target.run(data)
            spent = time.thread_time() - start
            if len(self._times) < 20_000:
                self._times.append(spent / (len(data) + 64))
            if spent > report.slowest:
                self._look_at_slow(data, spent)
        except HangError:
            self._keep("hang", f"broken off after over {HANG_SECONDS} s of CPU", data)
            self._target.begin()
            return None
        except Exception as error:
            self._failed(error, data)
            return None
        return kind

    def _look_at_slow(self, data: bytes, spent: float) -> None:
        """An input slower than all before: whether it is so every time, and too slow."""
        usual = sorted(self._times)[len(self._times) // 2] * (len(data) + 64)
        if spent > 0.002:
            for _ in range(TRIES):
                self._watch.count += 1 << 40
                start = time.thread_time()
                self._target.run(data)
                spent = min(spent, time.thread_time() - start)
        if spent <= self.report.slowest:
            return
        self.report.slowest, self.report.slowest_size = spent, len(data)
        if spent > HANG_SECONDS or (spent > self._target.allowed and spent > SLOW_FACTOR * usual):
            self._keep("slow", f"{spent:.2f} s of CPU, {spent / usual:.0f} times the usual", data)

    def _failed(self, error: Exception, data: bytes) -> None:
        place = place_of(error)
        if place in self._places:
            return
        small = self._smaller(data, place)
        self._keep(place, "".join(traceback.format_exception_only(error)).strip()[:500] + f" in {place}", small)

    def _smaller(self, data: bytes, place: str) -> bytes:
        """``data`` with everything left out without which it fails at the same place."""
        runs = 0
        size = max(len(data) // 2, 1)
        while size:
            at = 0
            while at < len(data) and runs < _SHRINK_RUNS:
                without = data[:at] + data[at + size :]
                runs += 1
                self._watch.count += 1 << 40
                if self._fails_at(without) == place:
                    data = without
                else:
                    at += size
            size //= 2
        return data

    def _fails_at(self, data: bytes) -> str:
        try:
            self._target.run(data)
        except Exception as error:
            return place_of(error)
        except HangError:
            return "hang"
        return ""

    def _keep(self, place: str, what: str, data: bytes) -> None:
        if place in self._places or len(self.report.findings) >= FINDINGS_KEPT:
            return
        self._places.add(place)
        self.report.findings.append(Finding(what, str(save(self._target.name, data)), len(data)))


def save(name: str, data: bytes) -> Path:
    """Keep an input that failed; a name of its content, so that it is kept once."""
    directory = FOUND / name
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / hashlib.sha256(data).hexdigest()[:16]
    file.write_bytes(data)
    return file


def place_of(error: BaseException) -> str:
    """Where an error comes from: its type, and the line of the program, or of the invariant, that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/ingestd/" in frame.filename or "/tests/fuzz/" in frame.filename]
    last = (own or frames)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def resident() -> int:
    """Bytes of memory that this process holds."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * _PAGE
