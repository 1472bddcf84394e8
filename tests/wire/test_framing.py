"""LineSplitter: any cutting of a stream gives the same lines and the same count of lines over the limit."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.framing import LineSplitter, WireError

streams = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b" ", b"0123456789"]), max_size=60).map(b"".join)


def expected(stream: bytes, limit: int) -> tuple[bytes, int, bytes]:
    """Lines within the limit, how many were over it (an unfinished one included), and the unfinished rest."""
    *lines, rest = stream.split(b"\n")
    kept = b"".join(line + b"\n" for line in lines if len(line) <= limit)
    return kept, sum(len(line) > limit for line in [*lines, rest]), b"" if len(rest) > limit else rest


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(streams, st.lists(st.integers(0, 200), max_size=20), st.integers(1, 12))
def test_any_chunking_gives_the_same(stream: bytes, cuts: list[int], limit: int) -> None:
    splitter = LineSplitter(limit)
    got = b"".join(splitter.feed(piece) for piece in cut(stream, cuts))
    kept, too_long, rest = expected(stream, limit)
    assert (got, splitter.too_long) == (kept, too_long)
    assert splitter.close() == bool(rest.strip(b" \t\r"))


@given(streams, st.lists(st.integers(0, 200), max_size=20), st.integers(1, 12))
def test_pieces_within_a_buffer_are_taken_alike_and_let_go(stream: bytes, cuts: list[int], limit: int) -> None:
    apart, within = LineSplitter(limit), LineSplitter(limit)
    for piece in cut(stream, cuts):
        buffer = bytearray(b"x\n" + piece + b"\ny")
        assert within.feed(buffer, 2, 2 + len(piece)) == apart.feed(piece)
        buffer.clear()  # which a view of it would forbid
    assert within.too_long == apart.too_long


@given(streams, st.integers(1, 12))
def test_byte_by_byte(stream: bytes, limit: int) -> None:
    splitter = LineSplitter(limit)
    got = b"".join(splitter.feed(stream[i : i + 1]) for i in range(len(stream)))
    assert (got, splitter.too_long) == expected(stream, limit)[:2]


def test_only_whole_lines_leave() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"a.b 1") == b""
    assert splitter.feed(b" 2\nc") == b"a.b 1 2\n"
    assert splitter.feed(b"") == b""
    assert splitter.close()
    assert not splitter.close()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_a_long_line_is_counted_once_and_the_stream_goes_on(pieces: int) -> None:
    stream = b"a 1 2\n" + b"x" * 50_000 + b"\nb 1 2\n"
    size = len(stream) // pieces
    splitter = LineSplitter(100)
    got = b"".join(splitter.feed(stream[i : i + size]) for i in range(0, len(stream), size))
    assert (got, splitter.too_long) == (b"a 1 2\nb 1 2\n", 1)


def test_an_unfinished_line_over_the_limit_keeps_nothing() -> None:
    splitter = LineSplitter(10)
    splitter.feed(b"x" * 11)
    assert splitter.too_long == 1
    splitter.feed(b"x" * 1000)
    assert splitter.too_long == 1
    assert not splitter.close()
    assert splitter.feed(b"a\n") == b"a\n"


def test_the_limit_is_inclusive() -> None:
    splitter = LineSplitter(3)
    assert splitter.feed(b"abc\nabcd\nabc\n") == b"abc\nabc\n"
    assert splitter.too_long == 1


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(WireError):
        LineSplitter(0)
