"""``ingestd cluster``: the commands over :mod:`ingestd.operate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingestd.cluster.map import Map, MapError
from ingestd.cluster.map_file import read_map
from ingestd.cluster.placement import moves, plan, warnings
from ingestd.config_types import ConfigError
from ingestd.operate.settings import BrokerError, NodeError, load_cluster

if TYPE_CHECKING:
    from ingestd.operate.apply import Applied
    from ingestd.operate.status import ClusterState

_CONFIG = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="cluster.toml",
    show_default=True,
    envvar="INGESTD_CLUSTER",
    help="What the cluster is to be.",
)
_LOST = click.option(
    "--lost", multiple=True, metavar="NODE", help="A node that is gone for good, with its data; may be repeated."
)


_RANGES = 8
"""Of partitions that a line names; ``--json`` has all."""


@click.group("cluster")
def cluster() -> None:
    """Say which stores own what, and look at them all."""
    # What the client of the broker has to say of an attempt stands in the error that ends the command.
    logging.getLogger("aiormq").addHandler(logging.NullHandler())
    logging.getLogger("aio_pika").addHandler(logging.NullHandler())


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    try:
        yield
    except (MapError, ConfigError, BrokerError, NodeError) as error:
        raise click.ClickException(str(error)) from error


@cluster.command("plan")
@_CONFIG
@_LOST
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def plan_command(file: Path, lost: Sequence[str], as_json: bool) -> None:
    """Show what apply would change. Nothing is written, and the broker is not asked."""
    with _plain_errors():
        settings = load_cluster(file)
        before = read_map(settings.map)
        after = plan(before, settings.wanted(), lost)
    if as_json:
        click.echo(json.dumps(_planned(before, after, lost)))
        return
    _show_change(before, after)
    for line in warnings(before, after, lost):
        click.echo(f"warning: {line}")


@cluster.command("apply")
@_CONFIG
@_LOST
def apply_command(file: Path, lost: Sequence[str]) -> None:
    """Make queues and bindings, then the new map; again and again with the same result."""
    from ingestd.operate.apply import apply  # noqa: PLC0415 - what needs no broker starts without its client

    with _plain_errors():
        applied = asyncio.run(apply(load_cluster(file), lost))
    _show_change(applied.before, applied.after)
    for line in warnings(applied.before, applied.after, lost):
        click.echo(f"warning: {line}")
    _show_queues(applied)


@cluster.command("settle")
@_CONFIG
@click.option("--partition", "partitions", type=int, multiple=True, help="All that are moving, if none is given.")
@click.option("--copied", is_flag=True, help="Says that the new owners have the history; without it nothing happens.")
def settle_command(file: Path, partitions: Sequence[int], copied: bool) -> None:
    """End moves: their old owners are neither bound nor read any more."""
    if not copied:
        raise click.UsageError(
            "the new owners have only what came since apply, unless the old owners' history was copied: "
            "--copied says that it was, or that it is not wanted"
        )
    from ingestd.operate.apply import settle_moves  # noqa: PLC0415

    with _plain_errors():
        applied = asyncio.run(settle_moves(load_cluster(file), partitions or None))
    _show_change(applied.before, applied.after)
    _show_queues(applied)


@cluster.command("move")
@_CONFIG
@click.option(
    "--wait",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds until new owners have emptied their queues; what is not by then stays unsettled.",
)
def move_command(file: Path, wait: float) -> None:
    """Copy the history of what is moving, compare it, and settle what is whole. Exit 1 when something is not."""
    from ingestd.operate.moving import move  # noqa: PLC0415

    with _plain_errors():
        outcomes = asyncio.run(move(load_cluster(file), click.echo, wait))
    raise SystemExit(1 if any(one.different or one.behind for one in outcomes) else 0)


@cluster.command("repair")
@_CONFIG
def repair_command(file: Path) -> None:
    """Compare replicas, and give each what another has and it lacks. Exit 1 when some still differ."""
    from ingestd.operate.moving import repair  # noqa: PLC0415

    with _plain_errors():
        outcomes = asyncio.run(repair(load_cluster(file), click.echo))
    raise SystemExit(1 if any(one.different for one in outcomes) else 0)


@cluster.command("status")
@_CONFIG
@click.option("--lag", type=int, default=10_000, show_default=True, help="Messages behind that are a problem.")
@click.option("--partitions", is_flag=True, help="Also show who owns what, and how far behind its answers are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def status_command(file: Path, lag: int, partitions: bool, as_json: bool) -> None:
    """Show each node's lag, health and partitions. Exit 1 when something is wrong."""
    from ingestd.operate.status import look  # noqa: PLC0415

    with _plain_errors():
        state = asyncio.run(look(load_cluster(file), lag))
    if as_json:
        click.echo(json.dumps(state.body()))
    else:
        _show_state(state, partitions)
    raise SystemExit(1 if state.problems else 0)


def _planned(before: Map | None, after: Map, lost: Sequence[str]) -> dict[str, object]:
    return {
        "version": before.version if before else None,
        "next_version": after.version,
        "moving": len(after.moving),
        "nodes": {name: one._asdict() for name, one in moves(before, after).items()},
        "warnings": warnings(before, after, lost),
    }


def _show_change(before: Map | None, after: Map) -> None:
    if before is after:
        click.echo(f"version {after.version}: nothing changes")
        return
    click.echo(f"version {before.version if before else 'none'} -> {after.version}, {len(after.nodes)} nodes")
    zones = {one.name: one.zone for one in (*(before.nodes if before else ()), *after.nodes)}
    leaving = {one.name for one in after.nodes if one.leaving}
    rows: list[tuple[str, ...]] = [("node", "zone", "owns", "gains", "copies", "gives", "")]
    changed = moves(before, after)
    for name, one in changed.items():
        rows.append((name, zones[name], *map(str, one), "leaving" if name in leaving else ""))
    _table(rows)
    copies = sum(one.copied for one in changed.values())
    click.echo(f"{copies} replicas to be copied, {len(after.moving)} partitions moving until they are settled")


def _show_queues(applied: Applied) -> None:
    for name in applied.dropped:
        click.echo(f"node {name}: its queue was empty and is gone")
    for line in applied.left:
        click.echo(line)


def _show_state(state: ClusterState, partitions: bool) -> None:
    click.echo(f"map version {state.version}, replication {state.replication}, {state.moving} partitions moving")
    rows: list[tuple[str, ...]] = [
        ("node", "zone", "owns", "arriving", "departing", "lag", "delay", "unacked", "consumers", "version", "health")
    ]
    for one in state.nodes:
        figures = (one.owned, one.arriving, one.departing, one.lag, _seconds(one.delay), one.unacked, one.consumers)
        shown = ["?" if figure is None else str(figure) for figure in figures]
        rows.append((one.name, one.zone, *shown, one.version or "?", one.health or "?"))
    _table(rows)
    if partitions:
        rows = [("partitions", "owners", "whole at", "lag", "delay")]
        for group in state.partitions:
            behind = ("?" if group.lag is None else str(group.lag), _seconds(group.delay) or "?")
            rows.append((_ranges(group.partitions), ",".join(group.owners), ",".join(group.whole), *behind))
        _table(rows)
    click.echo(f"dead messages: {'?' if state.dead is None else state.dead}")
    for line in state.notes:
        click.echo(f"note: {line}")
    for line in state.problems:
        click.echo(f"PROBLEM: {line}")


def _seconds(delay: float | None) -> str | None:
    return None if delay is None else f"{delay:.1f}s"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers in short: ``0-3,7``, and how many more where that gets long."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    texts = [str(first) if first == last else f"{first}-{last}" for first, last in found[:_RANGES]]
    more = sum(last - first + 1 for first, last in found[_RANGES:])
    return ",".join(texts) + (f" and {more} more" if more else "")


def _table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
