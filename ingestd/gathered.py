"""A cluster's reads as the HTTP face is given them: part of the compositions with and without a store."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace

from ingestd.cluster.faces import GatheredEvents, GatheredNames, GatheredTags
from ingestd.cluster.gathering import Cluster
from ingestd.cluster.map import MapError, decode_map
from ingestd.cluster.peers import PeerSettings
from ingestd.cluster.respondent import Respondent
from ingestd.cluster.scatter import Gather
from ingestd.config import Settings
from ingestd.ingest.collectd import WatchedFile
from ingestd.query.evaluate import Request, run
from ingestd.query.grid import Series
from ingestd.query.trace import Trace
from ingestd.serve.deps import Deps
from ingestd.wire.framing import WireError

AddEvent = Callable[[int, str, list[str], str], int]


class Gathered:
    """All nodes of the map that the settings name."""

    def __init__(self, settings: Settings, own: Respondent | None = None) -> None:
        """``own``: what this process answers itself, if it is a store. Raises OSError or WireError."""
        query, self._token = settings.query, ""
        self._strict = query.strict
        tls = ssl.create_default_context(cafile=query.ca) if query.ca else None
        asking = PeerSettings(query.connect, query.patience, query.connections, query.answer, lambda: self._token, tls)
        name = settings.cluster.node or settings.amqp.consume.node
        self.cluster = Cluster(asking, query.deadline, (name, own) if own is not None and name else None)
        self._map = settings.cluster.map
        self.watched: list[WatchedFile] = []
        """The files whose change is followed: to be polled."""
        if query.token_file:
            self.watched.append(WatchedFile(query.token_file, self._take_token))
        if self._map:
            self.watched.append(WatchedFile(self._map, self._take_map))
        for file in self.watched:
            file.load()

    def _take_token(self, text: str) -> None:
        token = text.strip()
        if not token.isascii() or not token.isprintable():
            raise WireError("a token is one line of printable characters")
        self._token = token

    def _take_map(self, text: str) -> None:
        try:
            self.cluster.take(decode_map(text))
        except (MapError, ValueError) as error:
            raise WireError(f"{self._map}: {error}") from error

    @property
    def host_nodes(self) -> int:
        """How many nodes of a path say to which partition it belongs."""
        assert self.cluster.routes is not None, "a map is read before anything is asked"
        return self.cluster.routes.host_nodes

    def gather(self) -> Gather:
        """The reader of one request."""
        routes = self.cluster.routes
        assert routes is not None, "a map is read before anything is asked"
        return Gather(self.cluster, routes)

    def over(self, deps: Deps) -> Deps:
        """``deps`` with every search and read over all nodes; what is written is still theirs."""

        def evaluate(request: Request, trace: Trace | None = None) -> list[Series]:
            return run(request, self.gather(), trace)

        return replace(
            deps,
            run=evaluate,
            explain=evaluate,
            finder=GatheredNames(self.gather),
            tags=GatheredTags(self.gather),
            events=GatheredEvents(self.gather, deps.events.add),
            strict=self._strict,
        )
