"""What the design promises by name: each promise once, small enough to read."""

import random
import threading

import pytest
import whisper

from ingestd.storage import plan as planning
from ingestd.storage.fileformat import record_size

START = 1_800_000_000
SMALL = ((10, 60), (60, 60), (300, 48))


def same_after_a_crash(h, tmp_path, reads):
    h.pump()
    before = [h.read(*r) for r in reads]
    for name in ("copy", "copy-again"):
        h = h.crash(tmp_path / name)
        try:
            assert [h.read(*r) for r in reads] == before
        finally:
            h.store.close()


def test_replayed_twice_is_replayed_once(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL)
    h.store.create(["s.0"], START)
    for i in range(60):
        h.accept([(0, START + i * 7 - 900 * (i % 3), float(i))], START + i * 7)
    now = START + 420
    same_after_a_crash(h, tmp_path, [(0, now - age, now) for age in (500, 3000, 14000)])


def test_a_late_point_between_copy_and_view_swap_stays(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL)
    h.store.create(["s.0"], START)
    h.accept([(0, START, 1.0), (0, START + 10, 2.0)], START + 10)
    h.pump()
    reached, go_on = threading.Event(), threading.Event()
    commit = h.store._home.commit

    def held(*args):
        reached.set()
        assert go_on.wait(20)
        commit(*args)

    h.store._home.commit = held
    done = h.store.flush()
    while not reached.is_set():
        h.step()
    h.accept([(0, START, 5.0), (0, START + 20, 3.0)], START + 20)
    expected = {START: 5.0, START + 10: 2.0, START + 20: 3.0}
    assert h.read(0, START - 10, START + 20) == expected
    go_on.set()
    h.pump()
    done.result(0)
    assert h.read(0, START - 10, START + 20) == expected
    same_after_a_crash(h, tmp_path, [(0, START - 10, START + 20)])


def test_points_in_memory_of_a_coarse_block_that_is_rolled_up_survive_a_crash(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL, "sum")
    h.store.create(["s.0", "s.1"], START)
    base = START // 600 * 600
    h.accept([(0, base + i * 10, 1.0) for i in range(60)], base + 590)
    late = base + 660
    # The other series has no fine points: its point is old enough for the minutes.
    assert h.accept([(1, base + 30, 7.0)], late) == (0, 0)
    h.tick(late)
    same_after_a_crash(h, tmp_path, [(1, base - 120, late), (0, base - 120, late)])


def test_an_overlay_below_another_layer_is_not_carried_over_it(tmp_path, open_store, monkeypatch):
    h = open_store(tmp_path / "d", SMALL)
    h.store.create(["s.0"], START)
    when = START - 2000
    h.accept([(0, when, 1.0)], START)
    commit, h.store._home.commit = h.store._home.commit, lambda *_: (_ for _ in ()).throw(OSError(28, "full"))
    h.store.flush()
    h.store._flushes.clear()
    h.accept([(0, when, 2.0)], START)
    h.pump()
    h.store._home.commit = commit
    monkeypatch.setattr(planning, "CARRY_SPAN", 100)
    h.tick(START + 1)
    same_after_a_crash(h, tmp_path, [(0, START - 3000, START + 1)])


def test_carried_overlays_survive_a_crash(tmp_path, open_store, monkeypatch):
    monkeypatch.setattr(planning, "CARRY_SPAN", 4000)
    h = open_store(tmp_path / "d", SMALL)
    h.store.create(["s.0"], START)
    h.accept([(0, START - 3000, 4.0)], START)
    for i in range(100):
        h.accept([(0, START + i, 1.0)], START + i)
    h.tick(START + 100)
    # The overlay's own record is not needed any more, those of the open block are.
    assert h.store._journal_from == record_size(1)
    same_after_a_crash(h, tmp_path, [(0, START - 3500, START + 100)])


def test_clock_a_day_ahead_and_back(tmp_path, open_store):
    h = open_store(tmp_path / "d", ((10, 360), (60, 2880)))
    h.store.create(["s.0"], START)
    clock = START
    for wall in (START, START + 86400, START + 20):
        clock = max(clock, wall)
        h.accept([(0, wall, 1.0)], clock)
        h.tick(clock)
    h.flush()
    now = START + 86400
    assert len(h.read(0, START - 600, now)) == 2
    same_after_a_crash(h, tmp_path, [(0, START - 600, now)])


@pytest.mark.parametrize("archives", [SMALL, ((7, 2057), (35, 4937)), ((60, 10080), (86400, 1825)), ((1, 5184000),)])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_backfill_answers_as_whisper(tmp_path, open_store, archives, order):
    path = str(tmp_path / "w.wsp")
    whisper.create(path, list(archives), 0.0, "sum", sparse=True)
    h = open_store(tmp_path / "d", archives, "sum")
    h.store.create(["s.0"], START)
    draw = random.Random(archives[0][0])
    lower, points = 0, []
    for step, slots in archives:
        # Each archive's own stretch, well inside of it, so that no coarse slot is written to and rolled up as well.
        top = (step * slots) * 9 // 10
        ages = sorted({draw.randrange(lower + 1, top) // step * step for _ in range(40)})
        points += [(START - a, float(draw.randrange(100))) for a in ages if a > lower * 11 // 10 + 2 * archives[-1][0]]
        lower = step * slots
    assert len(points) > 20
    points.sort(reverse=order == "descending")
    if order == "shuffled":
        draw.shuffle(points)
    for when, value in points:
        whisper.update(path, value, when, now=START)
        h.accept([(0, when, value)], START)
    h.flush()
    for step, slots in archives:
        start = START - step * slots
        (first, last, width), values = whisper.fetch(path, start, START, now=START)
        expected = {t: v for t, v in zip(range(first, last, width), values, strict=True) if v is not None}
        assert h.read(0, start, START) == expected


def test_the_newest_coarse_slot_after_every_point(tmp_path, open_store):
    path = str(tmp_path / "w.wsp")
    whisper.create(path, list(SMALL), 0.3, "average")
    h = open_store(tmp_path / "d", SMALL, "average", 0.3)
    h.store.create(["s.0"], START)
    for i in range(70):
        now = START + i * 10
        whisper.update(path, i * 1.5, now, now=now)
        h.accept([(0, now, i * 1.5)], now)
        for age in (2000, 9000):
            (first, last, step), values = whisper.fetch(path, now - age, now, now=now)
            expected = {t: v for t, v in zip(range(first, last, step), values, strict=True) if v is not None}
            assert h.read(0, now - age, now) == pytest.approx(expected)


def test_the_1025th_series_in_mid_block(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL)
    h.store.create([f"s.{i}" for i in range(1024)], START)
    h.accept([(i, START, float(i)) for i in range(1024)], START)
    h.store.create(["s.1024"], START + 10)
    h.accept([(1024, START + 10, -1.0)], START + 10)
    h.flush()
    assert h.read(1024, START - 10, START + 10) == {START + 10: -1.0}
    assert h.read(1023, START - 10, START + 10) == {START: 1023.0}
    same_after_a_crash(h, tmp_path, [(1024, START - 10, START + 10), (0, START - 10, START + 10)])


def test_expiry_waits_for_the_rollup(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL, "sum")
    h.store.create(["s.0"], START)
    base = START // 600 * 600
    for i in range(300):
        h.accept([(0, base + i * 10, 1.0)], base + i * 10)
        if i % 10 == 0:
            h.tick(base + i * 10)
    now = base + 2990
    h.tick(now)
    assert not any(k.archive == 0 and k.block * 600 == base for k in h.store._view.files)
    values = h.read(0, base - 60, now)
    assert [values[base + i * 60] for i in range(40)] == [6.0] * 40


def test_the_journal_limit_writes_partial_generations(tmp_path, open_store):
    h = open_store(tmp_path / "d", SMALL, journal_limit=4000)
    h.store.create(["s.0"], START)
    for i in range(100):
        h.accept([(0, START + i, float(i))], START + i)
    h.tick(START + 100)
    assert h.store._journal_from > 0
    assert len(h.store._view.files) > 0
    same_after_a_crash(h, tmp_path, [(0, START - 10, START + 100)])
