"""Real nodes: a store in a directory of its own, its names and tags, behind a real HTTP listener of loopback."""

import asyncio
import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from ingestd.cluster.gathering import Cluster
from ingestd.cluster.map import Map, Node
from ingestd.cluster.messages import PeerError
from ingestd.cluster.peers import PeerSettings
from ingestd.cluster.respondent import Respondent
from ingestd.cluster.scatter import Gather
from ingestd.index.answers import Searches
from ingestd.index.globs import Globs
from ingestd.index.names import NameIndexError, Names
from ingestd.index.tags import Tags
from ingestd.points import Batch
from ingestd.query.substitute import Search
from ingestd.reader import LocalReader
from ingestd.serve.deps import Deps, Guard, Limits
from ingestd.serve.server import HttpServer
from ingestd.storage.events import EventLog
from ingestd.storage.files import Files
from ingestd.storage.journal_thread import Durability
from ingestd.storage.schema import Archive, Schema
from ingestd.storage.store import Store, StoreSettings
from ingestd.telemetry import Books

NOW = 1_800_000_000
SCHEMA = Schema((Archive(10, 60), Archive(60, 600)), "average", 0.0)


class Stand:
    """One node, whose event loop is the test."""

    def __init__(self, directory):
        directory.mkdir(parents=True)
        self._posted, self._later, self._books = queue.SimpleQueue(), [], Books("test")
        rules = type("Rules", (), {"schemas": lambda self, paths: [SCHEMA] * len(paths)})()
        settings = StoreSettings(durability=Durability("never"), segment_bytes=1 << 14)
        self.store = Store(
            directory / "data", rules, settings, self._posted.put, lambda _, call: self._later.append(call)
        )
        self.store.open()
        self.names = Names()
        self.globs, self.tags = Globs(self.names), Tags(self.names, Search)
        self.events = EventLog(Files(), directory / "events.log")
        self.reader = LocalReader(Searches(self.globs, self.names), self.tags, self.store, self.events.times)
        self.asked = []

    def put(self, points):
        """Store ``(path, time, value)`` of any order, at NOW."""
        paths = sorted({path for path, _, _ in points} - {key.decode() for key in self.names.keys if key})
        if paths:
            self.names.add(self.store.create(paths, NOW), paths)
        if points:
            ids = self.names.look_up([path for path, _, _ in points])
            times, values = (np.array(column) for column in list(zip(*points, strict=True))[1:])
            self.store.accept(Batch(ids, times.astype(np.int64), values.astype(np.float64)), NOW, self._books)
            self._pump()

    def _pump(self):
        deadline = time.monotonic() + 20
        while True:
            waiting, self._later[:] = self._later[:], []
            for call in waiting:
                call()
            try:
                self._posted.get(timeout=0.001)()
            except queue.Empty:
                if not self._later and not self.store.busy:
                    return
            assert time.monotonic() < deadline, "the store does not come to rest"

    def respondent(self):
        return Respondent(
            self.reader, self.globs, self.tags, self.events, (NameIndexError,), given=lambda: len(self.names.keys)
        )

    def answer(self, message):
        self.asked.append(message)
        return self.respondent().answer(message)

    def close(self):
        self.store.close()
        self.events.close()


class Servers:
    """HTTP listeners in a thread, each of whose answers can be replaced at any time."""

    def __init__(self, count):
        self.answers = [bytes] * count
        self.urls = []
        self.token = None
        self._loop = asyncio.new_event_loop()
        self._servers = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._start(count), self._loop).result(20)

    async def _start(self, count):
        for number in range(count):
            server = HttpServer(self._deps(number), Limits())
            await server.start([("127.0.0.1", 0)])
            self._servers.append(server)
            self.urls.append(f"http://{server.listening[0][1]}")

    def _deps(self, number):
        def none(*_):
            raise AssertionError("not asked in these tests")

        return Deps(
            run=none,
            finder=none,
            events=none,
            tags=none,
            register=none,
            forget=none,
            status=dict,
            health=lambda: (True, "ok"),
            prometheus=str,
            flush=none,
            clock=lambda: NOW,
            version="1",
            refusals=(PeerError,),
            peer=partial(self._answer, number),
            guard=Guard(tokens=lambda: self.token),
        )

    def _answer(self, number, message):
        return self.answers[number](message)

    def close(self):
        async def stop():
            for server in self._servers:
                await server.stop()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)


@dataclass
class Nodes:
    """Stands behind servers, and who is asked by a map of them."""

    servers: Servers
    directory: object
    stands: list = field(default_factory=list)
    clusters: list = field(default_factory=list)

    def __call__(self, count):
        """That many fresh nodes."""
        self.close()
        self.stands = [Stand(self.directory / f"{time.monotonic_ns()}-{number}") for number in range(count)]
        for number, stand in enumerate(self.stands):
            self.servers.answers[number] = stand.answer
        return self.stands

    def map(self, owners, moving=None, dead=(), host_nodes=1, version=1):
        """A map of nodes ``n0``, ``n1``, ...; where those that are dead should listen nobody does."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        nodes = tuple(
            Node(f"n{number}", nobody if f"n{number}" in dead else self.servers.urls[number])
            for number in range(len(self.stands))
        )
        return Map(version, host_nodes, len(owners[0]), nodes, tuple(map(tuple, owners)), moving or {})

    def cluster(self, found, own=None, deadline=20.0, **settings):
        """The cluster of a map; ``own``: the number of the node that gathers."""
        part = None if own is None else (f"n{own}", self.stands[own].respondent())
        cluster = Cluster(PeerSettings(**settings), deadline, part)
        cluster.take(found)
        self.clusters.append(cluster)
        return cluster

    def gather(self, *args, **kwargs):
        """The reader of one request."""
        cluster = self.cluster(*args, **kwargs)
        return Gather(cluster, cluster.routes)

    def close(self):
        for one in (*self.clusters, *self.stands):
            one.close()
        self.clusters, self.stands = [], []


@pytest.fixture(scope="session")
def servers():
    made = Servers(5)
    yield made
    made.close()


@pytest.fixture
def nodes(servers, tmp_path):
    """``nodes(count)``: fresh nodes; ``nodes.gather(nodes.map(owners))``: a reader over all of them."""
    made = Nodes(servers, tmp_path)
    yield made
    made.close()
    servers.token = None
