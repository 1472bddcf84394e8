"""The settings of a cluster's reads: its map, and how nodes are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from ingestd.config_types import Seconds, Size, Table


class Cluster(Table):
    map: Path | Literal[""] = Field(
        "", description="Map that `ingestd cluster` makes, read again on change; with it answers are of all its nodes."
    )
    node: str = Field(
        "", description="This store's name in the map: its own part needs no HTTP. Empty: amqp.consume.node."
    )


class Query(Table):
    deadline: Seconds = Field(
        20.0, gt=0, description="Seconds that a request waits for other nodes in all; http.timeout should be longer."
    )
    patience: Seconds = Field(
        1.0,
        ge=0,
        description="Seconds for replicas that are not needed any more, or as long as the others took.",
    )
    connect: Seconds = Field(1.0, gt=0, description="Seconds for a connection to a node; far away it takes 0.2.")
    connections: int = Field(8, ge=1, le=1_000, description="Connections kept to each node: a worker uses one.")
    answer: Size = Field(256 << 20, ge=1 << 20, description="Bytes of a node's answer: 30 million points.")
    strict: bool = Field(False, description="Whether a partial answer is an error, where a request has no strict=.")
    token_file: Path | Literal[""] = Field(
        "", description="File with the token (scope read) that other nodes ask for, read again on change; empty = none."
    )
    ca: Path | Literal[""] = Field(
        "", description="PEM file of the authorities of nodes whose URL is https; empty = the system's."
    )
