"""Answers of /render as JSON of three kinds, CSV and raw text, as graphite-web 1.1.10 writes them.

Series come as rows of float64, NaN = no point. JSON is what dashboards ask for: it leaves through a kernel, or else,
like the other formats, through ``tolist`` and C encoders.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from itertools import chain
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import encode_compiled
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError

_QUARTER: Final = 900
"""Clocks are put forward or back at multiples of 15 minutes."""

_EXACT: Final = 2.0**53
"""From here on a float64 is not every integer."""

_CONTROL: Final = dict.fromkeys([*range(32), *range(127, 160), 0x2028, 0x2029], " ")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Beginnings of formulas, and what spreadsheets skip before them; some take the wide forms of East Asia, too."""
_FORMULA_WITHIN: Final = re.compile(r"[;|\t]\s*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Where lists are cut at semicolons, an unquoted ``a;=f()`` has a formula. Tagged names as such stay unquoted."""


def _numbers(values: NDArray[np.float64], ints: bool) -> list[Any]:
    """The values as Python numbers, NaN kept; Python's own integers where Graphite has integers."""
    if ints:
        known = ~np.isnan(values)
        if are_whole(values[known]):
            numbers = np.empty(len(values), object)
            numbers[known] = values[known].astype(np.int64).tolist()
            numbers[~known] = math.nan
            return list(numbers)
    return list(values.tolist())


def are_whole(values: NDArray[np.float64]) -> bool:
    """Whether all of ``values``, said to be integers, can be written as such: a float64 beyond 2**53 is not exact."""
    return bool((np.abs(values) < _EXACT).all())


def json_bytes(series: Sequence[Series], no_null_points: bool = False, pretty: bool = False) -> bytes:
    """What :func:`to_json` writes, in ASCII."""
    if encode_compiled is None:
        return to_json(series, no_null_points, pretty).encode()
    encode = json.JSONEncoder(indent=2 if pretty else None).encode
    heads, values, times = [], [], []
    # Series mostly share their times.
    known: dict[tuple[int, int, int, int], range] = {}
    for one in series:
        if len(one.tags) == 1 and one.tags.get("name") is one.name and not pretty:
            name = quoted(one.name)
            tags = f'{{"name": {name}}}'
        else:
            name = encode(one.name)
            tags = encode({str(key): value for key, value in one.tags.items()})
        heads.append(f'{{"target": {name}, "tags": {tags}, "datapoints": '.encode())
        values.append(one.values)
        span = (one.start, one.end, one.step, one.values_per_point)
        when = known.get(span) or known.setdefault(span, one.timestamps())
        times.append((min(len(when), len(one.values)), when.start, when.step, one.ints))
    try:
        return encode_compiled(heads, values, times, no_null_points, b",\n" if pretty else b", ")
    except OverflowError:  # times beyond 64 bits
        return to_json(series, no_null_points, pretty).encode()


def to_json(series: Sequence[Series], no_null_points: bool = False, pretty: bool = False) -> str:
    """A list of ``{"target", "tags", "datapoints": [[value, timestamp], ...]}``.

    NaN is null, an infinity 1e9999: what graphite-web sends and browsers read as infinite. ``no_null_points`` leaves
    out nulls and then series without points.

    Series mostly share their times, so the text of the times becomes a template that one formatting call fills with a
    series' values; encoding pairs took more than twice as long.
    """
    encode = json.JSONEncoder(indent=2 if pretty else None).encode
    templates: dict[tuple[range, int], str] = {}
    items = []
    for one in series:
        times = one.timestamps()
        values = one.values[: len(times)]
        if no_null_points:
            known = ~np.isnan(values)
            if not known.any():
                continue
            template = _template(np.array(times, np.int64)[: len(values)][known].tolist())
            values = values[known]
        else:
            key = (times, len(values))
            template = templates.get(key) or templates.setdefault(key, _template(times[: len(values)]))
        # Only the datapoints are changed: a name may hold these words.
        points = (template % tuple(_numbers(values, one.ints))).replace("nan", "null").replace("inf", "1e9999")
        tags = encode({str(key): value for key, value in one.tags.items()})
        items.append(f'{{"target": {encode(one.name)}, "tags": {tags}, "datapoints": [{points}]}}')
    return "[" + (",\n" if pretty else ", ").join(items) + "]"


def _template(times: Sequence[int]) -> str:
    return ",".join([f"[%r,{time}]" for time in times])


def to_dygraph(series: Sequence[Series]) -> str:
    """``{"labels": ["Time", name, ...], "data": [[milliseconds, value, ...], ...]}``, or ``{}`` of no series.

    The rows have the times of the first series. Numbers are written as in :func:`to_json`.

    :raises QueryError: the others have more or fewer points.
    """
    if not series:
        return "{}"
    times = range(series[0].start, series[0].end, max(series[0].step, 1))
    if any(len(one.values) != len(times) for one in series):
        raise QueryError("dygraph: the series differ in their number of points")
    columns = [_numbers(one.values, one.ints) for one in series]
    template = ", ".join([f"[{time}000{', %r' * len(series)}]" for time in times])
    rows = template % tuple(chain.from_iterable(zip(*columns, strict=True)))
    data = rows.replace("nan", "null").replace("inf", "1e9999")
    return f'{{"labels" : {json.dumps(["Time", *(one.name for one in series)])}, "data" : [{data}]}}'


def to_rickshaw(series: Sequence[Series], pretty: bool = False) -> str:
    """A list of ``{"target", "datapoints": [{"x": time, "y": value}, ...]}``; numbers as in :func:`to_json`."""
    encode = json.JSONEncoder(indent=2 if pretty else None).encode
    items = []
    for one in series:
        times = range(one.start, one.end, max(one.step, 1))[: len(one.values)]
        template = ", ".join([f'{{"x": {time}, "y": %r}}' for time in times])
        points = template % tuple(_numbers(one.values[: len(times)], one.ints))
        points = points.replace("nan", "null").replace("inf", "1e9999")
        items.append(f'{{"target": {encode(one.name)}, "datapoints": [{points}]}}')
    return "[" + (",\n" if pretty else ", ").join(items) + "]"


def to_csv(series: Sequence[Series], tz: tzinfo) -> str:
    """Lines ``name,%Y-%m-%d %H:%M:%S,value`` with CRLF, times in ``tz``, nothing for null.

    A name at whose beginning a spreadsheet would see a formula is given an apostrophe: names come from the network.
    """
    parts = []
    for one in series:
        times = one.start + one.step * np.arange(len(one.values), dtype=np.int64)
        values = ["" if text == "nan" else text for text in map(repr, _numbers(one.values, one.ints))]
        name = _csv_field(str(one.name))
        parts += [f"{name},{time},{value}\r\n" for time, value in zip(_local_times(times, tz), values, strict=True)]
    return "".join(parts)


def _csv_field(name: str) -> str:
    if name.startswith(_FORMULA):
        name = "'" + name
    if any(c in name for c in ',"\r\n') or _FORMULA_WITHIN.search(name):
        return '"' + name.replace('"', '""') + '"'
    return name


def _local_times(times: NDArray[np.int64], tz: tzinfo) -> list[str]:
    """Epochs as ``%Y-%m-%d %H:%M:%S`` in ``tz``."""
    if not len(times):
        return []
    if tz is not UTC:
        quarters, of = np.unique(times // _QUARTER, return_inverse=True)
        offsets: NDArray[np.int64] = np.array(
            [_offset(quarter * _QUARTER, tz) for quarter in quarters.tolist()], np.int64
        )
        times = times + offsets[of]
    return "\n".join(np.datetime_as_string(times.astype("datetime64[s]")).tolist()).replace("T", " ").split("\n")


def _offset(time: int, tz: tzinfo) -> int:
    offset = datetime.fromtimestamp(time, tz).utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def to_raw(series: Sequence[Series]) -> str:
    """Lines ``name,start,end,step|value,...``: Python's ``repr``, ``None`` for null. A name is kept on its line."""
    lines = []
    for one in series:
        values = ",".join(map(repr, _numbers(one.values, one.ints))).replace("nan", "None")
        name = str(one.name).translate(_CONTROL)
        lines.append(f"{name},{one.start},{one.end},{one.step}|{values}\n")
    return "".join(lines)
