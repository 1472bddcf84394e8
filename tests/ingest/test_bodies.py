"""A batch whose series belong to another partition than it says is known by its first new name."""

import numpy as np
import pytest

from ingestd.ingest.bodies import BATCH, Bodies, BodyLimits
from ingestd.wire.batch import encode_batch
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.collectd_text import CollectdTexts
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.partition import partition_of
from ingestd.wire.seal import Security
from ingestd.wire.typesdb import builtin_types

NOW = 1_700_000_000
PATH = "dc1.web01.load"


def read(host_nodes, partition, names=None):
    texts = CollectdTexts(CollectdParser(builtin_types(), NamingOptions(), Security()))
    bodies = Bodies(lambda: names or {}, lambda: float(NOW), texts, BodyLimits(), lambda: host_nodes)
    columns = np.zeros(1, np.uint32), np.array([NOW]), np.ones(1)
    return bodies.read(BATCH, encode_batch(b"relay", 1, partition, [PATH.encode()], *columns))


@pytest.mark.parametrize("host_nodes", [0, 1, 2])
def test_a_relay_that_divides_as_the_map_does(host_nodes):
    body = read(host_nodes, partition_of(PATH, host_nodes))
    assert body.misplaced == ""
    assert body.parsed.unknown[0].path == PATH


def test_a_relay_that_divides_in_another_way_is_named_and_read():
    body = read(2, partition_of(PATH, 1))
    assert body.misplaced == PATH
    assert (body.mark, len(body.parsed.batch), body.dead) == ((b"relay", 1), 1, "")


def test_it_is_not_asked_without_a_map_or_of_known_names():
    assert read(None, partition_of(PATH, 1)).misplaced == ""
    assert read(2, partition_of(PATH, 1), {PATH.encode(): 7}).misplaced == ""
