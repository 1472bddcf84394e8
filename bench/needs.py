"""``python -m bench.needs --hosts N``: what a cluster needs, by the figures of ``bench.scaling`` recorded last."""

from __future__ import annotations

import click

from bench.model import Site, costs_of, needs, size_text
from bench.results import newest


@click.command()
@click.option("--hosts", type=click.IntRange(1), required=True)
@click.option("--metrics", type=click.IntRange(1), default=10, show_default=True, help="Series of a host.")
@click.option("--interval", type=click.FloatRange(0.1), default=10.0, show_default=True, help="Seconds of a point.")
@click.option("--copies", type=click.IntRange(1), default=2, show_default=True, help="replication of cluster.toml.")
@click.option("--retentions", default=Site(1, 1).retentions, show_default=True)
@click.option("--memory", type=click.FloatRange(1), default=32.0, show_default=True, help="GB of a store's machine.")
@click.option("--disk", type=click.FloatRange(0.01), default=4.0, show_default=True, help="TB of a store's machine.")
def main(hosts: int, metrics: int, interval: float, copies: int, retentions: str, memory: float, disk: float) -> None:
    """What a cluster of so many hosts needs, by the figures that were recorded last."""
    report = newest("scaling")
    if report is None:
        raise click.ClickException("no figures are recorded: python -m bench.record --part scaling")
    site = Site(hosts, metrics, interval, copies, retentions, memory=memory * 1e9, disk=disk * 1e12)
    found = needs(site, costs_of(report["scaling"]), report["scaling"]["series_bytes"])
    click.echo(f"{site.rate:,.0f} points/s of {site.series:,} series, {found.message:,.0f} points a message")
    click.echo(f"relays   {found.relays}, {found.cores['relay']:.2f} cores busy")
    click.echo(f"brokers  {found.brokers}, {found.cores['broker']:.2f} cores busy")
    asks = ", ".join(f"{what} {number}" for what, number in found.stores.items())
    click.echo(f"stores   {found.machines} ({asks}), {found.cores['store']:.2f} cores busy")
    click.echo(f"memory   {size_text(found.memory)} for series; disk {size_text(found.disk)}")


if __name__ == "__main__":
    main()
