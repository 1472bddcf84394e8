"""A batch's way into the ring: compiled and pure give the same, or refuse the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage import ring

LENGTH = 12


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def held(buffer: ring.Buffer) -> tuple[list[int], np.ndarray]:
    ids = np.arange(400, dtype=np.uint32)
    out = np.full((400, LENGTH), -77.0)
    buffer.lay(out, ids, 0, LENGTH)
    return buffer.members().tolist(), out


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 300), st.integers(-40, 130), st.floats(-9, 9)), min_size=1, max_size=40),
        max_size=6,
    ),
    st.integers(1, 20),
    st.integers(-3, 3),
)
def test_put_is_the_same(batches, step, first):
    with pytest.MonkeyPatch.context() as patch:
        compiled, pure = (ring.Buffer(LENGTH, 0, np.array([3, 5, 200], np.uint32)) for _ in range(2))
        kernel = ring.scatter_compiled
        for batch in batches:
            fine = [(i, t, v) for i, t, v in batch if 0 <= t // step - first < LENGTH]
            if not fine:
                continue
            columns = [np.array(c, d) for c, d in zip(zip(*fine, strict=True), "Iqd", strict=True)]
            patch.setattr(ring, "scatter_compiled", kernel)
            compiled.put(*columns, step, first)
            patch.setattr(ring, "scatter_compiled", None)
            pure.put(*columns, step, first)
            assert len(compiled) == len(pure)
            assert compiled.nbytes == pure.nbytes
        patch.setattr(ring, "scatter_compiled", kernel)
        (members, values), (expected_members, expected) = held(compiled), held(pure)
        assert members == expected_members
        np.testing.assert_array_equal(values, expected)
        asked = np.array([0, 3, 4, 5, 200, 299, 300, 399], np.uint32)
        for low, high in ((0, LENGTH), (3, 7), (LENGTH - 1, LENGTH), (5, 5)):
            laid = []
            for lay in (ring.lay_compiled, None):
                patch.setattr(ring, "lay_compiled", lay)
                wide = np.full((len(asked), LENGTH + 2), 5.0)
                compiled.lay(wide[:, 1 : 1 + high - low], asked, low, high)
                laid.append(wide)
            patch.undo()
            np.testing.assert_array_equal(*laid)


@given(
    st.lists(st.tuples(st.integers(0, 70), st.integers(-(2**63), 2**63 - 1)), min_size=1, max_size=30),
    st.lists(st.integers(0, 2), min_size=50, max_size=50),
)
def test_survey_is_the_same(rows, layouts):
    ids, times = np.array([i for i, _ in rows], np.uint32), np.array([t for _, t in rows], np.int64)
    layout_of = np.array(layouts, np.uint16)

    def outcome():
        try:
            return ring.survey(ids, times, layout_of)
        except IndexError:
            return "refused"

    with pytest.MonkeyPatch.context() as patch:
        compiled = outcome()
        patch.setattr(ring, "survey_compiled", None)
        assert compiled == outcome()


@pytest.mark.parametrize(
    ("time", "step", "error"), [(LENGTH, 1, IndexError), (-1, 1, IndexError), (-1, 10, IndexError), (0, 0, ValueError)]
)
def test_no_slot_outside_the_block_is_written(time, step, error):
    buffer = ring.Buffer(LENGTH, 0, np.array([3], np.uint32))
    with pytest.raises(error):
        buffer.put(np.array([3], np.uint32), np.array([time]), np.array([1.0]), step)
    assert not len(buffer.series())


def test_nothing_outside_the_ring_is_read():
    data, touched, columns = np.zeros((4, 3)), np.ones(4, np.uint8), np.zeros(2, np.int32)
    for low, slots, rows in ((-1, 1, 2), (0, 5, 2), (4, 1, 2), (0, 1, 3)):
        with pytest.raises(ValueError, match="different lengths"):
            ring.lay_compiled(data, touched, columns, low, np.zeros((rows, slots)))
    with pytest.raises(ValueError, match="different lengths"):
        ring.lay_compiled(data, touched[:3], columns, 0, np.zeros((2, 1)))
    with pytest.raises(IndexError):
        ring.lay_compiled(data, touched, np.array([0, 3], np.int32), 0, np.zeros((2, 1)))


def test_columns_of_different_lengths_are_refused():
    buffer = ring.Buffer(LENGTH, 0, np.array([3], np.uint32))
    with pytest.raises(ValueError, match="different lengths"):
        buffer.put(np.array([3, 3], np.uint32), np.array([1]), np.array([1.0, 2.0]))
    for ids, times in (([], []), ([0], [1, 2])):
        with pytest.raises(ValueError, match="times"):
            ring.survey_compiled(np.array(ids, np.uint32), np.array(times, np.int64), np.zeros(3, np.uint16))
