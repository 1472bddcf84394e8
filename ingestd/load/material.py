"""Lines and datagrams of given series at one time, with random values: what is sent.

:func:`pure_lines` and :func:`pure_datagrams` are the reference; the kernels of :mod:`ingestd._speed.load` write the
same bytes. A value is a random number of hundredths below 1,000, so that its shortest decimal is what stands on the
line and its double is that of the decimal.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import load_datagrams_compiled, load_lines_compiled
from ingestd.load.names import Arena, collectd_hosts, collectd_lists, graphite

Rows = NDArray[np.uint32]

DATAGRAM: Final = 1400
"""Bytes of a datagram at most: less than 1,452, which is what collectd sends and an Ethernet frame holds."""
_WIDTH: Final = 6
_LAST_TIME: Final = 1 << 33
_MASK: Final = (1 << 64) - 1
_SEED: Final = 0x9E3779B97F4A7C15
_DATAGRAMS: Final = 512
"""Datagrams of one filling at most."""
_BAD_NAMES: Final = "names that do not lie in their arena"
_BAD_PARTS: Final = "parts that do not lie in their arena, or fill no datagram"


def successor(state: int) -> int:
    """The state that follows: xorshift64 (G. Marsaglia, Xorshift RNGs, 2003)."""
    state ^= state << 13 & _MASK
    state ^= state >> 7
    return state ^ (state << 17 & _MASK)


def hundredths(state: int) -> int:
    """0 to 99,999: the value that a state means."""
    return (state >> 32) * 100_000 >> 32


def pure_lines(
    names: NDArray[np.uint8], starts: NDArray[np.int64], rows: Rows, timestamp: int, state: int, out: bytearray
) -> tuple[int, int, int]:
    """Lines ``name value timestamp`` of ``rows`` into ``out``, as many as fit: (bytes, rows taken, state).

    Name i is uint8 ``names[starts[i]:starts[i + 1]]``. The state moves on once for each line. A line is taken where
    one with a value of six bytes would fit. Raises ValueError for a state of 0 and names outside of ``names``.
    """
    _refuse(state)
    tail = b" %d\n" % timestamp
    made: list[bytes] = []
    left = len(out)
    if not (len(rows) and left):
        return 0, 0, state
    if not len(names):
        raise ValueError(_BAD_NAMES)
    for row in rows.tolist():
        name = _text(names, starts, row)
        if name is None:
            raise ValueError(_BAD_NAMES)
        if left < len(name) + 1 + _WIDTH + len(tail):
            break
        state = successor(state)
        line = b"%s %d.%02d%s" % (name, *divmod(hundredths(state), 100), tail)
        made.append(line)
        left -= len(line)
    data = b"".join(made)
    out[: len(data)] = data
    return len(data), len(made), state


def pure_datagrams(
    hosts: NDArray[np.uint8],
    host_starts: NDArray[np.int64],
    parts: NDArray[np.uint8],
    part_starts: NDArray[np.int64],
    counts: NDArray[np.uint8],
    rows: Rows,
    timestamp: int,
    interval: int,
    state: int,
    out: bytearray,
    ends: NDArray[np.uint32],
) -> tuple[int, int, int, int]:
    """Value lists as datagrams into ``out``, as many as fit: (datagrams, rows taken, points, state).

    Row r is list r % n of host r // n, where uint8[n] ``counts`` says how many gauges each list has, and
    ``part_starts`` has two texts a list: :func:`ingestd.load.names.collectd_lists`. A datagram holds lists of one
    host, has up to 1,400 bytes and ends at ``ends[i]`` of ``out``; a new one is begun where 1,400 are left. Times
    are in seconds. Raises ValueError for a state of 0, times from 2**33 on, parts outside of their arena, and a list
    that no datagram holds.
    """
    lists = len(counts)
    _refuse(state, timestamp, interval)
    if not (len(rows) and out and len(ends)):
        return 0, 0, 0, state
    if lists == 0 or len(part_starts) != 2 * lists + 1 or not (len(hosts) and len(parts)):
        raise ValueError(_BAD_PARTS)
    times = struct.pack(">HHQHHQ", 8, 12, timestamp << 30, 9, 12, interval << 30)
    made: list[bytes] = []
    datagram, before = b"", (-1, -1)
    taken = points = done = 0
    for row in rows.tolist():
        host, k = divmod(row, lists)
        head, whole, change = _parts_of(hosts, host_starts, host, parts, part_starts, k)
        count = int(counts[k])
        size = 6 + 9 * count
        if len(head) + len(times) + len(whole) + size > DATAGRAM:
            raise ValueError(_BAD_PARTS)
        more = change if k == before[1] + 1 else whole
        if not datagram or host != before[0] or len(datagram) + len(more) + size > DATAGRAM:
            if datagram:
                made.append(datagram)
                done += len(datagram)
                datagram = b""
            if len(made) == len(ends) or len(out) - done < DATAGRAM:
                break
            datagram, more = head + times, whole
        gauges = []
        for _ in range(count):
            state = successor(state)
            gauges.append(hundredths(state) / 100.0)
        datagram += more + struct.pack(f">HHH{count}s", 6, size, count, b"\1" * count)
        datagram += struct.pack(f"<{count}d", *gauges)
        before = (host, k)
        taken += 1
        points += count
    if datagram:
        made.append(datagram)
    data = b"".join(made)
    out[: len(data)] = data
    ends[: len(made)] = np.cumsum([len(d) for d in made])
    return len(made), taken, points, state


def _refuse(state: int, *times: int) -> None:
    if state == 0:
        raise ValueError("a state of 0 has no successor")
    if not all(0 <= time < _LAST_TIME for time in times):
        raise ValueError("a time that collectd's protocol does not hold")


def _parts_of(
    hosts: NDArray[np.uint8],
    host_starts: NDArray[np.int64],
    host: int,
    parts: NDArray[np.uint8],
    part_starts: NDArray[np.int64],
    k: int,
) -> list[bytes]:
    """The part of a host, all parts of list ``k`` and those that differ from the list before."""
    found = [_text(hosts, host_starts, host), *(_text(parts, part_starts, 2 * k + i) for i in range(2))]
    fine = [text for text in found if text is not None and len(text) <= DATAGRAM]
    if len(fine) < len(found):
        raise ValueError(_BAD_PARTS)
    return fine


def _text(data: NDArray[np.uint8], starts: NDArray[np.int64], number: int) -> bytes | None:
    """Text ``number`` of an arena, None where it does not lie in it."""
    if number + 1 >= len(starts):
        return None
    begin, end = int(starts[number]), int(starts[number + 1])
    return data[begin:end].tobytes() if 0 <= begin <= end <= len(data) else None


class Filled(NamedTuple):
    """What a buffer holds now: ``ends`` of what is one write, bytes; the ``rows`` taken and the ``points``."""

    ends: list[int]
    rows: int
    points: int


class Material(Protocol):
    """Series numbered from 0 that can be written to a buffer."""

    rows: int
    """Lines, or value lists."""
    points: int
    """Values of all rows."""

    def fill(self, rows: Rows, timestamp: int, out: bytearray) -> Filled:
        """Write ``rows`` at ``timestamp`` (seconds) into ``out``, as many as fit."""

    def renew(self, rows: Rows, generation: int) -> None:
        """Let ``rows`` be new series from here on."""


class Lines:
    """Graphite's lines of ``series`` series, ``each`` of them a host's."""

    def __init__(self, series: int, each: int, *, churn: bool = False) -> None:
        self.names: Arena = graphite(series, each, churn=churn)
        self.rows = self.points = series
        self._state = _SEED
        self._write = load_lines_compiled or pure_lines

    def fill(self, rows: Rows, timestamp: int, out: bytearray) -> Filled:
        """As :meth:`Material.fill`."""
        size, taken, self._state = self._write(self.names.data, self.names.starts, rows, timestamp, self._state, out)
        return Filled([size], taken, taken)

    def renew(self, rows: Rows, generation: int) -> None:
        """As :meth:`Material.renew`."""
        self.names.renew(rows, generation)


class Datagrams:
    """collectd's datagrams of ``hosts`` hosts with ``each`` values; ``interval`` (seconds) is what they say."""

    def __init__(self, hosts: int, each: int, interval: int, *, churn: bool = False) -> None:
        self.hosts = collectd_hosts(hosts, churn=churn)
        self.lists, self.counts = collectd_lists(each)
        self.rows, self.points = hosts * len(self.counts), hosts * each
        self._interval = interval
        self._state = _SEED
        self._ends = np.zeros(_DATAGRAMS, np.uint32)
        self._write = load_datagrams_compiled or pure_datagrams

    def fill(self, rows: Rows, timestamp: int, out: bytearray) -> Filled:
        """As :meth:`Material.fill`."""
        found, taken, points, self._state = self._write(
            self.hosts.data,
            self.hosts.starts,
            self.lists.data,
            self.lists.starts,
            self.counts,
            rows,
            timestamp,
            self._interval,
            self._state,
            out,
            self._ends,
        )
        return Filled(self._ends[:found].tolist(), taken, points)

    def renew(self, rows: Rows, generation: int) -> None:
        """As :meth:`Material.renew`: the hosts of ``rows``, with all that they have."""
        self.hosts.renew(np.unique(rows // len(self.counts)), generation, behind=1)
