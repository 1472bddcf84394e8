"""Points by partition: each once, in its series' order, in a message of its partition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingestd.index.names import Names
from ingestd.ingest import packing
from ingestd.ingest.packing import Gathered, Packed, Partitioned
from ingestd.points import Batch
from ingestd.telemetry import Books
from ingestd.wire.batch import BatchLimits, parse_batch
from ingestd.wire.partition import partition_of

PATHS = [f"host{number}.cpu.{kind}" for number in range(40) for kind in ("user", "system")]

rows = st.lists(st.tuples(st.integers(0, len(PATHS) - 1), st.integers(0, 2**40)), max_size=60)
batches = st.lists(st.tuples(rows, st.integers(0, 2)), max_size=6)


def gathered(given_batches, message_points: int = 10_000) -> tuple[list[Packed], list[Books]]:
    names = Names()
    series = Partitioned(1)
    names.add(series.create(PATHS), PATHS)
    books = [Books(str(number)) for number in range(3)]
    found = Gathered(series, names.keys, message_points)
    value = 0
    for batch, whose in given_batches:
        if batch:
            ids, times = zip(*batch, strict=True)
            values = np.arange(value, value + len(batch), dtype=np.float64)
            value += len(batch)
            found.add(Batch(np.array(ids, np.uint32), np.array(times, np.int64), values), books[whose])
    assert found.points == value
    packed = list(found.pack())
    assert found.points == 0
    assert list(found.pack()) == []
    return packed, books


@given(batches, st.integers(1, 20))
def test_every_point_is_in_one_message_in_order(given_batches, message_points) -> None:
    packed, books = gathered(given_batches, message_points)
    expected: dict[str, list[tuple[int, float]]] = {}
    received = [0, 0, 0]
    value = 0.0
    for batch, whose in given_batches:
        received[whose] += len(batch)
        for series, time in batch:
            expected.setdefault(PATHS[series], []).append((time, value))
            value += 1
    names = Names()
    names.add(np.arange(len(PATHS), dtype=np.uint32), PATHS)
    found: dict[str, list[tuple[int, float]]] = {}
    stored = [0, 0, 0]
    for number, message in enumerate(packed):
        assert 0 < len(message) <= message_points
        parsed = parse_batch(message.encode(b"p" * 32, number), names.table, 0, BatchLimits())
        assert not parsed.rejected
        assert (parsed.partition, parsed.sequence) == (message.partition, number)
        assert len(set(message.paths)) == len(message.paths) == len(set(message.index.tolist()))
        for series, time, got in zip(
            parsed.batch.ids.tolist(), parsed.batch.timestamps.tolist(), parsed.batch.values.tolist(), strict=True
        ):
            assert partition_of(PATHS[series], 1) == message.partition
            found.setdefault(PATHS[series], []).append((time, got))
        for one, points in message.shares:
            stored[books.index(one)] += points
    assert found == expected
    assert stored == received


def test_messages_are_within_the_limit_of_bytes(monkeypatch) -> None:
    monkeypatch.setattr(packing, "MESSAGE_BYTES", 1000)
    packed, _ = gathered([([(series, 1) for series in range(len(PATHS))], 0)] * 50)
    assert sum(map(len, packed)) == 50 * len(PATHS)
    assert max(len(message.encode(b"p", 1)) for message in packed) <= 1000


def test_series_keep_their_partitions_as_they_grow() -> None:
    series = Partitioned(2)
    ids = [series.create([f"site.host{n}.a" for n in range(start, start + 700)]) for start in (0, 700, 1400)]
    assert np.concatenate(ids).tolist() == list(range(2100))
    assert series.of(np.concatenate(ids)).tolist() == [partition_of(f"site.host{n}.a", 2) for n in range(2100)]
