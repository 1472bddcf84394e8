"""Daemons and brokers for the tests; whatever still runs afterwards is killed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from broker import Broker
from processes import Daemon, until


@pytest.fixture
def wait_until():
    """``wait_until(condition, what)``: poll until it is truthy; its value."""
    return until


@pytest.fixture
def daemon(tmp_path):
    """A factory of daemons on one data directory; whatever still runs is killed afterwards."""
    made = []

    def make(*options, directory="data"):
        made.append(Daemon(tmp_path / directory, *options))
        return made[-1].start()

    yield make
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="session")
def brokers(require, tmp_path_factory):
    """A factory of running brokers: ``brokers()``, ``brokers(peer=other)`` to be joined; all end with the session."""
    require("rabbitmq-server")
    made = []

    def make(**options):
        made.append(Broker(tmp_path_factory.mktemp("broker"), **options))
        return made[-1].start()

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def broker(brokers):
    """A broker that all tests share: each has names of its own there, and none stops it."""
    return brokers()
