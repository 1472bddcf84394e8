"""The time that expiry believes.

Deleting cannot be undone, and a clock may be wrong: by a bad NTP server, or in a machine that has just booted. So after
a leap forward nothing expires until the clock has gone on from there for a day. To wait costs a little disk.
"""

from __future__ import annotations

from typing import Final

LEAP: Final = 86_400
"""Seconds that the clock may be ahead of what was seen before: a machine that was off overnight."""
HOLD: Final = 86_400
"""Seconds that a clock that has leapt must go on before it is believed: an operator has seen it by then."""


class Horizon:
    """Follows the clock; 0 until :meth:`begin`."""

    def __init__(self) -> None:
        self._believed = 0
        self._last = 0
        self._since = 0

    def begin(self, seen: int) -> None:
        """``seen``: the newest time that what is stored tells of; 0 where it tells of none."""
        self._believed = self._last = self._since = seen

    def at(self, clock: int) -> int:
        """The time to expire by at ``clock``, which is not ahead of it."""
        if not self._believed:
            self.begin(clock)
        if abs(clock - self._last) > LEAP:
            self._since = clock
        self._last = clock
        if clock - self._believed <= LEAP or clock - self._since >= HOLD:
            self._believed = clock
        return min(self._believed, clock)
