"""Totals of groups: compared where two nodes have them, and made anew in the slots that differ."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cluster.groups import Group, added, compared, grouped, split
from ingestd.points import Rows, Totals, Window

WINDOW = Window(0, 80, 10)


def total(values, counts=None):
    values = np.array(values, np.float64)
    return Totals(WINDOW, values, np.ones(len(values)) if counts is None else np.array(counts, np.float64))


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), max_size=4))
def test_groups_are_series_that_the_same_nodes_have(columns):
    named = {f"n{number}": np.array(column, np.bool_) for number, column in enumerate(columns)}
    groups = grouped(named, 6)
    held = [tuple(name for name, column in named.items() if column[row]) for row in range(6)]
    assert {row: group.nodes for group in groups for row in group.rows.tolist()} == {
        row: names for row, names in enumerate(held) if names
    }
    assert len({group.nodes for group in groups}) == len(groups)


def test_what_is_counted_alike_is_taken_of_one():
    groups = [Group(np.array([0, 1]), ("a", "b")), Group(np.array([2]), ("b",))]
    found = compared(groups, {"a": [total(range(8))], "b": [total(range(8)), total([10] * 8)]})
    assert (found.differing, found.low, found.high) == ([], 0, 0)
    whole = added(found, [], "sum")
    assert whole.values.tolist() == [10.0 + slot for slot in range(8)]
    assert whole.counts.tolist() == [2.0] * 8


def test_slots_that_differ_are_made_of_what_was_fetched():
    groups = [Group(np.array([0, 1]), ("a", "b")), Group(np.array([2]), ("b",))]
    found = compared(groups, {"a": [total(range(8), [1] * 6 + [0, 1])], "b": [total(range(8)), total([10] * 8)]})
    assert (found.differing, found.low, found.high) == ([0], 6, 7)
    rows = [Rows(Window(60, 70, 10), np.arange(2), np.array([[5.0], [np.nan]]))]
    assert added(found, rows, "sum").values.tolist() == [10, 11, 12, 13, 14, 15, 15, 17]
    assert added(found, rows, "max").values.tolist() == [10, 10, 10, 10, 10, 10, 10, 10]
    assert added(found, rows, "min").values.tolist() == [0, 1, 2, 3, 4, 5, 5, 7]
    assert added(found, rows, "sum").counts.tolist() == [2.0] * 8
    nothing = [Rows(Window(60, 70, 10), np.arange(1), np.array([[np.nan]]))]
    assert added(found, nothing, "min").values[6] == 10


def test_what_cannot_be_compared_is_none():
    groups = [Group(np.array([0]), ("a", "b"))]
    other = Totals(Window(0, 80, 20), np.zeros(4), np.zeros(4))
    assert compared(groups, {}) is None
    assert compared(groups, {"a": [total(range(8))], "b": [other]}) is None
    assert compared(groups, {"a": [total(range(8))], "b": [total(range(8), [0] * 8)]}) is None
    assert compared([*groups, Group(np.array([1]), ("b",))], {"a": [total(range(8))]}) is None
    assert compared([], {"a": []}) is None


def test_totals_fill_their_groups():
    assert split(WINDOW, np.zeros(15), np.zeros(15), 2) is None
    assert split(WINDOW, np.zeros(16), np.zeros(15), 2) is None
    one, two = split(WINDOW, np.arange(16.0), np.ones(16), 2)
    assert (one.values[0], two.values[0], two.window) == (0.0, 8.0, WINDOW)
