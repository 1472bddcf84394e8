"""A small store of four series with files of every type, and what it answers."""

import itertools
import shutil

from ingestd.storage.errors import StorageError
from ingestd.storage.events import EventLog
from ingestd.storage.files import Files

SMALL = ((10, 60), (60, 60), (300, 48))
START = 1_800_000_000 // 1800 * 1800
NOW = START + 2000
LATE = START + 1230
SERIES = [f"fleet.web{i}.load" for i in range(4)]


def build(tmp_path, open_store):
    """A closed store of four series with files of every type, every archive, generations, and points in the journal."""
    h = open_store(tmp_path / "data", SMALL, "max", segment_bytes=2048)
    h.store.create(SERIES[:3], START)
    for minute in range(0, 1860, 60):
        times = range(START + minute, START + minute + 60, 10)
        h.accept([(i, t, 1000.0 * (i + 1) + (t - START) / 10) for t in times for i in range(3)], START + minute + 50)
        h.tick(START + minute + 55)
    h.accept([(1, LATE, 7777.0)], START + 1860)
    h.flush()
    h.tick(START + 1900)
    h.store.create(SERIES[3:], START + 1900)
    h.accept([(3, START + 1900, 5.0), (3, START + 1910, 6.0)], START + 1910)
    h.pump()
    h.accept([(0, START + 1920, 9.0)], START + 1920)
    h.pump()
    events = EventLog(Files(), h.directory / "events.log")
    for number in range(3):
        events.add(START + number, f"deploy {number}", ["web"], "")
    events.close()
    return shutil.copytree(h.directory, tmp_path / "small"), type(h)


def answers(h):
    """{(series, archive, time): value} of all that is kept of series that have a name."""
    found = {}
    named = [i for i in range(len(h.store.series)) if not h.store.series.gone[i]]
    for series, age in itertools.product(named, (590, 3500, 14000)):
        found |= {(series, age, t): v for t, v in h.read(series, NOW - age, NOW).items()}
    return found


def possible(truth):
    """What each slot may show when finer values were lost: a maximum of some of them is one of them."""
    # The late point came to a coarse block itself; what was rolled up won over it.
    fine = {(1, LATE // 300): {7777.0}}
    for (series, _, t), value in truth.items():
        fine.setdefault((series, t // 300), set()).add(value)
    return fine


def look(opened, directory, files):
    """(answers, damage), or the refusal to open."""
    try:
        h = opened(directory, SMALL, "max", 0.0, files, {"segment_bytes": 2048})
    except StorageError as error:
        return None, [str(error)]
    try:
        found = answers(h), len(h.store.series)
        events = EventLog(files, directory / "events.log")
        kept = [e["what"] for e in events.query(0, 2**40, None, None)]
        events.close()
        return (*found, kept), [*h.store.status()["damage"], *events.damage]
    except StorageError as error:
        return None, [str(error)]
    finally:
        h.store.close()


def victims(directory):
    """One file of each type; of the block files the largest of each archive."""
    found = {
        "registry": directory / "registry.log",
        "manifest": directory / "manifest.log",
        "events": directory / "events.log",
        "journal": max((directory / "journal").iterdir()),
    }
    for archive in range(3):
        found[f"block of archive {archive}"] = max((directory / f"blocks/L0/a{archive}").iterdir())
    return found
