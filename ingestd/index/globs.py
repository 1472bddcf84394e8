"""find: the names that a Graphite pattern means.

Patterns mean what graphite-web 1.1.10's standard finder makes of them. A pattern is cut at its dots; each part is
matched against one node: ``*``, ``?``, ``[ab]``, ``[!ab]`` as in :mod:`fnmatch`, case-sensitive, and ``{a,b}``, which
may be nested. Only a part that is exactly ``**`` crosses dots: it means any number of nodes, none included, and at the
end everything below. An empty part in between means nothing. Backslashes are dropped. A tagged series is found by its
whole path; in the tree it stands where carbon would put its file, below ``_tagged``.

The names are kept in sorted segments (:mod:`ingestd.index.segment`), like a log-structured merge tree: names that came
since the last search become a segment of their own, and segments of similar size are merged, so that one new name
among a million costs one search of a small segment and never a sort of all. Nothing happens when a name is added.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
import threading
from collections.abc import Callable, Sized
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ingestd.index.names import NameIndexError, Names
from ingestd.index.segment import Range, Segment, build
from ingestd.index.walk import Match, is_plain, leaves, lines, matches, series

EXPANSIONS_MAX: Final = 4096
"""Texts that the braces of one node may expand to: dashboards list hundreds of hosts; 13 pairs double to more."""

EXPANDED_MAX: Final = 4 << 20
"""Characters of these texts and of all on the way to them: a list of 1,000 hosts has 50,000."""

VISITS_MAX: Final = 5_000_000
"""Nodes that one search may visit: about 3 s, and several times the nodes of a million names."""

RESULTS_MAX: Final = 1_000_000
"""Nodes that one search may give: about 300 MB of answer."""

WILDCARDS_MAX: Final = 32_768
"""Characters of a node's texts that have wildcards, all together: 1,000 hosts of 30, which take 0.2 s to prepare."""

_TAGGED: Final = b"_tagged"
_MERGE_RATIO: Final = 4
_DEAD_SHARE: Final = 8
_GLOB_CHARACTER: Final = re.compile(r"[*?[]")
_BRACES: Final = re.compile(r"\{([^{}]*)\}")


class FindLimitError(NameIndexError):
    """A pattern that means too much: too many expansions, nodes visited or results."""


class Node(NamedTuple):
    """A node of the tree: a series (leaf), a branch, or both."""

    path: str
    is_leaf: bool
    is_branch: bool


@dataclass(frozen=True, slots=True)
class _Level:
    """What one part of a pattern takes: names, names that ``match`` takes (``everything``: all; they begin
    with ``prefix``), any depth."""

    literals: tuple[bytes, ...]
    match: Callable[[str], object] | None
    prefix: bytes
    everything: bool
    any_depth: bool


def expand_braces(text: str, limit: int = EXPANSIONS_MAX) -> list[str]:
    """The texts that ``text`` means, each once; innermost braces first. A brace without its partner is a character.

    :raises FindLimitError: more than ``limit`` texts, or more than :data:`EXPANDED_MAX` characters.
    """
    done: list[str] = []
    todo = [text]
    # Many ways may lead to one text: in ``{,a}{,a}...`` there are 2^n to n texts.
    seen = {text}
    characters = len(text)
    while todo:
        pattern = todo.pop()
        braces = _BRACES.search(pattern)
        if braces is None:
            done.append(pattern)
            continue
        head, tail = pattern[: braces.start()], pattern[braces.end() :]
        choices = dict.fromkeys(braces[1].split(","))
        characters += len(braces[1]) + len(choices) * (len(head) + len(tail))
        if len(done) + len(todo) + len(choices) > 2 * limit or characters > EXPANDED_MAX:
            raise FindLimitError(f"the braces of a node expand to more than {limit} texts or {EXPANDED_MAX} characters")
        new = [one for choice in choices if (one := head + choice + tail) not in seen]
        seen.update(new)
        todo += new
    if len(done) > limit:
        raise FindLimitError(f"the braces of a node expand to more than {limit} texts")
    return done


def _is_glob(part: str) -> bool:
    return "*" in part or "?" in part or "[" in part


def _translated(glob: str) -> str:
    """The regular expression of ``glob``, in time linear in its length.

    fnmatch looks for the end of every bracket, to the end of the text where it has none: those are taken out before.
    NUL stands for them, which no name holds.
    """
    closed, end, rest = glob.replace("\0", "\1").rpartition("]")
    return fnmatch.translate(closed + end + rest.replace("[", "\0")).replace("\0", r"\[")


def _level(part: str) -> _Level:
    variants = expand_braces(part)
    globs = [v for v in variants if _is_glob(v) and v != "**"]
    if sum(map(len, globs)) > WILDCARDS_MAX:
        raise FindLimitError(f"the texts with wildcards of a node have more than {WILDCARDS_MAX} characters")
    everything = "*" in globs
    match = re.compile("|".join(map(_translated, globs))).match if globs and not everything else None
    # Where every node is taken, what is left is to take none: the empty choice of ``{*,}``.
    literals = tuple(v.encode() for v in variants if not (_is_glob(v) or (everything and v)))
    prefix = _GLOB_CHARACTER.split(globs[0], maxsplit=1)[0] if len(globs) == 1 else ""
    return _Level(literals, match, prefix.encode(), everything, "**" in variants)


class _Visits:
    """Counts the nodes that a search visits."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def spend(self, nodes: int) -> None:
        self._left -= nodes
        if self._left < 0:
            raise FindLimitError(f"the pattern visits more than {self._limit} nodes")


def tree_key(key: bytes) -> bytes:
    """Where a series stands in the tree: the path itself; for a tagged one ``_tagged``, three and again three digits
    of its SHA-256, and the path without dots, which is carbon's TaggedSeries.encode."""
    if b";" not in key:
        return key
    digits = hashlib.sha256(key).hexdigest().encode()
    return b".".join([_TAGGED, digits[:3], digits[3:6], key.replace(b".", b"_DOT_")])


def _is_tagged(pattern: str) -> bool:
    """Whether a pattern is the whole path of a tagged series, in which nothing is a wildcard."""
    return ";" in pattern and not pattern.startswith(_TAGGED.decode() + ".")


def _tail(parts: list[str]) -> int:
    """Where the names below the last wildcard begin: they are looked up in the table and not in the tree."""
    tail = len(parts)
    if parts[0] != _TAGGED.decode():
        while tail and not (_is_glob(parts[tail - 1]) or "{" in parts[tail - 1]):
            tail -= 1
    return tail


def _levels(parts: list[str], last: bool) -> list[_Level]:
    """The levels of a pattern's parts; ``last``: its last part is among them."""
    levels: list[_Level] = []
    for part in parts:
        level = _level(part)
        if not (level.any_depth and levels and levels[-1].any_depth):
            levels.append(level)
    if last and levels[-1].any_depth:
        levels.append(_level("*"))
    if last:
        # An empty choice such as ``{,a}`` means nothing in between, and no name at the end.
        levels[-1] = replace(levels[-1], literals=tuple(name for name in levels[-1].literals if name))
    return levels


def _below(segment: Segment, nodes: list[Range], visits: _Visits) -> list[Range]:
    """These nodes and all below them, each once."""
    found = dict.fromkeys(nodes)
    while nodes:
        nodes = [child for node in nodes for child in segment.children(node, None) if child not in found]
        visits.spend(len(nodes))
        found.update(dict.fromkeys(nodes))
    return list(found)


def _walk(segment: Segment, levels: list[_Level], visits: _Visits) -> list[Range]:
    """The nodes of a segment that the levels mean, each once; the root among them where they may mean no node."""
    nodes = [segment.root]
    for level in levels:
        found: list[Range] = []
        if level.any_depth:
            found += _below(segment, nodes, visits)
        for node in nodes:
            if level.everything or level.match:
                visits.spend(segment.count(node))
                found += segment.children(node, level.match, level.prefix)
            for name in level.literals:
                child = segment.child(node, name) if name else node
                if child is not None:
                    found.append(child)
        visits.spend(len(nodes) * len(level.literals))
        several = level.any_depth + (level.everything or bool(level.match)) + len(level.literals) > 1
        nodes = list(dict.fromkeys(found)) if several else found
    return nodes


def _merged(segments: list[Segment]) -> tuple[Segment, ...]:
    """Segments, largest first, of which each is several times larger than the next."""
    while len(segments) > 1 and len(segments[-1]) * _MERGE_RATIO >= len(segments[-2]):
        newer, older = segments.pop().living(), segments.pop().living()
        segments.append(build([*older[0], *newer[0]], [*older[1], *newer[1]]))
    return tuple(segments)


class Globs:
    """Searches over a :class:`Names`. Safe to use in any thread while the event loop changes the names."""

    def __init__(
        self, names: Names, visits_max: int = VISITS_MAX, results_max: int = RESULTS_MAX, private: str | None = None
    ) -> None:
        """``private``: a branch at the root that a wildcard in first place lists but does not enter."""
        self._names = names
        self._private = None if private is None else private.encode() + b"."
        self._visits_max = visits_max
        self._results_max = results_max
        self._lock = threading.Lock()
        self._segments: tuple[Segment, ...] = ()
        self._seen = self._seen_gone = self._seen_renamed = 0

    def find_leaves(self, pattern: str) -> list[tuple[str, int]]:
        """The series that ``pattern`` means: (path, id), sorted by path (code points), each once.

        :raises FindLimitError: over one of the limits.
        """
        pattern = pattern.replace("\\", "")
        if _is_tagged(pattern):
            return self._leaf(pattern.encode())
        parts = [part for part in pattern.split(".") if part]
        if pattern.endswith(".") or not parts:
            return []
        tail = _tail(parts)
        if not tail:
            return self._leaf(".".join(parts).encode())
        levels = _levels(parts[:tail], last=tail == len(parts))
        rest = ".".join(parts[tail:]).encode()
        hidden = self._hidden(parts[0])
        visits = _Visits(self._visits_max)
        found: dict[str, int] = {}
        segments = self._refreshed()
        below = [_level(part) for part in parts[tail:]]
        if is_plain(segments, [*levels, *below]):
            return leaves(segments, levels, below, visits.spend, self._bound, hidden or b"")
        for segment in segments:
            for node in _walk(segment, levels, visits):
                path, id_ = self._leaf_at(segment, node, rest)
                if id_ is not None and not (hidden is not None and path.startswith(hidden)):
                    found[path.decode()] = id_
            self._bound(found)
        return sorted(found.items())

    def find_ids(self, pattern: str) -> NDArray[np.uint32] | None:
        """The ids of what :meth:`find_leaves` gives, uint32[n]; None where that is not quicker or some have tags."""
        pattern = pattern.replace("\\", "")
        parts = [part for part in pattern.split(".") if part]
        if not parts or _is_tagged(pattern) or pattern.endswith("."):
            return None
        tail = _tail(parts)
        levels = _levels(parts[:tail], last=tail == len(parts)) if tail else []
        below = [_level(part) for part in parts[tail:]]
        segments = self._refreshed()
        if not levels or not is_plain(segments, [*levels, *below]):
            return None
        spend = _Visits(self._visits_max).spend
        return series(segments, levels, below, spend, self._bound, self._hidden(parts[0]) or b"")

    def find_nodes(self, pattern: str) -> list[Node]:
        """The nodes that ``pattern`` means, sorted by path (code points), each once.

        A pattern that ends in a dot means branches, and their paths then end in a dot, too.

        :raises FindLimitError: over one of the limits.
        """
        pattern = pattern.replace("\\", "")
        if _is_tagged(pattern):
            return [Node(path, True, False) for path, _ in self._leaf(pattern.encode())]
        parts = [part for part in pattern.split(".") if part]
        if not parts:
            return []
        levels = _levels(parts, last=True)
        hidden = self._hidden(parts[0])
        visits = _Visits(self._visits_max)
        leaf: dict[bytes, bool] = {}
        branch: dict[bytes, bool] = {}
        for segment in self._refreshed():
            for node in _walk(segment, levels, visits):
                if not node.depth:
                    continue
                path = segment.path(node)
                if hidden is not None and path.startswith(hidden):
                    continue
                if segment.leaf(node) is not None:
                    leaf[path] = True
                if segment.has_children(node):
                    branch[path] = True
            self._bound(leaf)
            self._bound(branch)
        if pattern.endswith("."):
            return [Node(path.decode() + ".", False, True) for path in sorted(branch)]
        return [Node(path.decode(), path in leaf, path in branch) for path in sorted(leaf | branch)]

    def find_matches(self, pattern: str, leaves_only: bool = False) -> list[Match]:
        """As :meth:`find_nodes`, as lines of an answer: by the last node's name, then the path. What is a branch and a
        leaf stands there as both, in this order; ``leaves_only`` leaves out branches."""
        pattern = pattern.replace("\\", "")
        parts = [part for part in pattern.split(".") if part]
        levels = [] if not parts or _is_tagged(pattern) or pattern.endswith(".") else _levels(parts, last=True)
        segments = self._refreshed()
        if not levels or not is_plain(segments, levels):
            return sorted(lines(self.find_nodes(pattern), leaves_only), key=itemgetter(0))
        spend = _Visits(self._visits_max).spend
        return matches(segments, levels, spend, self._bound, self._hidden(parts[0]) or b"", leaves_only)

    def paths(self) -> list[str]:
        """The paths of all series that are not tagged, sorted by code points."""
        return sorted(key.decode() for key in self._names.keys[:] if key is not None and b";" not in key)

    def _hidden(self, first: str) -> bytes | None:
        return self._private if self._private is not None and _is_glob(first) else None

    def _leaf_at(self, segment: Segment, node: Range, rest: bytes) -> tuple[bytes, int | None]:
        """The path of a node, or of the one that is ``rest`` below it, and the id of the series there, if any."""
        if not rest:
            id_ = segment.leaf(node) if node.depth else None
            return (b"" if id_ is None else segment.path(node)), id_
        path = segment.path(node) + b"." + rest if node.depth else rest
        return path, self._exact(path)

    def _exact(self, key: bytes) -> int | None:
        id_ = self._names.get(key)
        return id_ if id_ is not None and self._names.keys[id_] == key else None

    def _leaf(self, key: bytes) -> list[tuple[str, int]]:
        id_ = self._exact(key)
        return [] if id_ is None else [(key.decode(), id_)]

    def _bound(self, results: Sized) -> None:
        if len(results) > self._results_max:
            raise FindLimitError(f"the pattern means more than {self._results_max} names")

    def refresh(self) -> None:
        """Take in what changed. Searches do it themselves; at start it saves the first one the wait."""
        self._refreshed()

    def _refreshed(self) -> tuple[Segment, ...]:
        names = self._names
        seen = (self._seen, self._seen_gone, self._seen_renamed)
        if seen == (len(names.keys), len(names.gone), len(names.renamed)):
            return self._segments
        with self._lock:
            # What has gone before a name came again is in the list by now: no segment is to hold the name twice.
            upto, renamed_upto = len(names.keys), len(names.renamed)
            self._take_gone()
            self._take_new(upto, renamed_upto)
            return self._segments

    def _take_new(self, upto: int, renamed_upto: int) -> None:
        names = self._names
        rows, ids = [], []
        for id_, key in enumerate(names.keys[self._seen : upto], self._seen):
            if key is not None:
                rows.append(tree_key(key))
                ids.append(id_)
        for id_ in dict.fromkeys(names.renamed[self._seen_renamed : renamed_upto]):
            key = names.keys[id_]
            if id_ >= self._seen or key is None:
                continue
            row = tree_key(key)
            if all(segment.row_of(row, id_) is None for segment in self._segments):
                rows.append(row)
                ids.append(id_)
        self._seen, self._seen_renamed = upto, renamed_upto
        if rows:
            self._segments = _merged([*self._segments, build(rows, ids)])

    def _take_gone(self) -> None:
        names = self._names
        upto = len(names.gone)
        gone = [(id_, tree_key(key)) for id_, key in names.gone[self._seen_gone : upto] if names.keys[id_] != key]
        self._seen_gone = upto
        if not gone:
            return
        kept = []
        for segment in self._segments:
            dead = {row for id_, key in gone if (row := segment.row_of(key, id_)) is not None}
            if dead:
                segment.bury(dead)
            if segment.dead * _DEAD_SHARE > len(segment):
                rows, ids = segment.living()
                if rows:
                    kept.append(build(rows, ids))
            else:
                kept.append(segment)
        self._segments = tuple(kept)
