"""Graphite's plaintext protocol: ``path value timestamp`` lines to one batch.

The grammar is carbon's, without what Python adds to it: blanks are space and tab, numbers are ASCII decimals, one CR
may stand before the LF. :func:`parse_line` is that grammar, a line at a time, and the reference;
:func:`parse_lines` gives the same for a whole buffer in a few vectorised passes and hands every line in which it sees
anything but three plain fields to the reference.

That the buffer has three tokens a line on average proves nothing (``a.b 1`` and ``7 9 3 4`` have six): the fast
path looks at the position of every byte up to 0x20, and takes a line only if these are exactly blank, blank, LF.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import Table, parse_compiled
from ingestd.points import UNKNOWN, Batch, NameTable, NewName, NewNames, Parsed, Times, Values, empty_batch

_FIELDS = re.compile(rb"[^ \t]+").findall
# Possessive, so that 16 KiB of digits and a letter cost one pass.
_NUMBER = re.compile(rb"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+").fullmatch
_WORD = re.compile(rb"[+-]?(?:nan|inf|infinity)", re.IGNORECASE).fullmatch
_FRACTIONAL_STAMP = re.compile(rb"[0-9]{10}\.[0-9]*+").fullmatch
_REFUSED_IN_PATH = re.compile(r"[\x00-\x1f\x7f*?\[\]{}]").search
_PLAIN_NODE = rb"[!-)+,\-0-:<->@-Z\\^-z|~]++"
_PLAIN = re.compile(rb"(?:%s\.)*+%s" % (_PLAIN_NODE, _PLAIN_NODE)).fullmatch
_DOTS = re.compile(r"\.[./]+").sub
_REFUSED_IN_KEY = re.compile(r"[!^]").search
_LF, _SPACE = 10, 32
FEW_BYTES: Final = 1024
"""Input up to which each line goes to the reference: the passes have a fixed cost, that of some 15 lines."""
FEW_VALUES: Final = 200
"""Values up to which float() is asked for each, for the same reason."""
_STAMP_DIGITS: Final = 10
"""Digits of a timestamp that the fast path reads: every second from 2001 to 2286 has ten."""
_VALUE_WIDTH: Final = 15
"""Bytes of a value that the fast path reads: 15 digits are below 2**53, so both they and powers of ten are exact."""
_DOT, _MINUS = (ord(".") - ord("0")) % 256, ord("-")
_POWERS = 10.0 ** np.arange(_VALUE_WIDTH + 1)
# By the places from the dot to the end, the dot included; 0 = no dot.
_ABOVE_DOT = _POWERS
_DOT_GAP = np.concatenate([[0.0], 9 * _POWERS[:-1]])
_BELOW_DOT = np.concatenate([[1.0], _POWERS[:-1]])
_INT64_MAX: Final = (1 << 63) - 1

_Bools = NDArray[np.bool_]
_Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PathLimits:
    """How large a path may be. The defaults are far above what clients send and far below a line."""

    length: int = 4096
    """Bytes of UTF-8, tags included."""
    depth: int = 128
    """Nodes between dots."""
    tags: int = 64
    """Tags after canonicalisation."""


class Line(NamedTuple):
    """A line within the grammar whose path has not been looked at."""

    spelling: bytes
    value: float
    timestamp: int


def parse_line(line: bytes, now: int) -> Line | str | None:
    """One line without its LF: a :class:`Line`, the reason why it has none, or None for a blank line."""
    fields = _FIELDS(line.rstrip(b" \t").removesuffix(b"\r"))
    if not fields:
        return None
    if len(fields) != 3:
        return "malformed"
    timestamp, value = _timestamp(fields[2], now), _value(fields[1])
    if timestamp is None or value is None:
        return "malformed"
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else "infinite"
    return "too_new" if timestamp > _INT64_MAX else Line(fields[0], value, timestamp)


def _value(text: bytes) -> float | None:
    """The nearest double, infinite where it overflows; None if ``text`` is no value."""
    return float(text) if _NUMBER(text) or _WORD(text) else None


def _timestamp(text: bytes, now: int) -> int | None:
    """Seconds, the fraction cut (may be beyond int64); ``now`` for -1; None if ``text`` is no timestamp."""
    if not _NUMBER(text):
        return None
    number = float(text)
    if number == -1.0:
        return now
    if number < 0.0:
        return None
    if number >= float(1 << 63):
        return _INT64_MAX + 1
    if b"e" in text or b"E" in text:
        return int(number)
    # From the text: the nearest double of 1700000000.9999999999 is the next second.
    return int(text.partition(b".")[0].lstrip(b"+-0") or 0)


def canonical_path(spelling: bytes, limits: PathLimits) -> str | None:
    """The canonical path of a name as it stood on the wire, or None if it cannot be a path (reason ``path``).

    Runs of dots and leading dots collapse, and so do slashes that follow a dot: carbon, which makes a file's path of
    a name, puts all of these into one file. Tags are sorted as the texts ``;key=value``, the last of a repeated key
    wins, and ``name`` (the path itself) is dropped. Canonical paths are their own canonical paths.
    """
    if len(spelling) <= limits.length and _PLAIN(spelling):
        # As nearly all are: nothing that the rules below would change or refuse.
        return spelling.decode() if spelling.count(b".") < limits.depth else None
    try:
        text = spelling.decode()
    except UnicodeDecodeError:
        return None
    if _REFUSED_IN_PATH(text):
        return None
    name, semicolon, tagged = text.partition(";")
    if name[:1] == "." or ".." in name or "./" in name:
        name = _DOTS(".", name.lstrip("."))
    if not name or name[-1] == "." or name.count(".") >= limits.depth:
        return None
    tags = _canonical_tags(tagged, limits) if semicolon else ""
    if tags is None:
        return None
    path = name + tags
    return path if len(path.encode()) <= limits.length else None


def _canonical_tags(text: str, limits: PathLimits) -> str | None:
    """``key=value;key=value`` as sorted texts ``;key=value``, or None if one of them is no tag or they are too many."""
    tags: dict[str, str] = {}
    for segment in text.split(";"):
        key, _, value = segment.partition("=")
        if not key or not value or value[0] == "~" or _REFUSED_IN_KEY(key):
            return None
        tags[key] = value
    tags.pop("name", None)
    if len(tags) > limits.tags:
        return None
    return "".join(sorted(f";{key}={value}" for key, value in tags.items()))


def parse_lines(data: bytes, names: NameTable, now: int, limits: PathLimits) -> Parsed:
    """All lines of ``data`` as one batch in their order; what follows the last LF is a line too.

    Equal, on any bytes, to :func:`parse_line` of every line followed by :func:`canonical_path` of every spelling
    that ``names`` does not hold. ``now`` in seconds stands in for the timestamp -1. Nothing of ``data`` is kept.
    Compiled where ``names`` is a compiled table.
    """
    if not data:
        return Parsed(empty_batch())
    if data[-1] != _LF:
        data += b"\n"
    if parse_compiled is not None and isinstance(names, Table):
        ids, timestamps, values, rows, missing, odd, refused = parse_compiled(
            data, names, now, parse_line, limits.length, limits.depth
        )
        return _with_unknown(Batch(ids, timestamps, values), rows, missing, odd, limits, refused)
    return _parse_vectorised(data, names, now, limits)


def _parse_vectorised(data: bytes, names: NameTable, now: int, limits: PathLimits) -> Parsed:
    """:func:`parse_lines` of whole lines in numpy."""
    rejected: Counter[str] = Counter()
    if len(data) <= FEW_BYTES:
        return _resolve(_read_few(data, now, rejected), names, limits, rejected)
    plain = data.replace(b"\r\n", b"\n") if b"\r" in data else data
    content = np.frombuffer(plain, np.uint8)
    marks = np.flatnonzero(content <= _SPACE)
    regular = _regular_lines(content, marks)
    if regular is not None:
        plain = _single_blanks(plain)
        content = np.frombuffer(plain, np.uint8)
        marks = np.flatnonzero(content <= _SPACE)
        regular = _regular_lines(content, marks)
    if regular is None:
        columns = _read_regular(plain, content, marks, now)
        lines = data.split(b"\n") if columns.doubtful.any() else []
    else:
        lines = data.split(b"\n")
        columns = _read_partly_regular(plain, regular, now)
    if lines:
        columns = _settle_doubtful(columns, lines, now, rejected)
    return _resolve(columns, names, limits, rejected)


class _Columns(NamedTuple):
    """What the passes over a buffer have found, a row a line; rows that are ``doubtful`` hold nothing yet."""

    spellings: list[bytes]
    timestamps: Times
    values: Values
    doubtful: _Bools


def _read_few(data: bytes, now: int, rejected: Counter[str]) -> _Columns:
    """Columns of a small buffer, by the reference alone."""
    found: list[Line] = []
    for text in data.split(b"\n"):
        line = parse_line(text, now)
        if isinstance(line, str):
            rejected[line] += 1
        elif line is not None:
            found.append(line)
    count = len(found)
    timestamps = np.fromiter((line.timestamp for line in found), np.int64, count)
    values = np.fromiter((line.value for line in found), np.float64, count)
    return _Columns([line.spelling for line in found], timestamps, values, np.zeros(count, np.bool_))


def _regular_lines(content: NDArray[np.uint8], marks: _Positions) -> _Bools | None:
    """Which lines are three fields with one space between; None if all are. ``marks``: the bytes up to 0x20."""
    separators = content[marks]
    filled = np.diff(marks, prepend=-1) > 1
    if len(marks) % 3 == 0 and filled.all():
        table = separators.reshape(-1, 3)
        if (table[:, :2] == _SPACE).all() and (table[:, 2] == _LF).all():
            return None
    ends = np.flatnonzero(separators == _LF)
    three = np.diff(ends, prepend=-1) == 3
    blank = separators == _SPACE
    # Where three is False these may be marks of another line: it does not matter then.
    second, first = np.maximum(ends - 1, 0), np.maximum(ends - 2, 0)
    regular: _Bools = three & blank[first] & blank[second] & filled[first] & filled[second] & filled[ends]
    return regular


def _single_blanks(data: bytes) -> bytes:
    """``data`` with one space for every run of blanks."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


def _read_regular(data: bytes, content: NDArray[np.uint8], marks: _Positions, now: int) -> _Columns:
    """Columns of a buffer in which every line is regular."""
    texts = data.split()
    firsts, seconds, ends = marks[0::3], marks[1::3], marks[2::3]
    values = _read_values(content, firsts + 1, seconds, texts[1::3])
    widths = ends - seconds - 1
    digits = _before(content, ends, min(int(widths.max()), _STAMP_DIGITS))
    odd = (widths != _STAMP_DIGITS) | (digits > 9).any(axis=0)
    timestamps = _number_of(digits).astype(np.int64)
    for row in np.flatnonzero(odd).tolist():
        text = texts[3 * row + 2]
        stamp = int(text[:_STAMP_DIGITS]) if _FRACTIONAL_STAMP(text) else _timestamp(text, now)
        if stamp is not None and stamp <= _INT64_MAX:
            timestamps[row] = stamp
            odd[row] = False
    return _Columns(texts[0::3], timestamps, values, odd | ~np.isfinite(values))


def _before(content: NDArray[np.uint8], ends: _Positions, width: int) -> NDArray[np.uint8]:
    """The ``width`` bytes before each of ``ends``, less ``0``, as uint8[width, n]: what one does to all runs in C.

    Wrong at ends below ``width``.
    """
    starts = np.maximum(ends - width, 0)
    # Rows of bytes as one item: a gather of bytes one by one takes five times as long.
    windows = np.ndarray(len(content) - width + 1, f"V{width}", content, strides=(1,))
    gathered = windows[starts].view(np.uint8).reshape(-1, width)
    return np.ascontiguousarray(gathered.T) - np.uint8(ord("0"))


def _number_of(digits: NDArray[np.uint8]) -> Values:
    """The decimal number of each column of ``digits`` uint8[places, n]; exact up to 15 places."""
    number: Values = digits[0].astype(np.float64)
    for place in digits[1:]:
        number *= 10.0
        number += place
    return number


def _read_values(content: NDArray[np.uint8], starts: _Positions, ends: _Positions, texts: Sequence[bytes]) -> Values:
    """The numbers at ``starts`` to ``ends``, which are ``texts``; NaN or infinite where one has to be looked at again.

    Up to 15 bytes of sign, digits and a dot are the quotient of an integer below 2**53 and a power of ten, both exact:
    one division rounds as float() does (W. D. Clinger, How to read floating point numbers accurately, 1990).
    """
    widths = ends - starts
    longer = widths > _VALUE_WIDTH
    if len(widths) <= FEW_VALUES or 2 * np.count_nonzero(longer) > len(widths):
        return _read_texts(texts)
    width = min(int(widths.max()), _VALUE_WIDTH)
    characters = _before(content, ends, width)
    characters *= np.arange(width)[:, None] >= (width - np.minimum(widths, width)).astype(np.int8)
    is_digit, is_dot = characters <= 9, characters == _DOT
    minus = content[starts] == _MINUS
    dots = is_dot.sum(axis=0, dtype=np.uint8)
    others = dots + minus
    odd = longer | (ends < width) | (dots > 1) | (others >= widths)
    odd |= (~is_digit).sum(axis=0, dtype=np.uint8) != others
    characters *= is_digit
    number = _number_of(characters)
    places = (is_dot * np.arange(width, 0, -1, dtype=np.uint8)[:, None]).max(axis=0)
    # The dot stood as a zero in the number: what is before it moves one place down.
    number -= np.floor(number / _ABOVE_DOT[places]) * _DOT_GAP[places]
    number /= _BELOW_DOT[places]
    np.negative(number, out=number, where=minus)
    if odd.any():
        number[odd] = _read_texts(list(compress(texts, odd.tolist())))
    return number


def _read_texts(texts: Sequence[bytes]) -> Values:
    """The numbers of ``texts``; NaN or infinite where a text has to be looked at again."""
    # Beyond the grammar float() takes underscores, and the words for NaN and infinity: no finite result.
    if b"_" not in b" ".join(texts):
        try:
            return np.fromiter(map(float, texts), np.float64, len(texts))
        except ValueError:
            pass
    return np.fromiter((float(t) if _NUMBER(t) else np.nan for t in texts), np.float64, len(texts))


def _read_partly_regular(plain: bytes, regular: _Bools, now: int) -> _Columns:
    """Columns of a buffer in which only the lines at ``regular`` are regular: all others are doubtful."""
    count = len(regular)
    rows = np.flatnonzero(regular)
    spellings = [b""] * count
    timestamps = np.zeros(count, np.int64)
    values = np.zeros(count, np.float64)
    doubtful = np.ones(count, np.bool_)
    if len(rows):
        data = b"\n".join(compress(plain.split(b"\n"), regular.tolist())) + b"\n"
        content = np.frombuffer(data, np.uint8)
        part = _read_regular(data, content, np.flatnonzero(content <= _SPACE), now)
        for row, spelling in zip(rows.tolist(), part.spellings, strict=True):
            spellings[row] = spelling
        timestamps[rows] = part.timestamps
        values[rows] = part.values
        doubtful[rows] = part.doubtful
    return _Columns(spellings, timestamps, values, doubtful)


def _settle_doubtful(columns: _Columns, lines: list[bytes], now: int, rejected: Counter[str]) -> _Columns:
    """Let the reference decide on every doubtful row, and leave out those that are no point."""
    spellings, timestamps, values, doubtful = columns
    kept = ~doubtful
    for row in np.flatnonzero(doubtful).tolist():
        line = parse_line(lines[row], now)
        if isinstance(line, str):
            rejected[line] += 1
        elif line is not None:
            spellings[row], values[row], timestamps[row] = line
            kept[row] = True
    return _Columns(list(compress(spellings, kept.tolist())), timestamps[kept], values[kept], doubtful[kept])


def _resolve(columns: _Columns, names: NameTable, limits: PathLimits, rejected: Counter[str]) -> Parsed:
    """Ids of the spellings; unknown ones are listed with their path, or refused if they cannot be one."""
    spellings, timestamps, values, _ = columns
    try:
        known = np.fromiter(map(names.get, spellings), np.uint32, len(spellings))
    except TypeError:  # a None among them
        found = list(map(names.get, spellings))
    else:
        return Parsed(Batch(known, timestamps, values), [], dict(rejected))
    ids = np.array([UNKNOWN if series is None else series for series in found], np.uint32)
    rows = np.flatnonzero(ids == UNKNOWN)
    missing = [spellings[row] for row in rows.tolist()]
    return _with_unknown(Batch(ids, timestamps, values), rows, missing, range(len(missing)), limits, dict(rejected))


def _with_unknown(
    batch: Batch,
    rows: NDArray[np.intp],
    spellings: list[bytes],
    odd: Sequence[int],
    limits: PathLimits,
    rejected: dict[str, int],
) -> Parsed:
    """``batch`` with the names of its ``rows`` that have no id, without the rows that can have none.

    Those ``spellings`` that are not at the places ``odd`` are their own paths for certain.
    """
    if not odd:
        return Parsed(batch, NewNames(rows, spellings), rejected)
    paths = {spelling: canonical_path(spelling, limits) for spelling in {spellings[place] for place in odd}}
    if all(path is not None and path.encode() == spelling for spelling, path in paths.items()):
        return Parsed(batch, NewNames(rows, spellings), rejected)
    unknown: list[NewName] = []
    refused: list[int] = []
    for row, spelling in zip(rows.tolist(), spellings, strict=True):
        path = paths[spelling] if spelling in paths else spelling.decode()
        if path is None:
            refused.append(row)
        else:
            unknown.append(NewName(row - len(refused), spelling, path))
    if refused:
        rejected["path"] = rejected.get("path", 0) + len(refused)
        kept = np.ones(len(batch), np.bool_)
        kept[refused] = False
        batch = Batch(batch.ids[kept], batch.timestamps[kept], batch.values[kept])
    return Parsed(batch, unknown, rejected)
