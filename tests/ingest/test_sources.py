"""Who may write what and how much of it: rights, limits of sources and of prefixes, and what is told of refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.ingest import sources as module
from ingestd.ingest.pipeline import SeriesLimits
from ingestd.ingest.prefixes import Prefixes, Quota
from ingestd.ingest.sources import BURST_SECONDS, Access, Bucket, Grant, SourceLimits
from ingestd.points import UNKNOWN
from ingestd.telemetry import Refusals
from ingestd.wire.lines import PathLimits, parse_lines

NOW = 1_750_000_000


def feed(house, *sent):
    """``sent``: (host, text) each; all in one batch. The books."""
    books = house.ledger.open("x")
    parts = [
        (parse_lines(text.encode(), house.names, NOW, PathLimits()), house.pipeline.sources.address(host))
        for host, text in sent
    ]
    house.pipeline.accept(books, parts)
    assert books.in_flight == 0
    return books


def lines(*paths, value=1):
    return "".join(f"{path} {value} {NOW}\n" for path in paths)


def test_a_source_that_explodes_is_refused_alone(guarded) -> None:
    house = guarded(source_limits=SourceLimits(series=3))
    books = feed(house, ("bad", lines(*(f"bad.{i}" for i in range(10)))), ("good", lines("good.1", "good.2")))
    assert house.store.created == ["bad.0", "bad.1", "bad.2", "good.1", "good.2"]
    assert books.as_dict()["rejected"] == {"quota": 7}
    assert house.ledger.sources.top() == [{"name": "bad", "points": 7, "reasons": {"quota": 7}}]
    assert house.ledger.prefixes.top() == [{"name": "bad", "points": 7, "reasons": {"quota": 7}}]
    # What it has already is taken on.
    feed(house, ("bad", lines("bad.0", "bad.1", "bad.9")))
    assert books.as_dict()["rejected"] == {"quota": 8}


def test_a_source_creates_series_at_its_rate(guarded) -> None:
    house = guarded(source_limits=SourceLimits(series_per_second=0.5))
    feed(house, ("a", lines(*(f"x.{i}" for i in range(100)))))
    assert len(house.store.created) == BURST_SECONDS // 2
    house.time += 10
    feed(house, ("a", lines(*(f"y.{i}" for i in range(100)))))
    assert len(house.store.created) == BURST_SECONDS // 2 + 5


def test_points_a_second_of_a_source(guarded) -> None:
    house = guarded(source_limits=SourceLimits(points_per_second=1))
    books = feed(house, ("a", lines(*["x"] * 100)), ("b", lines(*["x"] * 10)))
    assert (books.stored, dict(books.rejected)) == (BURST_SECONDS + 10, {"quota": 100 - BURST_SECONDS})
    house.time += 3
    feed(house, ("a", lines(*["x"] * 10)))
    assert books.stored == BURST_SECONDS + 13


def test_a_prefix_fills_its_own_quota(guarded) -> None:
    named = {"db.big.": Quota(series=5)}
    house = guarded(prefixes=Prefixes(1, Quota(series=2), named))
    books = feed(house, ("a", lines("web.1", "web.2", "web.3", "db.1", *(f"db.big.{i}" for i in range(9)), "web.1")))
    assert house.store.created == ["web.1", "web.2", "db.1", *(f"db.big.{i}" for i in range(5))]
    assert dict(books.rejected) == {"quota": 5}
    assert house.ledger.prefixes.top() == [
        {"name": "db.big.", "points": 4, "reasons": {"quota": 4}},
        {"name": "web", "points": 1, "reasons": {"quota": 1}},
    ]


def test_a_forgotten_series_makes_room_in_its_prefix() -> None:
    prefixes = Prefixes(1, Quota(series=2))
    prefixes.adopt(np.array([0, 1], np.uint32), ["a.x", "a.y"])
    assert not prefixes.admit("a.z", {}, 1)
    prefixes.forget(np.array([0, 7], np.uint32))
    assert prefixes.admit("a.z", {}, 1)
    assert not prefixes.admit("a.w", {"a": 1}, 1)


def test_the_limit_on_all_series_is_told_apart_from_quotas(guarded) -> None:
    house = guarded(limits=SeriesLimits(total=2), source_limits=SourceLimits(series=5))
    books = feed(house, ("a", lines("x.1", "x.2", "x.3")))
    assert dict(books.rejected) == {"limit": 1}
    assert house.pipeline.sources.address("a").series == 2


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=30), max_size=8),
    st.lists(st.sampled_from([0.0, 0.02, 0.05, 1.0]), min_size=5, max_size=5),
)
def test_points_a_second_of_prefixes_are_those_of_buckets(batches, rates) -> None:
    """The columns keep what a token bucket for each prefix would keep, in the order of arrival."""
    named = {f"p{i}.": Quota(points_per_second=rate) for i, rate in enumerate(rates)}
    prefixes = Prefixes(1, None, named)
    prefixes.adopt(np.arange(5, dtype=np.uint32), [f"p{i}.x" for i in range(5)])
    buckets = [Bucket(rate, 0) if rate else None for rate in rates]
    for clock, ids in enumerate(batches):
        if not ids:
            continue
        kept = prefixes.within_rate(np.array(ids, np.uint32), clock)
        expected = [buckets[i] is None or buckets[i].take(1, clock) == 1 for i in ids]
        assert (np.ones(len(ids), bool) if kept is None else kept).tolist() == expected


def test_rights_by_address_and_name(guarded) -> None:
    access = Access(
        anonymous=("open.",), users={"alice": ("web.", "db."), "*": ("misc.",)}, certificates={"host1": ("host1.",)}
    )
    house = guarded(access=access)
    sources = house.pipeline.sources
    books = house.ledger.open("x")

    def send(source, *paths):
        parsed = parse_lines(lines(*paths).encode(), house.names, NOW, PathLimits())
        house.pipeline.accept(books, [(parsed, source)])
        return [path for path, _, _ in house.store.points]

    send(sources.address("10.0.0.1"), "open.a", "web.a")
    send(sources.user("alice", "10.0.0.1"), "web.a", "db.a", "open.a", "misc.a")
    send(sources.user("bob", "10.0.0.1"), "misc.b", "web.a")
    stored = send(sources.certificate("host1", "10.0.0.9"), "host1.a", "web.a", "host1.a")
    assert stored == ["open.a", "web.a", "db.a", "misc.b", "host1.a", "host1.a"]
    assert house.store.created == ["open.a", "web.a", "db.a", "misc.b", "host1.a"]
    send(sources.certificate("host2", "10.0.0.9"), "host1.a", "open.a")
    assert (books.received, books.stored, dict(books.rejected)) == (13, 6, {"forbidden": 7})
    names = {item["name"]: item["points"] for item in house.ledger.sources.top()}
    assert names == {
        "10.0.0.1": 1,
        "user alice at 10.0.0.1": 2,
        "user bob at 10.0.0.1": 1,
        "certificate host1 at 10.0.0.9": 1,
        "certificate host2 at 10.0.0.9": 2,
    }
    assert sum(item["points"] for item in house.ledger.prefixes.top()) == 7


@given(st.lists(st.integers(0, 40), max_size=60))
def test_a_grant_judges_each_series_by_its_path(ids) -> None:
    paths = [f"{'ab'[i % 2]}.{i}" for i in range(41)]
    asked = []
    grant = Grant(("a.", "b.7"))

    def path_of(series):
        asked.append(series)
        return paths[series]

    column = np.array([UNKNOWN if i == 40 else i for i in ids], np.uint32)
    for _ in range(2):
        assert grant.mask(column, path_of).tolist() == [i != 40 and paths[i].startswith(("a.", "b.7")) for i in ids]
    assert len(asked) == len(set(asked))


def test_sources_are_bounded(guarded, monkeypatch) -> None:
    monkeypatch.setattr(module, "SOURCES_MAX", 10)
    sources = guarded().pipeline.sources
    first = sources.address("0")
    for i in range(30):
        sources.address(str(i))
        assert sources.address("0") is first
    assert len(sources) == 10


def test_points_too_old_or_new_are_told_of_their_source(guarded) -> None:
    house = guarded()
    feed(house, ("wrong", "x 1 5000000000\nx 1 -5\n"), ("right", lines("x", "y")), ("old", "y 1 0\n"))
    told = {item["name"]: item["reasons"] for item in house.ledger.sources.top()}
    assert set(told) == {"wrong", "old"}
    assert told["wrong"]["too_new"] == 1


def test_refusals_keep_the_heaviest() -> None:
    refusals = Refusals(kept=5)
    for i in range(100):
        refusals.add("heavy", "quota", 10)
        refusals.add(f"host{i}", "malformed", 1)
    assert refusals.top(1) == [{"name": "heavy", "points": 1000, "reasons": {"quota": 1000}}]
    assert len(refusals.top(100)) <= 10


def test_buckets_never_go_below_nothing() -> None:
    bucket = Bucket(0.1, 0)
    assert [bucket.take(4, 0), bucket.take(4, 0), bucket.take(1, 9), bucket.take(1, 10), bucket.take(9, 10**9)] == [
        4,
        2,
        0,
        1,
        6,
    ]


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_prefix_of_a_path(nodes) -> None:
    prefixes = Prefixes(nodes, Quota(series=1))
    assert prefixes.of("a.b.c") == ("a" if nodes == 1 else "a.b")
    assert prefixes.of("a;x=b.c") == "a"
    assert prefixes.of("a") == "a"
