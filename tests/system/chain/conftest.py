"""Chains of processes; whatever still runs is killed afterwards."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from chain import Chain


@pytest.fixture
def chain(require, tmp_path):
    """``chain(brokers=n)``: a running chain."""
    require("rabbitmq-server")
    made = []

    def make(**options):
        made.append(Chain(tmp_path, **options))
        return made[-1].start()

    yield make
    for one in made:
        one.close()
