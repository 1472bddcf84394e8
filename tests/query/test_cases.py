"""Runs the scripts in cases/: what functions give, said in a small language.

    load STEP                Series that the evaluations below it see, every STEP seconds, one a line; the last value
      PATH: VALUES           of each belongs to the moment 0. A path that is loaded again is replaced.
    eval [SECONDS] TARGET    What TARGET gives over the window (-SECONDS, 0], 60 without a number: these series in this
      NAME: VALUES [LAYOUT]  order and no others. LAYOUT: `every STEP` and `from TIME`, in this order; what lacks
        tags KEY=VALUE ...   is not compared, nor are tags. `tags` names all of them, but `name` only if it is to be
                             compared, too.
    fail TARGET              TARGET is refused, with TEXT in the message.
      TEXT
    # ...                    A comment.

    VALUES are numbers, `_` for no value, `VxN` for N times V, `V+DxN` for V, V+D, V+2D, ... (N values).

Indented lines belong to the line above them that is not. Moments are seconds; 0 is the epoch 1,800,000,000, in
Europe/Berlin, and divisible by every step that divides that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from ingestd.query.grid import Series
from ingestd.query.limits import QueryError

FOLDER: Final = Path(__file__).parent / "cases"
NOW: Final = 1_800_000_000
SERIES: Final = re.compile(r"(?P<name>.*): *(?P<values>.*?)(?: every (?P<step>\d+))?(?: from (?P<start>-?\d+))?")
RUN: Final = re.compile(r"(-?[\d.]+)(?:([+-][\d.]+))?x(\d+)|_x(\d+)")


@dataclass
class Expected:
    name: str
    values: list[float]
    step: int | None
    start: int | None
    tags: dict[str, str] | None = None


@dataclass
class Case:
    where: str
    target: str
    seconds: int
    data: dict[str, tuple[int, list[float]]]
    expected: list[Expected] = field(default_factory=list)
    refusal: str | None = None


def values_of(text: str) -> list[float]:
    out: list[float] = []
    for word in text.split():
        run = RUN.fullmatch(word)
        if run is None:
            out.append(np.nan if word == "_" else float(word))
        elif run[4]:
            out += [np.nan] * int(run[4])
        else:
            out += [float(run[1]) + float(run[2] or 0) * at for at in range(int(run[3]))]
    return out


def cases_of(path: Path) -> Iterator[Case]:
    """The cases of a script, each with its lines."""
    data: dict[str, tuple[int, list[float]]] = {}
    step = 0
    case: Case | None = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        if not line[0].isspace():
            if case:
                yield case
            case = None
            if words[0] == "load":
                step, data = int(words[1]), dict(data)
                continue
            assert words[0] in ("eval", "fail"), f"{path.name}:{number}"
            seconds, target = re.fullmatch(r"(?:(\d+) )?(.*)", words[1]).groups()  # type: ignore[union-attr]
            where = f"{path.stem}:{number} {target[:60]}"
            case = Case(where, target, int(seconds or 60), data, refusal="" if words[0] == "fail" else None)
        elif case is None:
            name, _, values = line.strip().rpartition(":")
            data[name] = (step, values_of(values))
        elif case.refusal is not None:
            case.refusal = line.strip()
        elif words[0] == "tags":
            case.expected[-1].tags = dict(re.findall(r"([^ =]+)=(\"[^\"]*\"|\S+)", words[1]))
        else:
            found = SERIES.fullmatch(line.strip())
            assert found, f"{path.name}:{number}"
            numbers = [None if found[key] is None else int(found[key]) for key in ("step", "start")]
            case.expected.append(Expected(found["name"], values_of(found["values"]), *numbers))
    if case:
        yield case


CASES: Final = [case for path in sorted(FOLDER.glob("*.case")) for case in cases_of(path)]


def test_there_are_cases() -> None:
    assert len(CASES) >= 10
    assert sum(len(case.expected) for case in CASES) >= 10


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.where)
def test_case(case: Case, render: Callable[..., list[Series]]) -> None:
    if case.refusal is not None:
        with pytest.raises(QueryError) as refused:
            render(case.data, case.target, seconds=case.seconds)
        assert case.refusal in str(refused.value)
        return
    got = render(case.data, case.target, seconds=case.seconds)
    assert [each.name for each in got] == [each.name for each in case.expected]
    for series, expected in zip(got, case.expected, strict=True):
        np.testing.assert_allclose(
            series.values, expected.values, rtol=1e-9, atol=1e-12, equal_nan=True, err_msg=series.name
        )
        assert expected.step in (None, series.step)
        assert expected.start in (None, series.start - NOW)
        if expected.tags is not None:
            named = "name" in expected.tags
            tags = {key: value for key, value in series.tags.items() if named or key != "name"}
            assert tags == {key: value.strip('"') for key, value in expected.tags.items()}
