"""What all tests share: programs that a fresh machine may lack, short and full forms, figures for the record."""

import os
import shutil

import pytest
from hypothesis import settings

from ingestd._speed import COMPILED

# How long one example takes says how busy the machine is.
settings.register_profile("patient", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None)
settings.load_profile("patient")

SOAK = os.environ.get("INGESTD_SOAK") == "1"
_FIGURES = pytest.StashKey[list[str]]()


def _require(program):
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found:
        return found
    if os.environ.get("INGESTD_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{program} is not installed, and INGESTD_REQUIRE_SERVICES=1 says that it must be")
    pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="session")
def require():
    """``require(program)``: its file; skips without it, or fails where INGESTD_REQUIRE_SERVICES=1."""
    return _require


@pytest.fixture(scope="session")
def require_kernels():
    """``require_kernels()``: skips without the compiled kernels, or fails where INGESTD_REQUIRE_SERVICES=1."""

    def require():
        if not COMPILED:
            if os.environ.get("INGESTD_REQUIRE_SERVICES") == "1":
                pytest.fail("the kernels are not compiled, and INGESTD_REQUIRE_SERVICES=1 says that they must be")
            pytest.skip("the kernels are not compiled")

    return require


@pytest.fixture(scope="session")
def effort():
    """``effort(short, full)``: ``full`` where INGESTD_SOAK=1, as ``make soak`` sets it, else ``short``."""
    return lambda short, full: full if SOAK else short


@pytest.fixture
def figure(request):
    """``figure(text)``: a line of result, printed at the end of the run: what docs/reliability.md keeps."""
    return lambda text: request.config.stash.setdefault(_FIGURES, []).append(f"{request.node.nodeid}: {text}")


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(_FIGURES, [])
    if figures:
        terminalreporter.section("figures")
    for line in figures:
        terminalreporter.write_line(line)
