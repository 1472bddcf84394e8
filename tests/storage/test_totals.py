"""Totals of many series against what is fetched: over blocks, ring, overlays and rollups, whatever has happened."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SMALL = ((10, 60), (60, 60), (300, 48))
START = 1_800_000_000 // 1800 * 1800
SERIES = 12
VALUES = st.sampled_from([1.0, 2.5, -3.0, 0.1, 1e16, -1e16, -0.0, float("nan"), float("inf")])
ACTS = st.lists(
    st.tuples(st.sampled_from(["live", "late", "flush", "tick", "restart"]), st.randoms(use_true_random=False)),
    min_size=3,
    max_size=12,
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def free(points):
    assert points > 0


def expected(values, manner):
    """Of float64[n, slots], row after row."""
    if manner == "sum":
        total = np.zeros(values.shape[1])
        for row in values:
            total = total + np.where(np.isnan(row), 0.0, row)
        return total
    total = np.full(values.shape[1], np.nan)
    for row in values:
        total = (np.fmax if manner == "max" else np.fmin)(total, row)
    return total


def same_as_fetched(store, ids, start, until, now):
    found = store.fetch(ids, start, until, now)
    for manner in ("sum", "max", "min"):
        totals = store.total(ids, start, until, now, manner, free)
        if len(found) != 1:
            assert totals is None
            continue
        (rows,) = found
        assert totals.window == rows.window
        with np.errstate(all="ignore"):
            assert np.array_equal(totals.values, expected(rows.values, manner), equal_nan=True)
        assert np.array_equal(totals.counts, np.count_nonzero(~np.isnan(rows.values), axis=0))


def restarted(h, directory):
    h.pump()
    again = h.crash(directory / "data")
    h.store.close()
    return again


@pytest.fixture
def make_store(open_store, tmp_path_factory):
    """Opens stores that the test closes."""
    opened = type(open_store(tmp_path_factory.mktemp("first"), SMALL))
    return lambda: opened(tmp_path_factory.mktemp("totals"), SMALL, "average", 0.0, None, {})


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(acts=ACTS, order=st.permutations(range(SERIES)), values=st.lists(VALUES, min_size=5, max_size=5))
def test_totals_are_those_of_what_is_fetched(make_store, tmp_path_factory, acts, order, values):
    h = make_store()
    h.store.create([f"s.{number}" for number in range(SERIES)], START)
    clock = START
    for act, random in acts:
        if act == "restart":
            h = restarted(h, tmp_path_factory.mktemp("again"))
        elif act == "flush":
            h.flush()
        elif act == "tick":
            clock += random.choice([10, 300, 1500])
            h.tick(clock)
        else:
            ages = [random.choice([0, 10, 20]) if act == "live" else random.randrange(0, 14_000) for _ in range(20)]
            h.accept([(random.randrange(SERIES), clock - age, random.choice(values)) for age in ages], clock)
        chosen = np.array(order[: random.randrange(1, SERIES)], np.uint32)
        for age in (30, 590, 3_000, 14_000):
            same_as_fetched(h.store, chosen, clock - age, clock, clock)
    h.pump()
    h.store.close()


def test_series_of_several_windows_are_not_made_one(open_store, tmp_path):
    h = open_store(tmp_path, SMALL)
    h.store.create(["s.0", "s.1"], START)
    assert h.store.total(np.arange(2, dtype=np.uint32), START, START + 60, START - 1, "sum", free) is None
    assert h.store.total(np.arange(0, dtype=np.uint32), START - 60, START, START, "sum", free) is None
    h.store.series.layout_of[1] = 1
    h.store.series.layouts.append(h.store.series.layouts[0]._replace(id=1))
    assert h.store.total(np.arange(2, dtype=np.uint32), START - 60, START, START, "sum", free) is None


def test_series_whose_schema_was_changed_are_fetched(open_store, tmp_path):
    h = open_store(tmp_path, SMALL)
    h.store.create(["s.0", "s.1"], START)
    h.store.series.history[1] = (0,)
    assert h.store.total(np.array([1, 0], np.uint32), START - 60, START, START, "sum", free) is None
    assert h.store.total(np.array([0], np.uint32), START - 60, START, START, "sum", free) is not None


def test_it_ends_before_more_is_read_than_is_allowed(open_store, tmp_path):
    h = open_store(tmp_path, SMALL)
    h.store.create(["s.0", "s.1"], START)
    told = []

    def before(points):
        told.append(points)
        if len(told) > 1:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        h.store.total(np.arange(2, dtype=np.uint32), START - 590, START + 5, START + 5, "sum", before)
    assert len(told) == 2
    assert all(0 < points <= 2 * 60 for points in told)


def test_of_a_file_that_is_damaged_nothing_is_counted(open_store, tmp_path):
    h = open_store(tmp_path / "data", SMALL)
    h.store.create([f"s.{number}" for number in range(3)], START)
    h.accept([(number, START + 10, 1.0) for number in range(3)], START + 10)
    h.flush()
    (path,) = (tmp_path / "data" / "blocks" / "L0" / "a0").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    again = h.crash(tmp_path / "again")
    ids = np.arange(3, dtype=np.uint32)
    totals = again.store.total(ids, START, START + 30, START + 30, "sum", free)
    assert not totals.counts.any()
    assert again.store.status()["damage"]
    same_as_fetched(again.store, ids, START, START + 30, START + 30)
    again.store.close()
