"""Targets over recorded data give what graphite-web 1.1.10 gave (golden/render/record.py)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ingestd.points import Ids, Rows, Window
from ingestd.query.consolidate import consolidate
from ingestd.query.evaluate import Request, run
from ingestd.query.functions import FUNCTIONS

UNRECORDED = {"events", "seriesByTag", "verticalLine"}
GOLDEN: dict[str, Any] = json.loads((Path(__file__).parents[1] / "golden" / "render" / "cases.json").read_text())
NOW: int = GOLDEN["now"]


class Player:
    """A Reader of what was recorded."""

    def find(self, pattern: str) -> list[tuple[str, int]]:
        return [(path, GOLDEN["paths"].index(path)) for path in GOLDEN["found"][pattern]]

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        out = []
        for position, number in enumerate(ids.tolist()):
            first, step, values = GOLDEN["fetched"][f"{GOLDEN['paths'][number]} {start - NOW} {until - NOW}"]
            window = Window(first, first + step * len(values), step)
            out.append(Rows(window, np.array([position]), np.array([values], np.float64)))
        return out


def test_the_record_is_not_empty() -> None:
    assert len(GOLDEN["cases"]) > 300
    assert sum(len(case["expected"]) for case in GOLDEN["cases"]) > 590
    called = {name for case in GOLDEN["cases"] for name in re.findall(r"(\w+)\(", case["target"])}
    random = {"randomWalk", "randomWalkFunction"}
    assert {name for name, each in FUNCTIONS.items() if not each.extension} - called == random | UNRECORDED


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{case['target'][:50]} {case['points'] or ''}")
def test_as_graphite_web(case: dict[str, Any]) -> None:
    start, until = case["window"]
    request = Request((case["target"],), NOW + start, NOW + until, NOW, ZoneInfo("UTC"))
    series = consolidate(run(request, Player()), case["points"])
    assert [each.name for each in series] == [each["target"] for each in case["expected"]]
    assert [each.tags for each in series] == [each["tags"] for each in case["expected"]]
    for got, expected in zip(series, case["expected"], strict=True):
        points = list(zip(got.values.tolist(), got.timestamps(), strict=False))
        assert [time for _, time in points] == [time for _, time in expected["datapoints"]]
        values = np.array([value for value, _ in expected["datapoints"]], np.float64)
        np.testing.assert_allclose([value for value, _ in points], values, rtol=1e-12, atol=1e-13, equal_nan=True)
