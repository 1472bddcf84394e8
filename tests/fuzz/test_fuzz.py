"""Every parser on the inputs that were kept, and on some hostile ones. `make fuzz` runs as many as one likes."""

import pytest
from fuzz_loop import Loop, Report, place_of
from fuzz_mutate import Mutator
from fuzz_table import TARGETS
from fuzz_target import CORPUS, Target

INPUTS = 1_000
KEPT = [
    pytest.param(name, file, id=f"{name}-{file.name}") for name in TARGETS for file in sorted((CORPUS / name).glob("*"))
]


@pytest.mark.parametrize(("name", "file"), KEPT)
def test_kept_input(name, file):
    target = TARGETS[name]()
    target.begin()
    target.run(file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_inputs(name, figure):
    report = Loop(TARGETS[name](), seed=1).run(INPUTS)
    assert [finding.what for finding in report.findings] == []
    assert report.inputs >= INPUTS
    assert report.kinds > 3, "the inputs do not get past the door"
    figure(f"{report.inputs} inputs of {report.kinds} kinds, the slowest {1e3 * report.slowest:.1f} ms")


def test_every_kept_input_has_a_target():
    assert {directory.name for directory in CORPUS.iterdir()} <= set(TARGETS)


class Broken(Target):
    """Fails, hangs and grows on purpose."""

    name = "broken"

    def __init__(self, fault):
        self._fault = fault
        self._held = []

    def make(self, mutator, seed):
        return mutator.bytes(40) + (b"!" if mutator.chance(0.05) else b"")

    def run(self, data):
        if self._fault == "grow":
            self._held.append(bytes(200_000) + data)
        if b"!" in data:
            if self._fault == "raise":
                raise KeyError(data)
            while self._fault == "hang":
                pass
        return len(data)


@pytest.mark.parametrize(("fault", "what"), [("raise", "KeyError"), ("hang", "broken off"), ("grow", "grew by")])
def test_the_fuzzer_finds_what_is_there(fault, what, tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz_loop.FOUND", tmp_path)
    monkeypatch.setattr("fuzz_loop.HANG_SECONDS", 0.05)
    report: Report = Loop(Broken(fault), seed=1).run(600)
    assert [finding.what for finding in report.findings if what in finding.what]
    if fault == "raise":
        assert report.findings[0].size == 1


def test_the_same_seed_makes_the_same_inputs():
    def made(seed):
        mutator = Mutator(seed)
        return [mutator.changed(b"a.b 1 1700000000", 99) for _ in range(50)]

    assert made(1) == made(1) != made(2)


def test_an_error_is_told_by_where_it_comes_from():
    with pytest.raises(KeyError) as raised:
        Broken("raise").run(b"!")
    assert place_of(raised.value).startswith("KeyError at test_fuzz.py:")
