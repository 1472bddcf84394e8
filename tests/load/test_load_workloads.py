"""Workloads: which rows at which times, and when."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.load.figures import Latencies
from ingestd.load.material import Datagrams, Filled, Lines
from ingestd.load.run import expected, prepare
from ingestd.load.workloads import Clock, Load, LoadError, lanes

CLOCK = Clock(1_700_000_123.0, 50.0)


class Noted:
    """Material that notes what it is asked for; a piece holds three rows at most."""

    def __init__(self, rows):
        self.rows = self.points = rows
        self.filled = []
        self.renewed = []

    def fill(self, rows, timestamp, out):
        self.filled += [(row, timestamp) for row in rows[:3].tolist()]
        taken = min(3, len(rows))
        return Filled([taken], taken, taken)

    def renew(self, rows, generation):
        self.renewed.append((generation, rows.tolist()))


def sent(load, rows, batch=10, most=1000):
    """Rows and times, of each lane for itself; a lane that has no end is stopped after ``most`` pieces."""
    material = Noted(rows)
    found = []
    for lane in lanes(load, material, batch):
        pieces = 0
        while not lane.finished and pieces < most:
            lane.fill(CLOCK, CLOCK.monotonic + pieces, bytearray(10))
            pieces += 1
        found.append(material.filled)
        material.filled = []
    return found, material.renewed


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(1, 7))
def test_steady_is_every_series_at_every_step_in_order(series, connections, steps, batch):
    found, renewed = sent(Load(series=series, connections=connections, steps=steps), series, batch)
    assert not renewed
    assert len(found) == connections
    times = [1_700_000_120 + 10 * (step + 1 - steps) for step in range(steps)]
    for lane in found:
        rows = sorted({row for row, _ in lane})
        assert lane == [(row, stamp) for stamp in times for row in rows]
    assert sorted(row for lane in found for row, _ in lane) == sorted([*range(series)] * steps)


def test_random_is_another_order_each_step():
    [lane], _ = sent(Load(workload="random", series=50, steps=3), 50)
    steps = [[row for row, _ in lane[i : i + 50]] for i in range(0, 150, 50)]
    assert all(sorted(step) == list(range(50)) for step in steps)
    assert len({tuple(step) for step in steps}) == 3


def test_churn_renews_its_share_each_step_and_goes_on_where_it_was():
    _, renewed = sent(Load(workload="churn", series=10, steps=4, churn=0.25), 10)
    assert renewed == [(1, [0, 1, 2]), (2, [3, 4, 5]), (3, [6, 7, 8])]


def test_a_fleet_is_spread_evenly_over_the_interval():
    load = Load(workload="fleet", hosts=4, lines=2, interval=2.0, steps=3)
    dues = [lane.due(CLOCK) for lane in lanes(load, Noted(8), 10)]
    assert dues == [50.0, 50.5, 51.0, 51.5]
    found, _ = sent(load, 8)
    assert found[3] == [(6, 1_700_000_124), (7, 1_700_000_124), *[(r, 1_700_000_124 + 2) for r in (6, 7)]] + [
        (r, 1_700_000_124 + 4) for r in (6, 7)
    ]
    lane = list(lanes(load, Noted(8), 10))[1]
    lane.fill(CLOCK, 0.0, bytearray(10))
    assert lane.due(CLOCK) == 52.5


def test_without_steps_points_carry_the_time_they_are_sent():
    [lane], _ = sent(Load(series=3, seconds=5.0), 3, most=40)
    assert [stamp for row, stamp in lane if row == 0] == [1_700_000_123 + i for i in range(40)]
    assert expected(Load(series=3, seconds=5.0), Noted(3)) is None


@pytest.mark.parametrize(
    ("options", "points", "kind"),
    [
        ({"series": 25, "steps": 4}, 100, Lines),
        ({"series": 25}, 500, Lines),
        ({"workload": "small", "series": 25}, 10_000, Lines),
        ({"workload": "small", "steps": 3}, 30_000, Lines),
        ({"workload": "million", "series": 25}, 100, Lines),
        ({"workload": "fleet", "hosts": 7, "lines": 3}, 126, Lines),
        ({"protocol": "collectd", "series": 25, "lines": 10, "steps": 1}, 30, Datagrams),
        ({"protocol": "collectd", "workload": "fleet", "hosts": 2, "steps": 1}, 400, Datagrams),
    ],
)
def test_how_many_points_there_will_be(options, points, kind):
    load = Load(**options)
    material = prepare(load)
    assert isinstance(material, kind)
    assert expected(load, material) == points


@pytest.mark.parametrize(
    ("workload", "series", "steps"), [("steady", 100_000, 20), ("small", 10_000, 400), ("million", 1_000_000, 4)]
)
def test_how_much_is_sent_where_nothing_is_said(workload, series, steps):
    load = Load(workload=workload)
    assert (load.total, load.last_step) == (series, steps)
    assert Load(workload=workload, seconds=5.0).last_step is None


@given(st.sampled_from(["small", "million"]), st.integers(1, 40), st.integers(1, 3), st.integers(1, 4))
def test_small_and_million_are_steady_of_another_size(workload, series, connections, steps):
    options = {"series": series, "connections": connections, "steps": steps}
    assert sent(Load(workload=workload, **options), series) == sent(Load(**options), series)


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "statsd"},
        {"workload": "storm"},
        {"series": 0},
        {"workload": "fleet", "series": 0},
        {"steps": 0},
        {"lines": 0},
        {"hosts": 1 << 20, "lines": 1 << 20},
        {"connections": 1 << 20},
        {"interval": 0.0},
        {"interval": float("nan")},
        {"seconds": -1.0},
        {"rate": float("inf")},
        {"churn": 1.5},
        {"workload": "fleet", "rate": 1.0},
    ],
)
def test_a_load_that_contradicts_itself_is_refused(options):
    with pytest.raises(LoadError):
        Load(**options)


@given(st.lists(st.floats(1e-9, 1e4), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_right_to_a_hundredth(seconds, share):
    latencies = Latencies()
    for each in seconds:
        latencies.add(each)
    exact = np.quantile(seconds, share, method="inverted_cdf")
    assert exact * 0.999999 <= latencies.percentile(share) <= exact * 1.0115
    assert latencies.longest == max(seconds)
    assert latencies.count == len(seconds)


def test_no_latency_is_none():
    assert Latencies().percentile(0.99) == 0.0
