"""Sockets of listeners: addresses, options, multicast, and the kernel's count of dropped datagrams.

All sockets are non-blocking and watched (:mod:`ingestd.ingest.readiness`), not given to asyncio's transports: a
listener decides how much one socket may read in a turn (libuv reads up to 32 times while the buffer fills), an idle
connection costs no buffer, and pausing is not to watch. A ``BufferedProtocol`` on uvloop reads at the same cost, 15 to
30 ns a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from ingestd.ingest.sources import IngestError

Address: TypeAlias = tuple[str, int]
"""Host (a name, or an IPv4, IPv6 or multicast address) and port; port 0 = a free one."""
Endpoint: TypeAlias = tuple[int, Any]
"""Address family and socket address, resolved."""

BACKLOG: Final = 4096
"""Connections that wait to be accepted: a fleet that reconnects at once; the kernel cuts it to ``somaxconn``."""
RECEIVE_BUFFER: Final = 16 * 1024 * 1024
"""Bytes a UDP socket may hold: some 0.1 s of a full gigabit, enough for a pause of the journal."""
_PAIR_ATTEMPTS: Final = 64
_SO_RCVBUFFORCE: Final = 33  # linux/asm-generic/socket.h; needs CAP_NET_ADMIN
_SO_MEMINFO: Final = 55  # linux/asm-generic/socket.h
_MEMINFO: Final = struct.Struct("=9I")


class Listener(Protocol):
    """What the composition root does with every listener."""

    @property
    def addresses(self) -> dict[str, str]:
        """Name of the listener (``graphite/tcp``) to its first address as ``HOST:PORT``."""

    @property
    def listening(self) -> list[tuple[str, str]]:
        """Every (name, ``HOST:PORT``)."""

    async def start(self) -> None: ...
    async def stop(self, grace: float = 5.0) -> None: ...
    def flush(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def kernel_drops(self) -> None: ...


async def resolve(addresses: Sequence[Address], kind: socket.SocketKind) -> list[Endpoint]:
    """All socket addresses of ``addresses``, each once. Raises :class:`IngestError` for an unknown host."""
    loop = asyncio.get_running_loop()
    endpoints: list[Endpoint] = []
    for host, port in addresses:
        try:
            found = await loop.getaddrinfo(host or None, port, type=kind, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise IngestError(f"{host}:{port}: {error.strerror or error}") from error
        endpoints += [(family, address) for family, _, _, _, address in found]
    return list(dict.fromkeys(endpoints))


def shown(sock: socket.socket) -> str:
    """The address of ``sock`` as ``HOST:PORT``, an IPv6 host in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def open_stream(endpoint: Endpoint) -> socket.socket:
    """A listening TCP socket. Raises :class:`IngestError`."""
    return _bound(endpoint, socket.SOCK_STREAM, 0)


def open_datagram(endpoint: Endpoint, receive_buffer: int = RECEIVE_BUFFER) -> socket.socket:
    """A bound UDP socket; a multicast address is joined as well. Raises :class:`IngestError`."""
    return _bound(endpoint, socket.SOCK_DGRAM, receive_buffer)


def open_pair(endpoint: Endpoint, receive_buffer: int = RECEIVE_BUFFER) -> tuple[socket.socket, socket.socket]:
    """A TCP and a UDP socket on the same port number; for port 0 on one that is free for both."""
    family, (host, port, *scope) = endpoint
    for _ in range(_PAIR_ATTEMPTS):
        stream = open_stream(endpoint)
        number = stream.getsockname()[1]
        try:
            return stream, open_datagram((family, (host, number, *scope)), receive_buffer)
        except IngestError as error:
            stream.close()
            if port or getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                raise
    raise IngestError(f"{host}: no port number that is free for both TCP and UDP")


def _bound(endpoint: Endpoint, kind: socket.SocketKind, receive_buffer: int) -> socket.socket:
    family, address = endpoint
    group = ipaddress.ip_address(address[0].partition("%")[0])
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # On UDP sockets of one address it would let two daemons share a port without a word.
        if kind == socket.SOCK_STREAM or group.is_multicast:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if kind == socket.SOCK_STREAM:
            # Connections inherit it: a host that vanished does not hold its connection for ever.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if receive_buffer:
            _set_receive_buffer(sock, receive_buffer)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG)
        elif group.is_multicast:
            _join(sock, group, address)
    except OSError as error:
        sock.close()
        raise IngestError(f"{address[0]}:{address[1]}: {error.strerror}") from error
    return sock


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    except OSError:  # not privileged: what net.core.rmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _join(sock: socket.socket, group: ipaddress.IPv4Address | ipaddress.IPv6Address, address: Any) -> None:
    """Join a multicast group on the interface of the route to it, or of the address's scope."""
    if group.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + struct.pack("=I", 0))
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + struct.pack("=I", address[3]))


def kernel_drops(sockets: Iterable[socket.socket]) -> int:
    """Datagrams that the kernel dropped at these sockets since they were opened; 0 where it does not tell.

    Asked of each socket (linux/sock_diag.h: nine counters of 32 bits, the last one the drops, since Linux 4.12):
    ``/proc/net/udp`` has the same numbers, in a line for every socket of the machine, and each second.
    """
    total = 0
    for sock in sockets:
        with contextlib.suppress(OSError):
            counters = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
            if len(counters) == _MEMINFO.size:
                total += _MEMINFO.unpack(counters)[-1]
    return total
