"""What stands behind the HTTP face in the tests of this floor, and a real server over it."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from ingestd.index.names import NameIndexError, Names
from ingestd.index.tags import TagLimits, Tags
from ingestd.index.walk import lines
from ingestd.query.grid import Series
from ingestd.query.limits import QueryError
from ingestd.query.substitute import Search
from ingestd.serve.deps import Deps, Limits
from ingestd.serve.server import HttpServer

NOW = 1_795_389_600


class TooMuchError(Exception):
    pass


@dataclass
class Fakes:
    """What stands behind the HTTP face in these tests; remembers what it was asked."""

    requests: list = field(default_factory=list)
    patterns: list = field(default_factory=list)
    events: list = field(default_factory=list)
    nodes: list = field(default_factory=list)
    tagged: list = field(default_factory=list)
    registered: list = field(default_factory=list)
    gone: list = field(default_factory=list)
    healthy: bool = True
    flushed: int = 0

    def run(self, request):
        self.requests.append(request)
        if "boom" in request.targets:
            raise RuntimeError("secret")
        if "bad" in request.targets:
            raise QueryError("no\nsuch function")
        return [
            Series(
                target, target, {"name": target}, request.start, request.start + 40, 10, np.array([1.0, 2, np.nan, 4])
            )
            for target in request.targets
        ]

    def find_matches(self, pattern, leaves_only=False):
        self.patterns.append(pattern)
        if pattern == "too.much":
            raise TooMuchError("the pattern means more than 10 names")
        return sorted(lines(self.nodes, leaves_only))

    def paths(self):
        return ["a.b", "c"]

    def add(self, when, what, tags, data):
        self.events.append({"id": len(self.events) + 1, "when": when, "what": what, "tags": tags, "data": data})
        return len(self.events)

    def query(self, start, until, tags, set_operation):
        self.patterns.append((start, until, tags, set_operation))
        return [event for event in self.events if start <= event["when"] <= until]

    def get(self, id):  # noqa: A002
        return self.events[id - 1] if 0 < id <= len(self.events) else None

    @property
    def tags(self):
        names = Names()
        names.add(np.arange(len(self.tagged), dtype=np.uint32), self.tagged)
        return Tags(names, Search, TagLimits(expressions=5))

    async def register(self, paths):
        if "" in paths or "bad" in paths:
            raise TooMuchError("'bad' is no path")
        self.registered += paths
        return [path.upper() for path in paths]

    async def forget(self, paths):
        self.gone += paths

    async def flush(self):
        self.flushed += 1

    async def snapshot(self, target):
        return {"target": target}

    def deps(self):
        return Deps(
            run=self.run,
            finder=self,
            events=self,
            tags=self.tags,
            register=self.register,
            forget=self.forget,
            status=lambda: {"series": 3},
            health=lambda: (self.healthy, "accepting" if self.healthy else "draining"),
            prometheus=lambda: "up 1\n",
            flush=self.flush,
            snapshot=self.snapshot,
            clock=lambda: NOW + 0.5,
            version="0.1",
            refusals=(TooMuchError, NameIndexError),
        )


@pytest.fixture
def fakes():
    return Fakes()


@pytest.fixture
async def serving(fakes):
    """``await serving(limits, tls, **deps)``: a server on a free port of loopback; its (host, port)."""
    servers = []

    async def serve(limits=None, tls=None, **deps):
        server = HttpServer(replace(fakes.deps(), **deps), limits or Limits(), tls)
        servers.append(server)
        await server.start([("127.0.0.1", 0)])
        serve.server = server
        host, port = server.listening[0][1].rsplit(":", 1)
        return host, int(port)

    yield serve
    for server in servers:
        await server.stop()
