"""Block lengths, routing by age and the fetch window, against whisper where whisper has a say."""

import time

import numpy as np
import pytest
import whisper
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.layout import Key, fetch_window, make_layout

DEFAULT = ((10, 2160), (60, 10080), (600, 57600))


@st.composite
def archives(draw):
    """Archive lists that whisper's validateArchiveList accepts."""
    step = draw(st.integers(1, 120))
    slots = draw(st.integers(1, 5000))
    found = [(step, slots)]
    for _ in range(draw(st.integers(0, 3))):
        ratio = draw(st.integers(2, 1500))
        finer_step, finer_slots = found[-1]
        if finer_slots < ratio:
            found[-1] = (finer_step, ratio + draw(st.integers(0, 100)))
        step = finer_step * ratio
        least = found[-1][0] * found[-1][1] // step + 1
        found.append((step, least + draw(st.integers(0, 3000))))
    return tuple(found)


@given(archives())
def test_blocks_hold_whole_coarse_slots_or_divide_one(found):
    whisper.validateArchiveList(list(found))
    layout = make_layout(0, found)
    for fine, coarse in zip(layout.archives, layout.archives[1:], strict=False):
        ratio = coarse.step // fine.step
        assert fine.length % ratio == 0 or ratio % fine.length == 0
    for fine, coarse in zip(layout.archives, layout.archives[1:], strict=False):
        assert coarse.span <= max(fine.retention // 2, coarse.step)
    assert all(1 <= a.length <= 768 for a in layout.archives)


def test_the_default_schema_is_cut_as_documented():
    assert make_layout(0, DEFAULT).archives[0].length == 60
    assert [a.length for a in make_layout(0, ((60, 10080), (86400, 1825))).archives] == [60, 3]


@given(archives(), st.lists(st.integers(-600, 10_000_000), min_size=1, max_size=50))
def test_route_is_whispers_rule(found, ages):
    layout = make_layout(0, found)
    chosen = layout.route(np.array(ages, np.int64))
    for age, number in zip(ages, chosen, strict=True):
        if age >= layout.retention:
            assert number == len(found)
        else:
            assert number == next(i for i, a in enumerate(layout.archives) if a.retention >= age)


@given(archives(), st.integers(-100, 2_000_000), st.integers(-100, 2_000_000))
def test_fetch_window_is_whispers(tmp_path_factory, found, a, b):
    found = tuple((step, min(slots, 200)) for step, slots in found[:1])
    now = 1_800_000_000
    start, until = now - max(a, b), now - min(a, b)
    path = str(tmp_path_factory.getbasetemp() / "w.wsp")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now)
        import os

        if os.path.exists(path):  # noqa: PTH110
            os.remove(path)  # noqa: PTH107
        whisper.create(path, list(found))
        expected = whisper.fetch(path, start, until, now=now)
    got = fetch_window(make_layout(0, found), start, until, now)
    assert (got and tuple(got[1])) == (expected and expected[0])


def test_covering_blocks():
    layout = make_layout(0, DEFAULT)
    assert list(layout.covering(Key(0, 1, 2), 0)) == list(range(14, 21))
    assert list(layout.covering(Key(0, 0, 14), 1)) == [2]
