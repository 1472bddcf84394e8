"""collectd's PUTVAL, a line of text: what its amqp and write_http plugins write, and what unixsock and exec are told.

``PUTVAL host/plugin-instance/type-instance interval=10 1795380805.348:2:3``; the rules are those of collectd 5.12's
``cmds.c`` and ``putval.c``. A field with blanks stands in quotation marks, within which a backslash takes the next
character as it is. What collectd guesses at is refused here: missing values, and numbers with something behind them.
"""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple

from ingestd.wire.graphite_names import Identity
from ingestd.wire.packets import VALUES_MAX, ValueListError, packed
from ingestd.wire.typesdb import GAUGE, TypesDB

LINE_MAX: Final = 64 << 10
"""Bytes of a line: collectd's own have under 1.5 KB."""
_FIELD = re.compile(rb'(?:[^\s"]++|"(?:[^"\\]|\\.)*+")++', re.DOTALL)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_OPTION = re.compile(rb"([A-Za-z_][A-Za-z0-9_:.-]*)=(.*)", re.DOTALL)
_NUMBER = re.compile(rb"[+-]?(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?|inf(?:inity)?|nan)", re.IGNORECASE)
_INTEGER = re.compile(rb"([+-]?)(?:0[xX]([0-9A-Fa-f]{1,16})|0([0-7]{0,22})|([1-9]\d{0,19}))(?:\.\d*)?")


class ValueText(NamedTuple):
    """A value list as it stands in a line: its time and values are still texts."""

    time: bytes
    values: list[bytes]


def read_putval(line: bytes, types: TypesDB, now: float) -> bytes:
    """The value lists of one line as parts of the binary protocol. ``now``, in seconds, is what ``N`` means.

    Values of a type that ``types`` does not have are gauges. Raises ValueListError: then none of them counts.
    """
    if len(line) > LINE_MAX:
        raise ValueListError("a line that is too long")
    fields = _fields(line)
    if len(fields) < 3 or fields[0].upper() != b"PUTVAL":
        raise ValueListError("not a PUTVAL")
    identity = _identity(fields[1])
    kinds = bytes(source.kind for source in types.types.get(identity.type, ()))
    interval = 0.0
    parts = []
    for field in fields[2:]:
        option = _OPTION.fullmatch(field)
        if option is None:
            parts.append(_value_list(identity, field, interval, kinds, now))
        elif option[1].lower() == b"interval":
            interval = _number(option[2])
        elif not option[1].lower().startswith(b"meta:"):
            raise ValueListError("an option that is none")
    if not parts:
        raise ValueListError("no values")
    return b"".join(parts)


def _fields(line: bytes) -> list[bytes]:
    if b'"' not in line:
        return line.split()
    fields = _FIELD.findall(line)
    if _FIELD.sub(b"", line).strip():
        raise ValueListError("a quotation mark without its other one")
    return [_QUOTED.sub(lambda found: _ESCAPED.sub(rb"\1", found[1]), field) for field in fields]


def _identity(text: bytes) -> Identity:
    """Host and plugin end at the first slashes; an instance begins at the first dash."""
    host, _, rest = text.partition(b"/")
    plugin, _, type_ = rest.partition(b"/")
    plugin, _, plugin_instance = plugin.partition(b"-")
    type_, _, type_instance = type_.partition(b"-")
    return Identity(host, plugin, plugin_instance, type_, type_instance)


def _value_list(identity: Identity, field: bytes, interval: float, kinds: bytes, now: float) -> bytes:
    stamp, *texts = field.split(b":", VALUES_MAX + 1)
    time = now if stamp == b"N" else _number(stamp)
    if kinds and len(kinds) != len(texts):
        raise ValueListError("another number of values than the type has")
    kinds = kinds or bytes([GAUGE]) * len(texts)
    values = [_number(text) if kind == GAUGE else _integer(text) for kind, text in zip(kinds, texts, strict=True)]
    return packed(identity, time, interval, kinds, values)


def _number(text: bytes) -> float:
    if text == b"U":
        return math.nan
    if not _NUMBER.fullmatch(text):
        raise ValueListError("not a number")
    return float(text)


def _integer(text: bytes) -> int:
    """As ``strtoull`` reads it with base 0; a fraction is cut off."""
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise ValueListError("not an integer")
    sign, sixteen, eight, ten = found.groups()
    number = int(sixteen, 16) if sixteen else int(eight or b"0", 8) if ten is None else int(ten)
    return -number if sign == b"-" else number
