"""From the settings to the consumer of AMQP queues: part of the composition root."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final, Literal

from ingestd.build import make_collectd_parser, path_limits
from ingestd.config import Settings
from ingestd.config_amqp import Amqp
from ingestd.config_types import ConfigError
from ingestd.ingest.bodies import Bodies, BodyLimits
from ingestd.ingest.broker import BrokerSettings
from ingestd.ingest.collectd import WatchedFile
from ingestd.ingest.consume import Consumer, ConsumeSettings, queues_of
from ingestd.ingest.pipeline import Pipeline
from ingestd.ingest.subscription import QueueSettings
from ingestd.storage.files import Files
from ingestd.storage.marks import Marks
from ingestd.telemetry import Ledger
from ingestd.wire.collectd_text import CollectdTexts

MARKS_FILE: Final = "marks.log"


def consumes(settings: Settings) -> bool:
    """Whether anything is consumed."""
    return bool(settings.amqp.consume.queues or settings.amqp.consume.node)


def make_marks(settings: Settings) -> Marks:
    """The marks of stored messages. Raises OSError."""
    return Marks(Files(), settings.server.data / MARKS_FILE, settings.amqp.consume.producers)


def make_consumer(
    settings: Settings,
    pipeline: Pipeline,
    ledger: Ledger,
    marks: Marks,
    settled: Callable[[], Future[None]],
    host_nodes: Callable[[], int | None],
) -> tuple[Consumer, list[WatchedFile]]:
    """The consumer, and the files whose change it follows, read. Raises ConfigError, WireError or OSError.

    ``host_nodes`` gives that of the map; None where there is none.
    """
    amqp, consume = settings.amqp, settings.amqp.consume
    parser, watched = make_collectd_parser(settings, sealed=False)
    for file in watched:
        file.load()
    texts = CollectdTexts(parser, consume.json_rates, consume.message)
    limits = BodyLimits(consume.message, path_limits(settings))
    bodies = Bodies(lambda: pipeline.names.table, pipeline.wall, texts, limits, host_nodes)
    others = [QueueSettings(q.name, q.exchange, q.routing_key, q.content_type) for q in consume.queues]
    wanted = ConsumeSettings(
        queues_of(consume.node, amqp.exchange, others),
        amqp.exchange,
        consume.prefetch,
        consume.ack_interval,
        consume.delivery_limit,
    )
    return Consumer(broker_settings(amqp, consume.node), wanted, pipeline, ledger, bodies, marks, settled), watched


def broker_settings(amqp: Amqp, node: str) -> BrokerSettings:
    """Where the brokers are. Raises :class:`ConfigError` for files that cannot be read."""
    return BrokerSettings(
        urls=amqp.url,
        password=lambda: _first_line(amqp.password_file),
        tls=_context(amqp),
        heartbeat=amqp.heartbeat,
        retry=amqp.retry,
        name=f"ingestd {node}".strip(),
    )


def _first_line(file: Path | Literal[""]) -> str:
    return file.read_text("utf-8").partition("\n")[0].strip() if file else ""


def _context(amqp: Amqp) -> ssl.SSLContext | None:
    """What TLS is to be by; None where no file is named."""
    if not amqp.ca and not amqp.certificate:
        return None
    try:
        context = ssl.create_default_context(cafile=amqp.ca or None)
        if amqp.certificate:
            context.load_cert_chain(amqp.certificate, amqp.key or None)
    except OSError as error:
        raise ConfigError(f"amqp: certificates of the broker: {error}") from error
    return context
