"""Checking a directory and its files: a sound store has no findings, every damaged one has."""

import numpy as np
import pytest

from ingestd.storage import registry
from ingestd.storage.blocks import BlockFile
from ingestd.storage.check import check, inspect
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.events import EventLog
from ingestd.storage.files import Files
from ingestd.storage.home import Home
from ingestd.storage.journal_thread import Entry
from ingestd.storage.layout import Key
from ingestd.storage.view import BlockRef

ROWS = 1500
KEY = Key(0, 0, 28333333)


@pytest.fixture
def store(tmp_path):
    """A store of 1500 series, a block of two tiles, and one journal record."""
    home = Home(tmp_path, "mmap")
    home.open()
    kinds = np.zeros(ROWS, np.uint16)
    names = [f"a.b{i}" for i in range(ROWS)]
    home.registry.append([registry.encode_layout(0, [(10, 60)]), registry.encode_profile(0, "average", 0.5)])
    home.registry.append([registry.encode_create(0, kinds, kinds, names)])
    ids = np.arange(ROWS, dtype=np.uint32)
    ref = BlockRef(0, 8, False)
    home.write(
        KEY, ref, 10, ids, [slice(0, 1024), slice(1024, ROWS)], lambda some: np.tile(some * 1.0, (4, 1)).T.copy()
    )
    home.commit({KEY: ref}, {}, 8)
    home.journal.start(8)
    home.journal.write_entries([Entry(8, 48 + 8 + 16, 5, None, ids[:1], np.array([5]), np.array([5.0]), None)])
    home.close()
    events = EventLog(Files(), tmp_path / "events.log")
    events.add(1, "deploy", [], "")
    events.close()
    return tmp_path


def block_path(store):
    (path,) = store.glob("blocks/L0/a0/*.blk")
    return path


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_sound_store_has_no_findings(store):
    report = check(store)
    assert report.healthy, report.findings
    assert (report.series, report.blocks, report.rows, report.events) == (ROWS, 1, ROWS, 1)
    assert (report.journal_records, report.journal_points, report.journal_end) == (1, 1, 80)


@pytest.mark.parametrize("name", ["registry.log", "manifest.log", "events.log"])
def test_any_flipped_byte_of_a_log_is_found(store, name):
    path = store / name
    for at in range(0, path.stat().st_size, max(1, path.stat().st_size // 20)):
        flip(path, at)
        assert not check(store).healthy, at
        flip(path, at)


def test_any_flipped_byte_of_a_block_is_found_and_never_returned(store):
    path = block_path(store)
    whole = BlockFile(Files(), path, "pread").header
    sections = [range(0, 4096, 397), range(4096, 4096 + 4 * ROWS, 997), range(whole.crcs_at, whole.crcs_at + 8)]
    sections.append(range(whole.data_at, whole.size, 7919))
    wanted = np.array([0, ROWS - 1], np.uint32)
    for at in (at for section in sections for at in section):
        flip(path, at)
        assert not check(store).healthy, at
        for access in ("mmap", "pread"):
            out = np.full((2, 4), np.nan)
            with pytest.raises(CorruptFileError):
                BlockFile(Files(), path, access).lay(out, wanted, 0, 4)
            assert np.isnan(out[0]).all() or (out[0] == 0).all()
            assert np.isnan(out[1]).all() or (out[1] == ROWS - 1).all()
        flip(path, at)
    assert check(store).healthy


def test_a_missing_an_unlisted_and_a_short_block_are_found(store):
    path = block_path(store)
    good = path.read_bytes()
    stray = path.with_name("1.g0.blk")
    stray.write_bytes(good)
    assert [f for f in check(store).findings if str(stray) in f]
    stray.unlink()
    for size in (0, 4096, len(good) - 1):
        path.write_bytes(good[:size])
        assert not check(store).healthy
    path.unlink()
    assert "missing" in check(store).findings[0]


def test_a_directory_without_a_store_is_refused(tmp_path):
    with pytest.raises(StorageError):
        check(tmp_path)


def test_inspect_knows_every_type(store):
    (segment,) = store.glob("journal/*.jnl")
    assert inspect(store / "registry.log")["series"] == ROWS
    assert inspect(store / "manifest.log")["journal_from"] == 8
    assert inspect(store / "events.log")["records"] == 1
    assert inspect(block_path(store))["points"] == 4 * ROWS
    assert inspect(segment)["points"] == 1
    (store / "other").write_bytes(b"something else")
    with pytest.raises(StorageError):
        inspect(store / "other")
