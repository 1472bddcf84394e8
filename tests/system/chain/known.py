"""What was sent into the chain, what its relays called stored, and what was found: columns over paths and slots.

Each slot of each path is sent once at most, with a value of its own: so a point that is lost, misplaced or taken from
another is seen, whatever the order in which points arrive.
"""

import threading

import numpy as np

SLOTS = 8192
"""Rounds at most: one slot each."""


class Known:
    """Points of ``hosts`` x ``each`` series, one a second each."""

    def __init__(self, hosts: int, each: int, base: int):
        self.paths = [f"h{host:03d}.m{number}" for host in range(hosts) for number in range(each)]
        self.host = np.repeat(np.arange(hosts), each)
        self.row = {path: row for row, path in enumerate(self.paths)}
        self.base = base
        """The second of slot 0."""
        self.values = np.arange(len(self.paths))[:, None] * float(SLOTS) + np.arange(SLOTS)
        self.life = np.zeros((len(self.paths), SLOTS), np.int32)
        """Which life of a relay was sent the point; 0: it was not sent."""
        self.stored = np.zeros((len(self.paths), SLOTS), bool)
        """Whether it is one of those that a relay has called stored, by name as it were: with all that it was sent."""
        self.lives = [None]
        self.lock = threading.Lock()

    def lines(self, rows, slot):
        """Points of one slot as a client sends them."""
        when = self.base + slot
        return b"".join(b"%s %d %d\n" % (self.paths[row].encode(), self.values[row, slot], when) for row in rows)

    def begin(self):
        """A life of a relay begins."""
        with self.lock:
            life = Life(self, len(self.lives))
            self.lives.append(life)
            return life

    @property
    def sent(self):
        return self.life > 0

    @property
    def slots(self):
        """How many slots were used."""
        return int(np.flatnonzero(self.sent.any(axis=0)).max(initial=-1)) + 1


class Life:
    """What one relay was sent between a start and its end."""

    def __init__(self, known: Known, number: int):
        self._known = known
        self._number = number
        self.sent = 0
        self.called = 0
        """Points that its ledger has called stored."""

    def send(self, connection, rows, slot):
        self._known.life[rows, slot] = self._number
        self.sent += len(rows)
        connection.sendall(self._known.lines(rows, slot))

    def note(self, ledger):
        """Take what the ledger says; whether it calls everything stored that was sent in this life."""
        assert self.called <= ledger["stored"] <= self.sent, (self.called, ledger, self.sent)
        self.called = ledger["stored"]
        if self.called < self.sent:
            return False
        self._known.stored[self._known.life == self._number] = True
        return True

    def found(self, there):
        """How many of its points are there, bool[paths, slots]."""
        return int((there & (self._known.life == self._number)).sum())
