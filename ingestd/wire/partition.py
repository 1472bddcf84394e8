"""Which of the 1024 partitions a path belongs to: the one rule that relays, stores and queries share.

The partition is the CRC32C of the path's key in UTF-8, modulo 1024. The key is what all series of a host have in
common, so that a host's dashboard asks one node. It never depends on which nodes there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ingestd.wire.batch import PARTITIONS

_HOST_TAG: Final = b";host="


def key_of(path: bytes, host_nodes: int) -> bytes:
    """What decides the partition of a canonical path: its first ``host_nodes`` nodes, the whole path where that is 0.

    Of a tagged path it is the value of the tag ``host``; without one, the nodes of its name.
    """
    if host_nodes == 0:
        return path
    name, _, tags = path.partition(b";")
    if tags:
        _, found, rest = path.partition(_HOST_TAG)
        if found:
            return rest.partition(b";")[0]
    if host_nodes == 1:
        return name.partition(b".")[0]
    return b".".join(name.split(b".", host_nodes)[:host_nodes])


def partition_of_key(key: bytes) -> int:
    """The partition of all paths with this key."""
    return crc32c(key) % PARTITIONS


def partition_of(path: bytes | str, host_nodes: int) -> int:
    """The partition of a canonical path, 0 to 1023."""
    return crc32c(key_of(path.encode() if isinstance(path, str) else path, host_nodes)) % PARTITIONS


def partitions_of(paths: Sequence[bytes], host_nodes: int) -> NDArray[np.uint16]:
    """The partition of each of ``paths``, uint16[n]: :func:`partition_of` of many. A microsecond a path."""
    keys = (key_of(path, host_nodes) for path in paths)
    found = np.fromiter(map(crc32c, keys), np.uint32, len(paths))
    return (found % PARTITIONS).astype(np.uint16)
