"""CPU of the parsers: Graphite lines and collectd datagrams, in memory, nothing stored."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from bench.figures import Figure, Series, thread_ns
from bench.material import GOLDEN, Fleet, Size, datagrams, host_datagrams, pieces
from ingestd._speed import Table
from ingestd.index.names import Names
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.seal import Level, Security, parse_auth_file
from ingestd.wire.typesdb import TypesDB, parse_types_db

NOW = 1_795_380_810
TURN = 200
"""Datagrams of a turn."""


def lines(size: Size) -> Iterator[Figure]:
    """:func:`parse_lines` over pieces as a connection's reads bring them, names in a table of ``size.series``."""
    known, fresh = Fleet(size.series), Fleet(size.series, "news")
    names = Names()
    names.add(np.arange(size.series, dtype=np.uint32), [name.decode() for name in known.names])
    limits = PathLimits()
    shuffled = np.random.default_rng(2).permutation(size.series)

    def parse(parts: list[bytes]) -> None:
        for part in parts:
            parse_lines(part, names.table, NOW, limits)

    for name, fleet, order in (
        ("lines, known series in order", known, None),
        ("lines, known series in random order", known, shuffled),
        ("lines, all series new", fresh, None),
    ):
        found = Series(f"parse: {name}", "ns/point", "count of LFs")
        for run in range(size.runs):
            parts = pieces(fleet.step(NOW + 10 * run, order))
            found.floor_runs.append(thread_ns(_count_lines, parts) / size.series)
            found.runs.append(thread_ns(parse, parts) / size.series)
        yield found.figure()


def collectd(size: Size) -> Iterator[Figure]:
    """The collectd parser over the captures of a real collectd, once every identity and name is known, and a fleet.

    As many datagrams at once as the daemon reads in a turn.
    """
    for file, level in (("plain", Level.NONE), ("signed", Level.SIGN), ("encrypted", Level.ENCRYPT)):
        parser = new_parser(level)
        sent = datagrams(f"{file}.bin")
        found = Series(f"parse: collectd, {file}", "ns/point", "copy of the datagrams")
        yield _timed(found, parser, [sent] * (size.runs + 3))
    for file, per_datagram in (("hosts of 200 values", 30), ("datagrams of one value", 1)):
        parser = new_parser(Level.NONE)
        found = Series(f"parse: collectd, {size.series // 200} {file}", "ns/point", "copy of the datagrams")
        steps = [host_datagrams(size.series // 200, NOW + 10 * step, per_datagram) for step in range(size.runs + 3)]
        yield _timed(found, parser, steps)
    yield _first_sight(Series("parse: collectd, all identities new", "ns/point", "copy of the datagrams"), size)


def _first_sight(found: Series, size: Size) -> Figure:
    """What :func:`_timed` passes over: datagrams of which no identity and no name is known."""
    sent = host_datagrams(size.series // 200, NOW, 30)
    for _ in range(size.runs):
        parser = new_parser(Level.NONE)
        took = sum(thread_ns(parser.parse_all, sent[i : i + TURN], Table(), NOW) for i in range(0, len(sent), TURN))
        found.runs.append(took / size.series)
        found.floor_runs.append(thread_ns(_copy, sent) / size.series)
    return found.figure()


def new_parser(level: Level) -> CollectdParser:
    """A parser that knows nothing yet but the users and types of the captures."""
    users = parse_auth_file((GOLDEN / "auth_file").read_text())
    types = parse_types_db((GOLDEN / "types.db").read_text(), TypesDB({}))
    return CollectdParser(types, NamingOptions(), Security(level, users))


def _timed(found: Series, parser: CollectdParser, steps: list[list[bytes]]) -> Figure:
    """Parse the steps one after the other; the first three make names, identities and their order known."""
    table = Table()
    for number, sent in enumerate(steps):
        points, took = 0, 0
        for turn in range(0, len(sent), TURN):
            some = sent[turn : turn + TURN]
            begin = time.thread_time_ns()
            parsed = parser.parse_all(some, table, NOW + 10.0 * number)
            took += time.thread_time_ns() - begin
            points += parsed.received
            for new in parsed.unknown:
                if new.spelling not in table:
                    table[new.spelling] = len(table)
        if number >= 3:
            found.floor_runs.append(thread_ns(_copy, sent) / points)
            found.runs.append(took / points)
    return found.figure()


def _count_lines(parts: list[bytes]) -> int:
    return sum(part.count(b"\n") for part in parts)


def _copy(datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        bytearray(datagram)
