"""The layouts of bytes: what is written is read, and what was changed is not."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage import fileformat as ff

COLUMNS = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(-(2**63), 2**63 - 1), st.floats()), max_size=9)
KEYS = st.none() | st.builds(ff.JournalKey, st.integers(0, 2**32 - 1), st.integers(0, 9), st.integers(-5, 2**40))


def record(lsn, points, key=None):
    ids, times, values = (np.array([p[i] for p in points], d) for i, d in enumerate(("<u4", "<i8", "<f8")))
    return b"".join(ff.pack_record(lsn, 1700000001, key, ids, times, values))


@given(st.integers(0, 2**60), COLUMNS, KEYS)
def test_journal_records_round_trip(lsn, points, key):
    data = record(lsn, points, key)
    assert len(data) == ff.record_size(len(points))
    assert len(data) % 8 == 0
    found = ff.unpack_record(memoryview(data), 0, lsn)
    assert (found.lsn, found.size, found.clock, found.key) == (lsn, len(data), 1700000001, key)
    assert record(lsn, list(zip(found.ids, found.times, found.values, strict=True)), key) == data
    assert ff.unpack_record(memoryview(data), 0, lsn + 8) is None


def test_example_in_the_docstring_is_a_record():
    digits = re.search(r"::\n\n((?:    [0-9a-f ]+\n?)+)\s*$", ff.__doc__).group(1)
    data = bytes.fromhex("".join(digits.split()))
    found = ff.unpack_record(memoryview(data), 0, 0x40)
    assert (found.size, found.clock, found.key) == (len(data), 1700000001, None)
    assert (found.ids.tolist(), found.times.tolist(), found.values.tolist()) == ([7], [1700000000], [2.5])


@pytest.mark.parametrize("flip", [1, 0x80])
def test_no_changed_byte_of_a_record_is_believed(flip):
    data = record(64, [(1, 2, 3.0), (4, 5, 6.0), (7, 8, 9.0)])
    for i in range(len(data)):
        broken = data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :]
        assert ff.unpack_record(memoryview(broken), 0, 64) is None
        assert ff.unpack_record(memoryview(data[:i]), 0, 64) is None


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.lists(st.binary(max_size=20))
)
def test_log_records_round_trip(kind, n, number, parts):
    found = ff.unpack_log_record(memoryview(ff.pack_log_record(kind, n, number, parts)), 0)
    assert (found.kind, found.n, found.number) == (kind, n, number)
    assert bytes(found.body) == b"".join(p.ljust(ff.pad8(len(p)), b"\0") for p in parts)


def test_no_changed_byte_of_a_block_header_is_believed():
    header = ff.BlockHeader(ff.COMPLETE, 1, 2, 10, 60, 5, -3, 4, 99)
    data = ff.pack_block_header(header, 11, 12)
    assert ff.unpack_block_header(data) == (header, 11, 12)
    for i in range(len(data)):
        assert ff.unpack_block_header(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :]) is None
    assert ff.unpack_block_header(data[:-1]) is None
