"""A load from its description to its report."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Final

from ingestd.load.connecting import connect
from ingestd.load.figures import Dashboard, Report
from ingestd.load.material import Datagrams, Lines, Material
from ingestd.load.sending import Sender, Tell
from ingestd.load.workloads import Load, LoadError, lanes

_TURNS: Final = {"graphite": 100, "collectd": 1_000}
"""Pieces a second of a load that has a rate: datagrams that come all at once do not fit into a socket's buffer."""
_ROWS: Final = 4096
"""Rows of a piece at most: more than a buffer holds lines."""


def prepare(load: Load) -> Material:
    """The series of ``load``, numbered."""
    churn = load.workload == "churn"
    if load.protocol == "graphite":
        return Lines(load.total, load.each, churn=churn)
    return Datagrams(-(-load.total // load.each), load.each, max(1, round(load.interval)), churn=churn)


def expected(load: Load, material: Material) -> int | None:
    """Points that all steps have; None where the seconds alone end them."""
    return None if load.last_step is None else material.points * load.last_step


def run(load: Load, material: Material, target: str, url: str | None, tell: Tell) -> Report:
    """Send ``load`` to ``target`` (HOST:PORT) and ask ``url`` meanwhile; ``tell`` hears of the progress.

    Raises :class:`LoadError` if the target cannot be reached, or breaks a connection.
    """
    report = Report()
    kind = socket.SOCK_STREAM if load.protocol == "graphite" else socket.SOCK_DGRAM
    batch = _ROWS if load.rate is None else min(_ROWS, max(1, int(load.rate / _TURNS[load.protocol])))
    with ExitStack() as stack:
        sockets = [stack.enter_context(sock) for sock in connect(target, kind, load.streams)]
        if url is not None:
            dashboard = Dashboard(url, report)
            dashboard.start()
            stack.callback(dashboard.stop)
        try:
            Sender(sockets, list(lanes(load, material, batch)), load, report, tell).run()
        except OSError as e:
            raise LoadError(f"{target} after {report.points:,} points: {e.strerror or e}") from e
    return report
