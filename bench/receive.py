"""The floor of the whole daemon: reads connections and counts LFs. Prints its port, then its CPU in ns.

``python -m bench.receive [CONNECTIONS]``: of many, all that have something are read once, and then again after a pause
unless one of them had much, as the daemon does: a kernel's buffer gathers what is sent in small pieces.
"""

from __future__ import annotations

import select
import socket
import sys
import time
from typing import Final

from bench.material import PIECE

_PAUSE: Final = 0.1
_MUCH: Final = 16 * 1024


def main(connections: int) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        print(listening.getsockname()[1], flush=True)
        socks = {sock.fileno(): sock for sock in (listening.accept()[0] for _ in range(connections))}
    buffer = bytearray(PIECE)
    start = time.process_time_ns()
    lines = 0
    with select.epoll() as epoll:
        for number in socks:
            epoll.register(number, select.EPOLLIN)
        while socks:
            most = 0
            for number, _ in epoll.poll(None, 1024):
                size = socks[number].recv_into(buffer)
                lines += buffer.count(b"\n", 0, size)
                most = max(most, size)
                if not size:
                    socks.pop(number).close()
            if connections > 1 and most < _MUCH:
                time.sleep(_PAUSE)
    print(time.process_time_ns() - start, lines)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
