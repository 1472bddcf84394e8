"""Marks of stored messages: the window, the log through crashes, and that no mark comes before its points."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.files import Files
from ingestd.storage.marks import WINDOW, Marks, Window

NUMBERS = st.integers(0, 40) | st.integers(WINDOW - 3, WINDOW + 3) | st.integers(0, 2**64 - 1)


@given(st.lists(NUMBERS, max_size=60), NUMBERS)
def test_a_window_has_what_was_added_to_it(numbers, asked):
    window = Window()
    added = set()
    for number in numbers:
        before = window.greatest
        window.add(number)
        if number > before - WINDOW:
            added.add(number)
    greatest = max(numbers, default=-1)
    assert window.greatest == greatest
    assert window.has(asked) == (asked in added and greatest - WINDOW < asked <= greatest)
    assert window.bits.bit_length() <= WINDOW


PRODUCERS = st.sampled_from([b"a" * 32, b"b", b"c" * 64, b"\0\xff"])
GROUPS = st.lists(st.lists(st.tuples(PRODUCERS, NUMBERS), max_size=6), max_size=12)


def state(marks):
    return {producer: (w.greatest, w.bits) for producer, w in marks._windows.items()}


@given(GROUPS, st.data())
def test_the_log_gives_back_what_was_marked(tmp_path_factory, groups, data):
    path = tmp_path_factory.mktemp("marks") / "marks.log"
    marks = Marks(Files(), path)
    for group in groups:
        marks.add(group)
        if data.draw(st.booleans()):
            marks.rewrite()
    expected = state(marks)
    for producer, number in [pair for group in groups for pair in group]:
        greatest = max(n for group in groups for p, n in group if p == producer)
        assert marks.seen(producer, number) or number <= greatest - WINDOW
    if data.draw(st.booleans()):
        marks.close()
    found = Marks(Files(), path)
    assert state(found) == expected
    found.close()


@given(GROUPS, st.integers(0, 2000), st.binary(max_size=40))
def test_a_torn_log_has_fewer_marks_and_none_that_was_not_made(tmp_path_factory, groups, cut, garbage):
    path = tmp_path_factory.mktemp("marks") / "marks.log"
    marks = Marks(Files(), path)
    for group in groups:
        marks.add(group)
    marks.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole))] + garbage)
    found = Marks(Files(), path)
    made = {pair for group in groups for pair in group}
    for producer, window in found._windows.items():
        bits = (window.greatest - age for age in range(WINDOW) if window.bits >> age & 1)
        assert {(producer, number) for number in bits} <= made
    found.add([(b"new", 5)])
    found.close()
    again = Marks(Files(), path)
    assert again.seen(b"new", 5)
    again.close()


def test_producers_are_bounded(tmp_path):
    marks = Marks(Files(), tmp_path / "marks.log", producers=2)
    marks.add([(b"a", 1), (b"b", 1), (b"a", 2), (b"c", 1)])
    assert len(marks) == 2
    assert marks.seen(b"c", 1)
    assert not marks.seen(b"a", 1)
    marks.close()


def test_the_log_is_worn_by_what_is_appended(tmp_path):
    marks = Marks(Files(), tmp_path / "marks.log")
    numbers = iter(range(10**9))
    while not marks.worn:
        marks.add([(b"producer", next(numbers)) for _ in range(1000)])
    assert (tmp_path / "marks.log").stat().st_size > 1 << 20
    expected = state(marks)
    marks.rewrite()
    assert not marks.worn
    assert (tmp_path / "marks.log").stat().st_size < 9000
    assert state(marks) == expected
    marks.close()


class Full(Files):
    full = False

    def write(self, fd, data, offset):
        if self.full:
            raise OSError(28, "no space left")
        super().write(fd, data, offset)


def test_a_full_disk_costs_marks_and_nothing_else(tmp_path):
    files = Full()
    marks = Marks(files, tmp_path / "marks.log")
    marks.add([(b"p", 1)])
    files.full = True
    marks.add([(b"p", 2)])
    assert marks.problem is not None
    assert marks.seen(b"p", 2)
    marks.rewrite()
    files.full = False
    marks.add([(b"p", 3)])
    assert marks.problem is None
    marks.close()
    found = Marks(Files(), tmp_path / "marks.log")
    assert [found.seen(b"p", n) for n in (1, 2, 3)] == [True, False, True]
    found.close()


def test_another_file_in_its_place_is_begun_anew(tmp_path):
    path: Path = tmp_path / "marks.log"
    path.write_bytes(b"something else entirely")
    marks = Marks(Files(), path)
    marks.add([(b"p", 1)])
    marks.close()
    found = Marks(Files(), path)
    assert found.seen(b"p", 1)
    found.close()


@pytest.mark.parametrize("records", [[(b"", 3)], [(b"x" * 65, 3)]])
def test_names_of_producers_have_one_to_64_bytes(tmp_path, records):
    """What the wire refuses before."""
    marks = Marks(Files(), tmp_path / "marks.log")
    marks.add(records)
    marks.close()
    found = Marks(Files(), tmp_path / "marks.log")
    assert len(found) == 0
    found.close()
