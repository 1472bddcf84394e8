"""The relay's queue on disk: whatever was held is found again, after any end of the process and any power loss."""

import errno
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.ingest.spool import SEGMENT_HEADER, Given, Spool, record_size
from ingestd.storage.files import Files
from tests.storage.power import MANNERS, Crash, Recording

SMALL = 4096
LIMIT = 1 << 20

messages = st.lists(
    st.builds(
        Given,
        partition=st.integers(0, 1023),
        sequence=st.integers(0, 2**64 - 1),
        points=st.integers(0, 2**32 - 1),
        body=st.binary(max_size=2000),
    ),
    unique_by=lambda given: (given.partition, given.sequence),
    max_size=30,
)


class Quick(Files):
    """A kill leaves what was written, synced or not."""

    def sync(self, fd: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


def spool_at(path: Path, files: Files | None = None, limit: int = LIMIT) -> Spool:
    return Spool(path / "spool", files or Quick(), limit, SMALL)


def found_in(spool: Spool) -> dict[tuple[int, int], Given]:
    """What a start finds, read back."""
    held = spool.open()
    loaded = spool.read([one.position for one in held])
    assert all(one is not None for one in loaded)
    for one, back in zip(held, loaded, strict=True):
        assert back is not None
        assert back.held == one
    return {
        (one.held.partition, one.held.sequence): Given(one.held.partition, one.held.sequence, one.held.points, one.body)
        for one in loaded
        if one is not None
    }


def keyed(given_messages: list[Given]) -> dict[tuple[int, int], Given]:
    return {(one.partition, one.sequence): one for one in given_messages}


@given(messages, st.lists(st.integers(1, 8), max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_what_is_held_is_found_again(tmp_path_factory: pytest.TempPathFactory, given_messages, sizes) -> None:
    path = tmp_path_factory.mktemp("held")
    spool = spool_at(path)
    assert spool.open() == []
    left = list(given_messages)
    for size in [*sizes, len(left)]:
        part, left = left[:size], left[size:]
        positions = spool.append(part)
        assert [one and (one.held.sequence, one.body) for one in spool.read(positions)] == [
            (one.sequence, one.body) for one in part
        ]
    # As after kill -9: nothing is closed.
    again = spool_at(path)
    assert found_in(again) == keyed(given_messages)
    assert again.damage == []


@given(messages, st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_what_is_done_goes_with_its_segment(tmp_path_factory: pytest.TempPathFactory, given_messages, data) -> None:
    path = tmp_path_factory.mktemp("done")
    spool = spool_at(path)
    spool.open()
    positions = spool.append(given_messages)
    done = data.draw(st.lists(st.sampled_from(positions), unique=True) if positions else st.just([]))
    spool.done(done)
    kept = keyed([one for one, position in zip(given_messages, positions, strict=True) if position not in done])
    found = found_in(spool_at(path))
    assert found.items() >= kept.items()
    if not kept:
        assert list((path / "spool").iterdir()) == []
        assert spool.bytes == 0


@given(messages.filter(bool), st.integers(1, 3000), st.binary(min_size=1, max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
def test_a_torn_tail_is_cut(tmp_path_factory: pytest.TempPathFactory, given_messages, torn, noise) -> None:
    """The last segment ends anywhere, and in anything: what stands whole before it is found."""
    path = tmp_path_factory.mktemp("torn")
    spool = spool_at(path)
    spool.open()
    positions = spool.append(given_messages)
    last = max((path / "spool").iterdir())
    start = int(last.name.partition(".")[0], 16)
    data = last.read_bytes()
    end = len(data.rstrip(b"\0"))
    cut = max(SEGMENT_HEADER.size, end - torn)
    last.write_bytes(data[:cut] + noise)
    again = spool_at(path)
    found = found_in(again)
    for one, position in zip(given_messages, positions, strict=True):
        whole = position < start or SEGMENT_HEADER.size + position - start + record_size(len(one.body)) <= cut
        if whole:
            assert found[one.partition, one.sequence] == one
    assert again.append([Given(1, 1, 1, b"after")]) != []


def test_a_broken_middle_is_skipped_and_said(tmp_path: Path) -> None:
    spool = spool_at(tmp_path)
    spool.open()
    spool.append([Given(1, number, 1, b"x" * 100) for number in range(5)])
    (segment,) = (tmp_path / "spool").iterdir()
    data = bytearray(segment.read_bytes())
    data[SEGMENT_HEADER.size + 144 * 2 + 60] ^= 1
    segment.write_bytes(data)
    again = spool_at(tmp_path)
    assert sorted(number for _, number in found_in(again)) == [0, 1, 3, 4]
    assert len(again.damage) == 1


def test_it_takes_no_more_than_its_limit(tmp_path: Path) -> None:
    spool = spool_at(tmp_path, limit=3 * SMALL)
    spool.open()
    given_messages = [Given(1, number, 1, b"x" * 1000) for number in range(20)]
    positions = spool.append(given_messages)
    assert 0 < len(positions) < len(given_messages)
    assert spool.append(given_messages[len(positions) :]) == []
    assert spool.bytes == 3 * SMALL
    spool.done(positions[: len(positions) // 2])
    assert spool.append(given_messages[len(positions) :]) != []


class Failing(Files):
    """Fails to write or sync when told to."""

    def __init__(self) -> None:
        self.fail: set[str] = set()

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        if "write" in self.fail:
            # Half of it has come to the disk.
            super().write(fd, memoryview(data)[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        super().sync(fd)
        if "sync" in self.fail:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("what", ["write", "sync"])
def test_after_a_failure_the_same_messages_are_taken_again(tmp_path: Path, what: str) -> None:
    files = Failing()
    spool = spool_at(tmp_path, files)
    spool.open()
    first = [Given(1, number, 1, b"x" * 100) for number in range(5)]
    second = [Given(1, number, 1, b"y" * 100) for number in range(5, 9)]
    spool.append(first)
    files.fail = {what}
    with pytest.raises(OSError, match=r"No space|Input/output"):
        spool.append(second)
    files.fail = set()
    positions = spool.append(second)
    assert len(set(positions)) == 4
    assert found_in(spool_at(tmp_path)) == keyed(first + second)


@given(messages.filter(bool), st.lists(st.integers(0, 6), min_size=1, max_size=8), st.randoms(use_true_random=False))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@pytest.mark.parametrize("manner", MANNERS)
def test_nothing_that_was_held_is_lost_with_the_power(
    tmp_path_factory: pytest.TempPathFactory, manner: str, given_messages, sizes, random: Random
) -> None:
    """The power fails after any operation on the disk; every message whose append had returned is found."""
    path = tmp_path_factory.mktemp("power")
    files = Recording(path)
    spool = spool_at(path, files)
    spool.open()
    held: list[tuple[int, list[Given]]] = []
    gone: set[tuple[int, int]] = set()
    for size in sizes:
        part, given_messages = given_messages[:size], given_messages[size:]
        positions = spool.append(part)
        held.append((len(files.ops), part))
        if positions and random.random() < 0.3:
            spool.done(positions)
            gone |= {(one.partition, one.sequence) for one in part}
    until = random.randrange(len(files.ops) + 1)
    left = path.parent / f"{path.name}-after"
    Crash(files.ops[:until], manner, random).build(left)
    found = found_in(spool_at(left))
    for at, part in held:
        for one in part:
            if at <= until and (one.partition, one.sequence) not in gone:
                assert found[one.partition, one.sequence] == one
