"""What the HTTP face asks of a cluster: each call is a request of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ingestd.cluster.scatter import Gather, Match


class GatheredNames:
    """The :class:`ingestd.serve.deps.Finder` of all nodes."""

    def __init__(self, gather: Callable[[], Gather]) -> None:
        self._gather = gather

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        """As :meth:`ingestd.serve.deps.Finder.find_matches`."""
        return self._gather().find_matches(pattern, leaves_only)

    def paths(self) -> list[str]:
        """All paths without tags, sorted."""
        return self._gather().paths()


class GatheredTags:
    """The :class:`ingestd.serve.deps.TagFinder` of all nodes."""

    def __init__(self, gather: Callable[[], Gather]) -> None:
        self._gather = gather

    def find(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        """As :meth:`ingestd.index.tags.Tags.find`; the numbers mean nothing beyond the call."""
        return self._gather().find_tagged(expressions)

    def tags(self, pattern: str = "") -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.tags`."""
        return self._gather().tags(pattern)

    def values(self, tag: str, pattern: str = "") -> dict[str, int]:
        """As :meth:`ingestd.index.tags.Tags.values`."""
        return self._gather().values(tag, pattern)

    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.complete_tags`."""
        return self._gather().complete_tags(expressions, prefix, limit)

    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]:
        """As :meth:`ingestd.index.tags.Tags.complete_values`."""
        return self._gather().complete_values(expressions, tag, prefix, limit)


class GatheredEvents:
    """The :class:`ingestd.serve.deps.Events` of all nodes; one is kept by ``add`` alone."""

    def __init__(self, gather: Callable[[], Gather], add: Callable[[int, str, list[str], str], int]) -> None:
        self._gather = gather
        self._add = add

    def add(self, when: int, what: str, tags: list[str], data: str) -> int:
        """Keep an event here; its id here."""
        return self._add(when, what, tags, data)

    def query(self, start: int, until: int, tags: list[str] | None, set_operation: str | None) -> list[dict[str, Any]]:
        """As :meth:`ingestd.serve.deps.Events.query`; ids are the cluster's."""
        return self._gather().query(start, until, tags, set_operation)

    def get(self, id: int) -> dict[str, Any] | None:  # noqa: A002
        """One event by its id in the cluster."""
        return self._gather().get(id)
