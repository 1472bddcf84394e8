"""collectd's values as text, in whole messages: PUTVAL lines and JSON, through the reader of its binary protocol."""

from __future__ import annotations

from typing import Final

from ingestd.points import NameTable, Parsed, empty_batch
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.collectd_json import JsonRates, JsonReader
from ingestd.wire.packets import ValueListError
from ingestd.wire.putval import read_putval

MESSAGE_MAX: Final = 1 << 20
"""Bytes of a message: write_http's have 4 KB, amqp's 8 KB at most."""


class CollectdTexts:
    """Parses messages of one source; types, names and the counters' last values are those of ``parser``.

    Each result's ``rejected`` has what :meth:`CollectdParser.parse_all` refuses, and what was no value list at all as
    ``malformed``; ``too_long`` is a message over ``limit`` bytes. Never raises.
    """

    def __init__(self, parser: CollectdParser, json_rates: JsonRates = "auto", limit: int = MESSAGE_MAX) -> None:
        self._parser = parser
        self._json = JsonReader(json_rates)
        self._limit = limit

    def putval(self, body: bytes, names: NameTable, now: float) -> Parsed:
        """Lines of PUTVAL; a line that is none counts as one point. ``now`` in seconds."""
        if len(body) > self._limit:
            return Parsed(empty_batch(), [], {"too_long": 1})
        parts: list[bytes] = []
        malformed = 0
        types = self._parser.types
        for line in body.split(b"\n"):
            if line and not line.isspace():
                try:
                    parts.append(read_putval(line, types, now))
                except ValueListError:
                    malformed += 1
        return self._parsed(parts, malformed, names, now)

    def json(self, body: bytes, names: NameTable, now: float) -> Parsed:
        """An array of value lists, or one; what is no JSON counts as one point. ``now`` in seconds."""
        if len(body) > self._limit:
            return Parsed(empty_batch(), [], {"too_long": 1})
        try:
            read = self._json.read(body, self._parser.types, now)
        except ValueListError:
            return Parsed(empty_batch(), [], {"malformed": 1})
        return self._parsed(read.parts, read.malformed, names, now)

    def _parsed(self, parts: list[bytes], malformed: int, names: NameTable, now: float) -> Parsed:
        if parts:
            found = self._parser.parse(b"".join(parts), names, now)
            parsed = Parsed(found.batch, found.unknown, found.rejected)
        else:
            parsed = Parsed(empty_batch())
        if malformed:
            parsed.rejected["malformed"] = parsed.rejected.get("malformed", 0) + malformed
        return parsed
