"""Settings: validated values from a TOML file and flags. Flags beat the file, the file beats the defaults.

Every field says its reason; ``conf/ingestd.toml`` is made of them (:func:`documented`).
"""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from ingestd.config_amqp import Amqp
from ingestd.config_cluster import Cluster, Query
from ingestd.config_relay import Relay
from ingestd.config_types import Addresses, ConfigError, Seconds, Size, Table
from ingestd.storage.schema import SchemaError, SchemaRules, load_rules

_LINE: Final = 4096
"""Characters of a line of the file: the parser takes the square of the dots in a key."""


class Server(Table):
    data: Path = Field(Path("data"), description="Directory of all data; one daemon locks it.")
    log_format: Literal["text", "json"] = Field("text", description="text for people, json for collectors of logs.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level logged.")


class Tls(Table):
    certificate: Path | Literal[""] = Field(
        "", description="PEM file of the certificate and its chain; empty = no TLS."
    )
    key: Path | Literal[""] = Field("", description="PEM file of its key; empty = in the certificate's file.")
    client_ca: Path | Literal[""] = Field(
        "", description="PEM file of the authorities that clients' certificates need."
    )
    client_certificates: Literal["off", "optional", "required"] = Field(
        "off", description="Whether clients show certificates of client_ca; required refuses all others."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.client_certificates != "off" and not (self.certificate and self.client_ca):
            raise ValueError("client_certificates needs certificate and client_ca")
        if (self.key or self.client_ca) and not self.certificate:
            raise ValueError("there is no certificate")
        return self


class Graphite(Table):
    listen: Addresses = Field(
        ("127.0.0.1:2003",), description='Addresses of TCP and UDP, or "off". Loopback: the protocol has no passwords.'
    )
    idle_timeout: Seconds = Field(
        0.0, ge=0, description="Seconds of silence that close a connection; 0 = never: clients keep theirs open."
    )
    max_connections: int = Field(
        20_000, ge=1, description="Connections at once: twice a large fleet, below usual limits on descriptors."
    )
    receive_buffer: Size = Field(
        8 << 20, ge=4096, description="Bytes of a UDP socket's buffer: a burst between two turns of the loop."
    )
    udp: bool = Field(True, description="Whether UDP is listened to beside TCP; it knows no TLS and no certificates.")
    tls: Tls = Field(default_factory=Tls)


class Pickle(Table):
    listen: Addresses = Field(
        ("127.0.0.1:2004",), description='Addresses of TCP, or "off". Loopback: the protocol has no passwords.'
    )
    max_frame: Size = Field(
        1 << 20, ge=1024, le=64 << 20, description="Bytes of a frame; a longer one closes its connection: carbon's own."
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections at once: relays send pickles, and each may hold an unfinished frame."
    )
    idle_timeout: Seconds = Field(
        0.0, ge=0, description="Seconds of silence that close a connection; 0 = never: relays keep theirs open."
    )
    tls: Tls = Field(default_factory=Tls)


class CollectdNames(Table):
    prefix: str = Field("", description="write_graphite's Prefix; none, as there.")
    postfix: str = Field("", description="write_graphite's Postfix; none, as there.")
    escape_character: str = Field("_", min_length=1, max_length=1, description="write_graphite's EscapeCharacter.")
    separate_instances: bool = Field(False, description="write_graphite's SeparateInstances.")
    always_append_ds: bool = Field(False, description="write_graphite's AlwaysAppendDS.")
    preserve_separator: bool = Field(False, description="write_graphite's PreserveSeparator.")
    drop_duplicate_fields: bool = Field(False, description="write_graphite's DropDuplicateFields.")
    use_tags: bool = Field(False, description="write_graphite's UseTags.")
    reverse_host: bool = Field(False, description="write_graphite's ReverseHost.")


class CollectdSecurity(Table):
    level: Literal["none", "sign", "encrypt"] = Field("none", description="The least that is taken, as in collectd.")
    auth_file: Path | Literal[""] = Field(
        "", description="collectd's AuthFile (user: password a line), read again when it changes; empty = none."
    )


class Collectd(Table):
    listen: Addresses = Field(
        ("127.0.0.1:25826",), description='Addresses of UDP; a multicast address is joined; "off" for none.'
    )
    store_rates: bool = Field(True, description="Store counters as rates, write_graphite's default.")
    types_db: tuple[Path, ...] = Field((), description="types.db files over the built-in types; later ones win.")
    interval: Seconds = Field(10.0, gt=0, description="Seconds, where a datagram names no interval: collectd's own.")
    receive_buffer: Size = Field(
        8 << 20, ge=4096, description="Bytes of a UDP socket's buffer: a burst between two turns of the loop."
    )
    names: CollectdNames = Field(default_factory=CollectdNames)
    security: CollectdSecurity = Field(default_factory=CollectdSecurity)


class Storage(Table):
    schemas: Path | Literal[""] = Field("", description="carbon's storage-schemas.conf; empty = 10s:6h,1m:7d,10m:400d.")
    aggregation: Path | Literal[""] = Field("", description="carbon's storage-aggregation.conf; empty = average, 0.5.")
    lateness: Seconds = Field(
        60, ge=0, description="Seconds after its last slot when a block is written: agents are late by less."
    )
    forget_after: Seconds = Field(
        0, ge=0, description="Seconds of silence after which a series loses its name; 0 = its longest retention."
    )
    access: Literal["mmap", "pread"] = Field("mmap", description="How blocks are read; pread where maps are scarce.")
    late_budget: Size = Field(256 << 20, ge=1 << 20, description="Bytes of late points in memory before a merge.")
    events: int = Field(100_000, ge=1, description="Events kept, the newest ones; all of them are held in memory.")


class Journal(Table):
    fsync: Literal["always", "interval", "never"] = Field(
        "interval", description="When to sync. A killed process loses nothing stored under any of them; power loss may."
    )
    interval: Seconds = Field(0.2, gt=0, description="Seconds between syncs: what power loss may take.")
    bytes: Size = Field(1 << 20, ge=4096, description="Unsynced bytes that are synced before the interval ends.")
    limit: Size = Field(1 << 30, ge=1 << 20, description="Bytes of journal that force a checkpoint: bounds the replay.")


class PrefixLimits(Table):
    prefix: str = Field(min_length=1, max_length=4096, description="How the paths begin.")
    series: int = Field(0, ge=0, description="Series in all; 0 = no limit.")
    series_per_second: float = Field(0.0, ge=0, allow_inf_nan=False, description="New series; 0 = no limit.")
    points_per_second: float = Field(0.0, ge=0, allow_inf_nan=False, description="Points; 0 = no limit.")


class Limits(Table):
    line: Size = Field(16 << 10, ge=256, description="Bytes of a line: four times the longest path.")
    path_length: Size = Field(4096, ge=16, description="Bytes of a path, far above what clients send.")
    path_depth: int = Field(128, ge=1, description="Nodes of a path, far above what clients send.")
    path_tags: int = Field(64, ge=0, description="Tags of a path, far above what clients send.")
    series: int = Field(10_000_000, ge=1, description="Series in all: a name costs some 300 bytes of memory.")
    memory: Size = Field(
        0,
        ge=0,
        description="Bytes of memory, mapped files not counted, beyond which no new series are taken; 0 = none.",
    )
    names_per_second: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="New series a second; 0 = no limit: a fleet's first interval is all new.",
    )
    names_burst: int = Field(100_000, ge=1, description="New series at once where names_per_second limits them.")
    source_series: int = Field(
        0,
        ge=0,
        description="Series that one source (address, collectd user, certificate) may create in all; 0 = no limit.",
    )
    source_series_per_second: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="New series of one source; a minute's worth at once. 0 = no limit."
    )
    source_points_per_second: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Points of one source; a minute's worth at once. 0 = no limit."
    )
    prefix_nodes: int = Field(1, ge=1, le=128, description="Nodes of a path that are its prefix for the next three.")
    prefix_series: int = Field(0, ge=0, description="Series of each prefix in all; 0 = no limit.")
    prefix_series_per_second: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="New series of each prefix; a minute's worth at once. 0 = no limit."
    )
    prefix_points_per_second: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="Points of each prefix; a minute's worth at once. 0 = no limit."
    )
    prefixes: tuple[PrefixLimits, ...] = Field(
        (),
        description="Limits of particular prefixes instead; the longest that fits counts. Tables [[limits.prefixes]].",
    )
    future: Seconds = Field(600, ge=0, description="Seconds ahead of the clock: beyond it is a wrong clock.")
    in_flight: Size = Field(64 << 20, ge=1 << 20, description="Bytes accepted, not yet journalled, that pause reading.")
    query_series: int = Field(100_000, ge=1, description="Series of a request: 0.5 KB each in every function.")
    query_points: int = Field(20_000_000, ge=1, description="Points of a request: 160 MB a copy.")
    query_scanned: int = Field(
        1_000_000_000, ge=1, description="Points that sums and their like read without keeping them: 1.5 s of a core."
    )
    query_patterns: int = Field(
        1_000, ge=1, description="Path expressions of a request, each a walk of the index: dashboards have under 100."
    )
    query_calls: int = Field(
        10_000, ge=1, description="Function calls of a request, repeated evaluations included: a panel has under 200."
    )
    query_depth: int = Field(64, ge=1, le=64, description="Calls within calls; 64 stay below the interpreter's stack.")
    query_target_length: int = Field(
        65_536, ge=1, description="Characters of a target: Grafana's longest, lists of hundreds of paths, have 20,000."
    )
    query_window: Seconds = Field(
        630_720_000, ge=1, description="Seconds by which a function may read outside of the request's window: 20 years."
    )
    query_targets: int = Field(1_000, ge=1, description="Targets of a request: a dashboard's panel has up to 26.")
    tag_expressions: int = Field(
        64, ge=1, description="Expressions of a search by tags, each a pass over a tag's series: people write five."
    )
    tag_expression_length: int = Field(
        4_096, ge=1, description="Characters of a tag expression: lists of a hundred hosts have 3,000."
    )
    tag_values: int = Field(
        1_000_000, ge=1, description="Values that regular expressions of a search are tried on: 0.3 to 9 s."
    )
    tag_results: int = Field(1_000_000, ge=1, description="Series that a search by tags gives: 300 MB of answer.")


class Access(Table):
    """Who may write what. A path prefix ends in a dot unless half a node is meant; "" is every path."""

    anonymous: tuple[str, ...] = Field(
        ("",), description="Path prefixes that senders without user and certificate may write; [] = none."
    )
    collectd_users: dict[str, tuple[str, ...]] = Field(
        {}, description='Path prefixes by collectd user, "*" = all others. Empty: every user may write everything.'
    )
    certificates: dict[str, tuple[str, ...]] = Field(
        {}, description='Path prefixes by common name of a client\'s certificate, "*" = all others. Empty: everything.'
    )


class HttpAuth(Table):
    tokens_file: Path | Literal[""] = Field(
        "", description="Lines NAME SCOPES SHA256 (`ingestd token` makes them), read again on change; empty = open."
    )
    anonymous: Literal["", "read"] = Field(
        "", description='Scopes of those without a token where there is a tokens_file: "read" keeps dashboards open.'
    )


class Http(Table):
    listen: Addresses = Field(
        ("127.0.0.1:8080",), description='Addresses, or "off". Loopback: without a tokens_file all may read and write.'
    )
    body: Size = Field(1 << 20, ge=1024, description="Bytes of a request's body: Grafana's have under 100 KB.")
    workers: int = Field(2, ge=1, le=64, description="Requests evaluated at once; they share one interpreter lock.")
    waiting: int = Field(64, ge=0, description="Requests that wait for a worker; beyond, 503. A dashboard asks 50.")
    timeout: Seconds = Field(60.0, gt=0, description="Seconds until a request gets 503: Grafana gives up by then.")
    max_connections: int = Field(
        1_000, ge=1, description="Connections at once; beyond, the one idle for longest is closed. Browsers take 6."
    )
    header_timeout: Seconds = Field(
        10.0, gt=0, description="Seconds for a request's head or a TLS handshake; the slowest lines need 3."
    )
    write_timeout: Seconds = Field(
        30.0, gt=0, description="Seconds in which a client takes 64 KiB of its answer, or the rest; else it is dropped."
    )
    unread: Size = Field(
        256 << 20, ge=1 << 20, description="Bytes of answers not yet taken; beyond, who holds the most is dropped."
    )
    streams: int = Field(100, ge=0, description="Requests to /render/stream at once; each holds a connection.")
    chart_pixels: int = Field(
        4_000_000, ge=10_000, description="Width times height of a picture; each takes 4 bytes and 50 ns of CPU."
    )
    chart_series: int = Field(1_000, ge=1, description="Series in a picture; each takes 2 ms where it is noisy.")
    hosts: tuple[str, ...] = Field(
        (), description="Host names that are answered beside addresses and localhost; [] = all, but for administrators."
    )
    auth: HttpAuth = Field(default_factory=HttpAuth)
    tls: Tls = Field(default_factory=Tls)


class Telemetry(Table):
    own_series_interval: Seconds = Field(60, ge=0, description="Seconds between points of ingestd.*; 0 = off.")


class Settings(Table):
    """All settings, one table each."""

    server: Server = Field(default_factory=Server)
    graphite: Graphite = Field(default_factory=Graphite)
    pickle: Pickle = Field(default_factory=Pickle)
    collectd: Collectd = Field(default_factory=Collectd)
    storage: Storage = Field(default_factory=Storage)
    journal: Journal = Field(default_factory=Journal)
    limits: Limits = Field(default_factory=Limits)
    access: Access = Field(default_factory=Access)
    http: Http = Field(default_factory=Http)
    telemetry: Telemetry = Field(default_factory=Telemetry)
    amqp: Amqp = Field(default_factory=Amqp)
    cluster: Cluster = Field(default_factory=Cluster)
    query: Query = Field(default_factory=Query)
    relay: Relay = Field(default_factory=Relay)


def load(file: Path | None = None, flags: Mapping[tuple[str, ...], Any] | None = None) -> Settings:
    """The settings of ``file`` with ``flags`` ({key path: value}) over it. Raises :class:`ConfigError`."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = _parsed(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: {error}") from error
    _validated(values, str(file))
    for keys, value in (flags or {}).items():
        table = values
        for key in keys[:-1]:
            table = table.setdefault(key, {})
        table[keys[-1]] = value
    return _validated(values, "flags")


def _parsed(text: str) -> dict[str, Any]:
    """The tables of a TOML file. Raises ValueError."""
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > _LINE:
            raise ValueError(f"line {number} has over {_LINE} characters")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("tables or arrays too deep in one another") from None


def _validated(values: dict[str, Any], source: str) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        what = "unknown setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{source}: {key}: {what}") from error


def make_rules(settings: Settings) -> SchemaRules:
    """The schema rules of the files that the settings name. Raises :class:`ConfigError`."""
    try:
        return load_rules(settings.storage.schemas or None, settings.storage.aggregation or None)
    except SchemaError as error:
        raise ConfigError(str(error)) from error


def documented() -> str:
    """A TOML file of all settings: each with its reason and its default."""
    return "# Every setting of ingestd with its default and its reason.\n" + _documented(Settings(), "")


def _documented(table: BaseModel, name: str) -> str:
    text, below = (f"\n[{name}]\n" if name else ""), ""
    for key, field in type(table).model_fields.items():
        value = getattr(table, key)
        if isinstance(value, BaseModel):
            below += _documented(value, f"{name}.{key}".lstrip("."))
            continue
        reason = textwrap.fill(field.description or "", 116, initial_indent="# ", subsequent_indent="# ")
        plain = list(map(str, value)) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        text += f"{reason}\n{key} = {json.dumps(plain)}\n"
    return text + below
