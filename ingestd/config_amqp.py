"""The settings of AMQP: where the brokers are, and what is consumed there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ingestd.config_types import Seconds, Size, Table

_NODE: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_NAME_MAX: Final = 255
"""Bytes of a name or a key in the protocol."""


def _several(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _named(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    return [{"name": item} if isinstance(item, str) else item for item in value]


Urls = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""Of the members of one cluster: a list, or a text with commas between them."""


class ConsumeQueue(Table):
    name: str = Field(min_length=1, max_length=_NAME_MAX, description="The queue.")
    exchange: str = Field(
        "", max_length=_NAME_MAX, description="Exchange to bind it to, as a quorum queue; empty: the queue is there."
    )
    routing_key: str = Field("", max_length=_NAME_MAX, description="Key of that binding.")
    content_type: str = Field("", max_length=_NAME_MAX, description="Stands in where a message names none.")


class Consume(Table):
    queues: Annotated[tuple[ConsumeQueue, ...], BeforeValidator(_named)] = Field(
        (),
        description=(
            "Names of queues with what collectd publishes, Graphite lines or batches; tables [[amqp.consume.queues]] "
            "with name, exchange, routing_key and content_type make and bind theirs."
        ),
    )
    node: str = Field("", description="This store's name in the cluster: ingestd.NODE is consumed too; empty = none.")
    prefetch: int = Field(
        256, ge=1, le=65_535, description="Messages of a queue on their way: 50 ms of 5,000 a second, 256 MiB at most."
    )
    message: Size = Field(
        1 << 20,
        ge=1024,
        le=64 << 20,
        description="Bytes of a message; a longer one is dead: batches have 50,000 points.",
    )
    ack_interval: Seconds = Field(
        0.05, gt=0, le=60, description="Seconds between the syncs that acks wait for; half a prefetch does not wait."
    )
    delivery_limit: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="Deliveries of a message until the broker holds it for dead: its own default.",
    )
    json_rates: Literal["auto", "always", "never"] = Field(
        "auto",
        description=(
            "Whether counters in application/json are rates, collectd's StoreRates; auto: of hosts whose counters have "
            "fractions or are null, which counters never are."
        ),
    )
    producers: int = Field(
        4096, ge=1, description="Producers of batches whose sequence numbers are remembered, 8 KiB each."
    )

    @field_validator("node")
    @classmethod
    def _node(cls, node: str) -> str:
        if node and (not _NODE.fullmatch(node) or node == "dead"):
            raise ValueError("must be letters, digits, '_', '-' and '.' (64 at most), and not \"dead\"")
        return node


class Connection(Table):
    """How a broker is reached, and where its part in a cluster begins."""

    url: Urls = Field(
        (),
        description="amqp://user@host:5672/vhost or amqps://; several of one cluster are tried in turn. [] = off.",
    )
    password_file: Path | Literal[""] = Field(
        "", description="File whose first line is the password, read at each connection; empty = in the url."
    )
    ca: Path | Literal[""] = Field("", description="PEM file of the authorities for amqps; empty = the system's.")
    certificate: Path | Literal[""] = Field("", description="PEM file of this side's certificate; empty = none.")
    key: Path | Literal[""] = Field("", description="PEM file of its key; empty = in the certificate's file.")
    exchange: str = Field(
        "ingestd",
        min_length=1,
        max_length=100,
        description="Exchange of batches; the queues of nodes begin with its name.",
    )

    @field_validator("url")
    @classmethod
    def _urls(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            try:
                parts = urlsplit(url)
                sound = parts.scheme in {"amqp", "amqps"} and parts.hostname and parts.port != 0
            except ValueError:
                sound = False
            if not sound:
                raise ValueError("must be amqp://user@host:port/vhost or amqps://")
        return urls

    @model_validator(mode="after")
    def _whole_pair(self) -> Self:
        if self.key and not self.certificate:
            raise ValueError("there is no certificate")
        return self


class Amqp(Connection):
    heartbeat: int = Field(10, ge=1, le=600, description="Seconds; a broker silent for twice that is held for gone.")
    retry: Seconds = Field(30.0, gt=0, le=3600, description="The longest wait between attempts to connect, in seconds.")
    consume: Consume = Field(default_factory=Consume)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.consume.queues or self.consume.node) and not self.url:
            raise ValueError("there are queues to consume and no url")
        return self
