"""Which of many sockets can be read, and when to look: an epoll of a listener's own.

The event loop watches the epoll's one descriptor. A reader of the loop costs a callback and a handle a socket, and
libuv never reports a socket that has data and an error at once; here a turn learns of all that can be read in one
call. Turns that bring little are held apart, so that what a fleet of small senders brings shares the cost of a turn.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from typing import Final, Generic, TypeVar

PAUSE: Final = 0.1
"""Seconds from one turn to the next while they bring little: ten turns a second, each of which costs as much as a
thousand points, and nobody notices the delay in a point that comes every ten seconds. After a longer silence what comes
is read at once."""
_MOST: Final = 1024
"""Sockets named at once."""

_Item = TypeVar("_Item")


class Readiness(Generic[_Item]):
    """Watches sockets, each with the item that stands for it, and calls ``turn`` whenever some may be readable.

    ``turn`` returns whether there is more to be had at once; else it is called again after :data:`PAUSE`, until
    :meth:`ready` finds nothing.
    """

    def __init__(self, turn: Callable[[], bool]) -> None:
        self._turn = turn
        self._epoll: select.epoll | None = None
        self._items: dict[int, _Item] = {}
        self._found = 0
        self._armed = False
        self._timer: asyncio.Handle | None = None
        self._pausing = False
        """Whether the timer waits for the end of a pause."""
        self._next = 0.0
        self.resting = False
        """Whether no turns are taken until :meth:`go_on`."""
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Take turns on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        if not self.resting:
            self._arm()

    def stop(self) -> None:
        """Take no more turns; forget all sockets, which stay open."""
        self.rest()
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None
        self._items.clear()

    def watch(self, sock: socket.socket, item: _Item) -> None:
        """Look whether ``sock`` can be read, has ended or failed."""
        if self._epoll is not None:
            self._items[sock.fileno()] = item
            self._epoll.register(sock, select.EPOLLIN)

    def unwatch(self, sock: socket.socket) -> None:
        """Look no longer; to be called before a socket is closed. One that is not watched is let be."""
        if self._items.pop(sock.fileno(), None) is not None and self._epoll is not None:
            self._epoll.unregister(sock)

    def ready(self) -> list[_Item]:
        """The items of sockets that can be read now, as many as are named at once; the kernel names them in turn."""
        if self._epoll is None:
            return []
        events = self._epoll.poll(0, _MOST)
        self._found = len(events)
        return [self._items[number] for number, _ in events]

    def hurry(self) -> None:
        """Take the next turn at once: somebody has come who may want to see the end of it."""
        self._next = 0.0
        if self._pausing and self._timer is not None:
            self._timer.cancel()
            self._soon()

    def rest(self) -> None:
        """Take no turns until :meth:`go_on`: the kernel's windows close on the clients."""
        self.resting = True
        self._disarm()

    def go_on(self) -> None:
        """Take turns again."""
        if self.resting:
            self.resting = False
            if self._epoll is not None:
                self._soon()

    def _soon(self) -> None:
        self._pausing = False
        self._timer = self._loop.call_soon(self._take_turn)

    def _pause(self) -> None:
        self._pausing = True
        self._timer = self._loop.call_at(self._next, self._take_turn)

    def _arm(self) -> None:
        assert self._epoll is not None
        self._loop.add_reader(self._epoll.fileno(), self._wake)
        self._armed = True

    def _disarm(self) -> None:
        if self._armed and self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
        self._armed = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        """Something can be read, after a time in which nothing could."""
        self._disarm()
        if self._loop.time() >= self._next:
            self._take_turn()
        else:
            self._pause()

    def _take_turn(self) -> None:
        self._timer = None
        self._next = self._loop.time() + PAUSE
        self._found = 0
        more = self._turn() or self._found == _MOST
        if self.resting or self._epoll is None:
            return
        if more:
            self._next = 0.0
            self._soon()
        elif self._found:
            self._pause()
        else:
            self._arm()
