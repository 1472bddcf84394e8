"""Buffers and overlays hold what a dict of (series, slot) holds, whatever the order of points and growth."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.overlay import Overlay
from ingestd.storage.ring import Buffer

LENGTH = 12
POINTS = st.lists(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, LENGTH - 1), st.floats(-9, 9)), min_size=1, max_size=40),
    max_size=8,
)
LAYERS = st.sampled_from(["empty ring", "seeded ring", "overlay"])


def make(kind):
    if kind == "overlay":
        return Overlay(LENGTH, 0)
    return Buffer(LENGTH, 0, np.array([3, 5, 6, 7, 200] if kind == "seeded ring" else [], np.uint32))


@given(LAYERS, POINTS, st.sets(st.integers(0, 400)), st.integers(0, LENGTH - 1), st.integers(1, LENGTH))
def test_a_layer_holds_the_last_value_of_each_slot(kind, batches, asked, low, width):
    layer, model = make(kind), {}
    for batch in batches:
        ids, slots, values = (np.array(c, d) for c, d in zip(zip(*batch, strict=True), "Iqd", strict=True))
        layer.put(ids, slots, values)
        model.update({(i, s): v for i, s, v in batch})
    assert layer.series().tolist() == sorted({i for i, _ in model})
    assert len(layer) == sum(map(len, batches))
    high = min(low + width, LENGTH)
    ids = np.array(sorted(asked), np.uint32)
    out = np.full((len(ids), high - low), -77.0)
    layer.lay(out, ids, low, high)
    expected = [[model.get((i, s), -77.0) for s in range(low, high)] for i in sorted(asked)]
    np.testing.assert_array_equal(out, np.array(expected).reshape(out.shape))


def test_rows_not_reached_cost_no_memory():
    ring = Buffer(60, 0, np.arange(10_000, dtype=np.uint32))
    before = ring.nbytes
    ring.put(np.array([1], np.uint32), np.array([7]), np.array([1.0]))
    assert ring.nbytes - before < 2 * 10_000 * 8


def test_columns_are_kept_when_the_ring_grows():
    ring = Buffer(4, 0, np.array([9], np.uint32))
    for i in range(1000):
        ring.put(np.array([i], np.uint32), np.array([i % 4]), np.array([float(i)]))
    out = np.full((1000, 4), np.nan)
    ring.lay(out, np.arange(1000, dtype=np.uint32), 0, 4)
    assert [out[i, i % 4] for i in range(1000)] == [float(i) for i in range(1000)]
    assert np.isnan(out).sum() == 3000
