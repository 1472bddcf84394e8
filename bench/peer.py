"""A store as a process of its own, with data in one directory and free ports of loopback: what all of them share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final, NamedTuple

from bench.daemon import BenchError, cpu_seconds, until
from bench.streams import Stream

PATIENCE: Final = 600.0
"""Seconds that a peer may work on what it was sent."""
_SAMPLE: Final = 0.1
_QUIET: Final = 10
"""Samples without work that make a rest."""
_WORK: Final = 0.015
"""Seconds of CPU within a sample that are work: /proc may count hundredths, and one may have begun earlier."""


def free_port() -> int:
    """A port of loopback that nobody has at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Moment(NamedTuple):
    """A time by the monotonic clock, and the CPU seconds that a process had taken by then."""

    at: float
    cpu: float


class Peer:
    """A process that listens for lines on ``port``; ends with the ``with`` block. Its data is below ``data``."""

    name = ""
    program = ""
    share = 1
    """It is measured with this part of the series: what is slow would take hours."""
    answers = True
    """Whether it answers over HTTP by itself."""
    journal = ""
    """Of ``data``: the directory of a log of fixed size, "" where there is none."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def found(cls) -> bool:
        """Whether it is installed."""
        return shutil.which(cls.program) is not None

    @classmethod
    def version(cls) -> str:
        """Its version, or that of its package."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """The command line, of free ports; writes what configuration it needs."""
        raise NotImplementedError

    def flush(self) -> None:
        """Return when all that was taken is in files."""
        raise NotImplementedError

    def accepted(self) -> int | None:
        """Points of the benchmark that it says it has taken since its start; None where it does not say."""
        return None

    def points(self, stream: Stream) -> int:
        """Points of ``stream`` that can be read, by the way in which users read them."""
        raise NotImplementedError

    def sum_of(self, pattern: str, first: int, last: int) -> int | None:
        """Ask for the sum of all series of a glob, as JSON; how many values it has. None: it has no such query."""
        del pattern, first, last
        return None

    def names(self, pattern: str) -> int:
        """Ask for the whole names of all series of a glob, as JSON; how many there are."""
        raise NotImplementedError

    def __enter__(self) -> Peer:
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and return once it takes connections."""
        self.port = free_port()
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self.command(), stdout=quiet, stderr=quiet, cwd=self.directory)
        until(self._listens, f"{self.name} to listen", PATIENCE)

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self._process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Let it do nothing more, as SIGKILL would, but keep its sockets."""
        os.kill(self.pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "TZX", f"{self.name} to stop")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def connect(self) -> socket.socket:
        """A connection to the listener of lines."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def now(self) -> Moment:
        """The present moment."""
        return Moment(time.monotonic(), cpu_seconds(self.pid))

    def rest(self) -> Moment:
        """Wait until it has not worked, nor wanted to, for a second; the moment when it last did, to a tenth of one."""
        deadline = time.monotonic() + PATIENCE
        last = before = self.now()
        quiet = 0
        while quiet < _QUIET:
            time.sleep(_SAMPLE)
            now = self.now()
            # On a machine that others share a process may get no CPU for a second.
            if now.cpu - before.cpu > _WORK or self._wants_cpu():
                quiet, last = 0, now
            else:
                quiet += 1
            before = now
            if now.at > deadline:
                raise BenchError(f"waited {PATIENCE:.0f} s for {self.name} to have no work left")
        return last

    def _wants_cpu(self) -> bool:
        """Whether a thread could run, or waits for a disk (proc(5): field 3 of stat is R or D)."""
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            try:
                if stat.read_text().rpartition(")")[2].split()[0] in "RD":
                    return True
            except OSError:
                continue  # the thread has ended
        return False


def http_get(port: int, path: str, **query: str | int) -> bytes:
    """The body of an answer with status 200 of a peer."""
    url = f"http://127.0.0.1:{port}{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        body: bytes = answer.read()
        return body
