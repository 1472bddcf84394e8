"""``cluster.toml``: what a cluster is to be. ``conf/cluster.toml`` is an example with every key."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from ingestd.cluster.map import HOST_NODES_MAX, WEIGHT_MAX, Node
from ingestd.cluster.placement import REPLICATION_MAX, Wanted
from ingestd.config_amqp import Connection, Urls
from ingestd.config_types import ConfigError, Seconds, Table
from ingestd.wire.topology import DELIVERY_LIMIT

_SIZE: Final = 1 << 20
"""Bytes of a file: 256 nodes take 40,000."""


class BrokerError(Exception):
    """What the broker refused, or that none could be reached; the message says which."""


class NodeError(Exception):
    """What a node refused, or that it could not be reached; the message says which node."""


class StoreNode(Table):
    name: str = Field(description="Of its queue too, ingestd.NAME; letters, digits and _ . - between.")
    url: str = Field("", description="Where it answers HTTP, http://store1:8080: for queries and for `status`.")
    zone: str = Field("", max_length=64, description="What fails together: rack, room, datacenter.")
    weight: float = Field(
        1.0, ge=0, le=WEIGHT_MAX, allow_inf_nan=False, description="Its share beside the others'; 0 = it owns nothing."
    )

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        return _http(url)


class Broker(Connection):
    url: Urls = Field(
        ("amqp://guest@127.0.0.1:5672/",), min_length=1, description="Members of the broker's cluster, tried in turn."
    )
    delivery_limit: int = Field(
        DELIVERY_LIMIT, ge=1, le=1_000_000, description="Of the queues, as stores have it: the broker compares."
    )
    management: str = Field(
        "", description="Its management API, http://mq1:15672, for bindings that no map has; empty = not looked at."
    )

    @field_validator("management")
    @classmethod
    def _management(cls, url: str) -> str:
        return _http(url)


class Cluster(Table):
    """All of a ``cluster.toml``."""

    map: Path = Field(Path("cluster.map.json"), description="The map, beside this file; queries read it.")
    replication: int = Field(2, ge=1, le=REPLICATION_MAX, description="Nodes that own each partition.")
    host_nodes: int = Field(
        1,
        ge=0,
        le=HOST_NODES_MAX,
        description="Nodes of a path that are its host; 0 = each series by itself. For ever.",
    )
    token_file: Path | Literal[""] = Field(
        "", description="File whose first line is a token of scope admin; read is enough for `status`. Empty = none."
    )
    timeout: Seconds = Field(10.0, gt=0, le=600, description="Seconds to wait for the broker, or for a node.")
    amqp: Broker = Field(default_factory=Broker)
    nodes: tuple[StoreNode, ...] = Field((), description="The stores, tables [[nodes]].")

    def wanted(self) -> Wanted:
        """What placement is to bring about."""
        nodes = tuple(Node(one.name, one.url, one.zone, one.weight) for one in self.nodes)
        return Wanted(nodes, self.replication, self.host_nodes)


def _http(url: str) -> str:
    try:
        parts = urlsplit(url)
        sound = not url or (parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0)
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("must be http://HOST:PORT or https://")
    return url.rstrip("/")


def load_cluster(file: Path) -> Cluster:
    """The settings of a file; paths in it begin where it stands. Raises :class:`ConfigError`."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_SIZE + 1)
        if len(data) > _SIZE:
            raise ValueError(f"has over {_SIZE} bytes")
        found = Cluster.model_validate(tomllib.loads(data.decode()))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        what = "unknown setting" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{file}: {key}: {what}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: {error}") from error
    beside = file.parent
    amqp = {key: beside / path for key in _PATHS if (path := getattr(found.amqp, key))}
    token = {"token_file": beside / found.token_file} if found.token_file else {}
    return found.model_copy(update={"map": beside / found.map, "amqp": found.amqp.model_copy(update=amqp), **token})


_PATHS: Final = ("password_file", "ca", "certificate", "key")


def first_line(file: Path | Literal[""]) -> str:
    """The first line of a file, "" of none. Raises :class:`ConfigError`."""
    if not file:
        return ""
    try:
        return file.read_text("utf-8").partition("\n")[0].strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file}: {error}") from error
