"""Whatever goes wrong between a client and the stores: what a relay called stored is found, once, with its value."""

import os
import random
import time

import numpy as np
import pytest
from faults import Faults

pytestmark = [pytest.mark.services, pytest.mark.timeout(7200)]

ROWS = ("movingAverage(h00?.m2, 10)", "groupByNode(h01*.*, 0, 'last')", "highestMax(h*.m3, 5)", "h02*.m?")
"""Made of rows, which the front merges point by point."""
TOTALS = ("sumSeries(h*.m1)", "averageSeries(h?2*.*)", "maxSeries(h*.m4)", "sumSeries(h007.*)")
"""Added up by one owner each."""
NAMES = (
    ("/metrics/find", "h*"),
    ("/metrics/find", "h00*.m1?"),
    ("/metrics/find", "h017.*"),
    ("/metrics/expand", "*.m3"),
)


def seeded():
    seed = int(os.environ.get("INGESTD_SEED") or random.SystemRandom().randrange(10**6))
    print(f"INGESTD_SEED={seed}")  # noqa: T201 - shown where the test fails
    return random.Random(seed)


def answer(member, target, first, last, now):
    """{name: float64[points, 2], values and times}."""
    window = ("from", first - 1), ("until", last), ("now", now), ("format", "json")
    found = member.get("/render", ("target", target), *window)
    return {series["target"]: np.array(series["datapoints"], float) for series in found}


def same(one, other, clean=None, *, digits=0.0):
    """Whether two answers are equal; ``clean(times)``: which of their points are looked at.

    ``digits``: how far apart they may be, for sums of fractions, which stores add up in their own order.
    """
    assert list(one) == list(other)
    for name, points in one.items():
        looked = slice(None) if clean is None else clean(points[:, 1].astype(int))
        np.testing.assert_allclose(points[looked], other[name][looked], digits, err_msg=name)


def compare(chain, found):
    """The chain's answers are those of a single store that never failed. How many answers were compared.

    Where an owner's queue was purged, one owner lacks points that the other has. Answers are whole all the same; but
    coarse slots are each made by one owner, and are compared where all owners have everything, or when it is repaired.
    """
    single = chain.reference(found)
    lacking = chain.lacking(~np.isnan(found))
    first, last = chain.known.base, chain.known.base + found.shape[1] - 1
    now = max(last, int(time.time()))
    later = now + 7 * 3600
    tens = np.zeros(len(lacking) // 10 + 2, bool)
    tens[(np.flatnonzero(lacking) + first) // 10 - first // 10] = True
    whole_tens = lambda times: ~tens[times // 10 - first // 10]  # noqa: E731
    for target in (*ROWS, *TOTALS):
        same(answer(chain.front, target, first, last, now), answer(single, target, first, last, now))
    for target in (*ROWS[1:2], *ROWS[3:], *TOTALS):
        coarse = [answer(one, target, first, last, later) for one in (chain.front, single)]
        assert {int(times[1] - times[0]) for times in (a[:, 1] for a in coarse[0].values())} == {10}
        same(*coarse, whole_tens, digits=1e-14 if target in TOTALS else 0.0)
    for path, query in NAMES:
        assert chain.front.get(path, ("query", query)) == single.get(path, ("query", query))
    assert chain.front.get("/metrics/index.json") == single.get("/metrics/index.json")
    assert single.stop() == 0
    return len(ROWS) + 2 * len(TOTALS) + 2 + len(NAMES) + 1


def finish(chain):
    """Let everything arrive, end the senders."""
    chain.settle()
    for sender in chain.senders:
        sender.end()
    assert chain.dead() == 0


def ledgers(chain):
    """The books of all that runs are closed; points by store, over all its lives."""
    for relay in chain.relays:
        status = relay.status()
        assert status["ledger"]["in_flight"] == 0
        assert status["relay"]["spool_messages"] == 0
    for name, store in chain.stores.items():
        assert store.status()["ledger"]["in_flight"] == 0
        chain.note(name)
        chain.ended(name)
    return chain.taken


def test_faults_at_random_lose_nothing_that_a_relay_called_stored(chain, effort, figure):
    rnd = seeded()
    wanted = effort(10, 110)
    one = chain(brokers=3)
    faults = Faults(one, rnd) if wanted > 50 else Faults(one, rnd, SHORT, once=True)
    began = time.monotonic()
    for number in range(wanted):
        time.sleep(rnd.uniform(0, 1.5))
        kind = faults.one()
        print(f"{time.monotonic() - began:6.1f} s, fault {number + 1}: {kind}", flush=True)  # noqa: T201 - where it fails
        if number % 20 == 19:
            faults.healed()
            one.settle()
            one.check(faults.purged)
            one.go_on()
    faults.healed()
    finish(one)
    found = one.check(faults.purged)
    taken = ledgers(one)
    if effort(False, True):
        one.repair()
        np.testing.assert_array_equal(one.check(), found)
    compared = compare(one, found)
    known = one.known
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(faults.counts.items()))
    figure(
        f"{faults.counts.total()} faults ({kinds}) in {time.monotonic() - began:.0f} s: {known.sent.sum()} points "
        f"sent, {known.stored.sum()} called stored and {(~np.isnan(found)).sum()} found, each once and with its value; "
        f"{sum(taken.values())} stored by the stores, {sum(one.duplicates.values())} messages that came again left "
        f"out, {faults.purged_messages} messages purged, {compared} answers equal to a single store's"
    )


SHORT = ("store", "relay", "broker", "leader", "partition", "purge", "both", "stall", "term", "everything")


def test_stores_that_do_not_fail_take_each_point_once(chain, figure, effort):
    """Relays and the broker fail: what is published again for that reason is known by its number."""
    rnd = seeded()
    one = chain(brokers=1)
    faults = Faults(one, rnd, ("relay", "broker", "relay", "term_relay"), once=True)
    for _ in range(effort(4, 20)):
        time.sleep(rnd.uniform(0, 1.5))
        faults.one()
    faults.healed()
    finish(one)
    found = ~np.isnan(one.check())
    taken = ledgers(one)
    for name, rows in one.owned().items():
        assert taken[name] == found[rows].sum(), name
    kinds = ", ".join(f"{n} {kind}" for kind, n in sorted(faults.counts.items()))
    figure(
        f"{kinds}: {int(found.sum())} points, each in 2 stores and taken once; {sum(one.duplicates.values())} messages "
        "that came again left out"
    )
