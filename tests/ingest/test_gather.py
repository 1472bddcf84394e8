"""Small turns share a batch; large ones do not wait."""

import pytest

from ingestd.ingest import gather
from ingestd.ingest.gather import Gather
from ingestd.wire.lines import PathLimits, parse_lines

NOW = 1_750_000_000


@pytest.fixture
def add(house):
    """``add(gather, *names)``: what a read of a point a name brings."""

    def add(gathered, *names):
        text = "".join(f"{name} 1 {NOW}\n" for name in names)
        parsed = parse_lines(text.encode(), house.names, NOW, PathLimits())
        gathered.add((parsed, house.pipeline.sources.nobody))

    return add


def test_small_turns_share_a_batch(house, add) -> None:
    gathered = Gather(house.pipeline, house.ledger.open("x"))
    for number in range(20):
        add(gathered, f"a{number}", "b")
    assert house.store.batches == 0
    gathered.flush()
    assert house.store.batches == 1
    add(gathered, "c")
    gathered.flush()
    assert house.store.batches == 2
    assert [path for path, _, _ in house.store.points] == [p for i in range(20) for p in (f"a{i}", "b")] + ["c"]
    assert house.balanced()


def test_a_large_turn_does_not_wait(house, add) -> None:
    gathered = Gather(house.pipeline, house.ledger.open("x"))
    add(gathered, "a")
    add(gathered, *(f"b{i}" for i in range(gather.POINTS)))
    assert house.store.batches == 1
    add(gathered, "a", "b1")
    gathered.flush()
    gathered.flush()
    assert (house.store.batches, len(house.store.points)) == (2, gather.POINTS + 3)
