"""What a store tells of where a read has its values from."""

import numpy as np

from tests.storage.small import NOW, START, build


def told(h, start, until=NOW):
    (origin,) = h.store.origins(np.array([0, 1], np.uint32), start, until, NOW)
    (rows,) = h.store.fetch(np.array([0, 1], np.uint32), start, until, NOW)
    assert origin.window == rows.window
    assert origin.known == np.count_nonzero(~np.isnan(rows.values))
    return origin


def test_a_read_is_told_by_archive_and_source(tmp_path, open_store):
    directory, _ = build(tmp_path, open_store)
    h = open_store(directory, ((10, 60), (60, 60), (300, 48)), "max")
    fine = told(h, NOW - 590)
    assert (fine.chosen, fine.series, fine.computed) == (0, 2, 0)
    assert fine.blocks + fine.memory == fine.known
    assert fine.memory == 1  # the one at START + 1920
    coarse = told(h, NOW - 3500)
    assert coarse.chosen == 1
    assert coarse.blocks > 0
    assert coarse.profiles[0].method == "max"
    longest = told(h, NOW - 14_000)
    assert longest.chosen == 2


def test_a_window_without_an_archive(tmp_path, open_store):
    directory, _ = build(tmp_path, open_store)
    h = open_store(directory, ((10, 60), (60, 60), (300, 48)), "max")
    (origin,) = h.store.origins(np.array([0], np.uint32), NOW + 10, NOW + 20, NOW)
    assert (origin.chosen, origin.window, origin.known) == (None, None, 0)
    assert [archive.step for archive in origin.archives] == [10, 60, 300]


def test_slots_that_a_factor_hides_are_counted(tmp_path, open_store):
    h = open_store(tmp_path / "data", ((10, 60), (60, 60)), "average", 0.9)
    h.store.create(["a.0"], START)
    h.accept([(0, START + 10, 1.0), (0, START + 60, 1.0)], START + 70)
    (origin,) = h.store.origins(np.array([0], np.uint32), START - 1000, START + 70, START + 70)
    assert (origin.chosen, origin.known, origin.hidden) == (1, 0, 2)
