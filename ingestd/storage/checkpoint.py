"""A checkpoint: blocks leave the memory for files, coarse blocks are computed, one manifest record commits.

The plan is made on the event loop and carried out on the writer's thread, which sees frozen layers only. The order
never changes: files synced, then the manifest record, then (on the loop again) the new view, then the ring forgets,
then the journal is cut. Any failure before the record leaves everything as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from ingestd.points import Ids, Values
from ingestd.storage.layout import Key
from ingestd.storage.overlay import distinct
from ingestd.storage.rollup import Profile
from ingestd.storage.series import SeriesTable
from ingestd.storage.view import BlockRef, Blocks, Layer, Reading, View

ROWS_A_PASS: Final = 8192
"""Series that are merged or rolled up at once: 8192 × 60 slots are 4 MB, about what the caches hold."""


@dataclass(slots=True)
class Plan:
    """What a checkpoint does; made on the loop, read only afterwards."""

    view: View
    lsn: int
    """Everything that the frozen layers hold was journalled below this."""
    journal_from: int
    """The first LSN that is needed once this is committed."""
    write: dict[Key, tuple[Layer, ...]] = field(default_factory=dict)
    """Blocks to write, with the layers above their files."""
    roll_up: list[Key] = field(default_factory=list)
    """Coarse blocks that are complete, finer archives first."""
    expire: list[Key] = field(default_factory=list)
    whole: bool = False
    """A flush: everything that was in memory when it was planned."""
    advance: bool = False
    """Overlays were carried over: commit the new ``journal_from`` even if no file changes."""

    def __bool__(self) -> bool:
        return bool(self.write or self.roll_up or self.expire or self.whole or self.advance)


class BlockFiles(Blocks, Protocol):
    """Where block files are read, made and removed."""

    def series(self, key: Key, generation: int) -> Ids: ...
    def write(
        self, key: Key, ref: BlockRef, step: int, ids: Ids, parts: Sequence[slice], values: Callable[[Ids], Values]
    ) -> None: ...


class ManifestFile(Protocol):
    def commit(self, added: Mapping[Key, BlockRef], removed: Mapping[Key, BlockRef], journal_from: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Committed:
    """What a checkpoint changed: files added (in place of ``removed`` generations of the same blocks) and expired."""

    plan: Plan
    added: dict[Key, BlockRef]
    removed: dict[Key, BlockRef]


def carry_out(plan: Plan, series: SeriesTable, blocks: BlockFiles, manifest: ManifestFile) -> Committed:
    """Write, roll up and commit; runs on the writer's thread.

    Raises OSError or StorageError with nothing committed.
    """
    files = dict(plan.view.files)
    added: dict[Key, BlockRef] = {}
    rolled = set(plan.roll_up)
    jobs = [k for k in plan.write if k not in rolled] + plan.roll_up
    for key in sorted(jobs, key=lambda k: k.archive):
        ref = _write_block(key, plan, View(series.layouts, files, plan.write), series, blocks, roll=key in rolled)
        if ref is not None:
            added[key] = files[key] = ref
    removed = {k: plan.view.files[k] for k in plan.expire if k in plan.view.files}
    replaced = {k: plan.view.files[k] for k in added if k in plan.view.files}
    if added or removed or plan.whole or plan.advance:
        manifest.commit(added, {**removed, **replaced}, plan.journal_from)
    return Committed(plan, added, {**removed, **replaced})


def _write_block(
    key: Key, plan: Plan, view: View, series: SeriesTable, blocks: BlockFiles, *, roll: bool
) -> BlockRef | None:
    """Write the next generation of a block; None where it has no series at all."""
    layout = series.layouts[key.layout]
    geometry = layout.archives[key.archive]
    old = view.files.get(key)
    members = [layer.series() for layer in plan.write.get(key, ())]
    if old is not None:
        members.append(blocks.series(key, old.generation))
    if roll:
        for block in layout.covering(key, key.archive - 1):
            finer = Key(key.layout, key.archive - 1, block)
            if finer in view.files:
                members.append(blocks.series(finer, view.files[finer].generation))
    ids = _union(members)
    if not len(ids):
        return None
    first = key.block * geometry.length
    profile_of = series.profile_of
    # A rollup reads files alone: what lies above them is on its way, and rolls up when it is written.
    settled = View(view.layouts, view.files)

    def values(chosen: Ids) -> Values:
        out = np.full((len(chosen), geometry.length), np.nan)
        profiles: list[Profile] = series.profiles
        Reading(view, blocks, layout, profiles, profile_of[chosen]).lay_own(out, key, chosen, 0, geometry.length)
        if roll:
            finer = Reading(settled, blocks, layout, profiles, profile_of[chosen])
            finer.lay_finer(out, key.archive, chosen, first, first + geometry.length)
        return out

    ref = BlockRef(old.generation + 1 if old else 0, plan.lsn, roll or (old is not None and old.complete))
    parts = [slice(i, min(i + ROWS_A_PASS, len(ids))) for i in range(0, len(ids), ROWS_A_PASS)]
    blocks.write(key, ref, geometry.step, ids, parts, values)
    return ref


def _union(members: list[Ids]) -> Ids:
    if not members:
        return np.empty(0, np.uint32)
    if len(members) == 1:
        return members[0]
    return distinct(np.concatenate(members))
