"""What all tests share: programs that a fresh machine may lack."""

import os
import shutil

import pytest


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
