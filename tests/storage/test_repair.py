"""check --repair: for every type of damage, the directory is clean afterwards, opens, and shows nothing false."""

import random
import shutil

import pytest
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.storage import registry
from ingestd.storage.check import check
from ingestd.storage.errors import StorageError
from ingestd.storage.fileformat import REGISTRY_MAGIC
from ingestd.storage.files import Files
from ingestd.storage.logfile import read_log
from ingestd.storage.repair import repair
from tests.storage.small import NOW, SERIES, SMALL, START, answers, build, look, possible, victims


@pytest.fixture
def small(tmp_path, open_store):
    directory, opened = build(tmp_path, open_store)
    truth, damage = look(opened, directory, Files())
    assert not damage
    return directory, opened, truth


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def contents(directory):
    return {p: p.read_bytes() for p in directory.rglob("*") if p.is_file() and p.name != "lock"}


def mend(small):
    """(outcome, shown) of a repair, which leaves nothing to do, and deletes nothing."""
    directory, opened, truth = small
    before = set(contents(directory).values())
    outcome = repair(directory, NOW)
    assert check(directory).findings == []
    after = contents(directory)
    assert before <= set(after.values()), "bytes that were there are nowhere"
    again = repair(directory, NOW)
    assert (again.done, again.lost, contents(directory)) == ([], [], after)
    shown, damage = look(opened, directory, Files())
    assert damage == []
    allowed = possible(truth[0])
    false = {k: v for k, v in shown[0].items() if v not in allowed.get((k[0], k[2] // 300), ())}
    assert not false, outcome
    assert set(shown[2]) <= set(truth[2])
    return outcome, shown


def block(directory, archive, number=-1):
    return sorted((directory / f"blocks/L0/a{archive}").iterdir())[number]


def test_a_sound_store_is_left_alone(small):
    directory, _, truth = small
    before = contents(directory)
    outcome, shown = mend(small)
    assert (outcome.done, outcome.lost, shown) == ([], [], truth)
    assert not (directory / "quarantine").exists()
    assert {p for p in before if p.name != "registry.log"} <= set(contents(directory))


@pytest.mark.parametrize("damage", ["gone", "empty", "header", "first record", "last record", "cut"])
def test_a_manifest_is_rebuilt_from_the_block_files(small, damage):
    directory, _, truth = small
    path = directory / "manifest.log"
    good = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "cut":
        path.write_bytes(good[:300])
    else:
        flip(path, {"header": 3, "first record": 8 * 70, "last record": 8 * (len(good) - 2)}[damage])
    outcome, shown = mend(small)
    assert (outcome.lost, shown) == ([], truth)
    assert any("manifest.log: rebuilt" in line for line in outcome.done)


@pytest.mark.parametrize("archive", [0, 1, 2])
@pytest.mark.parametrize("where", [1, 14, 33, 45, 50, 57, 61, 65, 999, 4120])
def test_a_block_whose_values_stand_is_rebuilt_whole(small, archive, where):
    """Magic, name, tiles, LSN, the three checksums, and zeros that belong to nothing."""
    directory, _, truth = small
    flip(block(directory, archive), 8 * where)
    outcome, shown = mend(small)
    assert (outcome.lost, shown) == ([], truth)
    assert len(list((directory / "quarantine").rglob("*.blk"))) == 1


@pytest.mark.parametrize("how", ["ids", "table", "values", "cut", "gone"])
def test_a_coarse_block_is_rolled_up_again(small, how):
    directory, _, truth = small
    path = block(directory, 2)
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        flip(path, 8 * {"ids": 4097, "table": 8193, "values": 12300}[how])
    outcome, shown = mend(small)
    assert (outcome.lost, shown) == ([], truth)


def test_a_fine_block_that_nothing_else_holds_is_lost_and_the_coarser_archive_named(small):
    directory, _, truth = small
    path = block(directory, 0, 0)
    flip(path, 8 * 12300)
    outcome, shown = mend(small)
    assert len(outcome.lost) == 1
    assert "at most" in outcome.lost[0]
    assert "60 s has them rolled up" in outcome.lost[0]
    assert shown != truth
    coarse = {k: v for k, v in truth[0].items() if k[1] > 600}
    assert {k: v for k, v in shown[0].items() if k[1] > 600} == coarse


def test_an_older_generation_and_the_journal_give_a_block_back(tmp_path, open_store):
    """Generation 0 is left over, and the journal holds what came after it."""
    h = open_store(tmp_path / "data", SMALL, "max")
    h.store.create(SERIES, START)
    h.accept([(i, START + 10 * t, 10.0 * i + t) for i in range(4) for t in range(30)], START + 300)
    h.flush()
    first = block(h.directory, 0)
    kept = first.read_bytes()
    h.accept([(2, START + 310, 99.0), (3, START + 20, 98.0)], START + 320)
    h.flush()
    directory = shutil.copytree(h.directory, tmp_path / "small")
    truth, _ = look(type(h), directory, Files())
    flip(block(directory, 0), 8 * 12300)
    (directory / first.relative_to(h.directory)).write_bytes(kept)
    outcome, shown = mend((directory, type(h), truth))
    assert (outcome.lost, shown) == ([], truth)


@pytest.mark.parametrize("where", [1, 12300])
def test_a_block_that_was_written_anew_while_it_could_not_be_read_is_kept_for_a_repair(tmp_path, open_store, where):
    h = open_store(tmp_path / "data", SMALL, "max")
    h.store.create(SERIES, START)
    h.accept([(i, START + 10 * t, 10.0 * i + t) for i in range(4) for t in range(30)], START + 300)
    h.flush()
    truth = answers(h)
    directory = shutil.copytree(h.directory, tmp_path / "small")
    flip(block(directory, 0), 8 * where)
    spoilt = type(h)(directory, SMALL, "max", 0.0, None, {})
    spoilt.accept([(2, START + 310, 99.0)], START + 320)
    spoilt.flush()
    assert spoilt.read(0, NOW - 3000, NOW) == {}
    assert len(spoilt.store.status()["damage"]) == 1
    spoilt.store.close()
    assert check(directory).findings == []
    outcome = repair(directory, NOW)
    shown, damage = look(type(h), directory, Files())
    h.accept([(2, START + 310, 99.0)], START + 320)
    assert (damage, check(directory).findings, len(outcome.lost)) == ([], [], where != 1)
    if where == 1:
        assert shown[0] == answers(h) != truth
    assert len(list((directory / "quarantine").rglob("*.blk"))) == 2
    assert repair(directory, NOW).done == []


def test_a_journal_keeps_its_valid_records(small):
    directory, _, truth = small
    path = victims(directory)["journal"]
    flip(path, 8 * 9)
    outcome, shown = mend(small)
    assert (outcome.lost, shown) == ([], truth)
    path = max((directory / "journal").iterdir())
    flip(path, 8 * (path.stat().st_size - 4))
    outcome, shown = mend(small)
    assert len(outcome.lost) == 1
    assert "bytes from LSN" in outcome.lost[0]
    assert set(shown[0].items()) < set(truth[0].items())


def test_names_that_are_lost_are_given_to_nobody_else(small):
    directory, opened, _ = small
    records, _, end = read_log(Files(), directory / "registry.log", REGISTRY_MAGIC)
    creates = [r for r in records if r.kind == registry.CREATE]
    assert len(creates) == 2
    flip(directory / "registry.log", 8 * (end - 3))
    outcome, _ = mend(small)
    assert outcome.lost == [
        "registry.log: series 3 to 3 have lost their names; their points are kept and shown to nobody"
    ]
    h = opened(directory, SMALL, "max", 0.0, None, {})
    assert h.store.create(["another"], NOW).tolist() == [4]
    assert h.read(4, NOW - 590, NOW) == {}
    h.store.close()
    flip(directory / "registry.log", 8 * (creates[0].offset + 50))
    outcome, _ = mend(small)
    assert "series 0 to 2 have lost their names" in outcome.lost[0]


@pytest.mark.parametrize("kind", [registry.LAYOUT, registry.PROFILE])
def test_a_layout_or_profile_that_is_lost_comes_from_the_rules(small, kind):
    directory, opened, truth = small
    records, _, _ = read_log(Files(), directory / "registry.log", REGISTRY_MAGIC)
    flip(directory / "registry.log", 8 * (next(r for r in records if r.kind == kind).offset + 45))
    outcome, shown = mend(small)
    assert outcome.lost
    if kind == registry.PROFILE:
        assert shown == truth
    h = opened(directory, SMALL, "max", 0.0, None, {})
    assert len(h.store.series) == 4
    assert h.store.series.layouts[int(h.store.series.layout_of[0])].archives[0].step == 10
    h.store.close()


def test_events_that_stand_are_kept(small):
    directory, _, truth = small
    flip(directory / "events.log", 8 * 70)
    outcome, shown = mend(small)
    assert (shown[0], shown[2]) == (truth[0], ["deploy 1", "deploy 2"])
    assert len(outcome.lost) == 1


def test_files_that_nothing_names_are_moved_away(small):
    directory, _, truth = small
    path = block(directory, 0)
    for name in ("1.g0.blk", path.name.replace(".blk", ".tmp"), "notes"):
        (path.parent / name).write_bytes(b"something")
    outcome, shown = mend(small)
    assert (outcome.lost, shown, len(outcome.done)) == ([], truth, 3)


def test_a_store_in_use_and_no_store_are_refused(small, open_store, tmp_path):
    h = open_store(tmp_path / "used", SMALL)
    with pytest.raises(StorageError, match="in use"):
        repair(h.directory)
    (tmp_path / "empty").mkdir()
    for directory in (h.directory, tmp_path / "empty"):
        assert CliRunner().invoke(main, ["check", "--repair", str(directory)]).exit_code == 2


def test_exit_statuses(small):
    directory, _, _ = small
    (directory / "manifest.log").unlink()
    done = CliRunner().invoke(main, ["check", "--repair", str(directory)])
    assert (done.exit_code, "1 repairs, 0 losses" in done.output) == (0, True), done.output
    flip(block(directory, 0, 0), 8 * 12300)
    done = CliRunner().invoke(main, ["check", "--repair", str(directory)])
    assert done.exit_code == 1
    assert "LOST" in done.output
    assert CliRunner().invoke(main, ["check", "--repair", str(directory)]).exit_code == 0


def spoil(directory, dice):
    """Damage one file in one of the ways of disks and operators; what was done."""
    paths = [p for p in directory.rglob("*") if p.is_file() and p.stat().st_size and "quarantine" not in p.parts]
    path = dice.choice(sorted(paths))
    data = bytearray(path.read_bytes())
    how = dice.choice(["flip", "cut", "zero", "unlink", "swap"])
    if how == "flip":
        flip(path, dice.randrange(8 * len(data)))
    elif how == "cut":
        path.write_bytes(data[: dice.randrange(len(data))])
    elif how == "zero":
        at = dice.randrange(len(data)) // 512 * 512
        path.write_bytes(data[:at] + bytes(len(data[at : at + 512])) + data[at + 512 :])
    elif how == "unlink":
        path.unlink()
    else:
        path.write_bytes(dice.choice(sorted(paths)).read_bytes())
    return f"{how} {path.name} {len(data)} {path.exists() and path.stat().st_size}"


@pytest.mark.timeout(3600)
def test_any_damage_is_repaired_to_a_subset_of_the_truth(small, tmp_path, effort, figure):
    directory, opened, truth = small
    whole = partly = 0
    rounds = effort(40, 2000)
    for seed in range(rounds):
        dice = random.Random(seed)
        copy = tmp_path / "copy"
        shutil.copytree(directory, copy)
        spoilt = [spoil(copy, dice) for _ in range(dice.choice([1, 1, 2, 3]))]
        try:
            outcome, shown = mend((copy, opened, truth))
        except AssertionError as e:
            raise AssertionError(f"seed {seed}: {spoilt}: {e}") from e
        # Nobody knows of a log of events that it was there, nor how far it went.
        same = shown[:2] == truth[:2]
        whole += same
        partly += not same
        if not same and not outcome.lost:
            # Of a block that nothing names any more nobody knows that it was there.
            assert "manifest.log" in str(spoilt), f"seed {seed}: {spoilt}: something is gone and nothing is said"
            assert "blk" in str(spoilt), f"seed {seed}: {spoilt}: something is gone and nothing is said"
        shutil.rmtree(copy)
    figure(f"{rounds} directories damaged and repaired: {whole} whole again, {partly} with losses that were told")
    assert whole > rounds // 4


def test_a_repair_that_is_interrupted_can_be_run_again(small, tmp_path):
    """It fails at each of its renames and writes in turn; the next run finishes it."""
    directory, opened, truth = small

    class Stops(Files):
        left = 0

        def rename(self, source, target):
            self.left -= 1
            if self.left < 0:
                raise OSError(5, "made to fail")
            super().rename(source, target)

    for turn in range(30):
        copy = tmp_path / str(turn)
        shutil.copytree(directory, copy)
        (copy / "manifest.log").unlink()
        flip(block(copy, 2), 8 * 12300)
        flip(block(copy, 1), 8 * 1)
        flip(max((copy / "journal").iterdir()), 8 * 2)
        files = Stops()
        files.left = turn
        try:
            repair(copy, NOW, files)
        except OSError:
            outcome, shown = mend((copy, opened, truth))
            assert (outcome.lost, shown) == ([], truth), turn
        else:
            break
    assert 4 < turn < 29


@pytest.mark.parametrize("archive", [0, 1, 2])
def test_a_lost_layout_a_lost_block_and_a_broken_manifest(small, tmp_path, archive):
    """What stands in for the layout has no archive for some of the blocks."""
    directory, opened, truth = small
    records, _, _ = read_log(Files(), directory / "registry.log", REGISTRY_MAGIC)
    flip(directory / "registry.log", 8 * (next(r for r in records if r.kind == registry.LAYOUT).offset + 45))
    block(directory, archive, 0).unlink()
    for at in range(20, (directory / "manifest.log").stat().st_size, 200):
        copy = tmp_path / f"copy{at}"
        shutil.copytree(directory, copy)
        flip(copy / "manifest.log", 8 * at)
        outcome, _ = mend((copy, opened, truth))
        assert outcome.lost
