"""What each stage of a point's way costs by itself: parsers, journal, store, queries."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from bench import storing
from bench.micro.conftest import Measure
from bench.micro.corpus import HOSTS, POINTS, Corpus
from bench.parsing import NOW, TURN, new_parser
from bench.storing import BATCH, BLOCK, CLOCK, Loop
from ingestd._speed import COMPILED
from ingestd.index.globs import Globs
from ingestd.index.names import Names
from ingestd.points import Batch, Ids, Parsed
from ingestd.query.grid import Series
from ingestd.serve.formats import json_bytes
from ingestd.storage.journal import Journal
from ingestd.storage.journal_thread import Entry
from ingestd.storage.ring import Buffer
from ingestd.storage.rollup import Profile, roll_up
from ingestd.storage.store import Store
from ingestd.wire.batch import BatchLimits, parse_batch
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.pickle import parse_pickle
from ingestd.wire.seal import Level

RECORDS: Final = 100
SHOWN, SLOTS = 1_000, 360
"""Series and slots of an answer: an hour in steps of 10 s."""


def stage(group: str, timer: Callable[[], float] = time.thread_time) -> pytest.MarkDecorator:
    """CPU of the thread alone that does it, unless ``timer`` is another clock."""
    return pytest.mark.benchmark(group=group, timer=timer)


@pytest.fixture(scope="module")
def names(corpus: Corpus) -> Names:
    """All names of the corpus, in its order."""
    known = Names()
    known.add(np.arange(POINTS, dtype=np.uint32), corpus.paths)
    return known


def same(corpus: Corpus, parsed: Sequence[Parsed]) -> bool:
    """Whether these are the points of the corpus, all names known."""
    ids, times, values = (np.concatenate([getattr(one.batch, column) for one in parsed]) for column in Batch.__slots__)
    return bool((ids == np.arange(POINTS)).all() and (times == NOW).all() and (values == corpus.values).all())


# -- parsers -----------------------------------------------------------------------------------------------------------


def read(parts: list[Any], parse: Callable[[Any], Parsed]) -> list[Parsed]:
    return [parse(part) for part in parts]


def turns_of(sent: list[bytes]) -> list[list[bytes]]:
    """Datagrams as the daemon reads them."""
    return [sent[i : i + TURN] for i in range(0, len(sent), TURN)]


@stage("parse")
def test_lines(measure: Measure, corpus: Corpus, names: Names) -> None:
    parse = partial(parse_lines, names=names.table, now=NOW, limits=PathLimits())
    assert same(corpus, measure(POINTS, read, corpus.lines, parse))


@stage("parse")
def test_lines_of_new_series(measure: Measure, corpus: Corpus) -> None:
    parse = partial(parse_lines, names=Names().table, now=NOW, limits=PathLimits())
    assert sum(len(one.unknown) for one in measure(POINTS, read, corpus.lines, parse)) == POINTS


@stage("parse")
def test_pickles(measure: Measure, corpus: Corpus, names: Names) -> None:
    parse = partial(parse_pickle, names=names.table, now=NOW, limits=PathLimits())
    assert same(corpus, measure(POINTS, read, corpus.pickles, parse))


@stage("parse")
def test_batch_message(measure: Measure, corpus: Corpus, names: Names) -> None:
    parse = partial(parse_batch, names=names.table, now=NOW, limits=BatchLimits())
    assert same(corpus, measure(POINTS, read, [corpus.message], parse))


@stage("parse")
@pytest.mark.parametrize("level", Level, ids=["plain", "signed", "encrypted"])
def test_collectd(measure: Measure, corpus: Corpus, names: Names, level: Level) -> None:
    parse = partial(new_parser(level).parse_all, names=names.table, now=NOW)
    turns = turns_of(corpus.datagrams[level])
    for _ in range(3):  # identities, then their order, become known
        read(turns, parse)
    assert same(corpus, measure(POINTS, read, turns, parse))


@stage("parse")
def test_collectd_of_new_identities(measure: Measure, corpus: Corpus) -> None:
    turns = turns_of(corpus.datagrams[Level.NONE])

    def begin() -> tuple[Any, ...]:
        return turns, partial(new_parser(Level.NONE).parse_all, names=Names().table, now=NOW)

    assert sum(len(one.unknown) for one in measure(POINTS, read, setup=begin)) == POINTS


# -- journal and store -------------------------------------------------------------------------------------------------


@stage("store")
def test_journal(measure: Measure, tmp_path: Path) -> None:
    made: list[tuple[Journal, list[list[Entry]]]] = []

    def begin() -> tuple[Any, ...]:
        made.append(storing.new_journal(tmp_path / str(len(made)), RECORDS))
        return made[-1]

    measure(RECORDS * BATCH, storing.write_groups, setup=begin)
    for log, _ in made:
        log.close()


def step(one: Store, loop: Loop, ids: Ids, corpus: Corpus, slot: int) -> None:
    """A point of each series at ``slot``, and all that follows from it."""
    when = CLOCK + 10 * slot
    storing.accept(one, storing.batches_of(ids, when, corpus.values), when)
    loop.settle(one)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[Store, Loop]]:
    """Without series."""
    one, loop = storing.open_store(tmp_path / "store")
    yield one, loop
    loop.settle(one)
    one.close()


@stage("store")
def test_ring(measure: Measure, corpus: Corpus, store: tuple[Store, Loop]) -> None:
    one, loop = store
    ids = one.create(corpus.paths, CLOCK)
    slots = count()

    def next_step() -> tuple[Any, ...]:
        loop.settle(one)
        when = CLOCK + 10 * next(slots)
        return one, storing.batches_of(ids, when, corpus.values), when

    measure(POINTS, storing.accept, setup=next_step)


@stage("store")
def test_transposition(measure: Measure, corpus: Corpus) -> None:
    ids = np.arange(POINTS, dtype=np.uint32)
    ring = Buffer(BLOCK, 0, ids)
    for slot in range(BLOCK):
        ring.put(ids, np.full(POINTS, slot), corpus.values)
    out = np.full((POINTS, BLOCK), np.nan)
    measure(out.size, ring.lay, out, ids, 0, BLOCK)
    assert (out == corpus.values[:, None]).all()


@stage("store", time.process_time)
def test_flush(measure: Measure, corpus: Corpus, store: tuple[Store, Loop]) -> None:
    one, loop = store
    ids = one.create(corpus.paths, CLOCK)
    blocks = count()

    def next_block() -> tuple[Any, ...]:
        first = next(blocks) * BLOCK
        for slot in range(first, first + BLOCK):
            step(one, loop, ids, corpus, slot)
        os.sync()
        return store

    measure(POINTS * BLOCK, storing.flush, setup=next_block)


@stage("store")
@pytest.mark.parametrize("method", ["average", "max"])
def test_rollup(measure: Measure, method: str) -> None:
    fine = storing.fine_values(POINTS, BLOCK)
    coarse = measure(fine.size, roll_up, fine, 6, [Profile(method, 0.5)], np.zeros(POINTS, np.uint16))
    assert coarse.shape == (POINTS, BLOCK // 6)


# -- queries -----------------------------------------------------------------------------------------------------------


@stage("query")
@pytest.mark.skipif(not COMPILED, reason="the kernels are not compiled")
def test_sum_of_block_and_ring(measure: Measure, corpus: Corpus, store: tuple[Store, Loop]) -> None:
    one, loop = store
    ids, slots = one.create(corpus.paths, CLOCK), 2 * BLOCK - 1
    for slot in range(slots):
        step(one, loop, ids, corpus, slot)
        if slot == BLOCK - 1:
            storing.flush(one, loop)
    end = CLOCK + 10 * (slots - 1)
    some = ids[::10].copy()
    totals = measure(len(some) * slots, one.total, some, CLOCK - 10, end, end, "sum", lambda points: None)
    assert np.allclose(totals.values, corpus.values[::10].sum())
    assert len(totals.values) == slots


@stage("query")
def test_json(measure: Measure) -> None:
    shown = [
        Series(f"series{row}", "series*", {"name": f"series{row}"}, NOW, NOW + 10 * SLOTS, 10, values)
        for row, values in enumerate(storing.fine_values(SHOWN, SLOTS))
    ]
    assert measure(SHOWN * SLOTS, json_bytes, shown).count(b"[[") == SHOWN


@stage("query")
def test_find(measure: Measure, corpus: Corpus, names: Names) -> None:
    pattern = corpus.paths[0].replace("000000", "*")
    globs = Globs(names)
    globs.find_leaves(pattern)
    assert len(measure(HOSTS, globs.find_leaves, pattern)) == HOSTS
