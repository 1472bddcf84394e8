"""Value lists written as collectd's binary protocol writes them: the way of all other forms to its one reader.

So names, types.db and rates are the same in whatever form a value comes, and there is one cache of counters. The parts
are drawn in :mod:`ingestd.wire.parts`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import Identity
from ingestd.wire.rates import SECOND
from ingestd.wire.typesdb import GAUGE
from ingestd.wire.value_lists import VALUES

NAME_MAX: Final = 127
"""Bytes of a name: collectd's own limit since 5.5."""
VALUES_MAX: Final = 1024
"""Values of a list: the largest of collectd's types has 9."""
_FIELDS: Final = (0, 2, 3, 4, 5)
"""Types of the parts with host, plugin, plugin instance, type and type instance."""
_INTEGERS: Final = {0: (0, 1 << 64), 2: (-(1 << 63), 1 << 63), 3: (0, 1 << 64)}
"""By kind: the first integer that it holds and the first above that it does not."""
_TIMES: Final = struct.Struct(">HHQHHQ")
_PART: Final = struct.Struct(">HH")
_HEAD: Final = struct.Struct(">HHH")
_GAUGE: Final = struct.Struct("<d")


class ValueListError(WireError):
    """A value list that cannot be sent."""


def packed(identity: Identity, time: float, interval: float, kinds: bytes, values: Sequence[float]) -> bytes:
    """The parts of one value list of ``kinds`` (of :mod:`ingestd.wire.typesdb`), which stand alone in any datagram.

    ``time`` and ``interval`` in seconds; an interval that is not positive is not known. Raises ValueListError.
    """
    if not 0 < len(values) == len(kinds) <= VALUES_MAX:
        raise ValueListError("no values, or too many")
    if not (identity.host and identity.plugin and identity.type):
        raise ValueListError("no host, plugin or type")
    if not 0 < time < 1 << 33:
        raise ValueListError("a time out of range")
    if not (math.isfinite(interval) and interval < 1 << 33):
        raise ValueListError("an interval out of range")
    parts = [_TIMES.pack(8, 12, round(time * SECOND), 9, 12, max(0, round(interval * SECOND)))]
    for part, field in zip(_FIELDS, identity, strict=True):
        if len(field) > NAME_MAX or b"\0" in field:
            raise ValueListError("a name that is too long, or has a NUL")
        parts += [_PART.pack(part, 5 + len(field)), field, b"\0"]
    parts += [_HEAD.pack(VALUES, 6 + 9 * len(kinds), len(kinds)), kinds]
    parts += [_value(kind, value) for kind, value in zip(kinds, values, strict=True)]
    return b"".join(parts)


def _value(kind: int, value: float) -> bytes:
    if kind == GAUGE:
        try:
            return _GAUGE.pack(float(value))
        except OverflowError:
            return _GAUGE.pack(math.inf if value > 0 else -math.inf)
    low, high = _INTEGERS[kind]
    if not isinstance(value, int) or not low <= value < high:
        raise ValueListError("a counter that is no integer of 64 bits")
    return value.to_bytes(8, "big", signed=low < 0)
