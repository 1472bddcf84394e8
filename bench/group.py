"""A cluster on this machine: a private RabbitMQ, a relay, stores, a query front, and the CPU of each."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.daemon import BenchError, Daemon, cpu_seconds, until

HOST_NODES: Final = 2
"""The fleet's names begin with ``collectd.HOST``."""
LOOK: Final = 0.1
"""Seconds between two looks at the stores: each costs them a millisecond."""
MAP: Final = "cluster.map.json"
_BROKER: Final = Path(__file__).parents[1] / "tests" / "system" / "broker.py"


class Rabbit:
    """The system tests' broker, started and ended with the ``with`` block."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.spec_from_file_location("broker", _BROKER)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._broker: Any = module.Broker(directory / "rabbit")

    def __enter__(self) -> Rabbit:
        try:
            self._broker.start()
        except OSError as error:
            self._broker.close()
            raise BenchError(f"no rabbitmq-server: {error}") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._broker.close()

    @property
    def url(self) -> str:
        return str(self._broker.url)

    def cpu(self) -> float:
        """Seconds of all its processes: those of its session (proc(5): field 6 of ``stat``)."""
        return sum(cpu_seconds(pid) for pid in self._pids())

    def _pids(self) -> Iterator[int]:
        session = str(self._broker._process.pid)
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[3] == session and fields[0] != "Z":
                yield int(stat.parent.name)


class Relay(Daemon):
    """``ingestd relay``."""

    command = "relay"


class Front(Daemon):
    """``ingestd query`` with the map in ``directory``."""

    command = "query"

    def _arguments(self) -> list[str]:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self._http = f"127.0.0.1:{sock.getsockname()[1]}"
        return [self.command, "--map", str(self._directory / MAP), "--http", self._http]

    def _find(self) -> None:
        self._addresses = {"http": self._http}


class Group:
    """A relay and ``stores`` stores that consume queues of ``rabbit``; each partition is on ``copies`` of them.

    ``front``: with ``ingestd query`` before them, as :attr:`front`.
    """

    def __init__(self, rabbit: Rabbit, directory: Path, *, stores: int, copies: int = 1, front: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._rabbit = rabbit
        self._copies = copies
        self._cluster = directory / "cluster.toml"
        config = directory / "ingestd.toml"
        # An exchange of its own: the broker may have served another group before.
        self._amqp = f'[amqp]\nurl = "{rabbit.url}"\nexchange = "{directory.name}"\n'
        config.write_text(self._amqp + f"[relay]\nhost_nodes = {HOST_NODES}\n")
        options = ("--config", str(config))
        self._names = [f"store{number}" for number in range(1, stores + 1)]
        self.stores = [Daemon(directory / name, *options, "--node", name) for name in self._names]
        self.relay = Relay(directory / "relay", *options)
        self.front = Front(directory) if front else None

    def __enter__(self) -> Group:
        try:
            for store in self.stores:
                store.start()
            self._apply()
            self.relay.start()
            until(lambda: bool(self.relay.status()["broker"]["connected"]), "the relay to reach the broker")
            if self.front is not None:
                self.front.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in (*self.stores, self.relay, *([self.front] if self.front else [])):
            daemon.kill()

    def _apply(self) -> None:
        """Exchange, queues and bindings, as an operator makes them."""
        tables = [f"replication = {self._copies}\nhost_nodes = {HOST_NODES}\n", self._amqp]
        for name, store in zip(self._names, self.stores, strict=True):
            tables.append(f'[[nodes]]\nname = "{name}"\nurl = "{store.url}"\n')
        self._cluster.write_text("".join(tables))
        command = [sys.executable, "-m", "ingestd.cli", "cluster", "apply", "--config", str(self._cluster)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"cluster apply: {done.stdout}{done.stderr}")

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of the relay, of the broker, of all stores."""
        return {"relay": cpu_seconds(self.relay.pid), "broker": self._rabbit.cpu(), "store": sum(self.stores_cpu())}

    def stores_cpu(self) -> list[float]:
        """CPU seconds so far of each store."""
        return [cpu_seconds(store.pid) for store in self.stores]

    def messages(self) -> int:
        """Messages that the relay has made."""
        return int(self.relay.status()["relay"]["messages"])

    def wait_stored(self, points: int) -> None:
        """Wait until the stores' journals have ``points`` of the broker's, each copy counted."""

        def stored() -> bool:
            books = [store.status()["ledger"]["listeners"].get("amqp", {}) for store in self.stores]
            return int(sum(one.get("stored", 0) for one in books)) >= points * self._copies

        until(stored, f"{points} points to be stored", 600.0, LOOK)
