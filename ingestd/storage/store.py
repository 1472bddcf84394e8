"""The store: accepts batches, keeps them through crashes, answers reads.

Everything that changes state runs on the event loop: routing, scatter, planning and publishing. Two threads work for
it: the journal's (write, sync) and the writer's (block files, rollups, the manifest). Readers may be on any thread;
they take one immutable view.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np

from ingestd.points import Batch, Ids, Rows, Totals, Values
from ingestd.storage import pieces
from ingestd.storage.checkpoint import Committed, Plan, carry_out
from ingestd.storage.errors import StorageError
from ingestd.storage.fetch import fetch, find_silent
from ingestd.storage.fileformat import JournalRecord, record_size
from ingestd.storage.files import Files
from ingestd.storage.handover import HandOver
from ingestd.storage.home import Home, Opened
from ingestd.storage.horizon import Horizon
from ingestd.storage.intake import Intake, Part, one_block, split
from ingestd.storage.journal import SEGMENT_BYTES
from ingestd.storage.journal_thread import Durability, Entry
from ingestd.storage.layout import Key
from ingestd.storage.origins import Origin, origins
from ingestd.storage.plan import Planned, Planner
from ingestd.storage.registry import NameBlob, append, encode_forget, encode_rules
from ingestd.storage.ring import survey
from ingestd.storage.series import Rules, SeriesTable
from ingestd.storage.snapshot import Copied
from ingestd.storage.totals import total
from ingestd.storage.view import View
from ingestd.telemetry import Books

log = logging.getLogger(__name__)

_T = TypeVar("_T")

FORGET_SECONDS: Final = 3600
"""Between looks for series that have been silent for as long as anything is kept of them."""
RETRY_SECONDS: Final = 5.0
"""After a failed checkpoint."""


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Times in seconds, sizes in bytes; see conf/ingestd.toml for the reasons."""

    future: int = 600
    lateness: int = 60
    forget_after: int = 0
    in_flight: int = 64 << 20
    stall_seconds: float = 1.0
    journal_limit: int = 1 << 30
    segment_bytes: int = SEGMENT_BYTES
    late_budget: int = 256 << 20
    access: Literal["mmap", "pread"] = "mmap"
    durability: Durability = field(default_factory=Durability)


class Store:
    """One data directory. ``post`` runs a callable on the event loop from another thread; ``later`` after seconds."""

    def __init__(
        self,
        directory: Path,
        rules: Rules,
        settings: StoreSettings,
        post: Callable[[Callable[[], None]], Any],
        later: Callable[[float, Callable[[], None]], Any],
        fingerprint: str = "",
        files: Files | None = None,
    ) -> None:
        """``fingerprint`` of the rules: where it differs from the last start's, all series are matched anew.

        ``files``: the operations on the disk, the operating system's own if None.
        """
        self._settings = settings
        self._rules = rules
        self._fingerprint = fingerprint
        self._post = post
        self._home = Home(directory, settings.access, settings.segment_bytes, files)
        self.series = SeriesTable()
        self._intake = Intake(self.series.layouts, settings.lateness, settings.late_budget)
        self._planner = Planner(self._intake, settings.lateness, settings.journal_limit)
        self._view = View(self.series.layouts)
        self._journal = HandOver(post, later, settings.in_flight, settings.stall_seconds)
        self._journal_from = 0
        self._newest = 0
        self._running: Future[Committed] | None = None
        self._not_before = 0.0
        self._flushes: list[tuple[int, Future[None]]] = []
        self._clock = 0
        self._replayed = 0
        self._horizon = Horizon()
        self._expired: frozenset[Key] = frozenset()
        self._forgetting: Future[Ids] | None = None
        self._forget_at = 0
        self.before_forget: Callable[[], None] | None = None
        """Called on the loop before series are forgotten: points that have their ids are to be accepted now."""
        self.on_forget: Callable[[Ids], None] | None = None
        """Called on the loop with the ids of series that are forgotten."""
        self.failure: str | None = None
        """Why the last checkpoint failed; None once one went through."""

    # -- start and stop ------------------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Take the directory, which :meth:`open` does as well. Raises StorageError if another process holds it."""
        self._home.lock()

    def open(self) -> NameBlob:
        """Lock, recover, and start the threads; gives the names of all series. Blocks, in any thread.

        Raises StorageError if another process holds the directory or a file cannot be used.
        """
        loaded = self._home.open()
        try:
            self._recover(loaded)
        except BaseException:
            self._home.close()
            raise
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._journal.begin(self._home.journal, self._home.registry, self._settings.durability)
        return loaded.registry.names

    def _recover(self, loaded: Opened) -> None:
        self.series.load(loaded.registry)
        self._intake.count_members(self.series.layout_of[: len(self.series)])
        self._view = self._view.changed(loaded.files, {})
        self._journal_from = loaded.journal_from
        self._expired = loaded.expired
        self._replayed = self._replay(loaded.journal_from)
        if self._home.journal.end < loaded.journal_from:
            # A checkpoint syncs the journal before it commits, and the last segment is never removed.
            self._home.note(f"the journal ends at LSN {self._home.journal.end}, before {loaded.journal_from}")
        top = max([loaded.journal_from, self._home.journal.end, *(ref.lsn for ref in loaded.files.values())])
        self._journal.lsn = self._home.journal.start(top)
        ends = (self.series.layouts[key.layout].span(key)[1] for key in loaded.files if key.archive == 0)
        self._horizon.begin(max([self._clock, *ends]))
        self._publish_layers()
        if loaded.registry.rules != self._fingerprint:
            self._match_again(loaded.registry.names)
        log.info("recovered", extra={"points": self._replayed, "series": len(self.series), "blocks": len(loaded.files)})

    def _match_again(self, names: NameBlob) -> None:
        """Match all series against changed rules.

        What the journal holds is written first, to the archives that it was accepted for: another replay would route
        it to the new ones, and skip what these seem to have, being younger.
        """
        if self._intake.pending:
            plan = self._plan(whole=True).plan
            self._apply(carry_out(plan, self.series, self._home, self._home))
        records, changed = self.series.match_again(names, self._rules)
        append(self._home.registry, [*records, encode_rules(self._fingerprint)])
        self._intake.count_members(self.series.layout_of[: len(self.series)])
        if changed:
            log.warning("the schema rules have changed", extra={"series": changed})

    def _replay(self, start: int) -> int:
        points = 0
        for record in self._home.journal.replay(start):
            self._clock = max(self._clock, record.clock)
            self._home.require(int(record.ids.max(initial=0)), len(self.series))
            for part in self._parts(record):
                self._take(part, record.lsn, record.clock, recovering=True)
            points += len(record.ids)
        return points

    def _parts(self, record: JournalRecord) -> list[Part]:
        if record.key is not None:
            if record.key.layout >= len(self.series.layouts):
                raise self._home.refusal(f"the journal has points of layout {record.key.layout}, which is lost")
            return [Part(Key(*record.key), record.ids, record.times, record.values)]
        if not len(record.ids):
            return []
        layout, *within = survey(record.ids, record.times, self.series.layout_of)
        batch = Batch(record.ids, record.times, record.values)
        return self._route(batch, record.clock, layout, (within[0], within[1]))[0]

    def close(self) -> None:
        """Write and sync what was accepted, end the threads, give up the lock. Blocks.

        A flush before it leaves nothing to replay.
        """
        self._journal.flush()
        self._writer.shutdown()
        self._journal.stop()
        self._home.close()

    # -- taking points -------------------------------------------------------------------------------------------------

    def create(self, paths: Sequence[str], clock: int) -> Ids:
        """New series for ``paths``; ids uint32[n], ascending. The registry has them before the journal has a point."""
        ids, records = self.series.create(paths, self._rules)
        self._journal.names(records)
        self._intake.add_members(self.series.layout_of[len(self.series) - len(ids) : len(self.series)])
        return ids

    def accept(self, batch: Batch, clock: int, books: Books | None) -> tuple[int, int]:
        """Take a batch at the accept clock ``clock``; visible to reads at once, ``books.stored`` grows when journalled.

        Returns the points not taken: (too old, too new). The batch's arrays belong to the store from here on.
        """
        self._clock = clock
        too_new = too_old = 0
        layout, *within = survey(batch.ids, batch.timestamps, self.series.layout_of)
        if within[1] > clock + self._settings.future:
            fine = batch.timestamps <= clock + self._settings.future
            too_new = len(batch) - int(fine.sum())
            batch = Batch(batch.ids[fine], batch.timestamps[fine], batch.values[fine])
            if not len(batch):
                return 0, too_new
            layout, *within = survey(batch.ids, batch.timestamps, self.series.layout_of)
        parts, old = self._route(batch, clock, layout, (within[0], within[1]))
        if old is not None:
            too_old = int(old.sum())
            batch = Batch(batch.ids[~old], batch.timestamps[~old], batch.values[~old])
            if not len(batch):
                return too_old, too_new
        lsn = self._journal.lsn
        for part in parts:
            self._take(part, lsn, clock)
        self._newest = max(self._newest, within[1])
        self._journal.points(Entry(lsn, record_size(len(batch)), clock, None, *_columns(batch), books))
        return too_old, too_new

    def place(self, key: Key, ids: Ids, values: Values, clock: int, *, over: bool = False) -> int:
        """Take over a piece of another store (:mod:`ingestd.storage.pieces`): slots that have a value here keep it.

        ``over``: the piece's values count instead, but for coarse slots that are computed from finer ones here: one
        of which this store has seen the rest alone was computed from that.
        ``values`` float64[n, slots of the block], NaN = none, of living series ``ids`` (ascending uint32[n]). Returns
        how many points were taken; :meth:`settled` tells when they are on disk. Raises StorageError for series that
        are not of the block's layout, and for values of another shape.
        """
        layout = pieces.checked(self.series, key, ids)
        present = self.piece(key, ids)
        if present.shape != values.shape:
            raise StorageError(f"a piece of {values.shape} values, and not {present.shape}")
        taken = 0
        for part in pieces.parts_of(layout, key, ids, values, present, clock + self._settings.future, over=over):
            lsn = self._journal.lsn
            self._take(part, lsn, clock)
            self._journal.points(Entry(lsn, record_size(len(part.ids)), clock, key, *part[1:4], None))
            taken += len(part.ids)
        if taken:
            self._newest = max(self._newest, min(layout.span(key)[1] - 1, clock))
        return taken

    def _route(
        self, batch: Batch, clock: int, layout: int, within: tuple[int, int]
    ) -> tuple[list[Part], np.ndarray[Any, np.dtype[np.bool_]] | None]:
        """Parts by block, and which rows are too old; ``layout`` and ``within`` as :func:`survey` gives them."""
        layouts = self.series.layouts
        if layout >= 0:
            whole = one_block(layouts[layout], *_columns(batch), within, clock)
            return ([whole], None) if whole is not None else split(layouts[layout], *_columns(batch), clock)
        of = self.series.layout_of[batch.ids]
        parts: list[Part] = []
        too_old = np.zeros(len(batch), np.bool_)
        for number in np.unique(of):
            rows = np.flatnonzero(of == number)
            some, old = split(layouts[number], batch.ids[rows], batch.timestamps[rows], batch.values[rows], clock)
            parts += some
            if old is not None:
                too_old[rows[old]] = True
        return parts, too_old if too_old.any() else None

    def _take(self, part: Part, lsn: int, clock: int, *, recovering: bool = False) -> None:
        if recovering:
            ref = self._view.files.get(part.key)
            if part.key in self._expired or (ref is not None and lsn < ref.lsn):
                return
        if self._intake.put(part, lsn, clock) and not recovering:
            layers = tuple(self._intake.pending[part.key].layers)
            self._view = self._view.with_layer(part.key, layers)

    @property
    def busy(self) -> bool:
        """Whether a group is in flight or the writer works."""
        return self._journal.busy or self._running is not None or self._forgetting is not None

    @property
    def on_relief(self) -> Callable[[], None] | None:
        """Called on the loop when :attr:`saturated` turns False."""
        return self._journal.on_relief

    @on_relief.setter
    def on_relief(self, call: Callable[[], None] | None) -> None:
        self._journal.on_relief = call

    @property
    def saturated(self) -> bool:
        """Whether sockets are to stop reading: too much in flight, or the journal or the disk does not keep up."""
        return self._journal.saturated

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def tick(self, clock: int) -> None:
        """Once a second: watch the disk, close blocks that are due, roll up, expire."""
        self._clock = clock
        short = self._home.free_bytes() < self._planner.need()
        if short and not self._journal.short:
            log.error("too little free space for the next checkpoint: reading stops")
        self._journal.watch(short=short)
        if self._running is None and time.monotonic() >= self._not_before:
            self._checkpoint()
        # Never beside a checkpoint: its files are not in the view yet when its layers go.
        due = clock >= self._forget_at or clock < self._forget_at - FORGET_SECONDS
        if self._running is None and self._forgetting is None and due:
            self._forget_at = clock + FORGET_SECONDS
            self._forgetting = self._writer.submit(
                find_silent, self._view, self._home, self.series, self._horizon.at(clock), self._settings.forget_after
            )
            self._forgetting.add_done_callback(lambda done: self._post(lambda: self._forget(done)))

    def _forget(self, done: Future[Ids]) -> None:
        self._forgetting = None
        try:
            silent = done.result()
        except OSError as e:
            log.error("looking for silent series: %s", e)
            return
        if self.before_forget is not None:
            self.before_forget()
        kept = self.series.gone.copy()
        for pending in self._intake.pending.values():
            for layer in pending.layers:
                kept[layer.series()] = True
        silent = silent[~kept[silent]]
        if not len(silent):
            return
        self._let_go(silent)
        log.info("forgot silent series", extra={"forgotten": len(silent), "series": self.series.living})

    def _let_go(self, ids: Ids) -> None:
        self.series.forget(ids)
        self._journal.names([encode_forget(ids)])
        if self.on_forget is not None:
            self.on_forget(ids)

    def forget(self, ids: Ids) -> None:
        """Let series ``ids`` (uint32[n], living, each once) be gone: nobody finds them or their points any more.

        A path that comes again gets another id. Blocks keep the points until they expire. :meth:`settled` tells when
        this is on disk; ``before_forget`` is not called, and points with these ids must not be accepted afterwards.
        """
        self._let_go(ids)
        log.info("forgot series that were deleted", extra={"forgotten": len(ids), "series": self.series.living})

    def settled(self) -> Future[None]:
        """Done (on another thread) once all series and points given so far are synced."""
        return self._journal.synced()

    def flush(self) -> Future[None]:
        """Write all that is in memory as blocks, whole or not; the future is done when it is committed."""
        future: Future[None] = Future()
        self._flushes.append((self._journal.lsn, future))
        if self._running is None:
            self._checkpoint()
        return future

    def snapshot(self, target: Path) -> Future[Copied]:
        """Flush, then copy the store to the new directory ``target``: all that was accepted before the call is in it.

        The future raises StorageError or OSError where that cannot be. Checkpoints wait for the copy, points do not.
        """
        future: Future[Copied] = Future()

        def copied(job: Future[Copied]) -> None:
            error = job.exception()
            if error is None:
                future.set_result(job.result())
            else:
                future.set_exception(error)

        def flushed(_: Future[None]) -> None:
            self._writer.submit(self._home.snapshot, target).add_done_callback(copied)

        self.flush().add_done_callback(flushed)
        return future

    def _checkpoint(self) -> None:
        whole = bool(self._flushes)
        planned = self._plan(whole=whole)
        for key, overlay in planned.carry:
            ids, slots, values = overlay.columns()
            lsn = self._journal.lsn
            size = record_size(len(ids))
            overlay.first_lsn = lsn
            self._journal.points(Entry(lsn, size, self._clock, key, ids, slots.astype(np.int64), values, None))
        plan = planned.plan
        if not plan:
            return
        self._running = self._writer.submit(self._work, plan, self._journal.synced())
        self._running.add_done_callback(lambda done: self._post(lambda: self._finished(plan, done)))

    def _plan(self, *, whole: bool) -> Planned:
        return self._planner.plan(
            self._view,
            self._clock,
            self._horizon.at(self._clock),
            self._newest,
            self._journal.lsn,
            self._journal_from,
            whole=whole,
        )

    def _work(self, plan: Plan, synced: Future[None]) -> Committed:
        # A block file may hold only series that the registry has on disk.
        synced.result()
        return carry_out(plan, self.series, self._home, self._home)

    def _finished(self, plan: Plan, done: Future[Committed]) -> None:
        self._running = None
        try:
            committed = done.result()
        except Exception as e:
            # Whatever it was, nothing is committed: the layers stay and the next attempt begins anew.
            expected = isinstance(e, (OSError, StorageError, MemoryError))
            log.error("checkpoint failed, everything is kept: %s", e, exc_info=None if expected else e)
            self.failure = str(e) or type(e).__name__
            self._not_before = time.monotonic() + RETRY_SECONDS
            for key in plan.write:
                self._intake.thaw(key)
            return
        self.failure = None
        self._apply(committed)
        self._journal.cut(plan.journal_from)
        if plan.whole:
            reached = [f for lsn, f in self._flushes if lsn <= plan.lsn]
            self._flushes = [(lsn, f) for lsn, f in self._flushes if lsn > plan.lsn]
            for future in reached:
                future.set_result(None)
        if self._flushes:
            self._checkpoint()

    def _apply(self, committed: Committed) -> None:
        plan = committed.plan
        files = {k: v for k, v in self._view.files.items() if k not in committed.removed} | committed.added
        for key in plan.expire:
            files.pop(key, None)
            self._intake.pending.pop(key, None)
        for key, layers in plan.write.items():
            if key in self._intake.pending:
                self._intake.forget(key, layers)
        self._view = self._view.changed(files, self._layers())
        self._journal_from = plan.journal_from
        self._home.remove(committed.removed)

    def _layers(self) -> dict[Key, tuple[Any, ...]]:
        return {key: tuple(p.layers) for key, p in self._intake.pending.items()}

    def _publish_layers(self) -> None:
        self._view = self._view.changed(self._view.files, self._layers())

    # -- reading -------------------------------------------------------------------------------------------------------

    def fetch(self, ids: Ids, start: int, until: int, now: int) -> list[Rows]:
        """Values of series ``ids`` (uint32[n], any order) in (start, until], from the archive that reaches ``start``.

        A Rows for each layout among them; series whose layout has nothing to say are in none. Thread-safe.
        """
        return self._read(lambda view: fetch(view, self._home, self.series, ids, start, until, now))

    def total(
        self, ids: Ids, start: int, until: int, now: int, manner: str, before: Callable[[int], None]
    ) -> Totals | None:
        """What :meth:`fetch` gives, each slot's values made one by ``manner``: ``sum``, ``max`` or ``min``.

        ``ids`` uint32[n], each once; values are added in their order. ``before`` is told how many points are about to
        be read, block by block, and may raise. None where the series have several windows, or none, or have changed
        their schema, and without kernels: then they are to be fetched. Thread-safe.
        """
        return self._read(lambda view: total(view, self._home, self.series, ids, (start, until, now), manner, before))

    def origins(self, ids: Ids, start: int, until: int, now: int) -> list[Origin]:
        """Where :meth:`fetch` has its values from, an origin for each layout. Thread-safe."""
        return self._read(lambda view: origins(view, self._home, self.series, ids, start, until, now))

    def held(self) -> list[Key]:
        """All blocks in which something can be read, finer archives first. Thread-safe."""
        return pieces.held(self._view)

    def piece(self, key: Key, ids: Ids) -> Values:
        """What a block has of series ``ids``, as :func:`ingestd.storage.pieces.piece`. Thread-safe."""
        return self._read(lambda view: pieces.piece(view, self._home, self.series, key, ids))

    def _read(self, read: Callable[[View], _T]) -> _T:
        """What ``read`` makes of the present view: of a newer one where a file of the first is gone already."""
        while True:
            view = self._view
            try:
                return read(view)
            except FileNotFoundError:
                if view is self._view:
                    raise

    # -- what operators see --------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why the store cannot take points as it should; None: it can."""
        return self._journal.problem

    def status(self) -> dict[str, Any]:
        """Sizes and positions, as ``/status`` shows them."""
        pending = self._intake.pending.values()
        return {
            "series": self.series.living,
            "unflushed": sum(p.points for p in pending),
            "ring_bytes": sum(p.nbytes for p in pending),
            "open_blocks": len(pending),
            "blocks": len(self._view.files),
            "layouts": len(self.series.layouts),
            "journal": {
                "end": self._journal.lsn,
                "from": self._journal_from,
                "in_flight_bytes": self._journal.in_flight,
            },
            "replayed": self._replayed,
            "checkpoint_failure": self.failure,
            "damage": list(self._home.damage),
        }


def _columns(batch: Batch) -> tuple[Any, Any, Any]:
    return batch.ids, batch.timestamps, batch.values
