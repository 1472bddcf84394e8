"""What a measurement gives, and how several of them are shown.

A machine that others share runs at another speed every second. So each figure is the median of several runs, stands
beside their spread, and has a floor where there is one: the least that the same bytes can cost, measured between the
same runs. The ratio to the floor carries over to other machines better than the nanoseconds do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: ``runs`` in ``unit``, and the ``floor_runs`` of what ``floor`` names, in the same unit."""

    name: str
    unit: str
    runs: Sequence[float]
    floor: str = ""
    floor_runs: Sequence[float] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.runs)

    @property
    def floor_median(self) -> float | None:
        return statistics.median(self.floor_runs) if self.floor_runs else None

    @property
    def ratio(self) -> float | None:
        """Median over the floor's median; None without a floor, or with one too small to be seen."""
        return self.median / self.floor_median if self.floor_median else None

    def as_dict(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": self.median,
            "min": min(self.runs),
            "max": max(self.runs),
            "runs": list(self.runs),
            "floor": self.floor or None,
            "floor_median": self.floor_median,
            "floor_runs": list(self.floor_runs),
            "ratio": self.ratio,
        }


@dataclass(slots=True)
class Series:
    """Gathers the runs of one figure, in whatever order they come."""

    name: str
    unit: str
    floor: str = ""
    runs: list[float] = field(default_factory=list)
    floor_runs: list[float] = field(default_factory=list)

    def figure(self) -> Figure:
        return Figure(self.name, self.unit, self.runs, self.floor, self.floor_runs)


def thread_ns(step: Callable[..., object], *arguments: object) -> int:
    """CPU time that ``step(*arguments)`` takes of this thread, in nanoseconds: the kernel's too, no other thread's."""
    start = time.thread_time_ns()
    step(*arguments)
    return time.thread_time_ns() - start


def process_ns(step: Callable[..., object], *arguments: object) -> int:
    """CPU time that all threads of this process take during ``step(*arguments)``, in nanoseconds."""
    start = time.process_time_ns()
    step(*arguments)
    return time.process_time_ns() - start


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned columns; ``spread`` is the lowest and the highest run."""
    rows = [("measurement", "median", "unit", "spread", "floor", "ratio", "floor is")]
    for f in figures:
        floor, ratio = f.floor_median, f.ratio
        rows.append(
            (
                f.name,
                shown(f.median),
                f.unit,
                f"{shown(min(f.runs))} to {shown(max(f.runs))}",
                "" if floor is None else shown(floor),
                "" if ratio is None else shown(ratio),
                f.floor,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = (1, 4, 5)
    lines = []
    for row in rows:
        cells = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def shown(value: float) -> str:
    """Three significant digits, no exponent."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:,.{digits}f}"
