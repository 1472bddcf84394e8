"""Answers in pickle and msgpack, as graphite-web 1.1.10 gives them to another graphite-web or to carbonapi.

Pickles are only ever written, of plain lists, dicts, texts and numbers in protocol 2, which every reader takes; nothing
here can load one. The values of a series are written as a table of cells of one size, so that their number costs no
Python: nine bytes for a float64 in either format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]
import numpy as np
from numpy.typing import NDArray

from ingestd.query.grid import Series
from ingestd.serve.formats import are_whole

BINARY: Final = {"pickle": "application/pickle", "msgpack": "application/x-msgpack"}
"""Content types, without a charset behind them: graphite-web's reader of msgpack knows this very text alone."""
_INT32: Final = 1 << 31
_INT64: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Column:
    """Values as a list of an answer: float64[n], NaN = null; whole ones as integers where ``ints``."""

    values: NDArray[np.float64]
    ints: bool = False


def series_records(series: Sequence[Series]) -> list[dict[str, Any]]:
    """The answer of /render: what graphite-web's ``TimeSeries.getInfo`` says of each series."""
    return [
        {
            "name": str(one.name),
            "start": one.start,
            "end": one.end,
            "step": one.step,
            "values": Column(one.values, one.ints),
            "pathExpression": str(one.path_expression),
            "valuesPerPoint": one.values_per_point,
            "consolidationFunc": one.consolidation_func,
            "xFilesFactor": one.x_files_factor,
        }
        for one in series
    ]


def pickle_bytes(data: object) -> bytes:
    """``data``, made of lists, dicts, texts, numbers, None and :class:`Column`, as a pickle of protocol 2."""
    parts = [b"\x80\x02"]
    _pickle(data, parts.append)
    parts.append(b".")
    return b"".join(parts)


def _pickle(data: object, put: Callable[[bytes], None]) -> None:
    if isinstance(data, str):
        put(_pickled_text(data))
    elif data is None or isinstance(data, bool):
        put(b"N" if data is None else b"\x88" if data else b"\x89")
    elif isinstance(data, int):
        put(_pickled_integer(data))
    elif isinstance(data, float):
        put(struct.pack(">cd", b"G", data))
    elif isinstance(data, Column):
        put(b"](" + _cells(data, b"G", ">f8", b"\x8a\x08", "<i8", b"N") + b"e")
    elif isinstance(data, dict):
        put(b"}(")
        for key, value in data.items():
            put(_pickled_text(key))
            _pickle(value, put)
        put(b"u")
    elif isinstance(data, list):
        put(b"](")
        for item in data:
            _pickle(item, put)
        put(b"e")
    else:
        raise TypeError(f"{type(data).__name__} is not written")


def _pickled_text(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return struct.pack("<cI", b"X", len(encoded)) + encoded


def _pickled_integer(number: int) -> bytes:
    if -_INT32 <= number < _INT32:
        return struct.pack("<ci", b"J", number)
    size = number.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + number.to_bytes(size, "little", signed=True)


def msgpack_bytes(data: object) -> bytes:
    """``data``, as :func:`pickle_bytes` takes it, in msgpack with texts as ``str``. Integers have at most 64 bits."""
    packer = msgpack.Packer(use_bin_type=True, unicode_errors="surrogatepass")
    parts: list[bytes] = []
    _msgpack(data, packer, parts.append)
    return b"".join(parts)


def _msgpack(data: object, packer: msgpack.Packer, put: Callable[[bytes], None]) -> None:
    if isinstance(data, Column):
        put(packer.pack_array_header(len(data.values)) + _cells(data, b"\xcb", ">f8", b"\xd3", ">i8", b"\xc0"))
    elif isinstance(data, dict):
        put(packer.pack_map_header(len(data)))
        for key, value in data.items():
            put(packer.pack(key))
            _msgpack(value, packer, put)
    elif isinstance(data, list):
        put(packer.pack_array_header(len(data)))
        for item in data:
            _msgpack(item, packer, put)
    else:
        put(packer.pack(data))


def _cells(column: Column, real: bytes, real_type: str, whole: bytes, whole_type: str, null: bytes) -> bytes:
    """The values one after another: a number is a mark and eight bytes, a null one byte."""
    values = column.values
    known = ~np.isnan(values)
    ints = column.ints and are_whole(values[known])
    mark, kind = (whole, whole_type) if ints else (real, real_type)
    numbers = np.where(known, values, 0.0).astype(kind)
    cells = np.empty((len(values), len(mark) + 8), np.uint8)
    cells[:, : len(mark)] = np.frombuffer(mark, np.uint8)
    cells[:, len(mark) :] = numbers.view(np.uint8).reshape(-1, 8)
    if known.all():
        return cells.tobytes()
    kept = np.ones(cells.shape, np.bool_)
    kept[~known, 1:] = False
    cells[~known, 0] = null[0]
    return cells[kept].tobytes()
