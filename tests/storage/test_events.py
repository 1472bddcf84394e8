"""Events: kept, bounded, found again after a start, and never lost to one failed sync."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.errors import CorruptFileError
from ingestd.storage.events import EventLog, decode_event, encode_event
from ingestd.storage.fileformat import unpack_log_record
from ingestd.storage.files import Files


class FailingSync(Files):
    fail = False

    def sync(self, fd):
        if self.fail:
            raise OSError(5, "sync failed")
        super().sync(fd)


TEXT = st.text(st.characters())


@given(st.integers(-(2**40), 2**40), TEXT, st.lists(TEXT), TEXT)
def test_round_trip(when, what, tags, data):
    event = {"id": 7, "when": when, "what": what, "tags": tags, "data": data}
    assert decode_event(unpack_log_record(memoryview(encode_event(event)), 0)) == event


def test_found_by_time_and_tags_after_a_start(tmp_path):
    path = tmp_path / "events.log"
    log = EventLog(Files(), path)
    late = log.add(300, "deploy", ["a", "b"], "x")
    early = log.add(100, "restart", ["b"], "")
    log.close()
    log = EventLog(Files(), path)
    assert [e["id"] for e in log.query(100, 300, None, None)] == [early, late]
    assert [e["id"] for e in log.query(101, 300, [], None)] == [late]
    assert [e["id"] for e in log.query(0, 999, ["a", "b"], None)] == [late]
    assert [e["id"] for e in log.query(0, 999, ["a", "b"], "union")] == [early, late]
    assert log.query(0, 99, None, None) == []
    assert log.get(late) == {"id": late, "when": 300, "what": "deploy", "tags": ["a", "b"], "data": "x"}
    assert log.get(99) is None
    log.close()


def test_bounded_on_disk_and_ids_are_never_reused(tmp_path):
    path = tmp_path / "events.log"
    log = EventLog(Files(), path, limit=4)
    ids = [log.add(i, "e", [], "") for i in range(40)]
    assert ids == list(range(1, 41))
    size = path.stat().st_size
    assert size < 10 * len(encode_event({"id": 1, "when": 1, "what": "e", "tags": [], "data": ""})) + 16
    log.close()
    log = EventLog(Files(), path, limit=4)
    assert [e["id"] for e in log.query(0, 99, None, None)] == ids[-4:]
    assert log.add(5, "next", [], "") == 41
    log.close()


def test_after_a_failed_sync_a_new_file_takes_over(tmp_path):
    files = FailingSync()
    path = tmp_path / "events.log"
    log = EventLog(files, path)
    log.add(1, "kept", [], "")
    inode = path.stat().st_ino
    files.fail = True
    with pytest.raises(OSError, match="sync failed"):
        log.add(2, "refused", [], "")
    files.fail = False
    assert log.add(3, "kept too", [], "") == 2
    assert path.stat().st_ino != inode
    log.close()
    log = EventLog(files, path)
    assert [e["what"] for e in log.query(0, 9, None, None)] == ["kept", "kept too"]
    log.close()


def test_every_truncation_and_every_flip_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "events.log"
    log = EventLog(Files(), path)
    for i in range(3):
        log.add(i, f"event {i}", ["t"], "d")
    whole = [log.get(i) for i in (1, 2, 3)]
    log.close()
    good = path.read_bytes()
    changed = [good[:cut] for cut in range(len(good))]
    changed += [good[:i] + bytes([good[i] ^ 0x10]) + good[i + 1 :] for i in range(len(good))]
    for data in changed:
        path.write_bytes(data)
        try:
            log = EventLog(Files(), path)
        except CorruptFileError:
            continue
        assert all(e in whole for e in log.query(0, 99, None, None))
        assert len(log) < 3
        log.close()
