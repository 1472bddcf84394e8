"""What functions declare is what graphite-web 1.1.10 tells of them: golden/render/functions.jsonl is its /functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingestd.query.functions import FUNCTIONS
from ingestd.query.functions.pie import PIES
from ingestd.query.functions.registry import FLOAT, INTEGER, Function, Param, optional
from ingestd.query.grid import SeriesList
from ingestd.query.limits import QueryError

GOLDEN = Path(__file__).parents[1] / "golden" / "render" / "functions.jsonl"
KNOWN: dict[str, dict[str, Any]] = {
    each["name"]: each for each in map(json.loads, GOLDEN.read_text(encoding="utf-8").splitlines())
}


def test_the_record_is_whole() -> None:
    assert len(KNOWN) == 154


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_a_function_is_declared_as_graphite_web_declares_it(name: str) -> None:
    described = FUNCTIONS[name].describe()
    assert described.pop("description")
    assert described.pop("module").startswith("ingestd.query.functions.")
    if FUNCTIONS[name].extension:
        assert name not in KNOWN
    else:
        assert described == KNOWN[name]


def test_functions_of_pies() -> None:
    described = PIES["maximum"].describe()
    assert described["function"] == "maximum(series)"
    assert described["params"] == [{"name": "series", "type": "series", "required": True}]


def function(*params: Param) -> Function:
    return Function("f", "Test", params, lambda call: SeriesList())


def test_arguments_find_their_parameters() -> None:
    plain = function(Param("n", INTEGER, default=1), optional("q", FLOAT, 0.5, keyword="quotient"))
    assert plain.bind([], []) == [1, 0.5]
    assert plain.bind([None, None], []) == [1, 0.5]
    assert plain.bind(["3"], [("quotient", 2)]) == [3, 2.0]
    assert plain.bind([3], [("q", 2)]) == [3, 2.0]
    many = function(Param("n", INTEGER), Param("more", FLOAT, multiple=True))
    assert many.bind([1], []) == [1]
    assert many.bind([1, 2, "3"], []) == [1, 2.0, 3.0]
    assert function().bind([], []) == []


@pytest.mark.parametrize(
    ("params", "args", "kwargs"),
    [
        ((), [1], []),
        ((), [], [("n", 1)]),
        ((Param("n", INTEGER),), [], []),
        ((Param("n", INTEGER),), [None], []),
        ((Param("n", INTEGER),), [1.5], []),
        ((Param("n", INTEGER),), [1], [("n", 1)]),
        ((Param("n", INTEGER, multiple=True),), [1, "x"], []),
    ],
)
def test_arguments_that_do_not_fit(params: Any, args: Any, kwargs: Any) -> None:
    with pytest.raises(QueryError):
        function(*params).bind(args, kwargs)
