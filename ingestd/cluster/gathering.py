"""The cluster as a whole, for as long as the process lives: its map, the other nodes, and this one's own part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Set
from typing import Any, Final, TypeAlias

from crc32c import crc32c

from ingestd.cluster.map import Map
from ingestd.cluster.messages import ANSWERS, Kind, PeerError, decode, encode
from ingestd.cluster.peers import FailureError, Peer, PeerSettings, ask_all
from ingestd.cluster.respondent import Respondent
from ingestd.cluster.routes import Routes
from ingestd.query.limits import QueryError

Failures: TypeAlias = dict[str, str]
"""Why nodes gave no answer, by node."""

CODES: Final = 1 << 16


class Cluster:
    """All nodes. Thread-safe; the map may change at any time, for requests that come."""

    def __init__(
        self,
        settings: PeerSettings,
        deadline: float = 20.0,
        own: tuple[str, Respondent] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``own``: this process's name in the map and what it answers, if it is a store itself."""
        self.deadline = deadline
        self.clock = clock
        self.differences = 0
        """Points of which replicas had different values."""
        self._settings = settings
        self._own = own
        self._peers: dict[str, Peer] = {}
        self._lock = threading.Lock()
        self._routes: Routes | None = None

    @property
    def routes(self) -> Routes | None:
        """What is asked by; None until there is a map."""
        return self._routes

    def take(self, found: Map) -> None:
        """Ask by this map from now on. Raises ValueError where a node has no URL to be asked at."""
        routes = Routes(found)
        peers = {}
        for node in found.nodes:
            if self._own is not None and node.name == self._own[0]:
                continue
            known = self._peers.get(node.name)
            same = known is not None and known.url == node.url
            peers[node.name] = known if known and same else Peer(node.name, node.url, self._settings, self.clock)
        gone = [peer for name, peer in self._peers.items() if peers.get(name) is not peer]
        self._routes, self._peers = routes, peers
        for peer in gone:
            peer.close()

    def code(self, name: str) -> int:
        """A number of a node that stays the same, 0 to 65535."""
        return crc32c(name.encode()) % CODES

    def ask(
        self,
        questions: Mapping[str, tuple[Any, ...]],
        until: float,
        enough: Callable[[Set[str]], bool],
    ) -> tuple[dict[str, list[Any]], Failures]:
        """The values of nodes' answers, by node, in the order of ``questions``; why others gave none.

        A question is a kind and its values. ``until`` and ``enough`` as in :func:`ingestd.cluster.peers.ask_all`.
        Raises :class:`QueryError` if a node says that whoever asks is to blame.
        """
        failures: Failures = {}
        own: dict[str, list[Any]] = {}
        messages: dict[tuple[Any, ...], bytes] = {}
        remote: dict[Peer, bytes] = {}
        peers = self._peers
        for name, (kind, *values) in questions.items():
            if self._own is not None and name == self._own[0]:
                own[name] = [kind, *values]
            elif name in peers:
                # Most often all are asked the same.
                key = (kind, *map(id, values))
                remote[peers[name]] = messages.get(key) or messages.setdefault(key, encode(kind, *values))
            else:
                failures[name] = "no longer in the map"
        found: dict[str, list[Any]] = {}

        def answer_own() -> None:
            for name, (kind, *values) in own.items():
                assert self._own is not None
                answer, *rest = self._own[1].ask(kind, values)
                found[name] = _checked(questions[name][0], answer, rest)

        def is_enough(answered: set[str]) -> bool:
            return enough(answered | found.keys())

        answers = ask_all(remote, until, self._settings.patience, is_enough, self.clock, answer_own)
        for name, message in answers.items():
            if isinstance(message, FailureError):
                failures[name] = str(message)
                continue
            try:
                found[name] = _checked(questions[name][0], *decode(message))
            except PeerError as error:
                peers[name].failed(str(error))
                failures[name] = str(error)
        return {name: found[name] for name in questions if name in found}, failures

    # -- what operators see --------------------------------------------------------------------------------------------

    def problem(self) -> str | None:
        """Why nothing can be answered; None: something can."""
        if self._routes is None:
            return "there is no map"
        peers = self._peers.values()
        if self._own is None and peers and not any(peer.healthy for peer in peers):
            return "no node answers"
        return None

    def status(self) -> dict[str, Any]:
        """What ``/status`` shows."""
        routes = self._routes
        return {
            "map_version": routes.map.version if routes is not None else None,
            "moving": len(routes.map.moving) if routes is not None else 0,
            "differences": self.differences,
            "nodes": {
                name: {
                    "healthy": peer.healthy,
                    "problem": peer.problem,
                    "asked": peer.counters.asked,
                    "failed": peer.counters.failed,
                    "skipped": peer.counters.skipped,
                    "late": peer.counters.late,
                    "bytes": peer.counters.bytes,
                }
                for name, peer in self._peers.items()
            },
        }

    def gauges(self) -> dict[str, float]:
        """For Prometheus, by name without the prefix."""
        peers = list(self._peers.values())
        return {
            "cluster_map_version": self._routes.map.version if self._routes is not None else 0,
            "cluster_nodes_down": sum(not peer.healthy for peer in peers),
            "cluster_questions": sum(peer.counters.asked for peer in peers),
            "cluster_questions_failed": sum(peer.counters.failed for peer in peers),
            "cluster_answer_bytes": sum(peer.counters.bytes for peer in peers),
            "cluster_replica_differences": self.differences,
        }

    def close(self) -> None:
        """Close what is kept."""
        for peer in self._peers.values():
            peer.close()


def _checked(asked: Kind, kind: Kind, values: list[Any]) -> list[Any]:
    """The values of the answer to a question. Raises :class:`PeerError`, or :class:`QueryError` for a refusal."""
    if kind is Kind.REFUSED:
        raise QueryError(" ".join(values[0].split())[:1000])
    if kind is not ANSWERS[asked]:
        raise PeerError("an answer to something else")
    if kind in (Kind.SERIES, Kind.NODES, Kind.COUNTS) and len(values[0]) != len(values[1]):
        raise PeerError("columns of unequal length")
    return values
