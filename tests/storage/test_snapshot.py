"""Snapshots: consistent while points stream in, hard links, refused where they cannot be, gone where they fail."""

import errno
import os
import shutil

import pytest

from ingestd.storage import files as files_module
from ingestd.storage.check import check
from ingestd.storage.errors import StorageError
from ingestd.storage.files import Files
from ingestd.storage.repair import repair
from ingestd.storage.snapshot import snapshot
from tests.storage.small import NOW, SERIES, SMALL, START, answers, build, look, possible


def stream(h, start, seconds):
    for t in range(start, start + seconds, 10):
        h.accept([(i, t, 1000.0 * (i + 1) + (t - START) / 10) for i in range(3)], t)
        h.step()


def test_a_snapshot_while_points_stream_in_holds_all_before_it_and_nothing_false(tmp_path, open_store):
    h = open_store(tmp_path / "data", SMALL, "max", segment_bytes=2048)
    h.store.create(SERIES[:3], START)
    copies = []
    for number in range(6):
        stream(h, START + 300 * number, 150)
        before = answers(h)
        done = h.store.snapshot(tmp_path / f"copy{number}")
        stream(h, START + 300 * number + 150, 150)
        h.tick(START + 300 * number + 300)
        h.pump()
        copies.append((done.result(20), before))
    truth = possible(answers(h))
    for copied, before in copies:
        assert check(copied.target).findings == []
        shown, damage = look(type(h), copied.target, Files())
        assert (damage, copied.missing) == ([], 0)
        fine = {k: v for k, v in before.items() if k[1] == 590}
        assert copied is not copies[-1][0] or fine.items() <= shown[0].items()
        assert all(v in truth[s, t // 300] for (s, _, t), v in shown[0].items())
        blocks = list(copied.target.rglob("*.blk"))
        assert (copied.blocks, copied.linked) == (len(blocks), len(blocks))
    last = copies[-1][0].target
    assert any(p.stat().st_nlink >= 2 for p in last.rglob("*.blk"))
    assert answers(h) == answers(h.crash(tmp_path / "crash"))


def test_everything_accepted_before_the_call_is_in_it(tmp_path, open_store):
    h = open_store(tmp_path / "data", SMALL, "max")
    h.store.create(SERIES, START)
    h.accept([(i, START + 10 * t, float(t)) for t in range(30) for i in range(4)], START + 290)
    expected = answers(h)
    done = h.store.snapshot(tmp_path / "copy")
    h.accept([(0, START + 300, 77.0)], START + 300)
    h.pump()
    done.result(20)
    shown, damage = look(type(h), tmp_path / "copy", Files())
    assert damage == []
    assert {k: v for k, v in shown[0].items() if v != 77.0} == expected


def test_writing_to_either_leaves_the_other(tmp_path, open_store):
    directory, opened = build(tmp_path, open_store)
    truth, _ = look(opened, directory, Files())
    snapshot(directory, tmp_path / "copy")
    h = opened(tmp_path / "copy", SMALL, "max", 0.0, None, {})
    h.accept([(0, NOW - 10, 123456.0)], NOW)
    h.flush()
    h.store.close()
    assert look(opened, directory, Files()) == (truth, [])
    shutil.rmtree(directory)
    assert 123456.0 in look(opened, tmp_path / "copy", Files())[0][0].values()


def test_another_file_system_gets_copies(tmp_path, open_store, monkeypatch):
    directory, opened = build(tmp_path, open_store)

    def link(*_):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(os, "link", link)
    copied = snapshot(directory, tmp_path / "copy")
    assert (copied.linked, copied.blocks > 3) == (0, True)
    assert look(opened, tmp_path / "copy", Files()) == look(opened, directory, Files())


def test_what_cannot_be_is_refused(tmp_path, open_store):
    directory, opened = build(tmp_path, open_store)
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "way").symlink_to(directory)
    (tmp_path / "left.tmp").mkdir()
    for name in ("there", "dangling", "small/inside", "way/inside", "left", "no/such"):
        with pytest.raises(StorageError):
            snapshot(directory, tmp_path / name)
    with pytest.raises(StorageError, match="no store"):
        snapshot(tmp_path / "there", tmp_path / "copy")
    h = opened(directory, SMALL, "max", 0.0, None, {})
    with pytest.raises(StorageError, match="in use"):
        snapshot(directory, tmp_path / "copy")
    h.store.close()


def test_a_disk_that_fills_midway_leaves_no_target(tmp_path, open_store, monkeypatch):
    directory, _ = build(tmp_path, open_store)
    monkeypatch.setattr(files_module, "COPY_BYTES", 512)

    class Full(Files):
        left = 0

        def write(self, fd, data, offset):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write(fd, data, offset)

    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    turn = 0
    while True:
        files = Full()
        files.left = turn
        try:
            snapshot(directory, tmp_path / "copy", files)
        except OSError:
            assert not (tmp_path / "copy").exists()
            assert not (tmp_path / "copy.tmp").exists()
            turn += 1
        else:
            break
    assert turn > 5
    assert {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()} == before


def test_a_running_store_goes_on_after_a_snapshot_that_failed(tmp_path, open_store):
    h = open_store(tmp_path / "data", SMALL, "max")
    h.store.create(SERIES, START)
    done = h.store.snapshot(tmp_path / "no" / "such")
    stream(h, START, 100)
    h.pump()
    with pytest.raises(StorageError):
        done.result(20)
    h.flush()
    assert h.store.failure is None
    assert answers(h)


@pytest.mark.parametrize("between", [False, True])
def test_a_plain_copy_of_a_running_directory_is_a_crash_or_can_be_repaired(tmp_path, open_store, between):
    """cp -a opens unless a checkpoint fell into it; then the start refuses, and a repair shows nothing false."""
    h = open_store(tmp_path / "data", SMALL, "max", segment_bytes=2048)
    h.store.create(SERIES[:3], START)
    stream(h, START, 400)
    h.flush()
    stream(h, START + 400, 300)
    h.pump()
    truth, copy = answers(h), tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(h.directory / "blocks", copy / "blocks")
    if between:
        h.flush()
    shutil.copytree(h.directory, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns("blocks"))
    shown, damage = look(type(h), copy, Files())
    if not between:
        assert (shown[0], damage) == (truth, [])
        return
    assert (shown, "check --repair" in damage[0]) == (None, True)
    repair(copy, NOW)
    shown, damage = look(type(h), copy, Files())
    assert damage == []
    for (series, _, t), value in shown[0].items():
        # A maximum of the points that are left is one of those that came in.
        assert t // 300 == (START + 10 * (value - 1000 * (series + 1))) // 300
    assert shown[0].keys() <= truth.keys()
    assert len(shown[0]) > 10
