"""The model of a cluster: costs of two sizes of messages, and what a site needs."""

import pytest

from bench.model import Cost, Site, fitted, needs, table

COSTS = {"relay": Cost(100.0, 0.4), "broker": Cost(100.0, 0.3), "store": Cost(100.0, 0.5)}


def test_costs_are_those_that_give_both_figures():
    cost = fitted((10, 10.5), (1000, 0.6))
    assert cost.message_us == pytest.approx(100)
    assert cost.of_point(10) == pytest.approx(10.5)
    assert cost.of_point(1000) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="two sizes"):
        fitted((10, 1.0), (10, 2.0))


def test_a_small_site_is_one_store_and_two_relays_for_safety():
    found = needs(Site(18_000, 10, copies=1), COSTS, 800.0)
    assert found.message == 36
    assert found.relays == 2
    assert found.machines == 1
    assert found.cores["relay"] == pytest.approx(18_000 * (0.4 + 100 / 36) / 1e6)
    assert found.disk == pytest.approx(180_000 * (2160 + 10_080 + 57_600) * 8.2)
    assert found.memory == 180_000 * 800


def test_relays_are_added_until_each_has_time():
    site = Site(1_000_000, 100)
    found = needs(site, COSTS, 800.0)
    assert found.cores["relay"] / found.relays <= site.share
    assert found.message == pytest.approx(site.rate / (500 * found.relays))
    assert found.machines == max(found.stores.values()) >= 2
    assert found.stores["disk"] > needs(Site(1_000_000, 100, disk=8e12), COSTS, 800.0).stores["disk"]


def test_a_row_says_what_is_scarce():
    rows = list(table([Site(1_000_000, 100)], COSTS, 800.0))
    assert len(rows) == 3
    assert "(by disk)" in rows[2]
