"""Searches by tag: which tags and values there are, and which series have them.

A tagged path is ``name;key=value;...`` with its tags sorted; ``name`` itself counts as the tag ``name``. Series without
tags are not held here, as a pattern finds them: a million of them cost it nothing.

Like find, the index follows the name table and takes in what changed when it is asked: new series become a segment
(:mod:`ingestd.index.tag_segment`), and segments of similar size are merged. Safe to use in any thread.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from ingestd.index.names import NameIndexError, Names
from ingestd.index.tag_expressions import Compile, Expression, TagExpressionError, anchored, parse_expression
from ingestd.index.tag_segment import Mask, TagSegment, build, merged

_MERGE_RATIO: Final = 4
_DEAD_SHARE: Final = 8


@dataclass(frozen=True, slots=True)
class TagLimits:
    """What one search may cost."""

    expressions: int = 64
    """Expressions: each is a pass over the series of a tag; people write five."""
    length: int = 4_096
    """Characters of one expression: lists of a hundred hosts have 3,000."""
    values: int = 1_000_000
    """Values that regular expressions are tried on: 0.3 to 9 us each."""
    results: int = 1_000_000
    """Series: about 300 MB of answer."""


class TagLimitError(NameIndexError):
    """A search that means too much; the message names the number and the setting."""

    def __init__(self, setting: str, wanted: str, allowed: int) -> None:
        super().__init__(f"{wanted}; the limit is {allowed} (limits.tag_{setting})")


class _Search:
    """Expressions that are satisfied together, over one segment after another."""

    def __init__(self, expressions: Sequence[str], compile_pattern: Compile, limits: TagLimits) -> None:
        if len(expressions) > limits.expressions:
            raise TagLimitError("expressions", f"{len(expressions)} tag expressions", limits.expressions)
        for text in expressions:
            if len(text) > limits.length:
                raise TagLimitError("expression_length", f"a tag expression of {len(text)} characters", limits.length)
        parsed = [parse_expression(text, compile_pattern) for text in expressions]
        if all(one.takes_empty for one in parsed):
            raise TagExpressionError("At least one tagspec must not match the empty string")
        # Those that choose come before those that leave out, and those that cost least before both.
        self._parsed = sorted(parsed, key=lambda one: (one.takes_empty, one.fits is not None))
        self._limits = limits
        self._tried = 0
        self.tags = {one.tag for one in parsed}

    def rows(self, segment: TagSegment) -> Mask:
        """The living rows that are meant: bool[n]."""
        chosen = segment.alive.copy()
        for one in self._parsed:
            if not chosen.any():
                break
            hit = np.zeros(len(segment), np.bool_)
            self._mark(hit, segment, one)
            chosen &= ~hit if one.takes_empty else hit
        return chosen

    def _mark(self, hit: Mask, segment: TagSegment, one: Expression) -> None:
        """Mark the rows whose value decides: where an empty value satisfies, those that do not."""
        if one.value:
            pair = segment.pair(one.tag, one.value)
            if pair is not None:
                hit[segment.rows(pair)] = True
        elif one.fits is None:  # ``tag=`` and ``tag!=``: any value decides
            hit[segment.rows_of(one.tag)] = True
        else:
            pairs = segment.tags.get(one.tag, range(0))
            self._tried += len(pairs)
            if self._tried > self._limits.values:
                raise TagLimitError("values", f"the expressions are tried on {self._tried} values", self._limits.values)
            values = segment.values[pairs.start : pairs.stop]
            fits = np.fromiter(map(one.fits, values), np.bool_, len(values))
            hit[segment.rows_where(one.tag, fits ^ (one.negated != one.takes_empty))] = True


class Tags:
    """Searches over the tagged series of a :class:`Names`."""

    def __init__(self, names: Names, compile_pattern: Compile, limits: TagLimits | None = None) -> None:
        self._names = names
        self._compile = compile_pattern
        self._limits = limits or TagLimits()
        self._lock = threading.Lock()
        self._segments: tuple[TagSegment, ...] = ()
        self._seen = self._seen_gone = self._seen_renamed = 0

    # -- searches ------------------------------------------------------------------------------------------------------

    def find(self, expressions: Sequence[str]) -> list[tuple[str, int]]:
        """The series that satisfy all of ``expressions``: (path, id), sorted by path (code points).

        :raises TagLimitError: over one of the limits.
        :raises TagExpressionError: there is no such search.
        """
        search = _Search(expressions, self._compile, self._limits)
        found: list[int] = []
        for segment in self._refreshed():
            found += segment.ids[search.rows(segment)].tolist()
            if len(found) > self._limits.results:
                raise TagLimitError("results", f"the expressions mean {len(found)} series", self._limits.results)
        keys = self._names.keys
        return sorted((key.decode(), id_) for id_ in found if (key := keys[id_]) is not None)

    def tags(self, pattern: str = "") -> list[str]:
        """All tags, or those that a regular expression fits from their beginning on, sorted."""
        found = {
            tag for segment in self._refreshed() for tag in segment.tags if segment.alive[segment.rows_of(tag)].any()
        }
        return sorted(found if not pattern else filter(self._fits(pattern), found))

    def values(self, tag: str, pattern: str = "") -> dict[str, int]:
        """The values of a tag, all or those that a regular expression fits, sorted; how many series have each."""
        counts = _counted(self._refreshed(), tag, None)
        if pattern:
            fits = self._fits(pattern)
            counts = Counter({value: n for value, n in counts.items() if fits(value)})
        return dict(sorted(counts.items()))

    def complete_tags(self, expressions: Sequence[str], prefix: str, limit: int) -> list[str]:
        """The first ``limit`` tags that begin with ``prefix``, of the series that satisfy ``expressions``.

        The tags of these are left out.         Raises as :meth:`find`.
        """
        if not expressions:
            return list(islice((tag for tag in self.tags() if tag.startswith(prefix)), limit))
        search = _Search(expressions, self._compile, self._limits)
        found = set()
        for segment in self._refreshed():
            chosen = search.rows(segment)
            for tag in segment.tags:
                if tag not in search.tags and tag.startswith(prefix) and chosen[segment.rows_of(tag)].any():
                    found.add(tag)
        return sorted(found)[:limit]

    def complete_values(self, expressions: Sequence[str], tag: str, prefix: str, limit: int) -> list[str]:
        """The first ``limit`` values of ``tag`` that begin with ``prefix``, of the series that satisfy ``expressions``.

        Raises as :meth:`find`.
        """
        search = None
        if expressions:
            search = _Search([*expressions, f"{tag}!="], self._compile, self._limits)
        counts = _counted(self._refreshed(), tag, search)
        return sorted(value for value in counts if value.startswith(prefix))[:limit]

    def _fits(self, pattern: str) -> Callable[[str], bool]:
        if len(pattern) > self._limits.length:
            what = f"a regular expression of {len(pattern)} characters"
            raise TagLimitError("expression_length", what, self._limits.length)
        return self._compile(anchored(pattern))

    # -- following the names -------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in what changed. Searches do it themselves; at start it saves the first one the wait."""
        self._refreshed()

    def _refreshed(self) -> tuple[TagSegment, ...]:
        names = self._names
        seen = (self._seen, self._seen_gone, self._seen_renamed)
        if seen == (len(names.tagged), len(names.gone), len(names.renamed)):
            return self._segments
        with self._lock:
            # Whoever was renamed by now is among the gone, too, so no segment holds its old path beside the new one.
            upto, renamed_upto = len(names.tagged), len(names.renamed)
            self._take_gone()
            self._take_new(upto, renamed_upto)
            return self._segments

    def _take_gone(self) -> None:
        gone = self._names.gone[self._seen_gone :]
        self._seen_gone += len(gone)
        ids = np.array([id_ for id_, key in gone if b";" in key], np.uint32)
        if not len(ids):
            return
        kept = [segment.without(ids) for segment in self._segments]
        self._segments = tuple(_lean(segment) for segment in kept if segment.dead < len(segment))

    def _take_new(self, upto: int, renamed_upto: int) -> None:
        names = self._names
        came = [*names.tagged[self._seen : upto], *names.renamed[self._seen_renamed : renamed_upto]]
        self._seen, self._seen_renamed = upto, renamed_upto
        fresh = []
        for id_ in dict.fromkeys(came):
            key = names.keys[id_]
            if key is not None and b";" in key and not _holds(self._segments, id_):
                fresh.append((id_, key))
        if fresh:
            segments = [*self._segments, build([id_ for id_, _ in fresh], [key for _, key in fresh])]
            while len(segments) > 1 and len(segments[-1]) * _MERGE_RATIO >= len(segments[-2]):
                newer, older = segments.pop(), segments.pop()
                segments.append(merged(older, newer))
            self._segments = tuple(segments)


def _lean(segment: TagSegment) -> TagSegment:
    """The segment itself, or without its dead if they are many."""
    return merged(segment, _EMPTY) if segment.dead * _DEAD_SHARE > len(segment) else segment


def _holds(segments: Sequence[TagSegment], id_: int) -> bool:
    """Whether a living row is of series ``id_``."""
    for segment in segments:
        row = int(np.searchsorted(segment.ids, id_))
        if row < len(segment) and segment.ids[row] == id_ and segment.alive[row]:
            return True
    return False


def _counted(segments: Sequence[TagSegment], tag: str, search: _Search | None) -> Counter[str]:
    """The values of ``tag`` and how many series have each: all, or those that are searched for."""
    counts: Counter[str] = Counter()
    for segment in segments:
        pairs = segment.tags.get(tag, range(0))
        found = segment.counts(tag, segment.alive if search is None else search.rows(segment)).tolist()
        counts.update({segment.values[pair]: n for pair, n in zip(pairs, found, strict=True) if n})
    return counts


_EMPTY: Final = build([], [])
