"""collectd's JSON: an array of value lists, what its amqp and write_http plugins write (``format_json.c`` of 5.12).

An object without ``values`` is an alert of a notification and is passed over, as is ``meta``. A sender with StoreRates
writes rates in the place of counters and still says that they are counters; what tells is that a rate has a fraction,
or is null where none could be computed, and that a counter never does. Whoever has sent such a thing lately sends
rates: his other values are taken as they are, too.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ingestd.wire.graphite_names import Identity
from ingestd.wire.packets import ValueListError, packed
from ingestd.wire.typesdb import ABSOLUTE, COUNTER, DERIVE, GAUGE, TypesDB

JsonRates: TypeAlias = Literal["auto", "always", "never"]
LISTS_MAX: Final = 10_000
"""Value lists of a message: a megabyte has 5,000."""
_HOSTS_MAX: Final = 100_000
"""Senders of rates that are remembered."""
_REMEMBERED: Final = 600.0
"""Seconds: a sender that has shown no rate for so long may have been set up anew."""
_KINDS: Final = {"counter": COUNTER, "gauge": GAUGE, "derive": DERIVE, "absolute": ABSOLUTE}
_STRINGS: Final = ("host", "plugin", "plugin_instance", "type", "type_instance")


class JsonRead(NamedTuple):
    """Value lists as parts of the binary protocol, and how many values could not be read."""

    parts: list[bytes]
    malformed: int


class JsonReader:
    """Reads messages of one source of them, and remembers who sends rates."""

    def __init__(self, rates: JsonRates = "auto") -> None:
        self._rates = rates
        self._senders: OrderedDict[bytes, float] = OrderedDict()

    def read(self, body: bytes, types: TypesDB, now: float) -> JsonRead:
        """All value lists of a message. Raises ValueListError for what is none; ``now`` in seconds."""
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ValueListError("not JSON, or too deep") from error
        lists = whole if isinstance(whole, list) else [whole]
        if len(lists) > LISTS_MAX:
            raise ValueListError("too many value lists")
        parts: list[bytes] = []
        malformed = 0
        for one in lists:
            if not isinstance(one, dict):
                malformed += 1
            elif "values" in one:
                try:
                    parts.append(self._value_list(one, types, now))
                except ValueListError:
                    malformed += len(one["values"]) if isinstance(one["values"], list) and one["values"] else 1
            elif "labels" not in one:
                malformed += 1
        return JsonRead(parts, malformed)

    def _value_list(self, one: dict[str, Any], types: TypesDB, now: float) -> bytes:
        identity = Identity(*(_bytes(one.get(key, "")) for key in _STRINGS))
        values = one["values"]
        if not isinstance(values, list) or not all(value is None or _is_number(value) for value in values):
            raise ValueListError("values that are none")
        kinds = _kinds(one.get("dstypes"), types, identity, len(values))
        if len(kinds) != len(values):
            raise ValueListError("another number of values than of types")
        if self._sends_rates(identity.host, kinds, values, now):
            kinds = bytes([GAUGE]) * len(kinds)
        sound = [math.nan if value is None else value for value in values]
        return packed(identity, _seconds(one.get("time")), _seconds(one.get("interval", 0)), kinds, sound)

    def _sends_rates(self, host: bytes, kinds: bytes, values: list[Any], now: float) -> bool:
        if self._rates != "auto":
            return self._rates == "always"
        if any(kind != GAUGE and not isinstance(value, int) for kind, value in zip(kinds, values, strict=True)):
            self._senders[host] = now
            self._senders.move_to_end(host)
            if len(self._senders) > _HOSTS_MAX:
                self._senders.popitem(last=False)
            return True
        return abs(now - self._senders.get(host, -math.inf)) <= _REMEMBERED


def _kinds(names: Any, types: TypesDB, identity: Identity, count: int) -> bytes:
    """The kinds of the values as the message says, or else types.db; gauges where neither does."""
    if names is None:
        return bytes(source.kind for source in types.types.get(identity.type, ())) or bytes([GAUGE]) * count
    if not isinstance(names, list) or not all(isinstance(name, str) and name in _KINDS for name in names):
        raise ValueListError("types that are none")
    return bytes(_KINDS[name] for name in names)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any) -> float:
    if not _is_number(value):
        raise ValueListError("a time that is no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueListError("a time out of range") from None


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueListError("a name that is no text")
    return value.encode("utf-8", "surrogatepass")
