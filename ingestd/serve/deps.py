"""What the HTTP face is given: everything behind it, as Protocols and plain callables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ingestd.query.evaluate import Request
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.query.trace import Trace
from ingestd.serve.tokens import Tokens

Match: TypeAlias = tuple[str, str, bool]
"""A line of an answer: the last node's name, the path, whether it is a leaf."""


class Finder(Protocol):
    """Searches over names; called in worker threads."""

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        """The nodes that a pattern means, sorted by their last names and then paths, each once; what is a branch and a
        leaf stands there as both, in this order. ``leaves_only``: without branches."""
        ...

    def paths(self) -> list[str]:
        """All paths, sorted."""
        ...


class TagFinder(Protocol):
    """Searches by tag; called in worker threads. :class:`ingestd.index.tags.Tags` says what each gives."""

    def find(self, expressions: Sequence[str]) -> list[tuple[str, int]]: ...
    def tags(self, pattern: str = "") -> list[str]: ...
    def values(self, tag: str, pattern: str = "") -> dict[str, int]: ...
    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]: ...
    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]: ...


class Events(Protocol):
    """The store of events; called in worker threads, one call at a time."""

    def add(self, when: int, what: str, tags: list[str], data: str) -> int:
        """Keep an event and return its id."""
        ...

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        """Events of a time, ordered by it: ``{"id", "when", "what", "tags", "data"}``."""
        ...

    def get(self, id: int) -> dict[str, Any] | None:  # noqa: A002
        """One event, or None."""
        ...


def _no_tokens() -> Tokens | None:
    return None


@dataclass(frozen=True, slots=True)
class Guard:
    """Who is let in."""

    tokens: Callable[[], Tokens | None] = _no_tokens
    """The grants as their file says them now; None where there is no file, and everybody may read and write."""
    anonymous: frozenset[str] = frozenset()
    """Scopes of those without a token, where there is a file of tokens."""
    hosts: frozenset[str] = frozenset()
    """Host names, lower case, that are answered, beside addresses and localhost; empty = all."""


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything behind the HTTP face."""

    run: Callable[[Request], list[Series]]
    """:func:`ingestd.query.evaluate.run` over a reader; called in a worker thread."""
    finder: Finder
    events: Events
    tags: TagFinder
    register: Callable[[Sequence[str]], Awaitable[list[str]]]
    """Makes a series of each path that has none; their canonical paths. ServeError where a path is none or there may
    be no more series."""
    forget: Callable[[Sequence[str]], Awaitable[None]]
    """Lets the series of these paths be gone, with all their points; a path that has none is passed over."""
    status: Callable[[], dict[str, Any]]
    health: Callable[[], tuple[bool, str]]
    prometheus: Callable[[], str]
    flush: Callable[[], Awaitable[object]]
    clock: Callable[[], float]
    version: str
    refusals: tuple[type[Exception], ...]
    """Errors besides query's that blame the request: their text is the answer, with 400."""
    query_limits: QueryLimits = field(default_factory=QueryLimits)
    snapshot: Callable[[str], Awaitable[dict[str, Any]]] | None = None
    """Copies the store to a new directory and says what it holds; ServeError where that cannot be."""
    guard: Guard = field(default_factory=Guard)
    explain: Callable[[Request, Trace], list[Series]] | None = None
    """As ``run``, and tells a trace of it; None: nothing can be explained."""
    scratch: Path | None = None
    """A directory that exists, for files that are gone again in a moment; None: the system's for such."""
    peer: Callable[[bytes], bytes] | None = None
    """Answers a message of another node; called in worker threads of its own. None: there are no others."""
    pieces: Callable[[bytes], Awaitable[bytes]] | None = None
    """Answers a message about pieces of the store, for administrators. None: there is no store."""
    strict: bool = False
    """Whether a partial answer is an error where the request does not say."""
    starting: Callable[[], bool] = lambda: False
    """Whether nothing but ``health`` can be asked yet."""

    @property
    def blames(self) -> tuple[type[Exception], ...]:
        """All errors that blame the request: query's and ``refusals``."""
        return (QueryError, *self.refusals)


@dataclass(frozen=True, slots=True)
class StatusDeps:
    """Behind the HTTP face of what has nothing to be asked but how it is: a relay."""

    status: Callable[[], dict[str, Any]]
    health: Callable[[], tuple[bool, str]]
    prometheus: Callable[[], str]
    flush: Callable[[], Awaitable[object]]
    version: str
    guard: Guard = field(default_factory=Guard)
    starting: Callable[[], bool] = lambda: False
    snapshot: None = None
    blames: tuple[type[Exception], ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one peer, and all of them together, may cost."""

    body: int = 1 << 20
    """Bytes of a body: Grafana's longest forms have under 100 KB."""
    workers: int = 2
    """Questions answered at the same time. They share one interpreter lock, so more only take more memory."""
    waiting: int = 64
    """Questions that wait for a worker; beyond, 503: a dashboard asks 20 to 50 at once."""
    timeout: float = 60.0
    """Seconds until a question is given up with 503: Grafana gives up after 30 to 60."""
    event: int = 65_536
    """Characters of one text of an event."""
    bodies: int = 64 << 20
    """Bytes of all bodies that are read at the same time; beyond, 503."""
    connections: int = 1_000
    """Connections at once; beyond, the one that has been idle for longest is closed, or else the newest."""
    head_timeout: float = 10.0
    """Seconds for the head of a request, and for a handshake of TLS."""
    write_timeout: float = 30.0
    """Seconds in which a client takes 64 KB of an answer or all the rest of it: a tenth of the slowest mobile line."""
    unread: int = 256 << 20
    """Bytes of answers that clients have not taken yet; beyond, the one who holds the most is dropped."""
    streams: int = 100
    """Requests to /render/stream at once: each holds a connection for as long as it likes."""
    chart_pixels: int = 4_000_000
    """Width times height of a picture: four bytes each in memory, and 50 ns of CPU."""
    chart_series: int = 1_000
    """Series in a picture: 2 ms each where they are noisy."""
