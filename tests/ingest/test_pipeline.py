"""Pipeline: the ledger, new series and their limits, the accept clock."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.ingest.pipeline import Pipeline, SeriesLimits, joined
from ingestd.points import UNKNOWN, Batch, NewName, Parsed, empty_batch
from ingestd.telemetry import Books
from ingestd.wire.lines import PathLimits, parse_lines

NOW = 1_750_000_000


def parsed(house, text: str) -> Parsed:
    return parse_lines(text.encode(), house.names, NOW, PathLimits())


def feed(house, text: str) -> Books:
    books = house.ledger.open("x")
    house.pipeline.accept(books, [(parsed(house, text), house.pipeline.sources.nobody)])
    return books


def test_new_series_are_created_once_in_any_spelling(house) -> None:
    books = feed(house, f"a.b 1 {NOW}\na..b 2 {NOW}\n.a.b 3 {NOW}\nc;y=1;x=2 4 {NOW}\nc;x=2;y=1 5 {NOW}\na.b 6 {NOW}\n")
    assert house.store.created == ["a.b", "c;x=2;y=1"]
    assert [value for _, value, _ in house.store.points] == [1, 2, 3, 4, 5, 6]
    assert not parsed(house, f"a..b 1 {NOW}\nc;y=1;x=2 1 {NOW}\n").unknown
    feed(house, f"..a.b 7 {NOW}\n")
    assert house.store.created == ["a.b", "c;x=2;y=1"]
    assert (books.received, books.stored, books.in_flight) == (7, 7, 0)


def test_endless_spellings_are_not_remembered(house) -> None:
    feed(house, f"a;b=1;{';'.join(['c=2'] * 500)} 1 {NOW}\n" * 2)
    assert list(house.names) == [b"a;b=1;c=2"]
    assert [value for _, value, _ in house.store.points] == [1, 1]


def test_every_rejection_is_counted(house) -> None:
    books = feed(house, f"a.b 1 0\na.b 2 {NOW + 601}\na.b nan {NOW}\nx\na.* 1 {NOW}\na.b 3 {NOW}\n\n")
    assert books.as_dict() == {
        "received": 6,
        "stored": 1,
        "rejected": {"too_old": 1, "too_new": 1, "nan": 1, "malformed": 1, "path": 1},
        "in_flight": 0,
        "kernel_drops": 0,
    }


def test_the_store_is_not_called_for_nothing(house) -> None:
    feed(house, "x\n\n")
    assert house.store.batches == 0
    house.pipeline.accept(house.ledger.open("x"), [(Parsed(empty_batch()), house.pipeline.sources.nobody)])
    assert house.store.batches == 0


def test_the_total_limit_rejects_the_points_of_further_series(make_house) -> None:
    house = make_house(total=2)
    books = feed(house, "".join(f"s{i % 4} {i} {NOW}\n" for i in range(12)))
    assert house.store.created == ["s0", "s1"]
    assert books.rejected == {"limit": 6}
    assert [value for _, value, _ in house.store.points] == [0, 1, 4, 5, 8, 9]
    assert feed(house, f"s9 1 {NOW}\n").rejected == {"limit": 7}
    assert house.balanced()


def test_the_rate_limit_refills_with_the_clock(make_house) -> None:
    house = make_house(rate=2.0, burst=3)
    feed(house, "".join(f"a{i} 1 {NOW}\n" for i in range(5)))
    assert house.store.created == ["a0", "a1", "a2"]
    house.time += 1
    feed(house, "".join(f"b{i} 1 {NOW}\n" for i in range(5)))
    assert house.store.created[3:] == ["b0", "b1"]
    house.time += 100
    feed(house, "".join(f"c{i} 1 {NOW}\n" for i in range(5)))
    assert house.store.created[5:] == ["c0", "c1", "c2"]


def test_the_accept_clock_never_steps_back(house) -> None:
    for moment in (NOW + 0.9, NOW + 5.0, NOW - 1000.0, NOW + 6.5):
        house.time = moment
        feed(house, f"a 1 {NOW}\n")
    assert house.store.clocks == [NOW, NOW, NOW + 5, NOW + 5, NOW + 6]


def test_refuse_counts_both_sides_and_only_known_reasons(house) -> None:
    books = house.ledger.open("x")
    house.pipeline.refuse(books, "overload", 3)
    house.pipeline.refuse(books, "overload", 0)
    assert (books.received, books.rejected) == (3, {"overload": 3})
    with pytest.raises(KeyError):
        house.pipeline.refuse(books, "mood", 1)


def test_the_parsers_columns_are_left_alone(house) -> None:
    result = parsed(house, f"a 1 {NOW}\n")
    house.pipeline.accept(house.ledger.open("x"), [(result, house.pipeline.sources.nobody)])
    assert result.batch.ids.tolist() == [UNKNOWN]


@given(st.lists(st.lists(st.sampled_from(["a 1 5", "b.c 2 6", "d nan 7", "e", "f.* 1 8", ""]), max_size=4), min_size=1))
def test_joined_is_parsing_all_at_once(parts: list[list[str]]) -> None:
    known = {b"a": 7}
    texts = ["".join(line + "\n" for line in part).encode() for part in parts]
    one = parse_lines(b"".join(texts), known, NOW, PathLimits())
    many = joined([parse_lines(text, known, NOW, PathLimits()) for text in texts])
    assert many.unknown == one.unknown
    assert many.rejected == one.rejected
    for column in ("ids", "timestamps", "values"):
        assert np.array_equal(getattr(many.batch, column), getattr(one.batch, column))


def test_rows_of_a_limited_batch_stay_in_order(house) -> None:
    pipeline = Pipeline(house.store, house.names, SeriesLimits(total=1), lambda: NOW)
    batch = Batch(np.full(3, UNKNOWN, np.uint32), np.array([5, 6, 7]), np.array([1.0, 2.0, 3.0]))
    unknown = [NewName(0, b"x", "x"), NewName(1, b"y", "y"), NewName(2, b"x", "x")]
    pipeline.accept(house.ledger.open("x"), [(Parsed(batch, unknown), pipeline.sources.nobody)])
    assert house.store.points == [("x", 1.0, 5), ("x", 3.0, 7)]


@settings(max_examples=60)
@given(st.lists(st.lists(st.sampled_from(["a", "b.c", "a..b", "a.b", "d;y=1;x=2", "d;x=2;y=1"]), max_size=5)))
def test_names_as_columns_are_names_one_by_one(guarded, batches: list[list[str]]) -> None:
    """One batch of many names gives what each alone gives, whether they are their own paths or there twice."""
    whole, single = guarded(), guarded()
    for number, names in enumerate(batches):
        lines = [f"{name} {number} {NOW}\n" for name in names]
        feed(whole, "".join(lines))
        for line in lines:
            feed(single, line)
    assert (whole.store.created, whole.store.points) == (single.store.created, single.store.points)
    assert dict(whole.names) == dict(single.names)


def test_a_fleet_is_created_within_its_room(make_house) -> None:
    house = make_house(total=3, rate=1.0, burst=2)
    assert feed(house, f"a 1 {NOW}\na 2 {NOW}\nb 3 {NOW}\n").rejected == {}
    house.time += 1
    assert feed(house, f"c 1 {NOW}\nb 2 {NOW}\nd 3 {NOW}\n").rejected == {"limit": 1}
    assert house.store.created == ["a", "b", "c"]
