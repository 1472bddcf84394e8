"""CPU of the parsers: Graphite lines and collectd datagrams, in memory, nothing stored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.figures import Figure, Series, thread_ns
from bench.material import GOLDEN, Fleet, Size, datagrams, pieces
from ingestd.index.names import Names
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.seal import Level, Security, parse_auth_file
from ingestd.wire.typesdb import TypesDB, parse_types_db

NOW = 1_795_380_810


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
    """The collectd parser over the captures of a real collectd, once every identity and name is known."""
    users = parse_auth_file((GOLDEN / "auth_file").read_text())
    types = parse_types_db((GOLDEN / "types.db").read_text(), TypesDB({}))
    for file, level in (("plain", Level.NONE), ("signed", Level.SIGN), ("encrypted", Level.ENCRYPT)):
        parser = CollectdParser(types, NamingOptions(), Security(level, users))
        sent = datagrams(f"{file}.bin")
        table: dict[bytes, int] = {}
        for datagram in sent:
            for new in parser.parse(datagram, table, NOW).unknown:
                table.setdefault(new.spelling, len(table))
        points = sum(parser.parse(datagram, table, NOW).received for datagram in sent)
        found = Series(f"parse: collectd, {file}", "ns/point", "copy of the datagrams")
        for _ in range(size.runs):
            found.floor_runs.append(thread_ns(_copy, sent) / points)
            found.runs.append(thread_ns(_parse_all, parser, sent, table) / points)
        yield found.figure()


def _count_lines(parts: list[bytes]) -> int:
    return sum(part.count(b"\n") for part in parts)


def _copy(datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        bytearray(datagram)


def _parse_all(parser: CollectdParser, datagrams: list[bytes], table: dict[bytes, int]) -> None:
    for datagram in datagrams:
        parser.parse(datagram, table, NOW)
