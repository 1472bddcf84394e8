"""The command line: flags into settings, and the commands."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ingestd import __version__, config
from ingestd.config import Settings
from ingestd.config_types import ConfigError
from ingestd.operate.commands import cluster
from ingestd.serve.tokens import TokenError, fresh_token, parse_scopes
from ingestd.storage.check import check as check_store
from ingestd.storage.check import inspect as inspect_file
from ingestd.storage.errors import InUseError, StorageError
from ingestd.storage.repair import repair as repair_store
from ingestd.storage.schema import SchemaError, load_rules
from ingestd.storage.snapshot import snapshot as snapshot_store

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIRECTORY = click.Path(path_type=Path, file_okay=False)
_NOT_SERVED = ("statsd", "opentsdb")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingestd")
def main() -> None:
    """A metric ingest daemon: collectd and Graphite in, Graphite's render API out."""


def _listener(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = "HOST:PORT, [IPv6]:PORT or off; may be repeated." + (" Not served yet." if name in _NOT_SERVED else "")
    return click.option(f"--{name}", multiple=True, metavar="ADDRESS", help=text)


def _receiving(command: Callable[..., None]) -> Callable[..., None]:
    """The flags of what has listeners."""
    options: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
        click.option("--config", "file", type=_FILE, help="TOML file of settings."),
        click.option("--data", type=_DIRECTORY, help="Directory of all data."),
        *map(_listener, ("graphite", "pickle", "collectd", "statsd", "opentsdb", "http")),
        click.option(
            "--collectd-security", type=click.Choice(["none", "sign", "encrypt"]), help="The least that is taken."
        ),
        click.option("--collectd-auth", type=_FILE, help="collectd's AuthFile."),
        click.option(
            "--typesdb", type=_FILE, multiple=True, help="A types.db over the built-in types; may be repeated."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "data": ("server", "data"),
    "schemas": ("storage", "schemas"),
    "aggregation": ("storage", "aggregation"),
    "graphite": ("graphite", "listen"),
    "pickle": ("pickle", "listen"),
    "collectd": ("collectd", "listen"),
    "http": ("http", "listen"),
    "collectd_security": ("collectd", "security", "level"),
    "collectd_auth": ("collectd", "security", "auth_file"),
    "typesdb": ("collectd", "types_db"),
    "node": ("amqp", "consume", "node"),
}
"""Where in the settings a flag stands."""


def _settings_of(file: Path | None, given: dict[str, Any]) -> Settings:
    for name in _NOT_SERVED:
        if set(given[name]) - {"off"}:
            raise click.UsageError(f"--{name}: ingestd {__version__} does not serve this yet; only off is taken")
    try:
        return config.load(file, {key: given[name] for name, key in _KEYS.items() if given.get(name)})
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


@main.command()
@_receiving
@click.option("--schemas", type=_FILE, help="carbon's storage-schemas.conf.")
@click.option("--aggregation", type=_FILE, help="carbon's storage-aggregation.conf.")
@click.option("--node", metavar="NAME", help="This store's name in a cluster: amqp.consume.node.")
def serve(file: Path | None, **given: Any) -> None:
    """Run the daemon until SIGTERM."""
    settings = _settings_of(file, given)
    try:
        config.make_rules(settings)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    from ingestd.process import serve as run  # noqa: PLC0415 - the other commands start without the daemon

    raise SystemExit(run(settings))


@main.command()
@_receiving
def relay(file: Path | None, **given: Any) -> None:
    """Take points as the daemon does, and publish them to RabbitMQ by partition; until SIGTERM.

    [amqp] says where the broker is, [relay] how much is kept on disk while it does not take them.
    """
    settings = _settings_of(file, given)
    if not settings.amqp.url:
        raise click.UsageError("amqp.url: a relay needs the address of a broker")
    from ingestd.process import relay as run  # noqa: PLC0415 - the other commands start without the relay

    raise SystemExit(run(settings))


@main.command()
@click.option("--config", "file", type=_FILE, help="TOML file of settings.")
@click.option("--map", "map_", type=_FILE, help="The map that `ingestd cluster` makes.")
@_listener("http")
def query(file: Path | None, map_: Path | None, http: tuple[str, ...]) -> None:
    """Answer queries over all nodes of a cluster, with no store, until SIGTERM."""
    flags: dict[tuple[str, ...], Any] = {("cluster", "map"): map_, ("http", "listen"): http}
    try:
        settings = config.load(file, {key: value for key, value in flags.items() if value})
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    from ingestd.process import query as run  # noqa: PLC0415 - the other commands start without the front

    raise SystemExit(run(settings))


@main.command()
@click.option("--repair", is_flag=True, help="Rebuild what can be; what is broken is moved to DIRECTORY/quarantine.")
@click.argument("directory", type=_DIRECTORY)
def check(directory: Path, repair: bool) -> None:
    """Verify every checksum of a data directory. Exit 0: clean, 1: damage, 2: no such store.

    With --repair, of a store that no daemon uses. Exit 0: nothing is lost, 1: something is, 2: it cannot be repaired.
    """
    try:
        outcome = repair_store(directory) if repair else None
        report = check_store(directory)
    except (StorageError, OSError) as error:
        raise click.UsageError(str(error)) from error
    if outcome is not None:
        for line in outcome.done:
            click.echo(line)
        for line in outcome.lost:
            click.echo(f"LOST {line}")
        if not report.findings:
            click.echo(f"{len(outcome.done)} repairs, {len(outcome.lost)} losses")
            raise SystemExit(1 if outcome.lost else 0)
    for finding in report.findings:
        click.echo(finding)
    click.echo(f"{report.series} series, {report.blocks} blocks, {report.journal_points} points in the journal")
    raise SystemExit(1 if report.findings else 0)


@main.command()
@click.option("--url", default="http://127.0.0.1:8080", show_default=True, help="The running daemon.")
@click.option("--token", envvar="INGESTD_TOKEN", help="A token of the scope admin, where the daemon asks for one.")
@click.option("--data", type=_DIRECTORY, help="The data directory, in use by a daemon or not; instead of --url.")
@click.argument("target", type=_DIRECTORY)
def snapshot(url: str, token: str | None, data: Path | None, target: Path) -> None:
    """Copy all data, consistently, to the new directory TARGET, which another ingestd can serve.

    A running daemon makes the copy itself, with its own rights. Blocks are hard links on the same file system.
    """
    try:
        if data is not None:
            copied = _snapshot_of(data, token, target)
        else:
            copied = _ask_for_snapshot(url, token, target.absolute())
    except (StorageError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{target}: {copied['blocks']} blocks, {copied['linked']} of them hard links")
    if copied["missing"]:
        raise click.ClickException(f"{copied['missing']} blocks are missing in the source: ingestd check says which")


def _snapshot_of(data: Path, token: str | None, target: Path) -> dict[str, Any]:
    """Copy a directory, or have it copied by the daemon that holds it."""
    try:
        return snapshot_store(data, target)._asdict()
    except InUseError:
        address = json.loads((data / "listeners.json").read_text()).get("http")
        if address is None:
            raise
        return _ask_for_snapshot(f"http://{address}", token, target.absolute())


def _ask_for_snapshot(url: str, token: str | None, target: Path) -> dict[str, Any]:
    data = urllib.parse.urlencode({"target": str(target)}).encode()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/snapshot", data, headers)
    try:
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise OSError(f"{url}: {error.code}: {error.read(1000).decode(errors='replace')}") from error
    except urllib.error.URLError as error:
        raise OSError(f"{url}: {error.reason}; --data copies a directory that no daemon uses") from error


@main.command()
@click.argument("file", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def inspect(file: Path, as_json: bool) -> None:
    """Say what a file of the store holds."""
    try:
        found = inspect_file(file)
    except (StorageError, OSError) as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        click.echo(json.dumps(found, default=str))
        return
    for key, value in found.items():
        click.echo(f"{key}: {value}")


@main.command()
@click.argument("name")
@click.option("--scopes", default="read", show_default=True, help="read, write, admin, joined by commas.")
def token(name: str, scopes: str) -> None:
    """Print a fresh token, once, and the line for http.auth.tokens_file that lets it in."""
    try:
        secret, line = fresh_token(name, parse_scopes(scopes.split(",")))
    except TokenError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"token: {secret}")
    click.echo(f"line:  {line}")


@main.command()
@click.option("--target", required=True, metavar="HOST:PORT", help="Any listener of the protocol.")
@click.option("--protocol", type=click.Choice(["graphite", "collectd"]), default="graphite", show_default=True)
@click.option(
    "--workload",
    type=click.Choice(["steady", "small", "million", "fleet", "random", "churn"]),
    default="steady",
    show_default=True,
)
@click.option("--series", type=int, help="100,000 if not given, 10,000 of small, a million of million; not of fleet.")
@click.option("--steps", type=int, help="Times that each is sent: 20 if not given, small 400, million 4, fleet 6.")
@click.option("--connections", type=int, default=1, show_default=True, help="Of every workload but fleet.")
@click.option("--hosts", type=int, default=1_000, show_default=True, help="Of a fleet: each has its connection.")
@click.option("--lines", type=int, help="Series of a host; 10 if not given, 200 of collectd.")
@click.option("--interval", type=float, default=10.0, show_default=True, help="Seconds from step to step.")
@click.option("--rate", type=float, help="Points a second; as fast as the target takes them if not given.")
@click.option(
    "--seconds", type=float, help="How long at most; without --steps every point carries the time it is sent."
)
@click.option("--churn", type=float, default=0.05, show_default=True, help="Share of new series in each step of churn.")
@click.option("--query", "url", help="A URL, of a dashboard's query, that is asked once a second meanwhile.")
def bench(target: str, url: str | None, **given: Any) -> None:
    """Send made-up points to a Graphite or collectd listener, and say how it took them.

    The series begin with load and stay in the store of the target. Exit 1: it cannot be reached, or hangs up.
    """
    from ingestd.load.progress import run_shown  # noqa: PLC0415 - the other commands start without the generator
    from ingestd.load.workloads import Load, LoadError  # noqa: PLC0415

    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--query {url}: is no http:// or https:// URL")
    try:
        load = Load(**given)
    except LoadError as error:
        raise click.UsageError(str(error)) from error
    try:
        report = run_shown(load, target, url)
    except LoadError as error:
        raise click.ClickException(str(error)) from error
    for line in report.lines():
        click.echo(line)


main.add_command(cluster)


@main.group("config")
def config_group() -> None:
    """Look at the configuration."""


@config_group.command("check")
@click.option("--schemas", type=_FILE, help="carbon's storage-schemas.conf.")
@click.option("--aggregation", type=_FILE, help="carbon's storage-aggregation.conf.")
@click.argument("paths", nargs=-1, metavar="PATH...")
def config_check(schemas: Path | None, aggregation: Path | None, paths: tuple[str, ...]) -> None:
    """Print the rules and the schema of each path."""
    try:
        rules = load_rules(schemas, aggregation)
    except SchemaError as error:
        raise click.UsageError(str(error)) from error
    for path in paths:
        name, schema, aggregation_name = rules.match(path)
        archives = ",".join(f"{step}s:{slots}" for step, slots in schema.archives)
        click.echo(
            f"{path}: schema [{name}] {archives}, "
            f"aggregation [{aggregation_name}] {schema.method} {schema.x_files_factor:g}"
        )


@config_group.command("default")
def config_default() -> None:
    """Print a TOML file of all settings with their defaults and reasons."""
    click.echo(config.documented(), nl=False)


if __name__ == "__main__":
    main()
