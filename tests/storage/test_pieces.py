"""Pieces of one store laid into another: it answers as the first one does, and keeps what it had."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.storage.errors import StorageError
from ingestd.storage.layout import Key

ARCHIVES = ((10, 60), (60, 60), (300, 48))
START = 1_800_000_000 // 1800 * 1800
SPAN = 3600


def copy(source, target, clock):
    """All blocks of all series, finer archives first; how many points were taken."""
    ids = np.arange(len(source.store.series), dtype=np.uint32)
    taken = 0
    for key in source.store.held():
        taken += target.store.place(key, ids, source.store.piece(key, ids), clock, over=key.archive > 0)
        target.pump()
    return taken


def answers(h, now):
    found = {}
    for series, age in itertools.product(range(len(h.store.series)), (300, 590, 3500, 14000)):
        found |= {(series, age, t): v for t, v in h.read(series, now - age, now).items()}
    return found


def feed(h, points, begin, end):
    """Points ``{time: [(series, value)]}`` of [begin, end), minute by minute, with checkpoints."""
    for minute in range(begin, end, 60):
        some = [(i, t, v) for t in range(minute, minute + 60, 10) for i, v in points.get(t, ())]
        if some:
            h.accept(some, minute + 50)
        h.tick(minute + 55)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["average", "sum", "last", "max", "min"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(0, SPAN // 10),
    st.booleans(),
)
def test_a_store_that_takes_all_pieces_answers_as_the_other(open_store, seed, method, factor, joined, flushed):
    joined = START + 10 * joined
    drawn = np.random.default_rng(seed)
    points = {
        START + t: [(i, float(drawn.integers(0, 100))) for i in range(3) if drawn.random() < 0.8]
        for t in range(0, SPAN, 10)
    }
    now = START + SPAN + 60
    with tempfile.TemporaryDirectory() as directory:
        a, b = (open_store(Path(directory) / name, ARCHIVES, method, factor) for name in "ab")
        for h in (a, b):
            h.store.create(["x.a", "x.b", "x.c"], START)
        feed(a, points, START, START + SPAN)
        # The other has had the same points from some time on: it is bound beside the first since then.
        feed(b, {t: some for t, some in points.items() if t >= joined}, START, START + SPAN)
        if flushed:
            a.flush()
        copy(a, b, now)
        expected = answers(a, now)
        assert answers(b, now) == expected
        assert copy(a, b, now) == 0
        again = b.crash(Path(directory) / "again")
        try:
            assert answers(again, now) == expected
            again.flush()
            assert answers(again, now) == expected
        finally:
            again.store.close()
        b.flush()
        b.tick(now + 120)
        assert answers(b, now) == expected


def test_what_is_there_is_kept_and_the_far_future_is_not_taken(tmp_path, open_store):
    h = open_store(tmp_path, ARCHIVES)
    h.store.create(["a", "b"], START)
    h.accept([(0, START, 1.0)], START)
    key = Key(0, 0, START // 600)
    ids = np.arange(2, dtype=np.uint32)
    length = h.store.piece(key, ids).shape[1]
    assert length * 10 == 600
    assert h.store.place(key, ids, np.full((2, length), 9.0), START - 600 + 20) == 5
    assert h.read(0, START - 1, START + 60) == {START: 1.0, START + 10: 9.0, START + 20: 9.0}
    assert h.store.place(key, ids, np.full((2, length), np.nan), START) == 0
    h.pump()


@pytest.mark.parametrize(
    ("key", "ids", "shape", "message"),
    [
        (Key(1, 0, 0), [0], (1, 60), "no archive"),
        (Key(0, 3, 0), [0], (1, 60), "no archive"),
        (Key(0, 0, 0), [2], (1, 60), "not there"),
        (Key(0, 0, 0), [1, 0], (2, 60), "not in order"),
        (Key(0, 0, 0), [0], (1, 59), "a piece of"),
    ],
)
def test_what_cannot_be_taken_is_refused(tmp_path, open_store, key, ids, shape, message):
    h = open_store(tmp_path, ARCHIVES)
    h.store.create(["a", "b"], START)
    with pytest.raises(StorageError, match=message):
        h.store.place(key, np.array(ids, np.uint32), np.zeros(shape), START)
