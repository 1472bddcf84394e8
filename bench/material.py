"""What is measured on: names and lines of a fleet, the same on every machine."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

METRICS: Final = 10
"""Series of a host."""
PIECE: Final = 128 * 1024
"""Bytes that the daemon reads at once from a connection."""
GOLDEN: Final = Path(__file__).parents[1] / "tests" / "golden" / "collectd"


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    series: int = 180_000
    steps: int = 20
    runs: int = 5
    connections: int = 10_000
    idle_seconds: float = 10.0


QUICK: Final = Size(series=2_000, steps=2, runs=2, connections=50, idle_seconds=0.5)


class Fleet:
    """Lines ``collectd.hostNNNNN.plugin-N.instance-total.gauge VALUE TIMESTAMP`` of equal length: 67 bytes.

    Values are random with five digits, drawn from a fixed seed.
    """

    def __init__(self, series: int, host: str = "host") -> None:
        self.series = series
        self.hosts = -(-series // METRICS)
        self.names = [
            b"collectd.%s%05d.plugin-%d.instance-total.gauge" % (host.encode(), *divmod(number, METRICS))
            for number in range(series)
        ]
        first = b"".join(b"%s 100.00 1700000000\n" % name for name in self.names)
        self._lines = np.frombuffer(first, np.uint8).reshape(series, -1).copy()
        self._random = np.random.default_rng(20_261_123)

    def step(self, timestamp: int, order: NDArray[np.intp] | None = None, rows: slice = slice(None)) -> bytes:
        """A line of each series at ``timestamp``, with new values; ``order`` intp[series] permutes the lines."""
        lines = self._lines
        cents = self._random.integers(10_000, 99_999, self.series)
        for place, power in ((-18, 10_000), (-17, 1_000), (-16, 100), (-14, 10), (-13, 1)):
            lines[:, place] = ord("0") + cents // power % 10
        lines[:, -11:-1] = np.frombuffer(b"%d" % timestamp, np.uint8)
        return (lines if order is None else lines[order])[rows].tobytes()


def pieces(data: bytes) -> list[bytes]:
    """``data`` cut at line ends into pieces of about what one read brings."""
    width = data.index(b"\n") + 1
    size = PIECE // width * width
    return [data[i : i + size] for i in range(0, len(data), size)]


def datagrams(name: str) -> list[bytes]:
    """The datagrams of a capture: each after its length, a big-endian uint32."""
    data = (GOLDEN / name).read_bytes()
    found, position = [], 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return found


def host_datagrams(hosts: int, timestamp: int, most: int) -> list[bytes]:
    """Datagrams of ``hosts`` collectds with 200 values each, half of them counters, ``most`` values to a datagram.

    As collectd writes them: what has not changed since the last value is left out.
    """
    sent = []
    for host in range(hosts):
        for first in range(0, 200, most):
            data = _text(0, b"host%05d.example.org" % host) + _number(9, 10 << 30)
            for number in range(first, min(first + most, 200)):
                plugin, counter = divmod(number, 20)
                if number == first or not counter:
                    data += _text(2, b"plugin%d" % plugin) + _text(3, b"instance") + _text(4, b"derive")
                elif counter == 10:
                    data += _text(4, b"gauge")
                if counter >= 10 and number == first:
                    data += _text(4, b"gauge")
                kind, form, value = (2, ">q", timestamp * number) if counter < 10 else (1, "<d", number + host / 7)
                data += _text(5, b"value-%d" % counter) + _number(8, (timestamp << 30) + number)
                data += struct.pack(">HHHB", 6, 15, 1, kind) + struct.pack(form, value)
            sent.append(data)
    return sent


def _text(kind: int, text: bytes) -> bytes:
    return struct.pack(">HH", kind, 5 + len(text)) + text + b"\0"


def _number(kind: int, number: int) -> bytes:
    return struct.pack(">HHQ", kind, 12, number)
