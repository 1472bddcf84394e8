"""The benchmark of functions runs, and names none that is not there."""

import json

import pytest

from bench.functions import ALL, TARGETS, main, rows_of, target_of
from ingestd.query.functions import FUNCTIONS


def test_it_measures_what_is_chosen(tmp_path, capsys):
    out = tmp_path / "figures.json"
    chosen = ["--series", "20", "--points", "30", "--runs", "1", "--json", str(out)]
    assert main([*chosen, "--only", "scale", "--only", "sumSeries"]) == 0
    assert set(json.loads(out.read_text())) == {"scale", "sumSeries"}
    assert "scale" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_a_target_that_calls_it(name):
    target = target_of(name)
    assert target is None or target.startswith(f"{name}(")


def test_patterns_mean_rows():
    assert rows_of(ALL, 30) == list(range(30))
    assert rows_of("bench.1.1?.value", 30) == list(range(10))
    assert rows_of("bench.1.1[0-1].value", 30) == [0, 1]
    assert rows_of("bench.1.12.value", 30) == [2]
    assert TARGETS
