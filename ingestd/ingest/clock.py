"""The accept clock: the machine's wall clock, unless it leaps and the senders say that it should not have.

Points are routed by their age, so a wall clock that is wrong by a day would cost everybody's points. Small steps are
followed, and waited out where they go back. When the wall clock leaps away from the steady clock, there are two
candidates: the old time, which has gone on steadily, and the new one. The senders choose: points near one of them are
votes. No sender can choose any other time, nor anything while the machine's clocks agree.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from ingestd.points import Times

STEP: Final = 30.0
"""Seconds by which the wall clock may step unasked: what NTP steps rather than slews, and leap seconds."""
NEAR: Final = 3600.0
"""Seconds from a candidate within which a batch is a vote for it: senders' delays, and no backfill."""
WINDOW: Final = 60.0
"""Seconds after which the votes decide for good: most senders have sent by then."""
UNHEARD: Final = 3600.0
"""Seconds after which the wall clock is believed if nobody has voted."""
WEIGHT: Final = 100
"""Votes of one batch at most, so that a relay counts as many hosts and a flood as few."""


class AcceptClock:
    """Whole seconds since the epoch. ``wall`` may leap; ``steady`` never does, and begins anywhere."""

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._last = int(wall())
        self._leapt: float | None = None
        self._votes = 0
        self._heard = False

    def now(self, witnesses: Callable[[], Times] | None = None) -> int:
        """The time; ``witnesses`` gives the timestamps of points that come in now, int64[n], if they are asked for."""
        wall, steady = self._wall(), self._steady()
        old = steady + self._offset
        if abs(wall - old) <= STEP:
            self._agree(wall - steady)
            chosen = int(wall)
        else:
            if self._leapt is None:
                self._leapt = steady
            stamps = None if witnesses is None else witnesses()
            if stamps is not None and len(stamps):
                self._hear(float(np.median(stamps)), len(stamps), wall, old)
            self._decide(steady, wall)
            chosen = int(wall if self._votes > 0 else old)
        if self._last - STEP <= chosen < self._last:
            return self._last
        self._last = chosen
        return chosen

    def _agree(self, offset: float) -> None:
        self._offset, self._leapt, self._votes, self._heard = offset, None, 0, False

    def _hear(self, stamp: float, points: int, wall: float, old: float) -> None:
        to_wall, to_old = abs(stamp - wall), abs(stamp - old)
        if min(to_wall, to_old) <= NEAR and to_wall != to_old:
            weight = min(points, WEIGHT)
            self._votes += weight if to_wall < to_old else -weight
            self._heard = True

    def _decide(self, steady: float, wall: float) -> None:
        """When the time is up: believe the wall clock, or count anew."""
        waited = steady - (self._leapt or steady)
        if not self._heard and waited >= UNHEARD:
            self._agree(wall - steady)
            self._votes = 1
        elif self._heard and waited >= WINDOW:
            if self._votes > 0:
                self._offset = wall - steady
            else:
                self._leapt, self._votes, self._heard = steady, min(self._votes, -1), True
