"""The settings of a relay: how points become messages, and what is kept while the broker does not take them."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ingestd.config_types import Seconds, Size, Table


class Relay(Table):
    host_nodes: int = Field(
        1,
        ge=0,
        le=16,
        description="Leading nodes of a path that decide its partition, as in the map; 0 = all.",
    )
    linger: Seconds = Field(
        0.1, gt=0, le=60, description="Seconds that a point waits at least for others to share its message."
    )
    linger_max: Seconds = Field(2.0, gt=0, le=60, description="Seconds that it waits at most for messages' pace.")
    messages: float = Field(
        500.0,
        gt=0,
        le=1_000_000,
        description="Messages a second: 0.1 ms of CPU each here, as much at the broker and at each store.",
    )
    batch: int = Field(1_000_000, ge=1, description="Points that are sent at once, whatever the pace: 20 MB.")
    message_points: int = Field(10_000, ge=1, le=40_000, description="Points of a message; it has 1 MiB at most.")
    window: int = Field(1024, ge=1, description="Messages at the broker at once, one of each partition.")
    window_bytes: Size = Field(32 << 20, ge=1 << 20, description="Bytes of these: 0.3 s of a full gigabit.")
    patience: Seconds = Field(
        5.0, gt=0, le=60, description="Seconds until a message without the broker's word is spooled: it may be busy."
    )
    confirm_timeout: Seconds = Field(
        30.0, ge=1, description="Seconds without it that end the connection, unless the broker said that it is blocked."
    )
    spool_limit: Size = Field(
        4 << 30, ge=8 << 20, description="Bytes on disk: an hour and a half of 18,000 points a second without a broker."
    )
    spool_alarm: float = Field(
        0.9, gt=0, le=1, description="Share of it that turns /health to 503, before senders have to wait."
    )
    catch_up: float = Field(
        200_000.0,
        gt=0,
        description="Points a second from the spool beyond what comes in: 10 % of a store's pace.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.linger > self.linger_max:
            raise ValueError("linger is above linger_max")
        return self
