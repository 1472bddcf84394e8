"""A relay's name and numbers: none comes twice, however it ends."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestd.ingest.producer import STEP, Producer
from ingestd.storage.files import Files


def taken(producer: Producer, n: int) -> list[int]:
    numbers = []
    for _ in range(n):
        if producer.scarce:
            producer.reserve()
        number = producer.take()
        assert number is not None
        numbers.append(number)
    return numbers


@given(st.lists(st.tuples(st.integers(0, 3000), st.booleans()), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
def test_numbers_never_come_again(tmp_path_factory, runs) -> None:
    path = tmp_path_factory.mktemp("producer") / "producer.json"
    numbers: list[int] = []
    names = set()
    opened = 0
    for n, killed in runs:
        producer = Producer(path, Files())
        producer.open()
        names.add(producer.name)
        opened += 1
        before = numbers[-1] if numbers else -1
        numbers += taken(producer, n)
        if n:
            assert numbers[-n] - before <= STEP * opened + 1
            opened = 0
        if not killed:
            producer.close()
    assert numbers == sorted(set(numbers))
    assert len(names) <= 1


def test_what_is_not_reserved_is_not_given(tmp_path: Path) -> None:
    producer = Producer(tmp_path / "producer.json", Files())
    producer.open()
    assert [producer.take() for _ in range(STEP)] == list(range(STEP))
    assert producer.take() is None
    producer.reserve()
    assert producer.take() == STEP


def test_a_broken_file_means_another_name(tmp_path: Path, caplog) -> None:
    path = tmp_path / "producer.json"
    producer = Producer(path, Files())
    producer.open()
    assert len(bytes.fromhex(producer.name.decode())) == 16
    path.write_text("{")
    other = Producer(path, Files())
    other.open()
    assert other.name != producer.name
    assert "another name" in caplog.text
