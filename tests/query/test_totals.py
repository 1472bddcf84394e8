"""Aggregations that the reader makes, against the same over fetched arrays."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.points import Totals
from ingestd.query.limits import LimitError, QueryLimits

NONE = float("nan")
TARGETS = (
    "sumSeries(web*.load)",
    "sum(web*.load)",
    "averageSeries(web*.load, db*.load)",
    "avg(*.load)",
    "maxSeries(web*.load)",
    "minSeries(*.load,nowhere.*)",
    "sumSeries(web*.load, web1*.load)",
    "scale(sumSeries(web*.load), 2)",
    "timeShift(maxSeries(web*.load), '30s')",
    "sumSeries(nothing.*)",
    "averageSeries(web1*.load)",
    "sumSeries(tagged*)",
)
VALUES = st.sampled_from([0.0, -0.0, 1.0, 0.1, -2.5, 1e16, -1e16, NONE, NONE])


@pytest.fixture(params=[True, False], ids=["ids", "paths"])
def totalling(memory, request):
    """A reader in memory that makes totals as the store does, of what it fetches."""

    quick = request.param

    class Totalling(memory):
        totals = 0

        def find_ids(self, pattern):
            found = self.find(pattern)
            plain = not any(";" in path for path, _ in found)
            return np.array([number for _, number in found], np.uint32) if plain and quick else None

        def total(self, ids, start, until, now, manner, before):
            found = self.fetch(ids, start, until, now)
            if len({rows.window for rows in found}) != 1:
                return None
            before(sum(rows.values.size for rows in found))
            self.totals += 1
            values = np.concatenate([rows.values for rows in sorted(found, key=lambda rows: rows.positions[0])])
            total = np.full(values.shape[1], 0.0 if manner == "sum" else NONE)
            for row in values:
                known = np.where(np.isnan(row), 0.0, row)
                total = total + known if manner == "sum" else getattr(np, f"f{manner}")(total, row)
            return Totals(found[0].window, total, np.count_nonzero(~np.isnan(values), axis=0).astype(float))

    return Totalling


def fleet(values):
    names = [f"web{n}.load" for n in range(20)] + [f"db{n}.load" for n in range(9)]
    names += [f"tagged;dc=a;host=h{n}" for n in range(10)]
    return {name: (10, [values[(at + n) % len(values)] for at in range(12)]) for n, name in enumerate(names)}


def shown(series):
    values = [[repr(float(value)) for value in one.values] for one in series]
    about = [(one.name, one.path_expression, one.tags, one.start, one.end, one.step) for one in series]
    return values, about, [(one.x_files_factor, one.ints, one.consolidation_func) for one in series]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(VALUES, min_size=3, max_size=17), st.sampled_from(TARGETS), st.sampled_from([None, 0.5, 1.0]))
def test_answers_are_those_of_arrays(totalling, memory, render, values, target, factor):
    data = fleet(values)
    reader = totalling(data)
    got = shown(render(reader, target, x_files_factor=factor))
    assert got == shown(render(memory(data), target, x_files_factor=factor))
    assert bool(reader.totals) == (target not in ("sumSeries(nothing.*)", "sumSeries(web*.load, web1*.load)"))


@pytest.mark.parametrize(
    "target",
    [
        "sumSeries(scale(web*.load, 2))",
        "sumSeries(web1.load)",
        "sumSeries(web?.load, db1.load, mixed.*)",
        "sumSeries(web*.load, scale(db*.load, 2))",
    ],
)
def test_all_else_is_fetched(totalling, render, target):
    data = {**fleet([1.0, 2.0, 3.0]), "mixed.minutes": (60, [5.0, 6.0])}
    reader = totalling(data)
    assert shown(render(reader, target)) == shown(render(data, target))
    assert not reader.totals


def test_what_was_fetched_is_not_read_again(totalling, render):
    reader = totalling(fleet([1.0, 2.0]))
    found = render(reader, "web*.load", "sumSeries(web*.load)")
    assert len(found) == 21
    assert not reader.totals


def test_it_is_charged_for_what_it_makes_and_for_what_it_reads(totalling, render):
    data = fleet([1.0, 2.0])
    limits = QueryLimits(points=12, scanned=20 * 7)
    assert len(render(totalling(data), "sumSeries(web*.load)", limits=limits)) == 1
    with pytest.raises(LimitError, match="query_scanned"):
        render(totalling(data), "sumSeries(web*.load)", limits=QueryLimits(scanned=10))
    with pytest.raises(LimitError, match="query_series"):
        render(totalling(data), "sumSeries(web*.load)", limits=QueryLimits(series=19))
    with pytest.raises(LimitError, match="query_points"):
        render(totalling(data), "sumSeries(web*.load)", limits=QueryLimits(points=5))
