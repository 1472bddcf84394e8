"""tag -> value -> ids of the tagged series.

A tagged path is ``name;key=value;...`` with its tags sorted; ``name`` itself counts as the tag ``name``. Series without
tags are not held here: a million of them would double the memory of their names, and a pattern finds them.

Like find, the index follows the name table and takes in what changed when it is asked. Safe to use in any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import chain

from ingestd.index.names import Names


def split_path(path: str) -> dict[str, str]:
    """The tags of a path, ``name`` first; a text between semicolons that is no ``key=value`` is no tag."""
    name, *rest = path.split(";")
    tags = {"name": name}
    for text in rest:
        key, separator, value = text.partition("=")
        if separator and key:
            tags[key] = value
    return tags


def canonical_path(path: str) -> str:
    """A tagged path in its one form: the texts ``key=value`` sorted, the last of a repeated key, no key ``name``."""
    tags = split_path(path)
    name = path.split(";", 1)[0]
    return ";".join([name, *sorted(f"{key}={value}" for key, value in tags.items() if key != "name")])


class Tags:
    """Postings over the tagged series of a :class:`Names`."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._lock = threading.Lock()
        self._postings: dict[str, dict[str, set[int]]] = {}
        self._seen = self._seen_gone = self._seen_renamed = 0

    def tags(self) -> list[str]:
        """All tags, sorted."""
        with self._lock:
            return sorted(self._refreshed())

    def values(self, tag: str) -> dict[str, int]:
        """The values of a tag, sorted, and how many series have each."""
        with self._lock:
            return {value: len(ids) for value, ids in sorted(self._refreshed().get(tag, {}).items())}

    def ids(self, tag: str, value: str) -> frozenset[int]:
        """The series of which ``tag`` is ``value``."""
        with self._lock:
            return frozenset(self._refreshed().get(tag, {}).get(value, ()))

    def _refreshed(self) -> dict[str, dict[str, set[int]]]:
        names = self._names
        upto, renamed_upto, gone_upto = len(names.keys), len(names.renamed), len(names.gone)
        changed = set(names.renamed[self._seen_renamed : renamed_upto])
        for id_, key in names.gone[self._seen_gone : gone_upto]:
            self._drop(id_, key)
            changed.add(id_)
        for id_ in chain(changed, range(self._seen, upto)):
            current = names.keys[id_]
            if current is not None:
                for tag, value in _tags_of(current):
                    self._postings.setdefault(tag, {}).setdefault(value, set()).add(id_)
        self._seen, self._seen_renamed, self._seen_gone = upto, renamed_upto, gone_upto
        return self._postings

    def _drop(self, id_: int, key: bytes) -> None:
        for tag, value in _tags_of(key):
            values = self._postings.get(tag, {})
            ids = values.get(value, set())
            ids.discard(id_)
            if not ids:
                values.pop(value, None)
            if not values:
                self._postings.pop(tag, None)


def _tags_of(key: bytes) -> Iterator[tuple[str, str]]:
    return iter(split_path(key.decode()).items() if b";" in key else ())
