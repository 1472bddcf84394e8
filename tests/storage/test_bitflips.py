"""Every bit of every type of file, flipped one at a time: harmless, or detected; never a false value, never a crash."""

import os

import pytest

from ingestd.storage.check import check
from ingestd.storage.errors import StorageError
from ingestd.storage.files import Files
from tests.storage.small import SERIES, SMALL, build, look, possible, victims


class OneFile(Files):
    """Gives a copy in the place of one file and changes nothing else on the disk."""

    def __init__(self, victim, copy):
        self.victim, self.copy = victim, copy

    def open(self, path, flags):
        return super().open(self.copy if path == self.victim else path, flags)

    def lock(self, path):
        return os.open(os.devnull, os.O_RDONLY)

    def make_directory(self, path):
        pass

    def sync(self, fd):
        pass

    def sync_directory(self, path):
        pass

    def unlink(self, path):
        pass


@pytest.fixture
def small(tmp_path, open_store):
    return build(tmp_path, open_store)


KINDS = ["registry", "manifest", "events", "journal", "block of archive 0", "block of archive 2"]


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("kind", KINDS)
def test_any_flipped_bit_is_harmless_or_detected(small, tmp_path, effort, figure, kind):
    directory, opened = small
    victim, copy = victims(directory)[kind], tmp_path / "copy"
    good = victim.read_bytes()
    copy.write_bytes(good)
    files = OneFile(victim, copy)
    truth, damage = look(opened, directory, files)
    assert (damage, check(directory, files).findings, truth[2]) == ([], [], ["deploy 0", "deploy 1", "deploy 2"])
    allowed = possible(truth[0])
    assert len(truth[0]) > 100
    harmless = found = unseen = 0
    bits = 8 * len(good)
    # Odd, so that a stride meets every bit of a byte.
    stride = effort(max(1, bits // 70) | 1, 1)
    for bit in range(0, bits, stride):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        copy.write_bytes(flipped)
        report = check(directory, files)
        shown, damage = look(opened, directory, files)
        if shown == truth:
            harmless += 1
            unseen += report.healthy
            continue
        found += 1
        assert damage, f"bit {bit} changes what is shown and nobody says so"
        assert not report.healthy, f"bit {bit}: check does not find what was told: {damage}"
        if shown is not None:
            values, series, events = shown
            assert series == len(SERIES)
            assert all(v in allowed.get((s, t // 300), ()) for (s, _, t), v in values.items()), bit
            assert [e for e in truth[2] if e in events] == events
    figure(
        f"{kind}: {harmless + found} of {bits} bits: {found} detected, {harmless} harmless, of these {unseen} unseen"
    )


@pytest.mark.parametrize("name", ["manifest.log", "registry.log"])
def test_a_start_that_refuses_changes_nothing(small, name):
    """The last commit or the last names lost: files that seem to be nobody's are not removed."""
    directory, opened = small
    path = directory / name
    good = path.read_bytes()
    path.write_bytes(good[:-9] + bytes([good[-9] ^ 4]) + good[-8:])
    before = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    with pytest.raises(StorageError, match="check --repair"):
        opened(directory, SMALL, "max", 0.0, None, {"segment_bytes": 2048})
    after = {p: p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    if name == "registry.log":
        # The points of the lost names stand in the journal, which is read last.
        assert len(after.pop(path)) <= len(before.pop(path))
    assert after == before
