"""What a daemon must hold, by whisper's rules: written anew here, so that the store is not compared with itself."""

import functools
import operator
from dataclasses import dataclass

import numpy as np


def add(known):
    """One after the other, as whisper does; sum() of later Pythons is more exact."""
    return functools.reduce(operator.add, known)


AGGREGATE = {
    "average": lambda known: add(known) / len(known),
    "sum": add,
    "last": lambda known: known[-1],
    "max": max,
    "min": min,
}


@dataclass(frozen=True)
class Shape:
    """How a series is kept: archives (step, slots) finest first, aggregation method, xFilesFactor."""

    archives: tuple[tuple[int, int], ...]
    method: str
    factor: float


@dataclass(frozen=True)
class Point:
    """A point as sent; ``level`` is the archive that its age leads to."""

    path: str
    when: int
    value: float
    level: int


class Series:
    """Values assigned to slots of each archive, and what the coarser archives make of the finer ones.

    Coarse values are kept until a finer one below them changes.
    """

    def __init__(self, shape: Shape):
        self.shape = shape
        self._own: list[dict[int, float]] = [{} for _ in shape.archives]
        self._rolled: list[dict[int, float]] = [{} for _ in shape.archives]

    def put(self, point: Point):
        slot = point.when // self.shape.archives[point.level][0]
        self._own[point.level][slot] = point.value
        self._roll_up(point.level, slot)

    def _roll_up(self, level, slot):
        """Compute anew the coarser slots that hold this one."""
        for coarse in range(level + 1, len(self.shape.archives)):
            ratio = self.shape.archives[coarse][0] // self.shape.archives[coarse - 1][0]
            slot //= ratio
            below = (self.at(coarse - 1, s) for s in range(slot * ratio, (slot + 1) * ratio))
            known = [value for value in below if value is not None]
            if known and len(known) / ratio >= float(np.float32(self.shape.factor)):
                self._rolled[coarse][slot] = float(AGGREGATE[self.shape.method](known))

    def at(self, level, slot):
        """The value of a slot or None: where both exist, the rollup wins."""
        value = self._rolled[level].get(slot)
        return self._own[level].get(slot) if value is None else value

    def values(self, level, first, count):
        """float64[count] from slot ``first`` on, NaN = no point."""
        return np.array([self.at(level, s) for s in range(first, first + count)], float)


class Model:
    """All series: the points that the daemon must hold by now."""

    Point = Point
    Shape = Shape

    def __init__(self, shape_of):
        """``shape_of(path)``: the Shape of a new series."""
        self._shape_of = shape_of
        self.series: dict[str, Series] = {}
        self.points = 0

    def put(self, point: Point):
        series = self.series.get(point.path)
        if series is None:
            series = self.series[point.path] = Series(self._shape_of(point.path))
        series.put(point)
        self.points += 1

    def expected(self, path, first, step, count):
        """float64[count]: the slots of ``step`` seconds from second ``first`` on."""
        series = self.series.get(path)
        if series is None:
            return np.full(count, np.nan)
        level = [s for s, _ in series.shape.archives].index(step)
        return series.values(level, first // step, count)
