"""Many connections to one target."""

from __future__ import annotations

import errno
import os
import resource
import selectors
import socket
import time
from typing import Final

from ingestd.load.workloads import LoadError

PATIENCE: Final = 10.0
"""Seconds that a connection may take, and the target to close it at the end."""
_AT_ONCE: Final = 100
"""Connections that are being made: fewer than the shortest queue of a listener in use, 128."""
_SPARE: Final = 64
"""Descriptors for all else."""


def parse_target(target: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT``. Raises :class:`LoadError` for anything else."""
    host, colon, port = target.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise LoadError(f"{target}: is not HOST:PORT")
    return host.removeprefix("[").removesuffix("]"), int(port)


def connect(target: str, kind: socket.SocketKind, count: int) -> list[socket.socket]:
    """``count`` non-blocking sockets of the ``kind``, connected. Raises :class:`LoadError` if that fails."""
    _raise_descriptor_limit(count)
    host, port = parse_target(target)
    first: socket.socket | None = None
    try:
        reason: OSError | None = None
        for family, _, protocol, _, address in socket.getaddrinfo(host, port, type=kind):
            first = socket.socket(family, kind, protocol)
            first.settimeout(PATIENCE)
            try:
                first.connect(address)
            except OSError as e:
                first.close()
                reason = e
            else:
                first.setblocking(False)
                return [first, *_more(first, address, count - 1)]
        raise reason or OSError("no address")
    except OSError as e:
        if first is not None:
            first.close()
        raise LoadError(f"{target} cannot be reached: {e.strerror or e}") from e


def _more(first: socket.socket, address: object, count: int) -> list[socket.socket]:
    """As many more as ``first``, a few of them on their way at a time."""
    made: list[socket.socket] = []
    pending = 0
    deadline = time.monotonic() + PATIENCE
    try:
        with selectors.DefaultSelector() as selector:
            while len(made) < count or pending:
                while len(made) < count and pending < _AT_ONCE:
                    made.append(socket.socket(first.family, first.type, first.proto))
                    made[-1].setblocking(False)
                    error = made[-1].connect_ex(address)  # type: ignore[arg-type]
                    if error == errno.EINPROGRESS:
                        selector.register(made[-1], selectors.EVENT_WRITE)
                        pending += 1
                    elif error:
                        raise OSError(error, os.strerror(error))
                for key, _ in selector.select(PATIENCE) if pending else ():
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                        raise OSError(error, os.strerror(error))
                    selector.unregister(sock)
                    pending -= 1
                    deadline = time.monotonic() + PATIENCE
                if time.monotonic() > deadline:
                    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    except BaseException:
        for sock in made:
            sock.close()
        raise
    return made


def _raise_descriptor_limit(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = count + _SPARE
    if soft == resource.RLIM_INFINITY or soft >= need:
        return
    if hard != resource.RLIM_INFINITY and hard < need:
        raise LoadError(f"{count} connections need as many descriptors; the limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
