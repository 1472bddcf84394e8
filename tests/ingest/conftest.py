"""Stand-ins for store and index, and both event loops."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import uvloop
from numpy.typing import NDArray

from ingestd.ingest.pipeline import Pipeline, SeriesLimits
from ingestd.points import UNKNOWN, Batch, Ids
from ingestd.telemetry import Books, Ledger

NOW = 1_750_000_000


class FakeNames(dict):
    """Spellings to ids; the paths in the order of ids."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []
        self.table = self

    def add(self, ids: Ids, paths: Sequence[str]) -> None:
        assert ids.tolist() == list(range(len(self.paths), len(self.paths) + len(paths)))
        self.paths += paths
        self.update(zip((path.encode() for path in paths), ids.tolist(), strict=True))

    def missing(self, paths: Sequence[str]) -> NDArray[np.intp]:
        known = {*self.paths, *(key.decode() for key in self)}
        return np.array([at for at, path in enumerate(paths) if path not in {*known, *paths[:at]}], np.intp)

    def look_up(self, paths: Sequence[str]) -> Ids:
        return np.array([self.get(path.encode(), UNKNOWN) for path in paths], np.uint32)

    def remember(self, spelling: bytes, series: int) -> None:
        assert spelling.decode() not in self.paths
        self[spelling] = series

    def path(self, series: int) -> str:
        return self.paths[series]

    def __len__(self) -> int:
        return len(self.paths)


class FakeStore:
    """Keeps all points it accepts; stores at once; refuses timestamps outside (0, NOW + 600]."""

    def __init__(self) -> None:
        self.saturated = False
        self.created: list[str] = []
        self.points: list[tuple[str, float, int]] = []
        self.clocks: list[int] = []
        self.batches = 0

    def create(self, paths: Sequence[str], clock: int) -> Ids:
        start = len(self.created)
        self.created += paths
        self.clocks.append(clock)
        return np.arange(start, len(self.created), dtype=np.uint32)

    def accept(self, batch: Batch, clock: int, books: Books) -> tuple[int, int]:
        assert len(batch)
        assert int(batch.ids.max()) < len(self.created)
        self.clocks.append(clock)
        self.batches += 1
        old, new = batch.timestamps <= 0, batch.timestamps > NOW + 600
        kept = ~(old | new)
        columns = (batch.ids[kept].tolist(), batch.values[kept].tolist(), batch.timestamps[kept].tolist())
        self.points += [(self.created[i], v, t) for i, v, t in zip(*columns, strict=True)]
        books.stored += int(np.count_nonzero(kept))
        return int(np.count_nonzero(old)), int(np.count_nonzero(new))


class House:
    """A pipeline over the stand-ins, its ledger, and ways to wait."""

    def __init__(self, limits: SeriesLimits, **options: Any) -> None:
        self.time = self._latest = float(NOW)
        self.store = FakeStore()
        self.names = FakeNames()
        self.ledger = Ledger()
        options = {"wall": lambda: self.time, "steady": self._steady, "ledger": self.ledger, **options}
        self.pipeline = Pipeline(self.store, self.names, limits, **options)

    def _steady(self):
        """A clock that never steps back."""
        self._latest = max(self._latest, self.time)
        return self._latest

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let the loop turn until ``holds``."""
        async with asyncio.timeout(20):
            while not holds():  # noqa: ASYNC110 - what is waited for are counters, which tell nobody
                await asyncio.sleep(0.001)

    async def received(self, points: int) -> None:
        await self.until(lambda: self.ledger.as_dict()["received"] >= points)

    def balanced(self) -> bool:
        return all(books.in_flight == 0 for books in self.ledger.listeners.values())


@pytest.fixture
def make_house() -> Callable[..., House]:
    return lambda **limits: House(SeriesLimits(**limits))


@pytest.fixture
def house() -> House:
    return House(SeriesLimits())


@pytest.fixture(scope="session")
def guarded() -> Callable[..., House]:
    """A house whose pipeline knows limits of sources and prefixes, and rights."""
    return lambda **options: House(options.pop("limits", SeriesLimits()), **options)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


@pytest.fixture
def udp() -> Iterator[Callable[[str], socket.socket]]:
    """Makes UDP sockets connected to ``HOST:PORT``."""
    made: list[socket.socket] = []

    def connect(address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        made.append(sock)
        sock.connect((host.strip("[]"), int(port)))
        return sock

    yield connect
    for sock in made:
        sock.close()
