"""The journal: torn tails, broken middles, stale bytes, segments."""

import numpy as np
import pytest

from ingestd.storage.fileformat import SEGMENT_HEADER, record_size
from ingestd.storage.files import Files
from ingestd.storage.journal import Journal
from ingestd.storage.journal_thread import Entry
from ingestd.storage.layout import Key

N = 3
SIZE = record_size(N)


def entry(lsn, value, key=None):
    ids = np.arange(N, dtype=np.uint32)
    return Entry(lsn, SIZE, 1700000000, key, ids, np.full(N, 1700000000), np.full(N, float(value)), None)


def write(directory, count, segment_bytes=4096):
    journal = Journal(directory, Files(), segment_bytes)
    journal.start(0)
    journal.write_entries([entry(i * SIZE, i) for i in range(count)])
    journal.sync()
    journal.close()


def replay(directory, start=0):
    journal = Journal(directory, Files())
    return [int(r.values[0]) for r in journal.replay(start)], journal


def test_segments_roll_and_are_cut(tmp_path):
    write(tmp_path, 20, segment_bytes=5 * SIZE + SEGMENT_HEADER.size)
    found, journal = replay(tmp_path)
    assert found == list(range(20))
    assert (journal.end, journal.damage, len(journal.segments())) == (20 * SIZE, [], 4)
    journal.cut(11 * SIZE)
    assert replay(tmp_path, 11 * SIZE)[0] == list(range(11, 20))
    assert [start for start, _, _ in journal.segments()] == [10 * SIZE, 15 * SIZE]


def test_carried_records_say_their_block(tmp_path):
    journal = Journal(tmp_path, Files(), 4096)
    journal.write_entries([entry(0, 1, Key(2, 1, 77))])
    journal.close()
    (record,) = Journal(tmp_path, Files()).replay(0)
    assert tuple(record.key) == (2, 1, 77)


def test_every_torn_tail_ends_the_journal_at_a_record(tmp_path):
    write(tmp_path, 3)
    ((_, _, path),) = Journal(tmp_path, Files()).segments()
    good = path.read_bytes()
    for cut in range(SEGMENT_HEADER.size, SEGMENT_HEADER.size + 3 * SIZE):
        path.write_bytes(good[:cut].ljust(len(good), b"\0"))
        found, journal = replay(tmp_path)
        whole = len(found)
        assert found == list(range(whole))
        assert (cut - SEGMENT_HEADER.size) // SIZE <= whole <= 3
        assert journal.end == whole * SIZE


def test_a_broken_middle_is_told_and_skipped(tmp_path):
    write(tmp_path, 4)
    ((_, _, path),) = Journal(tmp_path, Files()).segments()
    good = path.read_bytes()
    for i in range(SEGMENT_HEADER.size + SIZE, SEGMENT_HEADER.size + 2 * SIZE):
        path.write_bytes(good[:i] + bytes([good[i] ^ 0x20]) + good[i + 1 :])
        found, journal = replay(tmp_path)
        assert found == [0, 2, 3]
        assert len(journal.damage) == 1


def test_stale_records_at_another_place_are_refused(tmp_path):
    write(tmp_path, 2)
    ((_, _, path),) = Journal(tmp_path, Files()).segments()
    data = bytearray(path.read_bytes())
    at = SEGMENT_HEADER.size
    data[at + 2 * SIZE : at + 3 * SIZE] = data[at : at + SIZE]
    path.write_bytes(data)
    found, journal = replay(tmp_path)
    assert (found, journal.end) == ([0, 1], 2 * SIZE)


def test_after_abandon_the_same_records_go_to_another_file(tmp_path):
    journal = Journal(tmp_path, Files(), 4096)
    journal.write_entries([entry(0, 0)])
    journal.abandon()
    journal.write_entries([entry(0, 0), entry(SIZE, 1)])
    journal.close()
    assert [(s, t) for s, t, _ in journal.segments()] == [(0, 0), (0, 1)]
    assert replay(tmp_path)[0][-2:] == [0, 1]


@pytest.mark.parametrize("start", [0, SIZE, SIZE + 8, 2 * SIZE])
def test_replay_begins_with_the_record_that_ends_above(tmp_path, start):
    write(tmp_path, 4)
    assert replay(tmp_path, start)[0] == list(range(start // SIZE, 4))


class Failing(Files):
    """Fails the writes whose turn it is."""

    def __init__(self, *turns):
        self.turns, self.writes = turns, 0

    def write(self, fd, data, offset):
        self.writes += 1
        if self.writes in self.turns:
            raise OSError(5, "Input/output error")
        super().write(fd, data, offset)


def test_a_write_that_failed_behind_a_full_segment_goes_through_again(tmp_path):
    # Writes: header and records of the first segment, header of the second, and its records, which fail.
    journal = Journal(tmp_path, Failing(4), 2 * SIZE + SEGMENT_HEADER.size)
    entries = [entry(i * SIZE, i) for i in range(3)]
    with pytest.raises(OSError, match="Input/output"):
        journal.write_entries(entries)
    journal.write_entries(entries)
    journal.write_entries([entry(3 * SIZE, 3)])
    journal.sync()
    journal.close()
    assert replay(tmp_path)[0] == [0, 1, 2, 3]


def test_segments_that_overlap_after_a_failed_sync_are_replayed_in_order_and_kept(tmp_path):
    journal = Journal(tmp_path, Files(), 3 * SIZE + SEGMENT_HEADER.size)
    entries = [entry(i * SIZE, i) for i in range(5)]
    journal.write_entries(entries)
    journal.abandon()
    again = [*entries[2:], entry(5 * SIZE, 5), entry(6 * SIZE, 6)]
    journal.write_entries(again[:3])
    journal.write_entries(again[3:])
    journal.sync()
    assert [start // SIZE for start, _, _ in journal.segments()] == [0, 2, 3, 5]
    assert replay(tmp_path)[0] == list(range(7))
    journal.cut(4 * SIZE)
    assert replay(tmp_path, 4 * SIZE)[0] == [4, 5, 6]
    journal.close()


def test_what_one_of_two_overlapping_segments_lost_comes_from_the_other(tmp_path):
    write(tmp_path, 4)
    ((_, _, path),) = Journal(tmp_path, Files()).segments()
    data = bytearray(path.read_bytes())
    data[SEGMENT_HEADER.size + SIZE] ^= 1
    path.write_bytes(data)
    journal = Journal(tmp_path, Files(), 4096)
    journal.write_entries([entry(i * SIZE, i) for i in range(1, 6)])
    journal.close()
    assert replay(tmp_path)[0] == list(range(6))


def test_a_cut_spares_a_long_segment_whose_successor_begins_earlier(tmp_path):
    journal = Journal(tmp_path, Files(), 2 * SIZE + SEGMENT_HEADER.size)
    journal.write_entries([entry(i * SIZE, i) for i in range(4)])
    journal.abandon()
    big = Journal(tmp_path, Files(), 4096)
    list(big.replay(0))
    big.write_entries([entry(i * SIZE, i) for i in range(1, 6)])
    big.cut(3 * SIZE)
    assert replay(tmp_path, 3 * SIZE)[0] == [3, 4, 5]
    big.close()
