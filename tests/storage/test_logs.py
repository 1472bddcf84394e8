"""Registry, manifest and log files: round trips, truncations, flipped bytes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage import manifest, registry
from ingestd.storage.blocks import BlockDirectory, BlockFile
from ingestd.storage.errors import CorruptFileError, StorageError
from ingestd.storage.fileformat import (
    MANIFEST_MAGIC,
    REGISTRY_MAGIC,
    pack_log_header,
    pack_log_record,
    unpack_log_record,
)
from ingestd.storage.files import Files
from ingestd.storage.layout import Key
from ingestd.storage.logfile import LogFile, read_log
from ingestd.storage.view import BlockRef

KEYS = st.builds(Key, st.integers(0, 9), st.integers(0, 3), st.integers(-(2**40), 2**40))
REFS = st.builds(BlockRef, st.integers(0, 2**32 - 1), st.integers(0, 2**60), st.booleans())


def records(encoded):
    return [unpack_log_record(memoryview(e), 0) for e in encoded]


@given(st.dictionaries(KEYS, REFS, max_size=8), st.integers(0, 2**60), st.data())
def test_manifest_round_trip(files, lsn, data):
    gone = data.draw(st.lists(st.sampled_from(sorted(files)), unique=True)) if files else []
    log = [manifest.encode_commit(files, {}, 1), manifest.encode_commit({}, {k: files[k] for k in gone}, lsn)]
    state = manifest.decode(records(log))
    assert state.files == {k: r for k, r in files.items() if k not in gone}
    assert state.journal_from == lsn
    assert set(state.expired) == set(gone)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=9), st.data())
def test_registry_round_trip(paths, data):
    n = len(paths)
    zeros = np.zeros(n, np.uint16)
    gone = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    log = [
        registry.encode_layout(0, ((10, 60), (60, 60))),
        registry.encode_profile(0, "sum", 0.5),
        registry.encode_create(0, zeros, zeros, paths),
        registry.encode_forget(np.array(gone, np.uint32)),
        registry.encode_rules("abc"),
    ]
    first = registry.decode(records(log), [])
    for loaded in (first, registry.decode(records(registry.encode_all(first)), [])):
        at = loaded.names.offsets.tolist()
        names = [loaded.names.blob[a:b].decode() for a, b in itertools.pairwise(at)]
        kept = [i for i in range(n) if i not in gone]
        assert (loaded.names.ids.tolist(), names) == (kept, [paths[i] for i in kept])
        assert (loaded.layouts, loaded.profiles, loaded.rules) == ([((10, 60), (60, 60))], [("sum", 0.5)], "abc")
        assert (loaded.forgotten, loaded.damage, len(loaded.layout)) == (len(gone), [], n)


def test_absurd_fields_under_a_right_checksum_are_damage():
    log = [
        registry.encode_layout(0, ((0, 60),)),
        registry.encode_profile(0, "nosuch", 0.5),
        registry.encode_skip(0, 2**32 - 1),
        pack_log_record(registry.CREATE, 1, 0, [bytes(2), bytes(2), np.array([0, 2], "<u4").tobytes(), b"\xff."]),
        registry.encode_change(np.array([0], np.uint32), 2**20, 0),
    ]
    loaded = registry.decode(records(log), [])
    assert len(loaded.damage) == 5
    assert (loaded.layouts, loaded.profiles, len(loaded.layout), len(loaded.names.ids)) == ([], [], 0, 0)
    with pytest.raises(StorageError, match="no commit"):
        manifest.decode(records([pack_log_record(manifest.COMMIT, 1, 0, [bytes(40)])]))


def test_truncations_and_flips_of_a_log_give_a_subset_of_its_records(tmp_path):
    path = tmp_path / "manifest.log"
    encoded = [manifest.encode_commit({Key(0, 0, i): BlockRef(0, i, False)}, {}, i) for i in range(3)]
    good = pack_log_header(MANIFEST_MAGIC) + b"".join(encoded)
    for cut in range(len(good)):
        path.write_bytes(good[:cut])
        if cut < 16:
            with pytest.raises(CorruptFileError):
                read_log(Files(), path, MANIFEST_MAGIC)
            continue
        found, damage, _ = read_log(Files(), path, MANIFEST_MAGIC)
        assert ([r.number for r in found], damage) == (list(range((cut - 16) // 64)), [])
    for at in range(16, len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        found, damage, _ = read_log(Files(), path, MANIFEST_MAGIC)
        lost = (at - 16) // 64
        assert [r.number for r in found] == [i for i in range(3) if i != lost]
        assert bool(damage) == (lost < 2)


def test_a_log_whose_rename_was_not_synced_goes_on_in_the_new_file(tmp_path):
    class Once(Files):
        fail = False

        def sync_directory(self, path):
            if self.fail:
                self.fail = False
                raise OSError(5, "Input/output error")
            super().sync_directory(path)

    files = Once()
    log = LogFile(files, tmp_path / "registry.log", REGISTRY_MAGIC)
    log.load()
    files.fail = True
    with pytest.raises(OSError, match="Input/output"):
        log.replace([registry.encode_rules("a")])
    log.append_durably([registry.encode_rules("b")])
    log.close()
    found, damage, _ = read_log(files, tmp_path / "registry.log", REGISTRY_MAGIC)
    assert (registry.decode(found, damage).rules, len(found)) == ("b", 2)


@pytest.mark.parametrize("access", ["mmap", "pread"])
def test_a_block_file_cut_or_flipped_gives_its_values_or_an_error(tmp_path, access):
    key, ref, n = Key(0, 0, 5), BlockRef(0, 9, False), 1030
    ids = np.arange(0, 2 * n, 2, dtype=np.uint32)
    values = np.arange(n * 4, dtype=np.float64).reshape(n, 4)
    blocks = BlockDirectory(tmp_path, Files(), access)
    blocks.write(key, ref, 10, ids, [slice(0, 1024), slice(1024, n)], lambda some: values[some // 2])
    path = blocks.path(key, 0)
    good = path.read_bytes()

    def read():
        out = np.full((n, 4), np.nan)
        BlockFile(Files(), path, access).lay(out, ids, 0, 4)
        return out

    assert (read() == values).all()
    for cut in [*range(0, len(good), 997), len(good) - 1]:
        path.write_bytes(good[:cut])
        with pytest.raises(CorruptFileError):
            read()
    for at in range(0, len(good), 331):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        try:
            assert (read() == values).all()  # a flip between two sections
        except CorruptFileError:
            continue
