"""``python -m bench.relay --broker amqp://…``: what a point costs a relay, at full speed and at the pace of a fleet.

The broker is one that runs; exchange and queue have names of their own there, and are deleted. ``--pid`` is its
process, whose CPU is reported apart. Nobody consumes: the queue drops the oldest messages.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

import aio_pika
import click

from bench.daemon import BenchError, Daemon, cpu_seconds, until
from bench.machine import machine
from ingestd.load.progress import run_shown
from ingestd.load.workloads import Load
from ingestd.wire import topology

RATE = 18_000
"""Points a second of a fleet of 18,000 hosts."""
HELD = 20_000
"""Messages that the queue holds."""


class Relay(Daemon):
    """``ingestd relay`` with the settings of a file."""

    command = "relay"


async def _declare(url: str, exchange: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(exchange, topology.EXCHANGE_TYPE, durable=True)
        arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-max-length": HELD}
        queue = await channel.declare_queue(topology.queue_name("bench", exchange), durable=True, arguments=arguments)
        for key in topology.routing_keys():
            await queue.bind(exchange, key)


async def _remove(url: str, exchange: str) -> None:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(topology.queue_name("bench", exchange))
        await channel.exchange_delete(exchange)


def _measure(relay: Daemon, load: Load, name: str, pid: int | None) -> None:
    """Send ``load``, wait until the broker has confirmed it, print a line."""
    before = relay.status()
    began, used = time.monotonic(), cpu_seconds(relay.pid)
    broker = cpu_seconds(pid) if pid else 0.0
    run_shown(load, f"127.0.0.1:{relay.graphite_port}", None)
    relay.settle()
    seconds, used = time.monotonic() - began, cpu_seconds(relay.pid) - used
    after = relay.status()
    points = after["ledger"]["stored"] - before["ledger"]["stored"]
    messages = after["relay"]["messages"] - before["relay"]["messages"]
    if after["relay"]["spooled"] > before["relay"]["spooled"]:
        click.echo(f"{name}: the broker did not keep up, the spool was written", err=True)
    text = f"{name}: {points:,} points, {points / seconds:,.0f} a second, {points / messages:.0f} a message; "
    text += f"relay {1e6 * used / points:.2f} us a point, {1e6 * used / messages:.0f} us a message"
    if pid:
        text += f"; broker {1e6 * (cpu_seconds(pid) - broker) / points:.2f} us a point"
    click.echo(text)


@click.command()
@click.option("--broker", "url", default="amqp://guest:guest@127.0.0.1/", show_default=True, help="A running RabbitMQ.")
@click.option("--pid", type=int, help="Its process, on this machine: beam.smp.")
@click.option("--series", default=180_000, show_default=True)
@click.option("--steps", default=20, show_default=True, help="Times that each is sent at full speed.")
@click.option("--seconds", default=30.0, show_default=True, help="Of a fleet's pace.")
def main(url: str, pid: int | None, series: int, steps: int, seconds: float) -> None:
    """CPU of a relay: the first interval, all of them at full speed, and a fleet's pace."""
    exchange = f"bench-{secrets.token_hex(4)}"
    click.echo(", ".join(f"{key} {value}" for key, value in machine().items()))
    asyncio.run(_declare(url, exchange))
    try:
        with tempfile.TemporaryDirectory(prefix="ingestd-bench-") as made:
            config = Path(made) / "relay.toml"
            # The second node is the host here.
            config.write_text(f'[amqp]\nurl = "{url}"\nexchange = "{exchange}"\n[relay]\nhost_nodes = 2\n')
            with Relay(Path(made) / "data", "--config", str(config)) as relay:
                until(lambda: relay.status()["broker"]["connected"], "the relay to connect")
                _measure(relay, Load(series=series, steps=1), "new series", pid)
                _measure(relay, Load(series=series, steps=steps), "full speed", pid)
                pace = Load(series=series, steps=None, seconds=seconds, rate=RATE)
                _measure(relay, pace, f"{RATE:,} points a second", pid)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    finally:
        asyncio.run(_remove(url, exchange))


if __name__ == "__main__":
    main()
