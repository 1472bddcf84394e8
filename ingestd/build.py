"""From the settings to what each floor wants to know: part of the composition root."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Final

from ingestd.config import Settings
from ingestd.config_types import parse_address
from ingestd.index.tags import TagLimits
from ingestd.ingest.collectd import WatchedFile
from ingestd.ingest.graphite import GraphiteSettings
from ingestd.ingest.pickle import PickleSettings
from ingestd.ingest.prefixes import Prefixes, Quota
from ingestd.ingest.sources import Access, SourceLimits
from ingestd.ingest.streams import StreamSettings
from ingestd.query.limits import QueryLimits
from ingestd.serve.deps import Guard, Limits
from ingestd.serve.tokens import TokenError, Tokens, parse_tokens
from ingestd.storage.journal_thread import Durability
from ingestd.storage.store import StoreSettings
from ingestd.tls import is_loopback
from ingestd.wire.collectd import CollectdParser
from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.lines import PathLimits
from ingestd.wire.seal import Level, Security, parse_auth_file, parse_level
from ingestd.wire.typesdb import builtin_types, parse_types_db

RESERVED_DESCRIPTORS: Final = 536
"""512 open block files and a few: a flood of connections must not take these, nor those of HTTP."""


def store_settings(settings: Settings) -> StoreSettings:
    """The store's part of the settings."""
    journal = settings.journal
    return StoreSettings(
        future=int(settings.limits.future),
        lateness=int(settings.storage.lateness),
        forget_after=int(settings.storage.forget_after),
        in_flight=settings.limits.in_flight,
        journal_limit=journal.limit,
        late_budget=settings.storage.late_budget,
        access=settings.storage.access,
        durability=Durability(journal.fsync, journal.interval, journal.bytes),
    )


def graphite_settings(settings: Settings) -> GraphiteSettings:
    """The Graphite listener's part of the settings."""
    graphite = settings.graphite
    connections = min(graphite.max_connections, spare_descriptors(settings) - _pickle_connections(settings))
    return GraphiteSettings(
        StreamSettings(settings.limits.line, connections, graphite.idle_timeout),
        path_limits(settings),
        graphite.receive_buffer,
        graphite.udp,
    )


def pickle_settings(settings: Settings) -> PickleSettings:
    """The pickle listener's part of the settings."""
    stream = StreamSettings(connections=_pickle_connections(settings), idle_timeout=settings.pickle.idle_timeout)
    return PickleSettings(stream, path_limits(settings), settings.pickle.max_frame)


def _pickle_connections(settings: Settings) -> int:
    """An eighth of the descriptors at most: the rest is for agents."""
    return min(settings.pickle.max_connections, spare_descriptors(settings) // 8) if settings.pickle.listen else 0


def path_limits(settings: Settings) -> PathLimits:
    """What a path may be."""
    limits = settings.limits
    return PathLimits(limits.path_length, limits.path_depth, limits.path_tags)


def tag_limits(settings: Settings) -> TagLimits:
    """What one search by tags may cost."""
    limits = settings.limits
    return TagLimits(limits.tag_expressions, limits.tag_expression_length, limits.tag_values, limits.tag_results)


def source_limits(settings: Settings) -> SourceLimits:
    """What each sender may send."""
    limits = settings.limits
    return SourceLimits(limits.source_series, limits.source_series_per_second, limits.source_points_per_second)


def access(settings: Settings) -> Access:
    """Which paths each sender may write."""
    table = settings.access
    return Access(table.anonymous, table.collectd_users, table.certificates)


def prefixes(settings: Settings) -> Prefixes:
    """The limits of path prefixes."""
    limits = settings.limits
    common = Quota(limits.prefix_series, limits.prefix_series_per_second, limits.prefix_points_per_second)
    named = {p.prefix: Quota(p.series, p.series_per_second, p.points_per_second) for p in limits.prefixes}
    return Prefixes(limits.prefix_nodes, common, named)


def open_doors(settings: Settings) -> list[str]:
    """A warning for each listener that others than this machine reach and that asks nobody who they are."""
    graphite, collectd = settings.graphite, settings.collectd
    found: list[str] = []

    def look(name: str, addresses: tuple[str, ...], cure: str) -> None:
        for address in addresses:
            if not is_loopback(parse_address(address)[0]):
                found.append(f"{name} listens at {address} and takes points of everybody who reaches it; {cure}")

    if settings.access.anonymous:
        if graphite.tls.client_certificates != "required":
            look("graphite/tcp", graphite.listen, "graphite.tls.client_certificates or access.anonymous closes it")
        if graphite.udp:
            look("graphite/udp", graphite.listen, "graphite.udp or access.anonymous closes it")
        if settings.pickle.tls.client_certificates != "required":
            cure = "pickle.tls.client_certificates or access.anonymous closes it"
            look("pickle/tcp", settings.pickle.listen, cure)
        if collectd.security.level == "none":
            look("collectd/udp", collectd.listen, "collectd.security.level or access.anonymous closes it")
    return found + open_http(settings)


def open_http(settings: Settings) -> list[str]:
    """As :func:`open_doors`, of HTTP alone."""
    http = settings.http
    wide = [address for address in http.listen if not is_loopback(parse_address(address)[0])]
    if not http.auth.tokens_file and http.tls.client_certificates != "required":
        return [f"http listens at {address} and answers everybody; http.auth.tokens_file closes it" for address in wide]
    if http.auth.tokens_file and not http.tls.certificate:
        return [f"http listens at {address} without TLS: tokens can be read on their way" for address in wide]
    return []


def http_limits(settings: Settings) -> Limits:
    """The HTTP face's limits."""
    http = settings.http
    return Limits(
        body=http.body,
        workers=http.workers,
        waiting=http.waiting,
        timeout=http.timeout,
        connections=http.max_connections,
        head_timeout=http.header_timeout,
        write_timeout=http.write_timeout,
        unread=http.unread,
        streams=http.streams,
        chart_pixels=http.chart_pixels,
        chart_series=http.chart_series,
    )


def make_query_limits(settings: Settings) -> QueryLimits:
    """What one request may cost."""
    limits = settings.limits
    return QueryLimits(
        series=limits.query_series,
        points=limits.query_points,
        scanned=limits.query_scanned,
        patterns=limits.query_patterns,
        calls=limits.query_calls,
        depth=limits.query_depth,
        target_length=limits.query_target_length,
        targets=limits.query_targets,
        window=int(limits.query_window),
    )


def make_guard(settings: Settings) -> tuple[Guard, list[WatchedFile]]:
    """Who is let in over HTTP, and the file whose change that follows. Raises OSError or WireError."""
    auth = settings.http.auth
    hosts = frozenset(host.lower() for host in settings.http.hosts)
    if not auth.tokens_file:
        return Guard(hosts=hosts), []
    current = Tokens((), {})

    def take(text: str) -> None:
        nonlocal current
        try:
            current = parse_tokens(text)
        except TokenError as error:
            raise WireError(f"{auth.tokens_file}: {error}") from error

    watched = WatchedFile(auth.tokens_file, take)
    watched.load()
    return Guard(lambda: current, frozenset({auth.anonymous} - {""}), hosts), [watched]


def make_collectd_parser(settings: Settings, *, sealed: bool = True) -> tuple[CollectdParser, list[WatchedFile]]:
    """collectd's parser, and the files whose change it follows; ``sealed``: by collectd.security. Raises WireError."""
    collectd = settings.collectd
    level = parse_level(collectd.security.level) if sealed else Level.NONE
    auth_file = collectd.security.auth_file if sealed else ""
    if not auth_file and level is not Level.NONE:
        raise WireError(f"collectd security level {level.name.lower()} needs an AuthFile")
    security = Security(level, {}) if auth_file else Security(level)
    parser = CollectdParser(
        builtin_types(),
        NamingOptions(**collectd.names.model_dump()),
        security,
        store_rates=collectd.store_rates,
        interval=collectd.interval,
    )
    texts: dict[Path, str] = {}

    def take_types(path: Path, text: str) -> None:
        texts[path] = text
        types = builtin_types()
        for other in collectd.types_db:
            types = parse_types_db(texts.get(other, ""), types)
        parser.types = types

    def take_users(text: str) -> None:
        parser.security = Security(level, parse_auth_file(text))

    watched = [WatchedFile(path, lambda text, path=path: take_types(path, text)) for path in collectd.types_db]  # type: ignore[misc]
    if auth_file:
        watched.append(WatchedFile(auth_file, take_users))
    return parser, watched


def raise_descriptor_limit() -> None:
    """Allow as many descriptors as the system lets us: each idle connection takes one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def spare_descriptors(settings: Settings) -> int:
    """Descriptors for connections of clients: what block files, the journal and HTTP need is left out."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - RESERVED_DESCRIPTORS - settings.http.max_connections, soft // 2)
