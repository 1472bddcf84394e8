"""collectd's types: which data sources a value list of a type has, their kinds and bounds.

The grammar of types.db is that of collectd 5.12's ``types_list.c``: fields between blanks, one optional comma at the
end of each, so a file without any comma means what it means to collectd. What collectd refuses is refused line by
line and costs no other line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, TypeAlias

from ingestd.wire.types_builtin import DEFINITIONS

COUNTER, GAUGE, DERIVE, ABSOLUTE = range(4)
"""The kinds of data sources, as the numbers of the binary protocol."""

_KINDS: Final = {"counter": COUNTER, "gauge": GAUGE, "derive": DERIVE, "absolute": ABSOLUTE}
_LINE_LIMIT: Final = 4094
"""Characters: collectd's line buffer."""
_FIELD_LIMIT: Final = 64
"""Fields of a line: collectd's field table; what follows is not read."""
_NO_BOUND: Final = ("-inf", "inf")
_FIELDS = re.compile(r"[^ \t\r\n]+").findall
_LEADING_NUMBER = re.compile(r"[+-]?(?:inf(?:inity)?|(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.IGNORECASE | re.ASCII)


class DataSource(NamedTuple):
    """One value of a value list. A bound that does not exist is infinite."""

    name: bytes
    kind: int
    minimum: float
    maximum: float


Sources: TypeAlias = tuple[DataSource, ...]


@dataclass(frozen=True, slots=True)
class TypesDB:
    """Data sources by the name of their type, as bytes: that is what stands on the wire."""

    types: Mapping[bytes, Sources]
    refused: tuple[int, ...] = ()
    """Lines, counted from 1, of the text last read that look like a definition and are none."""


def parse_types_db(text: str, base: TypesDB) -> TypesDB:
    """The types of a types.db ``text`` on top of those of ``base``; what stands later wins. Raises nothing."""
    types = dict(base.types)
    refused = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        fields = _FIELDS(line)
        if len(fields) < 2 or fields[0].startswith("#"):
            continue
        sources = _sources(fields[1:_FIELD_LIMIT]) if len(line) <= _LINE_LIMIT else None
        if sources is None:
            refused.append(number)
        else:
            types[fields[0].encode("utf-8", "replace")] = sources
    return TypesDB(types, tuple(refused))


def _sources(fields: Iterable[str]) -> Sources | None:
    """The data sources of a line, or None if one of them is none."""
    sources = []
    for field in fields:
        parts = [part for part in field.removesuffix(",").split(":") if part]
        kind = _KINDS.get(parts[1].lower()) if len(parts) == 4 else None
        if kind is None:
            return None
        bounds = (default if p in {"U", "nan"} else p for p, default in zip(parts[2:], _NO_BOUND, strict=True))
        sources.append(DataSource(parts[0].encode("utf-8", "replace"), kind, *map(_leading_number, bounds)))
    return tuple(sources)


def _leading_number(text: str) -> float:
    """C's ``atof``: the number that ``text`` begins with, or 0."""
    match = _LEADING_NUMBER.match(text)
    return float(match[0]) if match else 0.0


@cache
def builtin_types() -> TypesDB:
    """The types of collectd 5.12."""
    types: dict[bytes, Sources] = {}
    for definition, names in DEFINITIONS.items():
        sources = []
        for group in definition.split(" + "):
            sources_of_group, kind, low, high = group.split()
            low, high = (default if b == "-" else b for b, default in zip((low, high), _NO_BOUND, strict=True))
            sources += [
                DataSource(name.encode(), _KINDS[kind], float(low), float(high)) for name in sources_of_group.split(",")
            ]
        types.update(dict.fromkeys((name.encode() for name in names.split()), tuple(sources)))
    return TypesDB(types)
