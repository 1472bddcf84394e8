"""The listeners for points, and what a process says of them: part of the composition root."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ingestd.build import graphite_settings, make_collectd_parser, pickle_settings
from ingestd.config import Settings
from ingestd.config_types import parse_address
from ingestd.ingest.collectd import CollectdListener
from ingestd.ingest.graphite import GraphiteListener
from ingestd.ingest.pickle import PickleListener
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.sockets import Listener
from ingestd.telemetry import Ledger
from ingestd.tls import TlsContext, make_tls
from ingestd.wire.collectd import Notification

LISTENERS_FILE: Final = "listeners.json"


def make_listeners(
    settings: Settings,
    pipeline: Pipeline,
    ledger: Ledger,
    take: Callable[[Notification], None],
    follow: Callable[[TlsContext | None], ssl.SSLContext | None],
) -> list[Listener]:
    """The listeners that ``settings`` ask for, not started. ``take`` gets collectd's notifications, ``follow`` makes of
    a certificate's context one that is renewed with its files. Raises WireError or ConfigError.
    """
    listeners: list[Listener] = []
    if settings.graphite.listen:
        addresses = [parse_address(a) for a in settings.graphite.listen]
        tls = follow(make_tls(settings.graphite.tls))
        listeners.append(GraphiteListener(addresses, pipeline, ledger, graphite_settings(settings), tls))
    if settings.pickle.listen:
        addresses = [parse_address(a) for a in settings.pickle.listen]
        tls = follow(make_tls(settings.pickle.tls))
        listeners.append(PickleListener(addresses, pipeline, ledger, pickle_settings(settings), tls))
    if settings.collectd.listen:
        addresses = [parse_address(a) for a in settings.collectd.listen]
        parser, watched = make_collectd_parser(settings)
        buffer = settings.collectd.receive_buffer
        listeners.append(CollectdListener(addresses, pipeline, ledger, parser, take, watched, buffer))
    return listeners


def connections(listeners: Sequence[Listener]) -> dict[str, int]:
    """Counts of the streams' connections, as ``/status`` shows them."""
    streams = [x for x in listeners if isinstance(x, GraphiteListener | PickleListener)]
    return {
        "open": sum(x.connections for x in streams),
        "refused": sum(x.refused_connections for x in streams),
        "evicted": sum(x.evicted_connections for x in streams),
        "failed_handshakes": sum(x.failed_handshakes for x in streams),
    }


def announce(data: Path, listening: Sequence[tuple[str, str]]) -> None:
    """Say where the process listens: a line for each (name, ``HOST:PORT``), and the first of each name in a file."""
    fresh = data / f".{LISTENERS_FILE}.tmp"
    fresh.write_text(json.dumps(dict(reversed(listening))))
    fresh.replace(data / LISTENERS_FILE)
    for name, address in listening:
        print(f"listening {name} {address}", flush=True)  # noqa: T201 - what scripts wait for


def withdraw(data: Path) -> None:
    """Remove the file of :func:`announce`."""
    with contextlib.suppress(FileNotFoundError):
        (data / LISTENERS_FILE).unlink()
