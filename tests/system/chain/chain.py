"""The whole chain: senders, two relays, RabbitMQ, three stores in two zones, a query front; and what must be in it."""

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time

import numpy as np
from known import Known
from members import Brokers, Member, Nursery, all_at_once, until

from ingestd.cluster.map_file import read_map
from ingestd.wire.partition import partition_of
from ingestd.wire.topology import dead_name, queue_name

ZONES = {"s1": "east", "s2": "west", "s3": "west"}
AHEAD = 60
"""Seconds that senders may be ahead of the clock: blocks close behind it, so that points are late now and then."""
OFF = ("graphite", "pickle", "collectd", "statsd", "opentsdb")
RETENTIONS = "1s:6h,10s:2d"


class Sender(threading.Thread):
    """Sends to one relay without end; its turn of each slot: half of the hosts, one after the other."""

    def __init__(self, known: Known, relay: Member, number: int):
        super().__init__(daemon=True)
        self.relay = relay
        self.life = None
        self.error = None
        self._known = known
        self._number = number
        self._slot = 0
        self._stopping = threading.Event()
        self._pausing = threading.Event()
        self._paused = threading.Event()

    def run(self):
        try:
            while not self._stopping.is_set():
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._live()
                time.sleep(0.05)
        except BaseException as error:
            self.error = error
        self._paused.set()

    def _live(self):
        """Send until the relay is dead."""
        if not self.relay.addresses:
            return
        with self.relay.connect() as connection:
            if self.life is None:
                self.life = self._known.begin()
            life = self.life
            while not self._stopping.is_set() and life is self.life:
                if self._pausing.is_set():
                    self._paused.set()
                    time.sleep(0.02)
                    continue
                while self._known.base + self._slot > time.time() + AHEAD and not self._pausing.is_set():
                    time.sleep(0.02)
                rows = np.flatnonzero((self._known.host + self._slot) % 2 == self._number)
                slot, self._slot = self._slot, self._slot + 1
                life.send(connection, rows, slot)
                ledger = self.relay.status()["ledger"]
                if life is self.life:
                    life.note(ledger)

    def bury(self):
        """The relay is dead, and with it what it was sent and had not called stored."""
        self.life = None
        self.relay.addresses = {}

    def settle(self):
        """Stop sending, and wait until the relay has called everything stored."""
        self._pausing.set()
        until(self._paused.is_set, lambda: f"the sender of {self.relay.name} to pause: {self.error!r}")
        if self.error:
            raise self.error
        if self.life is not None:
            until(
                lambda: self.life.note(self.relay.status()["ledger"]),
                lambda: f"{self.relay.name} to call everything stored: {self.relay.status()}",
            )

    def go_on(self):
        self._paused.clear()
        self._pausing.clear()

    def end(self):
        self._stopping.set()
        self.join()


class Chain:
    """All of it, in one directory."""

    def __init__(self, directory, brokers, hosts=48, each=20):
        self.directory = directory
        self.brokers = Brokers(directory, brokers)
        self.nursery = Nursery()
        self.known = Known(hosts, each, int(time.time()) - 5)
        (directory / "schemas.conf").write_text(f"[all]\npattern = .*\nretentions = {RETENTIONS}\n")
        self.relays = [
            self._member(name, "relay", "[relay]\npatience = 0.5\nconfirm_timeout = 10.0\n") for name in "ab"
        ]
        self.stores = {name: self._member(name, "serve", f'[amqp.consume]\nnode = "{name}"\n') for name in ZONES}
        self.map = directory / "map.json"
        self.front = Member(self.nursery, directory, "front", "query", "--map", str(self.map))
        self.senders = [Sender(self.known, relay, number) for number, relay in enumerate(self.relays)]
        self.single = None
        self.said = ""
        self.taken = dict.fromkeys(ZONES, 0)
        """Points that each store took into its journal from queues, as far as it was asked before it was killed."""
        self.duplicates = dict.fromkeys(ZONES, 0)
        self.seen = dict.fromkeys(ZONES, (0, 0))

    def _member(self, name, command, table):
        config = self.directory / f"{name}.toml"
        config.write_text(
            f"[amqp]\nurl = {json.dumps(self.brokers.urls)}\nheartbeat = 2\n"
            + ("retry = 1.0\n" if command == "serve" else "")
            + f"{table}[telemetry]\nown_series_interval = 0\n"
        )
        options = [part for name in OFF for part in (f"--{name}", "off")]
        if command == "relay":
            options[1] = "127.0.0.1:0"
        else:
            options += ["--schemas", str(self.directory / "schemas.conf")]
        return Member(self.nursery, self.directory, name, command, "--config", str(config), *options)

    # -- start and end -------------------------------------------------------------------------------------------------

    def start(self):
        self.brokers.start()
        self.apply()
        everyone = [*self.relays, *self.stores.values(), self.front]
        for one in everyone:
            one.start()
        for one in everyone:
            one.ready()
        for sender in self.senders:
            sender.start()
        return self

    def apply(self):
        """``ingestd cluster apply``."""
        text = f"map = {json.dumps(str(self.map))}\nreplication = 2\n[amqp]\nurl = {json.dumps(self.brokers.urls)}\n"
        for name, store in self.stores.items():
            text += f'[[nodes]]\nname = "{name}"\nurl = "http://{store.http}"\nzone = "{ZONES[name]}"\n'
        (self.directory / "cluster.toml").write_text(text)
        code, said = self.cluster("apply")
        assert code == 0, said

    def cluster(self, command):
        """``ingestd cluster COMMAND``: its exit status, and what it says."""
        arguments = ["cluster", command, "--config", str(self.directory / "cluster.toml")]
        done = subprocess.run(
            [sys.executable, "-m", "ingestd.cli", *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def repair(self):
        """``ingestd cluster repair`` until all owners have the same: it leaves out the last two minutes."""

        def same():
            code, self.said = self.cluster("repair")
            return code == 0 and not self.lacking(~np.isnan(self.read(self.front))).any()

        until(same, lambda: f"the replicas to be repaired:\n{self.said}", 10)

    def close(self):
        for sender in self.senders:
            sender._stopping.set()
        for one in (*self.relays, *self.stores.values(), self.front, self.single):
            if one is not None:
                one.kill()
        self.nursery.close()
        self.brokers.close()

    def healthy(self):
        """Raise what a sender met."""
        for sender in self.senders:
            if sender.error:
                raise sender.error

    # -- what happens to members ---------------------------------------------------------------------------------------

    def bury(self, relay):
        """A relay has ended."""
        self.senders[self.relays.index(relay)].bury()

    def note(self, name):
        """Take what a store's books say before it ends."""
        status = self.stores[name].status()
        self.seen[name] = status["ledger"]["listeners"]["amqp"]["stored"], status["amqp"]["duplicates"]

    def ended(self, name):
        taken, duplicates = self.seen[name]
        self.taken[name] += taken
        self.duplicates[name] += duplicates
        self.seen[name] = 0, 0

    def queues(self):
        return {name: queue_name(name) for name in self.stores}

    def drained(self):
        """Wait until relays have given the broker everything, and stores have acknowledged everything."""
        for relay in self.relays:
            until(
                lambda relay=relay: not any(relay.status()["relay"][key] for key in ("spool_messages", "in_flight")),
                lambda relay=relay: f"{relay.name} to empty its spool: {relay.status()}",
                0.2,
            )
        until(lambda: not self.waiting(), lambda: f"the stores to take {self.waiting()} messages", 0.2)
        until(lambda: not self.brokers.unacknowledged(), "all messages to be acknowledged", 1.0)

    def waiting(self):
        """Messages that wait for a store, or that it has been given and has not acknowledged."""
        waiting = self.brokers.depth(*self.queues().values())
        for name, store in self.stores.items():
            queue = store.status()["amqp"]["queues"][self.queues()[name]]
            waiting += queue["under_way"] + (not queue["consumed"])
        return waiting

    def settle(self):
        """Let all that was sent be stored everywhere, and nothing more be sent meanwhile."""
        for sender in self.senders:
            sender.settle()
        self.drained()

    def go_on(self):
        for sender in self.senders:
            sender.go_on()

    # -- what is in it -------------------------------------------------------------------------------------------------

    def read(self, member):
        """What a member answers for all series: float64[paths, slots]."""
        known, slots = self.known, self.known.slots
        first, last = known.base, known.base + slots - 1
        found = np.full((len(known.paths), slots), np.nan)
        window = [("from", first - 1), ("until", last), ("now", max(last, int(time.time()))), ("format", "json")]
        for tens in range(int(known.host.max()) // 10 + 1):
            for series in member.get("/render", ("target", f"h{tens:02d}*.*"), *window):
                assert series["target"] in known.row, series["target"]
                points = np.array(series["datapoints"], float)
                there = ~np.isnan(points[:, 0])
                columns = points[there, 1].astype(int) - first
                assert len(set(columns.tolist())) == len(columns)
                found[known.row[series["target"]], columns] = points[there, 0]
        return found

    def front_knows_all(self):
        """Wait until the front asks every store again: one that did not answer is left alone for a while."""

        def healthy():
            self.front.get("/metrics/find", ("query", "*"))
            return all(node["healthy"] for node in self.front.status()["cluster"]["nodes"].values())

        until(healthy, lambda: f"the front to ask all stores: {self.front.status()['cluster']}", 0.2)

    def owned(self):
        """By store, which rows it owns, bool[paths]."""
        found = read_map(self.map)
        partitions = [partition_of(path, found.host_nodes) for path in self.known.paths]
        return {name: np.array([name in found.owners[p] for p in partitions]) for name in self.stores}

    def check(self, purged=()):
        """Everything is there once, with its value; the points that were found, float64[paths, slots].

        ``purged``: stores that may lack what another owner has.
        """
        known = self.known
        slots = known.slots
        sent, stored, values = known.sent[:, :slots], known.stored[:, :slots], known.values[:, :slots]
        self.front_knows_all()
        everywhere = self.read(self.front)
        there = ~np.isnan(everywhere)
        assert not (there & ~sent).any(), "points were found that nobody sent"
        assert np.array_equal(everywhere[there], values[there]), "points have the values of others"
        lost = stored & ~there
        assert not lost.any(), f"{lost.sum()} of {stored.sum()} stored points are lost: {self._some(lost)}"
        for life in known.lives[1:]:
            assert life.found(np.pad(there, ((0, 0), (0, known.life.shape[1] - slots)))) >= life.called
        for name, rows in self.owned().items():
            own = self.read(self.stores[name])
            has = ~np.isnan(own)
            assert not has[~rows].any(), f"{name} has what it does not own"
            assert np.array_equal(own[has], values[has]), f"{name} has points with the values of others"
            lacks = there & rows[:, None] & ~has
            if name not in purged:
                assert not lacks.any(), f"{name} lacks {lacks.sum()} points: {self._some(lacks)}"
        return everywhere

    def _some(self, where):
        return [(self.known.paths[row], self.known.base + slot) for row, slot in np.argwhere(where)[:5].tolist()]

    def lacking(self, there):
        """bool[slots]: in which slots some owner lacks a point that is there."""
        missing = np.zeros(there.shape[1], bool)
        for name, rows in self.owned().items():
            missing |= (there & rows[:, None] & np.isnan(self.read(self.stores[name]))).any(axis=0)
        return missing

    def dead(self):
        """Dead messages: there must be none."""
        return self.brokers.depth(dead_name())

    def reference(self, found):
        """A single store that got the same points and never failed."""
        self.single = one = self._member("single", "serve", "[amqp.consume]\n")
        config = self.directory / "single.toml"
        config.write_text("[telemetry]\nown_series_interval = 0\n")
        one.command[one.command.index("--graphite") + 1] = "127.0.0.1:0"
        one.start().ready()
        for slot in range(found.shape[1]):
            rows = np.flatnonzero(~np.isnan(found[:, slot]))
            with one.connect() as connection:
                connection.sendall(self.known.lines(rows, slot))
                connection.shutdown(1)
                assert connection.recv(1) == b""
        count = int((~np.isnan(found)).sum())
        until(lambda: one.status()["ledger"]["stored"] == count, "the single store to store")
        return one


def restart_everything(chain, rnd):
    """``kill -9`` of every process, then all come back in any order."""
    for relay in chain.relays:
        relay.kill()
        chain.bury(relay)
    for name, store in chain.stores.items():
        store.kill()
        chain.ended(name)
    chain.front.kill()
    everyone = [*chain.relays, *chain.stores.values(), chain.front]
    rnd.shuffle(everyone)
    calls = [chain.brokers.restart, *(lambda one=one: one.start().ready() for one in everyone)]
    all_at_once(*calls)
