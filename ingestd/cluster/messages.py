"""What nodes say to each other when one gathers the answers of all: one message of msgpack, ``docs/format/peer.md``.

A message is flat: its version, its kind, numbers and bytes, and a checksum. What a kind is made of stands in one table
(:data:`FORMS`); columns are raw and little-endian, texts one blob. A message comes from another machine, so each field
is looked at before it is built: what is no message raises :class:`PeerError`, and nothing costs more than its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ingestd.points import Rows, Window

VERSION: Final = 1
GROUPS_MAX: Final = 10_000
"""Windows of one answer: a store has a few layouts; an answer is read in pieces."""
_HEAD: Final = 2
_CRC_SIZE: Final = 4
_GROUP: Final = 5
_FIELDS_MAX: Final = _HEAD + _GROUP * GROUPS_MAX + 1
# The first bytes of a value (the msgpack specification, formats): fixints and integers of 8 to 64 bits, bin 8 to 32.
_NUMBERS: Final = frozenset([*range(0x80), *range(0xCC, 0xD4), *range(0xE0, 0x100)])
_BYTES: Final = {0xC4: 2, 0xC5: 3, 0xC6: 5}
"""How long the head of bytes is, by its first byte."""
_INT64: Final = range(-(1 << 63), 1 << 63)


class PeerError(Exception):
    """Bytes that are no message, or one of another kind; values that cannot be one."""


class Kind(IntEnum):
    """Questions, and from 64 on answers."""

    FIND = 1
    """Series of a pattern."""
    FIND_TAGGED = 2
    """Series of tag expressions."""
    MATCHES = 3
    """Nodes of a pattern; 1: leaves alone."""
    PATHS = 4
    """All paths without tags."""
    FETCH = 5
    """Ids, start, until, now."""
    TOTAL = 6
    """Ids, where each group of them ends, start, until, now, manner."""
    EXPLAIN = 7
    """Ids, start, until, now."""
    TAGS = 8
    """Tags, or those that a regular expression fits."""
    VALUES = 9
    """A tag, a regular expression for its values or nothing, the nodes of a key, the partitions to be counted."""
    COMPLETE_TAGS = 10
    """Expressions, prefix, limit."""
    COMPLETE_VALUES = 11
    """Expressions, tag, prefix, limit."""
    EVENTS = 12
    """Start, until; 1: of these tags; the tags; the operation of their set or nothing."""
    EVENT = 13
    """One event by its id."""
    HELD = 14
    """The nodes of a key, partitions."""
    PIECE = 15
    """The nodes of a key, partitions; retentions, archive, block; the path to go on after; how many series."""
    DIGEST = 16
    """The nodes of a key, partitions; retentions, archive, block; the second until which slots count."""
    PLACE = 17
    """Retentions, archive, block; 1: over what is there; paths, and their slots' values."""

    REFUSED = 64
    """Why whoever asked is to blame."""
    SERIES = 65
    """Ids and paths."""
    NODES = 66
    """Paths, and of each 1 for a leaf or 0 for a branch."""
    TEXTS = 67
    ROWS = 68
    """Of each window its start, end, step, the positions of its rows, their values row by row."""
    TOTALS = 69
    """1: there are totals; start, end, step; values of group after group, counts."""
    COUNTS = 70
    """Texts, and how many there are of each."""
    BLOCKS = 71
    """How many series had other retentions once; retentions; of each block which of them, archive, number and end."""
    SLOTS = 72
    """1: there may be more; the last path that was looked at; paths, and their slots' values."""
    DIGESTED = 73
    """How many series have a value, and a checksum of these."""
    TAKEN = 74
    """How many points."""


ANSWERS: Final = {
    Kind.FIND: Kind.SERIES,
    Kind.FIND_TAGGED: Kind.SERIES,
    Kind.MATCHES: Kind.NODES,
    Kind.PATHS: Kind.TEXTS,
    Kind.FETCH: Kind.ROWS,
    Kind.TOTAL: Kind.TOTALS,
    Kind.EXPLAIN: Kind.TEXTS,
    Kind.TAGS: Kind.TEXTS,
    Kind.VALUES: Kind.COUNTS,
    Kind.COMPLETE_TAGS: Kind.TEXTS,
    Kind.COMPLETE_VALUES: Kind.TEXTS,
    Kind.EVENTS: Kind.TEXTS,
    Kind.EVENT: Kind.TEXTS,
    Kind.HELD: Kind.BLOCKS,
    Kind.PIECE: Kind.SLOTS,
    Kind.DIGEST: Kind.DIGESTED,
    Kind.PLACE: Kind.TAKEN,
}
"""The kind of answer to each kind of question; to any of them it may be ``REFUSED``."""

_WINDOW: Final = ("number", "number", "number")
_SHARE: Final = ("number", "uint32")
_BLOCK: Final = ("text", "number", "number")
FORMS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.FIND: ("text",),
    Kind.FIND_TAGGED: ("texts",),
    Kind.MATCHES: ("text", "number"),
    Kind.PATHS: (),
    Kind.FETCH: ("uint32", *_WINDOW),
    Kind.TOTAL: ("uint32", "uint32", *_WINDOW, "text"),
    Kind.EXPLAIN: ("uint32", *_WINDOW),
    Kind.TAGS: ("text",),
    Kind.VALUES: ("text", "text", "number", "uint32"),
    Kind.COMPLETE_TAGS: ("texts", "text", "number"),
    Kind.COMPLETE_VALUES: ("texts", "text", "text", "number"),
    Kind.EVENTS: ("number", "number", "number", "texts", "text"),
    Kind.EVENT: ("number",),
    Kind.HELD: _SHARE,
    Kind.PIECE: (*_SHARE, *_BLOCK, "text", "number"),
    Kind.DIGEST: (*_SHARE, *_BLOCK, "number"),
    Kind.PLACE: (*_BLOCK, "number", "texts", "float64"),
    Kind.REFUSED: ("text",),
    Kind.SERIES: ("uint32", "texts"),
    Kind.NODES: ("texts", "uint8"),
    Kind.TEXTS: ("texts",),
    Kind.ROWS: ("rows",),
    Kind.TOTALS: ("number", *_WINDOW, "float64", "float64"),
    Kind.COUNTS: ("texts", "int64"),
    Kind.BLOCKS: ("number", "texts", "uint32", "uint32", "int64", "int64"),
    Kind.SLOTS: ("number", "text", "texts", "float64"),
    Kind.DIGESTED: ("number", "number"),
    Kind.TAKEN: ("number",),
}
"""What each kind is made of: the values that :func:`encode` takes and :func:`decode` gives.

``number`` is an int of 64 bits, ``text`` a str, ``texts`` a list of str, ``rows`` a list of
:class:`~ingestd.points.Rows`; all others are one-dimensional arrays of that dtype.
"""

_COLUMNS: Final = {name: np.dtype(name).newbyteorder("<") for name in ("uint8", "uint32", "int64", "float64")}


def encode(kind: Kind, *values: Any) -> bytes:
    """The message of this kind. Raises :class:`PeerError`: a number has over 64 bits, or a text lone surrogates."""
    fields: list[Any] = [VERSION, int(kind)]
    for form, value in zip(FORMS[kind], values, strict=True):
        if form == "number":
            fields.append(_checked(value))
        elif form == "text":
            fields.append(_bytes(value))
        elif form == "texts":
            fields += _texts(value)
        elif form == "rows":
            for rows in value:
                fields += [*map(_checked, rows.window), _raw(rows.positions, "uint32"), _raw(rows.values, "float64")]
        else:
            fields.append(_raw(value, form))
    message: bytes = msgpack.packb([*fields, bytes(_CRC_SIZE)])
    return message[:-_CRC_SIZE] + crc32c(memoryview(message)[:-_CRC_SIZE]).to_bytes(_CRC_SIZE, "little")


def decode(message: bytes | bytearray) -> tuple[Kind, list[Any]]:
    """The kind of a message and its values. Arrays are the receiver's own. Raises :class:`PeerError`."""
    if crc32c(memoryview(message)[:-_CRC_SIZE]).to_bytes(_CRC_SIZE, "little") != message[-_CRC_SIZE:]:
        raise PeerError("wrong checksum")
    fields = _unpack(message)
    if fields[0] != VERSION:
        raise PeerError(f"a message of version {fields[0]!r:.20}; this is version {VERSION}")
    try:
        kind = Kind(fields[1])
    except ValueError:
        raise PeerError("a message of a kind that is not known") from None
    rest = iter(fields[_HEAD:-1])
    try:
        values = [_READERS[form](rest) for form in FORMS[kind]]
    except StopIteration:
        raise PeerError("a message without its end") from None
    if next(rest, None) is not None:
        raise PeerError("a message with more than there is of its kind")
    return kind, values


def _checked(number: int) -> int:
    if number not in _INT64:
        raise PeerError("a number of more than 64 bits")
    return number


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise PeerError("a text that is no Unicode") from None


def _raw(column: NDArray[Any], dtype: str) -> bytes:
    return column.astype(_COLUMNS[dtype], copy=False).tobytes()


def _texts(texts: Sequence[str]) -> list[bytes]:
    """The blob of texts, and where each ends in it."""
    blob = "".join(texts)
    if blob.isascii():
        sizes: Any = map(len, texts)
        joined = blob.encode()
    else:
        parts = list(map(_bytes, texts))
        sizes, joined = map(len, parts), b"".join(parts)
    return [joined, _raw(np.cumsum(np.fromiter(sizes, np.int64, len(texts))), "uint32")]


def _unpack(message: bytes | bytearray) -> list[Any]:
    """The fields: numbers, and views of what is bytes. Raises :class:`PeerError`."""
    size, view = len(message), memoryview(message)
    unpacker = msgpack.Unpacker(
        max_buffer_size=size, max_array_len=_FIELDS_MAX, max_map_len=0, max_str_len=0, max_ext_len=0, max_bin_len=size
    )
    fields: list[Any] = []
    try:
        unpacker.feed(message)
        for _ in range(unpacker.read_array_header()):
            # Before anything is built: an array of arrays would cost many times its bytes.
            at = unpacker.tell()
            first = message[at]
            if first in _NUMBERS:
                fields.append(unpacker.unpack())
            elif first in _BYTES:
                unpacker.skip()
                fields.append(view[at + _BYTES[first] : unpacker.tell()])
            else:
                raise PeerError("a field of another type")
    except (msgpack.UnpackException, ValueError, IndexError) as error:
        raise PeerError("not a message") from error
    if unpacker.tell() != size or len(fields) < _HEAD + 1 or isinstance(fields[-1], int):
        raise PeerError("not a message")
    if len(fields[-1]) != _CRC_SIZE or not isinstance(fields[0], int) or not isinstance(fields[1], int):
        raise PeerError("not a message")
    return fields


def _number(fields: Iterator[Any]) -> int:
    value = next(fields)
    if not isinstance(value, int) or value not in _INT64:
        raise PeerError("a field that is no number")
    return value


def _blob(fields: Iterator[Any]) -> memoryview:
    value = next(fields)
    if not isinstance(value, memoryview):
        raise PeerError("a field that is no bytes")
    return value


def _text(fields: Iterator[Any]) -> str:
    return _decoded(bytes(_blob(fields)))


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PeerError("a text that is no UTF-8") from None


def _column(dtype: str) -> Callable[[Iterator[Any]], NDArray[Any]]:
    little = _COLUMNS[dtype]

    def read(fields: Iterator[Any]) -> NDArray[Any]:
        data = _blob(fields)
        if len(data) % little.itemsize:
            raise PeerError("part of a number")
        # Copied: what lies in a message is not aligned.
        return np.frombuffer(data, little).astype(little.newbyteorder("="))

    return read


def _read_texts(fields: Iterator[Any]) -> list[str]:
    blob, ends = bytes(_blob(fields)), _column("uint32")(fields)
    if (ends[1:] < ends[:-1]).any() or (int(ends[-1]) if len(ends) else 0) != len(blob):
        raise PeerError("texts that do not fill their blob")
    bounds = ends.tolist()
    if blob.isascii():
        whole = blob.decode("ascii")
        return [whole[a:b] for a, b in zip([0, *bounds], bounds, strict=False)]
    return [_decoded(blob[a:b]) for a, b in zip([0, *bounds], bounds, strict=False)]


def _read_rows(fields: Iterator[Any]) -> list[Rows]:
    found = []
    for start in fields:
        window = window_of(_number(iter((start,))), _number(fields), _number(fields))
        positions, values = _column("uint32")(fields), _column("float64")(fields)
        if len(positions) * window.slots != len(values):
            raise PeerError("values that do not fill their rows")
        found.append(Rows(window, positions.astype(np.intp), values.reshape(len(positions), window.slots)))
    return found


def window_of(start: int, end: int, step: int) -> Window:
    """A window that can be. Raises :class:`PeerError`."""
    if step <= 0 or end < start or start % step or end % step:
        raise PeerError("a window that cannot be")
    return Window(start, end, step)


_READERS: Final[dict[str, Callable[[Iterator[Any]], Any]]] = {
    "number": _number,
    "text": _text,
    "texts": _read_texts,
    "rows": _read_rows,
    **{dtype: _column(dtype) for dtype in _COLUMNS},
}
