"""ingestd and the stores beside it, each tuned for bulk, with its data below the ``data`` of its directory."""

from __future__ import annotations

import json
import subprocess
import urllib.error
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.daemon import BenchError, Daemon, until
from bench.peer import Peer, free_port, http_get
from bench.streams import STEP, Stream
from ingestd import __version__

_RETENTION_DAYS: Final = 1
_WHISPER_HEADER: Final = 16 + 12
"""Bytes of a whisper file's header with one archive."""
_HOSTS: Final = 100
"""Of which one query counts the points."""


def _package_version(package: str) -> str:
    """Of a Debian package; "" where it did not come with one."""
    try:
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


class Ingestd(Peer):
    """``ingestd serve`` with its defaults."""

    name = "ingestd"
    journal = "journal"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._daemon = Daemon(self.data)

    @classmethod
    def found(cls) -> bool:
        return True

    @classmethod
    def version(cls) -> str:
        return __version__

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def start(self) -> None:
        self._daemon.start()
        self.port = self._daemon.graphite_port

    def kill(self) -> None:
        self._daemon.kill()

    def flush(self) -> None:
        self._daemon.flush()

    def accepted(self) -> int:
        stored: int = self._daemon.status()["ledger"]["stored"]
        return stored

    def _render(self, target: str, first: int, last: int) -> list[dict[str, Any]]:
        query = (("target", target), ("from", first - 1), ("until", last), ("now", last), ("format", "json"))
        found: list[dict[str, Any]] = json.loads(self._daemon.get("/render", (*query, ("noNullPoints", "true"))))
        return found

    def points(self, stream: Stream) -> int:
        """Counts the values that it answers, for some hosts at a time."""
        found = 0
        for host in range(0, stream.fleet.hosts, _HOSTS):
            answer = self._render(f"collectd.host{host // _HOSTS:03d}??.*.*.*", stream.first, stream.last)
            found += sum(len(series["datapoints"]) for series in answer)
        return found

    def sum_of(self, pattern: str, first: int, last: int) -> int:
        (answer,) = self._render(f"sumSeries({pattern})", first, last)
        return len(answer["datapoints"])

    def names(self, pattern: str) -> int:
        return len(json.loads(self._daemon.get("/metrics/expand", [("query", pattern)]))["results"])


class VictoriaMetrics(Peer):
    name = "VictoriaMetrics"
    program = "victoria-metrics"

    @classmethod
    def version(cls) -> str:
        return _package_version("victoria-metrics")

    def command(self) -> list[str]:
        self._http = free_port()
        return [
            self.program,
            f"-storageDataPath={self.data}",
            f"-graphiteListenAddr=127.0.0.1:{self.port}",
            f"-httpListenAddr=127.0.0.1:{self._http}",
            f"-retentionPeriod={_RETENTION_DAYS}d",
            "-search.maxUniqueTimeseries=10000000",
            "-search.latencyOffset=0s",
        ]

    def start(self) -> None:
        super().start()
        until(self._answers, f"{self.name} to answer")

    def _answers(self) -> bool:
        try:
            return http_get(self._http, "/health") == b"OK"
        except urllib.error.URLError:
            return False

    def flush(self) -> None:
        """A snapshot writes to files what is in memory; ``/internal/force_flush`` only lets it be found."""
        made = json.loads(http_get(self._http, "/snapshot/create"))["snapshot"]
        http_get(self._http, "/snapshot/delete", snapshot=made)

    def accepted(self) -> int:
        for line in http_get(self._http, "/metrics").decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name == 'vm_rows_inserted_total{type="graphite"}':
                return int(value)
        raise BenchError(f"{self.name} does not count its rows")

    def points(self, stream: Stream) -> int:
        """Counts the values that it exports, a line each."""
        match = '{__name__=~"collectd.*"}'
        body = http_get(
            self._http, "/api/v1/export/csv", format="__value__", match=match, start=stream.first - 1, end=stream.last
        )
        return body.count(b"\n")

    def sum_of(self, pattern: str, first: int, last: int) -> int:
        """Without its cache of answers: a dashboard asks for another window every time."""
        query = f'sum({{__graphite__="{pattern}"}})'
        body = http_get(
            self._http, "/api/v1/query_range", query=query, start=first, end=last, step=f"{STEP}s", nocache=1
        )
        (answer,) = json.loads(body)["data"]["result"]
        return len(answer["values"])

    def names(self, pattern: str) -> int:
        return len(json.loads(http_get(self._http, "/metrics/expand", query=pattern)))


class _Whisper(Peer):
    """Keeps a whisper file a series."""

    share = 9
    retention = "10s:6h"

    def write_schemas(self) -> Path:
        """carbon's file of schemas: one archive."""
        path = self.directory / "storage-schemas.conf"
        path.write_text(f"[all]\npattern = .*\nretentions = {self.retention}\n")
        return path

    def flush(self) -> None:
        """Its writer works until the cache is empty: then it rests."""

    def points(self, stream: Stream) -> int:
        """Counts slots with a time of the stream in all files (big-endian: uint32 time, float64 value)."""
        slot = np.dtype([("time", ">u4"), ("value", ">f8")])
        found = 0
        for file in self.data.rglob("gauge.wsp"):
            if file.stat().st_size < _WHISPER_HEADER:
                continue  # it was being made when its writer was killed
            times = np.fromfile(file, slot, offset=_WHISPER_HEADER)["time"]
            found += int(np.count_nonzero((times >= stream.first) & (times <= stream.last)))
        return found


class Carbon(_Whisper):
    """carbon-cache without its limits of creates, updates and cache."""

    name = "carbon"
    program = "carbon-cache"
    answers = False

    @classmethod
    def version(cls) -> str:
        return _package_version("graphite-carbon")

    def command(self) -> list[str]:
        lines = (
            "[cache]",
            f"STORAGE_DIR = {self.directory}",
            f"LOCAL_DATA_DIR = {self.data}",
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
            f"PICKLE_RECEIVER_PORT = {free_port()}",
            "CACHE_QUERY_INTERFACE = 127.0.0.1",
            f"CACHE_QUERY_PORT = {free_port()}",
            "CARBON_METRIC_INTERVAL = 0",
            "LOG_UPDATES = False",
            "LOG_CREATES = False",
            "WHISPER_FALLOCATE_CREATE = True",
        )
        config = self.directory / "carbon.conf"
        config.write_text("\n".join(lines) + "\n")
        self.write_schemas()
        (self.directory / "carbon-cache-a.pid").unlink(missing_ok=True)
        return [self.program, f"--config={config}", "--nodaemon", "start"]


class GoCarbon(_Whisper):
    """go-carbon without limits of updates and cache, two writers, its names in a tree that is read at start."""

    name = "go-carbon"
    program = "go-carbon"
    share = 1

    @classmethod
    def version(cls) -> str:
        found = subprocess.run([cls.program, "-version"], capture_output=True, text=True, check=False).stdout.split()
        return found[-1] if found else ""

    def command(self) -> list[str]:
        self._http = free_port()
        sections: dict[str, dict[str, object]] = {
            "common": {"user": "", "metric-interval": "1h0m0s", "max-cpu": 2},
            "whisper": {
                "data-dir": str(self.data),
                "schemas-file": str(self.write_schemas()),
                "workers": 2,
                "max-updates-per-second": 0,
                "enabled": True,
            },
            "cache": {"max-size": 0, "write-strategy": "noop"},
            "udp": {"enabled": False},
            "tcp": {"listen": f"127.0.0.1:{self.port}", "enabled": True},
            "pickle": {"enabled": False},
            "carbonlink": {"enabled": False},
            "grpc": {"enabled": False},
            "carbonserver": {
                "listen": f"127.0.0.1:{self._http}",
                "enabled": True,
                "trigram-index": False,
                "trie-index": True,
                "find-cache-enabled": False,
                "max-globs": 10_000_000,
                "max-metrics-globbed": 10_000_000,
            },
        }
        lines = []
        for section, settings in sections.items():
            lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        lines += ["[[logging]]", 'logger = ""', f"file = {json.dumps(str(self.directory / 'log'))}", 'level = "error"']
        self.data.mkdir(exist_ok=True)
        config = self.directory / "go-carbon.conf"
        config.write_text("\n".join(lines) + "\n")
        return [self.program, f"-config={config}"]

    def names(self, pattern: str) -> int:
        (answer,) = json.loads(http_get(self._http, "/metrics/find/", query=pattern, format="json"))["metrics"]
        return len(answer["matches"])


PEERS: Final[tuple[type[Peer], ...]] = (Ingestd, VictoriaMetrics, GoCarbon, Carbon)
