"""Many sockets read in one call: compiled and pure give the same."""

import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.ingest import connection
from ingestd.ingest.connection import FAILED, NOTHING


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def read(states: list[int], room: int, each: int, compiled: Callable | None) -> tuple[list[int], bytes]:
    """Sizes, and what was read; a state is the bytes sent, or -1 for a connection that was closed before."""
    buffer = memoryview(bytearray(room))
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "compiled", compiled)
        mine = []
        for number, state in enumerate(states):
            near, far = (stack.enter_context(s) for s in socket.socketpair())
            near.setblocking(False)
            far.sendall(bytes([number]) * max(state, 0))
            if state < 0:
                far.close()
            mine.append(near)
        sizes = connection.receive_all([s.fileno() for s in mine], buffer, each)
    return sizes, bytes(buffer)


@given(st.lists(st.integers(-1, 30), max_size=12), st.integers(0, 100), st.integers(1, 40))
def test_sizes_and_bytes_are_the_same(states, room, each):
    kernel = connection.compiled
    sizes, content = read(states, room, each, kernel)
    assert (sizes, content) == read(states, room, each, None)
    assert sizes == [(min(s, each) or NOTHING) if s >= 0 else 0 for s in states[: len(sizes)]]
    expected = b"".join(bytes([number]) * max(size, 0) for number, size in enumerate(sizes))
    assert content == expected + bytes(room - len(expected))


@pytest.mark.parametrize("pure", [False, True])
def test_a_reset_and_a_closed_descriptor_have_failed(pure, monkeypatch):
    if pure:
        monkeypatch.setattr(connection, "compiled", None)
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        mine = server.accept()[0]
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        with mine:
            number = mine.fileno()
            mine.setblocking(False)
            assert connection.receive_all([number], memoryview(bytearray(10)), 10) == [FAILED]
    assert connection.receive_all([number], memoryview(bytearray(10)), 10) == [FAILED]
