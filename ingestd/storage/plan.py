"""What the next checkpoint does: decided at once, on the event loop, from the view and the clock.

- A block of the window is written when its last slot is ``lateness`` old; any other block in memory when it has been
  idle, when it has no place left in the budget, or when it pins too much of the journal.
- A coarse block is computed when all finer blocks below it are closed, and again when one of them gets a new
  generation.
- A block expires when its last slot is older than its archive's retention and the next archive has rolled it up.
- An overlay that is small and pins the journal is carried over instead: written into the journal again.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ingestd.storage.checkpoint import Plan
from ingestd.storage.intake import Intake
from ingestd.storage.layout import Key, Layout
from ingestd.storage.overlay import Overlay
from ingestd.storage.ring import Buffer
from ingestd.storage.view import View

IDLE_SECONDS: Final = 600
"""A block outside the window that took no point for so long is merged: a skewed host costs one rewrite, not many."""
LOOK_SECONDS: Final = 60
"""Between looks for coarse blocks to compute while no block is written: after a start, or a silence."""
CARRY_POINTS: Final = 65536
"""Overlays up to this many points (1.3 MB of journal) are carried over rather than merged."""
CARRY_SPAN: Final = 256 << 20
"""Bytes of journal that a small overlay may pin before it is carried over: four segments."""


class Planned(NamedTuple):
    plan: Plan
    carry: list[tuple[Key, Overlay]]
    """Overlays to write into the journal again before the plan is carried out."""


class Planner:
    """``lateness`` seconds, ``journal_limit`` bytes."""

    def __init__(self, intake: Intake, lateness: int, journal_limit: int) -> None:
        self._intake = intake
        self._lateness = lateness
        self._journal_limit = journal_limit
        self._look_again = 0

    def plan(
        self, view: View, clock: int, horizon: int, newest: int, lsn: int, journal_from: int, *, whole: bool
    ) -> Planned:
        """The checkpoint due at ``clock``; ``horizon`` is the time to expire by.

        ``newest`` is the largest timestamp stored, ``lsn`` the journal's end.

        Freezes the layers that are to be written.
        """
        pending = self._intake.pending
        chosen = set(pending) if whole else self._due(view, clock, lsn, journal_from)
        expire = set(self._expired(view, min(horizon, newest)))
        chosen -= expire
        plan = Plan(view, lsn, 0, expire=list(expire), whole=whole)
        plan.roll_up = [k for k in self._complete(view, clock, chosen) if k not in expire]
        # A file says that it holds all its block's points below the plan's LSN: what is in memory goes in with it.
        chosen.update(k for k in plan.roll_up if k in pending)
        for key in chosen:
            plan.write[key] = self._intake.freeze(key)
        carry = [] if whole else self._to_carry(chosen, lsn, journal_from)
        plan.advance = bool(carry)
        carried = {id(overlay) for _, overlay in carry}
        needed = [
            layer.first_lsn
            for key, p in pending.items()
            if key not in chosen and key not in expire
            for layer in p.layers
            if id(layer) not in carried
        ]
        plan.journal_from = min([lsn, *needed])
        return Planned(plan, carry)

    def _due(self, view: View, clock: int, lsn: int, journal_from: int) -> set[Key]:
        due: set[Key] = set()
        for key, p in self._intake.pending.items():
            if self._intake.in_window(key, clock):
                continue
            start, _ = view.layouts[key.layout].span(key)
            left = any(isinstance(layer, Buffer) and layer.window for layer in p.layers)
            if start <= clock and (left or clock - p.last_put >= IDLE_SECONDS):
                due.add(key)
        due.update(self._intake.over_budget(clock))
        if lsn - journal_from > self._journal_limit:
            floor = journal_from + self._journal_limit // 2
            due.update(k for k, p in self._intake.pending.items() if any(y.first_lsn < floor for y in p.layers))
        return due

    def _to_carry(self, chosen: set[Key], lsn: int, journal_from: int) -> list[tuple[Key, Overlay]]:
        if lsn - journal_from < CARRY_SPAN:
            return []
        return [
            (key, layer)
            for key, p in self._intake.pending.items()
            # Of several layers none: points carried over come after those of the other layers at replay.
            if key not in chosen and not p.frozen and len(p.layers) == 1
            for layer in p.layers
            if isinstance(layer, Overlay) and len(layer) <= CARRY_POINTS and lsn - layer.first_lsn >= CARRY_SPAN
        ]

    def _may_be_computed(self, view: View, key: Key, clock: int) -> bool:
        """Whether a coarse block is complete; one that was stays so, even for a clock that has stepped back."""
        ref = view.files.get(key)
        return (ref is not None and ref.complete) or clock >= self._closed_at(view.layouts[key.layout], key)

    def _closed_at(self, layout: Layout, key: Key) -> int:
        """When a block and all finer blocks below it are closed."""
        while key.archive:
            key = Key(key.layout, key.archive - 1, layout.covering(key, key.archive - 1)[-1])
        return layout.span(key)[1] + self._lateness

    def _complete(self, view: View, clock: int, written: set[Key]) -> list[Key]:
        """Coarse blocks to compute now, finer archives first."""
        # Far before it: the clock had leapt ahead.
        if not written and self._look_again - LOOK_SECONDS <= clock < self._look_again:
            return []
        self._look_again = clock + LOOK_SECONDS
        chosen: set[Key] = set()
        for level in range(1, max((len(y.archives) for y in view.layouts), default=1)):
            for source in {k for k in {*view.files, *written, *chosen} if k.archive == level - 1}:
                layout = view.layouts[source.layout]
                if level >= len(layout.archives):
                    continue
                for block in layout.covering(source, level):
                    coarse = Key(source.layout, level, block)
                    ref = view.files.get(coarse)
                    stale = ref is None or not ref.complete or source in written or source in chosen
                    if stale and self._may_be_computed(view, coarse, clock):
                        chosen.add(coarse)
            own = {k for k in written if k.archive == level}
            chosen |= {k for k in own if self._may_be_computed(view, k, clock)}
        return sorted(chosen, key=lambda k: k.archive)

    def _expired(self, view: View, horizon: int) -> list[Key]:
        expired = []
        for key in set(view.files) | set(self._intake.pending):
            layout = view.layouts[key.layout]
            archive = layout.archives[key.archive]
            last = key.archive + 1 == len(layout.archives)
            # Blocks that share a coarse slot go together, so that it is never computed again from a part of them.
            unit = 1 if last else layout.archives[key.archive + 1].step
            end = -(-layout.span(key)[1] // unit) * unit
            held = self._intake.pending.get(key)
            if end > horizon - archive.retention or (held is not None and held.frozen):
                continue
            if last or (held is None and self._rolled_up(view, layout, key)):
                expired.append(key)
        return expired

    @staticmethod
    def _rolled_up(view: View, layout: Layout, key: Key) -> bool:
        for block in layout.covering(key, key.archive + 1):
            ref = view.files.get(Key(key.layout, key.archive + 1, block))
            if ref is None or not ref.complete:
                return False
        return True

    def need(self) -> int:
        """Bytes of disk that writing all that is in memory takes, with the coarse blocks that follow."""
        return 2 * sum(p.nbytes for p in self._intake.pending.values()) + (16 << 20)
