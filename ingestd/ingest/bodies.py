"""From the body of a message to what its parser found: which parser is said by the content type."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from ingestd.points import NameTable, Parsed, empty_batch
from ingestd.wire import topology
from ingestd.wire.batch import BatchLimits, BatchParsed, parse_batch
from ingestd.wire.collectd_text import CollectdTexts
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.partition import partition_of

log = logging.getLogger(__name__)

PUTVAL: Final = "text/collectd"
JSON: Final = "application/json"
LINES: Final = "text/graphite"
BATCH: Final = topology.CONTENT_TYPE
CONTENT_TYPES: Final = (BATCH, PUTVAL, JSON, LINES)
_UNDECODABLE: Final = frozenset({"malformed", "too_long"})

Mark: TypeAlias = tuple[bytes, int]
"""A producer and one of its sequence numbers."""


class Body(NamedTuple):
    """What a message held."""

    parsed: Parsed
    dead: str = ""
    """Why nobody can read it; "" = it was read, whatever became of its points."""
    mark: Mark | None = None
    """Of ingestd's own batches: who made it, and its number."""
    misplaced: str = ""
    """A new path that by this node's map is of another partition than the message: nobody would look for it here."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a message may be."""

    message: int = 1 << 20
    """Bytes."""
    paths: PathLimits = field(default_factory=PathLimits)


class Bodies:
    """The parsers of all content types; ``wall`` gives seconds since the epoch."""

    def __init__(
        self,
        names: Callable[[], NameTable],
        wall: Callable[[], float],
        texts: CollectdTexts,
        limits: BodyLimits,
        host_nodes: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``texts`` parses what collectd sends; ``names`` gives what parsers ask, ``host_nodes`` those of the map."""
        self._host_nodes = host_nodes
        self._names = names
        self._wall = wall
        self._texts = texts
        self._limits = limits
        self._batches = BatchLimits(limits.message, limits.paths)

    def read(self, content_type: str, body: bytes) -> Body:
        """All that can be read of a message. Never raises: what makes a parser fail is dead, and reported."""
        form = content_type.partition(";")[0].strip().lower()
        if len(body) > self._limits.message:
            return Body(Parsed(empty_batch(), [], {"too_long": 1}), f"too_long: {len(body)} bytes")
        if form not in CONTENT_TYPES:
            return Body(Parsed(empty_batch(), [], {"malformed": 1}), f"content_type: {form[:100] or 'none'}")
        try:
            parsed = self._parse(form, body)
        except Exception as error:  # a bug, but the other messages are other senders'
            log.exception("BUG: the parser of %s raised on a message of %d bytes", form, len(body))
            return Body(Parsed(empty_batch(), [], {"malformed": 1}), f"error: {type(error).__name__}")
        mark, misplaced = None, ""
        if isinstance(parsed, BatchParsed) and parsed.producer:
            mark, misplaced = (parsed.producer, parsed.sequence), self._misplaced(parsed)
        if not len(parsed.batch) and parsed.rejected and parsed.rejected.keys() <= _UNDECODABLE and mark is None:
            return Body(parsed, f"{next(iter(parsed.rejected))}: not {form}")
        return Body(parsed, "", mark, misplaced)

    def _misplaced(self, parsed: BatchParsed) -> str:
        """The first new path of a message if it is not of the message's partition. Known ones were looked at before."""
        host_nodes = self._host_nodes() if parsed.unknown else None
        if host_nodes is None:
            return ""
        path = parsed.unknown[0].path
        return "" if partition_of(path, host_nodes) == parsed.partition else path

    def _parse(self, form: str, body: bytes) -> Parsed:
        names, now = self._names(), self._wall()
        if form == BATCH:
            return parse_batch(body, names, int(now), self._batches)
        if form == PUTVAL:
            return self._texts.putval(body, names, now)
        if form == JSON:
            return self._texts.json(body, names, now)
        return parse_lines(body, names, int(now), self._limits.paths)
