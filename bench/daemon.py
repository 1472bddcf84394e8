"""A daemon in a process of its own, on free ports of loopback, and what /proc tells of it."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 120.0
"""Seconds after which something that must happen counts as failed."""
_SPARE: Final = 3_000
"""Descriptors of a store beside its connections: ingestd keeps 2,536 for files and HTTP."""
_TICK: Final = 1.0 / os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A measurement that could not be made."""


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE, pause: float = 0.01) -> None:
    """Poll ``condition`` every ``pause`` seconds. Raises :class:`BenchError` with ``what`` when patience ends."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {patience:.0f} s for {what}")
        time.sleep(pause)


def most_connections() -> int:
    """Connections that a store has descriptors for where it may open as many files as this process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads of a process.

    Nanoseconds on a core of the threads that there are (``schedstat``); where the kernel does not tell, or a thread has
    ended, the process's clock ticks (proc(5): fields 14 and 15 of ``stat``).
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = (int(fields[11]) + int(fields[12])) * _TICK
    exact = 0
    for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        try:
            exact += int(file.read_text().split()[0])
        except OSError:
            return ticks
    return max(ticks, exact / 1e9)


def resident_bytes(pid: int, kind: str = "VmRSS") -> int:
    """Resident memory of a process: VmRSS is what it has now, VmHWM the most that it ever had (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) << 10
    raise BenchError(f"no {kind} of process {pid}")


@contextmanager
def bare_receiver(connections: int = 1) -> Iterator[tuple[int, Callable[[], int]]]:
    """A process that reads that many connections and counts lines: its port, and the CPU ns that it took in the end."""
    command = [sys.executable, "-m", "bench.receive", str(connections)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as receiver:
        assert receiver.stdout is not None
        out = receiver.stdout
        yield int(out.readline()), lambda: int(out.readline().split()[0])


class Daemon:
    """``ingestd serve`` with its defaults but for ``options``, data in ``directory``; ends with the ``with`` block."""

    command = "serve"

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._addresses: dict[str, str] = {}

    def __enter__(self) -> Daemon:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and return once ``GET /health`` says 200."""
        (self._directory / "listeners.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "ingestd.cli", *self._arguments(), *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._ready, "the daemon to be ready")

    def _arguments(self) -> list[str]:
        found = [self.command, "--data", str(self._directory)]
        for listener in ("graphite", "pickle", "collectd", "http"):
            found += [f"--{listener}", "127.0.0.1:0"]
        return found

    def _find(self) -> None:
        """Learn where it listens. Raises OSError while it does not."""
        self._addresses = json.loads((self._directory / "listeners.json").read_text())

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise BenchError(f"the daemon ended with {self._process.returncode}")
        try:
            self._find()
            self.get("/health")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def graphite_port(self) -> int:
        """Of the listener of lines, on 127.0.0.1."""
        return int(self._addresses["graphite/tcp"].rpartition(":")[2])

    @property
    def collectd_port(self) -> int:
        """Of the listener of datagrams, on 127.0.0.1."""
        return int(self._addresses["collectd/udp"].rpartition(":")[2])

    @property
    def url(self) -> str:
        """Of HTTP, without a slash at its end."""
        return f"http://{self._addresses['http']}"

    def connect(self) -> socket.socket:
        """A connection to the Graphite listener."""
        return socket.create_connection(("127.0.0.1", self.graphite_port), PATIENCE)

    def send(self, parts: Iterable[bytes]) -> None:
        """Send over one connection; return when the daemon has read all and closed its side."""
        with self.connect() as sock:
            for part in parts:
                sock.sendall(part)
            sock.shutdown(socket.SHUT_WR)
            if sock.recv(1):
                raise BenchError("a Graphite listener answers nothing")

    def get(self, path: str, query: Iterable[tuple[str, object]] = (), *, post: bool = False) -> bytes:
        """The body of an answer with status 200."""
        url = f"{self.url}{path}?{urllib.parse.urlencode(list(query))}"
        request = urllib.request.Request(url, method="POST" if post else "GET")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
            return body

    @contextmanager
    def asking(self) -> Iterator[Callable[..., bytes]]:
        """``get(path, query)`` over one connection that is kept, as Grafana and proxies keep theirs."""
        kept = http.client.HTTPConnection(self._addresses["http"], timeout=PATIENCE)

        def get(path: str, query: Iterable[tuple[str, object]] = ()) -> bytes:
            kept.request("GET", f"{path}?{urllib.parse.urlencode(list(query))}")
            with kept.getresponse() as answer:
                if answer.status != HTTPStatus.OK:
                    raise BenchError(f"{path}: {answer.status}")
                return answer.read()

        try:
            yield get
        finally:
            kept.close()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/status"))
        return found

    def settle(self) -> None:
        """Wait until nothing is on its way to the journal."""
        until(lambda: self.status()["ledger"]["in_flight"] == 0, "points to be stored")

    def wait_stored(self, points: int) -> None:
        """Wait until the journal has all of ``points``. Raises :class:`BenchError` if it does not get them."""

        def stored() -> bool:
            ledger = self.status()["ledger"]
            return bool(ledger["stored"] >= points and ledger["in_flight"] == 0)

        until(stored, f"{points} points to be stored")

    def flush(self) -> None:
        """Return when all that was accepted is in files."""

        def flushed() -> bool:
            # Its own series may have come in between, and would stay in memory for minutes.
            self.get("/flush", post=True)
            return not self.status()["unflushed"]

        until(flushed, "the flush")
