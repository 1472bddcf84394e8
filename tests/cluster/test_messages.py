"""Messages between nodes: what is said is understood, and nothing that is said does harm."""

import re
from pathlib import Path

import msgpack
import numpy as np
import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cluster.messages import ANSWERS, FORMS, Kind, PeerError, decode, encode
from ingestd.points import Rows, Window

numbers = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.lists(st.floats(allow_nan=True), max_size=5)


@st.composite
def rows(draw):
    step, first, slots, count = (draw(st.integers(*bounds)) for bounds in ((1, 60), (-5, 5), (0, 4), (0, 3)))
    cells = draw(st.lists(st.floats(), min_size=count * slots, max_size=count * slots))
    window = Window(first * step, (first + slots) * step, step)
    positions = np.array(draw(st.lists(st.integers(0, 99), min_size=count, max_size=count)), np.intp)
    return Rows(window, positions, np.array(cells, np.float64).reshape(count, slots))


def column(dtype):
    info = np.iinfo(dtype)
    return st.lists(st.integers(info.min, info.max), max_size=5).map(lambda cells: np.array(cells, dtype))


VALUES = {
    "number": numbers,
    "text": texts,
    "texts": st.lists(texts, max_size=4),
    "rows": st.lists(rows(), max_size=3),
    "float64": FLOATS.map(lambda cells: np.array(cells, np.float64)),
    **{dtype: column(dtype) for dtype in ("uint8", "uint32", "int64")},
}
messages = st.sampled_from(Kind).flatmap(
    lambda kind: st.tuples(st.just(kind), st.tuples(*(VALUES[form] for form in FORMS[kind])))
)


def same(one, other):
    if isinstance(one, Rows):
        return one.window == other.window and same(one.positions, other.positions) and same(one.values, other.values)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def sealed(message):
    return message[:-4] + crc32c(message[:-4]).to_bytes(4, "little")


@given(messages)
def test_what_is_said_is_understood(message):
    kind, values = message
    heard, understood = decode(encode(kind, *values))
    assert heard is kind
    assert same(list(values), understood)


@given(st.binary(max_size=80))
def test_bytes_are_no_message(data):
    with pytest.raises(PeerError):
        decode(data)


@given(messages, st.data())
def test_a_changed_byte_is_seen_or_harmless(message, data):
    whole = bytearray(encode(message[0], *message[1]))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PeerError):
        decode(bytes(whole))
    try:
        kind, values = decode(sealed(bytes(whole)))
    except PeerError:
        return
    assert same(decode(encode(kind, *values))[1], values)


@pytest.mark.parametrize(
    "fields",
    [
        [1],
        [2, 1, b"a.b"],
        [1, 99, b"a.b"],
        [1, 1],
        [1, 1, b"a", b"b"],
        [1, 1, 7],
        [1, 1, "a.b"],
        [1, 1, [b"a"]],
        [1, 1, {}],
        [1, 1, None],
        [1, 1, b"\xff"],
        [1, 1, 1.5],
        [b"", 1, b"a"],
        [1, b"", b"a"],
        [1, 2, b"ab", b"\x01\0\0\0"],
        [1, 2, b"ab", b"\x02\0\0\0\x01\0\0\0"],
        [1, 2, b"ab", b"\x02"],
        [1, 68, 0, 10, 0, b"", b""],
        [1, 68, 0, 10, 3, b"", b""],
        [1, 68, 10, 0, 10, b"", b""],
        [1, 68, 0, 10, 10, b"\0\0\0\0", b""],
        [1, 68, 0, 10, 10, b""],
        [1, 13, 2**64 - 1],
    ],
)
def test_what_is_none_is_refused(fields):
    with pytest.raises(PeerError):
        decode(sealed(msgpack.packb([*fields, bytes(4)])))


def test_numbers_and_texts_that_cannot_be_said_are_refused():
    with pytest.raises(PeerError):
        encode(Kind.EVENT, 2**63)
    with pytest.raises(PeerError):
        encode(Kind.FIND, "\ud800")
    with pytest.raises(PeerError):
        encode(Kind.FIND_TAGGED, ["a", "\ud800"])


def test_the_document_has_every_kind_and_an_example():
    text = (Path(__file__).parents[2] / "docs" / "format" / "peer.md").read_text()
    rows_ = re.findall(r"^\| (\d+) \| (\w+) \|", text, re.MULTILINE)
    assert [(int(number), name) for number, name in rows_] == [(kind.value, kind.name) for kind in Kind]
    assert set(ANSWERS) == {kind for kind in Kind if kind < Kind.REFUSED}
    shown = bytes.fromhex("".join(re.findall(r"^    ([0-9a-f ]+)$", text, re.MULTILINE)))
    assert shown == encode(Kind.FIND, "a.*")
