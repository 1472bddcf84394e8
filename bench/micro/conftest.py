"""What the micro benchmarks share: the corpus, and how a stage is measured and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.figures import shown
from bench.micro.corpus import Corpus

Measure: TypeAlias = Callable[..., Any]
ROUNDS: Final = 20
"""Of a stage that needs a new start each time."""
_FOUND: Final = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The same for all stages."""
    return Corpus()


@pytest.fixture
def measure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Iterator[Measure]:
    """``measure(points, work, *args)`` gives what ``work(*args)`` gives; ``points`` is how many one call works on.

    With ``setup``, every call gets its arguments from a call of that, which is not measured.
    """

    def run(
        points: int, work: Callable[..., Any], *args: Any, setup: Callable[[], tuple[Any, ...]] | None = None
    ) -> Any:
        benchmark.extra_info["points"] = points
        if setup is None:
            return benchmark(work, *args)
        return benchmark.pedantic(work, setup=lambda: (setup(), {}), rounds=ROUNDS)  # type: ignore[no-untyped-call]

    yield run
    if benchmark.stats is not None:
        nanoseconds = 1e9 * benchmark.stats.stats.median / benchmark.extra_info["points"]
        benchmark.extra_info["ns_per_point"] = nanoseconds
        line = f"{benchmark.group:8} {request.node.name.removeprefix('test_'):32} {shown(nanoseconds):>8} ns/point"
        request.config.stash.setdefault(_FOUND, []).append(line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The median CPU of a point, which the plugin's tables do not have."""
    found = config.stash.get(_FOUND, [])
    if found:
        terminalreporter.section("CPU of a point")
    for line in found:
        terminalreporter.write_line(line)
