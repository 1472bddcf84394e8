"""Other stores as processes of their own, tuned for bulk, with data in one directory and free ports of loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Final

import numpy as np

from bench.daemon import PATIENCE, BenchError, cpu_seconds, until

_RETENTION_DAYS: Final = 1
_WHISPER_HEADER: Final = 16 + 12
"""Bytes of a whisper file's header with one archive."""
_REST_SHARE: Final = 0.05
"""Of a core: a process that takes less over a second has no work left."""


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Peer:
    """What all peers share: a process that listens for lines on ``port``; ends with the ``with`` block."""

    name = ""
    program = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self._process: subprocess.Popen[bytes]

    @classmethod
    def found(cls) -> bool:
        return shutil.which(cls.program) is not None

    def command(self) -> list[str]:
        """The command line; writes what configuration it needs."""
        raise NotImplementedError

    def flush(self) -> None:
        """Return when all that was taken is in files."""
        raise NotImplementedError

    def points(self) -> int:
        """Points of the benchmark that can be read."""
        raise NotImplementedError

    def __enter__(self) -> Peer:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Start, and return once it takes connections."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self.command(), stdout=quiet, stderr=quiet, cwd=self.directory)
        until(self._listens, f"{self.name} to listen")

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise BenchError(f"{self.name} ended with {self._process.returncode}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def rest(self) -> float:
        """Wait until it works no more; when that was, by the monotonic clock, to a tenth of a second."""
        deadline = time.monotonic() + PATIENCE
        quiet, last = 0, time.monotonic()
        before = cpu_seconds(self.pid)
        while quiet < 10:
            time.sleep(0.1)
            now = cpu_seconds(self.pid)
            # A tick is 10 ms: of a tenth of a second, less than one and a half of them are rest.
            if now - before > max(0.015, 0.1 * _REST_SHARE):
                quiet, last = 0, time.monotonic()
            else:
                quiet += 1
            before = now
            if time.monotonic() > deadline:
                raise BenchError(f"waited {PATIENCE:.0f} s for {self.name} to have no work left")
        return last


class VictoriaMetrics(Peer):
    name = "VictoriaMetrics"
    program = "victoria-metrics"

    def command(self) -> list[str]:
        self._http = _free_port()
        return [
            self.program,
            f"-storageDataPath={self.directory / 'data'}",
            f"-graphiteListenAddr=127.0.0.1:{self.port}",
            f"-httpListenAddr=127.0.0.1:{self._http}",
            f"-retentionPeriod={_RETENTION_DAYS}d",
            "-search.maxUniqueTimeseries=10000000",
            "-search.latencyOffset=0s",
        ]

    def _get(self, path: str, **query: str) -> bytes:
        url = f"http://127.0.0.1:{self._http}{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body: bytes = answer.read()
            return body

    def flush(self) -> None:
        self._get("/internal/force_flush")

    def points(self) -> int:
        """Counts the values that it exports, a line of JSON a series."""
        body = self._get("/api/v1/export/csv", format="__value__", match='{__name__=~"collectd.*"}')
        return body.count(b"\n")


class Carbon(Peer):
    name = "carbon"
    program = "carbon-cache"

    def command(self) -> list[str]:
        lines = (
            "[cache]",
            f"STORAGE_DIR = {self.directory}",
            f"LOCAL_DATA_DIR = {self.directory / 'data'}",
            f"CONF_DIR = {self.directory}",
            f"LOG_DIR = {self.directory}",
            f"PID_DIR = {self.directory}",
            "USER =",
            "MAX_CACHE_SIZE = inf",
            "MAX_UPDATES_PER_SECOND = inf",
            "MAX_CREATES_PER_MINUTE = inf",
            "LINE_RECEIVER_INTERFACE = 127.0.0.1",
            f"LINE_RECEIVER_PORT = {self.port}",
            "PICKLE_RECEIVER_INTERFACE = 127.0.0.1",
            f"PICKLE_RECEIVER_PORT = {_free_port()}",
            "CACHE_QUERY_INTERFACE = 127.0.0.1",
            f"CACHE_QUERY_PORT = {_free_port()}",
            "CARBON_METRIC_INTERVAL = 0",
            "LOG_UPDATES = False",
            "LOG_CREATES = False",
            "WHISPER_FALLOCATE_CREATE = True",
        )
        config = self.directory / "carbon.conf"
        config.write_text("\n".join(lines) + "\n")
        (self.directory / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 10s:6h\n")
        (self.directory / "carbon-cache-a.pid").unlink(missing_ok=True)
        return [self.program, f"--config={config}", "--nodaemon", "start"]

    def flush(self) -> None:
        """Its writer works until the cache is empty: then it rests."""

    def points(self) -> int:
        """Counts slots with a time in all whisper files (big-endian: uint32 time, float64 value)."""
        slot = np.dtype([("time", ">u4"), ("value", ">f8")])
        files = (self.directory / "data").rglob("*.wsp")
        return sum(int(np.count_nonzero(np.fromfile(f, slot, offset=_WHISPER_HEADER)["time"])) for f in files)


PEERS: Final[tuple[type[Peer], ...]] = (VictoriaMetrics, Carbon)
