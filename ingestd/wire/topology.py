"""What a cluster is called in RabbitMQ: its exchanges, queues, arguments and routing keys. Names only, no connection.

Everything is durable. Who declares one thing twice with other arguments is refused by the broker, so stores, relays
and ``ingestd cluster`` all take them from here.

- exchange ``ingestd`` (direct): producers publish here, the routing key is the partition;
- queue ``ingestd.NODE`` (quorum) for each store node, bound once for each partition that the node owns;
- exchange ``ingestd.dead`` (fanout) with its queue ``ingestd.dead`` (quorum): messages that no store can read.
"""

from __future__ import annotations

import re
from typing import Final

from ingestd.wire.batch import PARTITIONS

EXCHANGE: Final = "ingestd"
EXCHANGE_TYPE: Final = "direct"
DEAD_EXCHANGE_TYPE: Final = "fanout"
DELIVERY_LIMIT: Final = 20
"""Deliveries of a message before it is dead: a store that is killed again and again by one message gets past it.

RabbitMQ 4 has the same default, 3.x has none: so it is always said."""
CONTENT_TYPE: Final = "application/vnd.ingestd.batch"
NODE_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_DEAD: Final = "dead"


def is_node_name(text: str) -> bool:
    """Whether a store node may be called so: its queue must not be that of dead messages."""
    return NODE_NAME.fullmatch(text) is not None and text != _DEAD


def routing_key(partition: int) -> str:
    """The routing key of a partition: its number in decimal."""
    return str(partition)


def routing_keys() -> list[str]:
    """The routing keys of all partitions, in order."""
    return list(map(routing_key, range(PARTITIONS)))


def queue_name(node: str, exchange: str = EXCHANGE) -> str:
    """The queue of a store node."""
    return f"{exchange}.{node}"


def dead_name(exchange: str = EXCHANGE) -> str:
    """The exchange of dead messages, and its queue."""
    return f"{exchange}.{_DEAD}"


def queue_arguments(exchange: str = EXCHANGE, delivery_limit: int = DELIVERY_LIMIT) -> dict[str, str | int]:
    """The arguments of a store node's queue.

    A full queue refuses what is published rather than to drop what it holds, and dead messages leave it only when the
    dead queue has them (``at-least-once`` needs ``reject-publish``).
    """
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": delivery_limit,
        "x-dead-letter-exchange": dead_name(exchange),
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def dead_queue_arguments() -> dict[str, str | int]:
    """The arguments of the queue of dead messages."""
    return {"x-queue-type": "quorum"}


def message_id(producer: bytes, sequence: int) -> str:
    """``PRODUCER:SEQUENCE``, for people who look at a queue."""
    return f"{producer.decode('ascii', 'replace')}:{sequence}"
