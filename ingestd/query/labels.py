"""What is known of series besides their values: a column for each thing, so that a function over thousands of series
writes some columns and no object for each.

Ownership: a function owns the :class:`Labels` it is given and may replace their columns. The columns themselves, lists
and :class:`Tags`, may be shared with others and are never written to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from types import MappingProxyType
from typing import Final, TypeVar, cast, overload

import numpy as np

from ingestd.points import Values

Option = str | int | float | bool
NO_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({})
"""Shared by all series that nothing was said of, so that a label costs no dict for it."""

_CALL: Final = re.compile(r"[a-z]+\(.+\)", re.IGNORECASE | re.ASCII)
_Item = TypeVar("_Item")


def path_tags(path: str) -> dict[str, str]:
    """The tags of a path ``name;tag=value;...``; its whole text is the name where it breaks the rules for tags."""
    if ";" not in path and not path.startswith("~"):
        return {"name": path}
    metric, *pairs = path.split(";")
    tags = {}
    for pair in pairs:
        tag, found, value = pair.partition("=")
        if not found or not tag or not value or value[0] == "~" or any(char in tag for char in "!^"):
            return {"name": path}
        tags[tag] = value
    tags["name"] = metric.lstrip("~")
    return tags if tags["name"] else {"name": path}


def name_tags(name: str) -> dict[str, str]:
    """The tags of a new series of that name; one that looks like a call has none but its name."""
    return {"name": name} if _CALL.fullmatch(name) else path_tags(name)


class Same(Sequence[_Item]):
    """A column of one item for all rows. Never changed."""

    __slots__ = ("_count", "item")

    def __init__(self, item: _Item, count: int) -> None:
        self.item = item
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[_Item]:
        return repeat(self.item, self._count)

    @overload
    def __getitem__(self, row: int) -> _Item: ...
    @overload
    def __getitem__(self, row: slice) -> Same[_Item]: ...
    def __getitem__(self, row: int | slice) -> _Item | Same[_Item]:
        rows = range(self._count)[row]
        return self.item if isinstance(rows, int) else Same(self.item, len(rows))


class Tags:
    """The tags of series, which are made when they are asked for. Never changed."""

    __slots__ = ("_added", "_sources")

    def __init__(self, sources: Sequence[str | dict[str, str]], added: Mapping[str, str] | None = None) -> None:
        """Of each series its tags or the path they are those of, and tags ``added`` to those of all."""
        self._sources = sources
        self._added: Mapping[str, str] = added or {}

    def __len__(self) -> int:
        return len(self._sources)

    def __iter__(self) -> Iterator[dict[str, str]]:
        added = self._added
        for source in self._sources:
            tags = path_tags(source) if isinstance(source, str) else source
            yield {**tags, **added} if added else tags

    def __getitem__(self, row: int) -> dict[str, str]:
        return next(iter(self.take([row])))

    def names(self) -> Sequence[str] | None:
        """The names if the series have no other tags, as far as that is told quickly."""
        if self._added or not all(type(source) is str for source in self._sources):
            return None
        paths = cast(Sequence[str], self._sources)
        text = "".join(paths)
        return None if ";" in text or "~" in text else paths

    def take(self, rows: Sequence[int]) -> Tags:
        """Those of these rows."""
        return Tags(taken(self._sources, rows), self._added)

    @classmethod
    def joined(cls, parts: Sequence[Tags]) -> Tags:
        """Those of all parts, part after part."""
        if any(each._added for each in parts):
            return cls([tags for each in parts for tags in each])
        return cls([source for each in parts for source in each._sources])

    def also(self, tag: str, text: str) -> Tags:
        """With one more tag on every series."""
        return Tags(self._sources, {**self._added, tag: text})

    def each(self, tag: str, texts: Iterable[str | None]) -> Tags:
        """With a tag on those series that have a text for it."""
        return Tags([tags if text is None else {**tags, tag: text} for tags, text in zip(self, texts, strict=True)])


@dataclass(slots=True)
class Label:
    """One series of :class:`Labels`."""

    name: str
    path_expression: str
    tags: dict[str, str]
    consolidation_func: str = "average"
    x_files_factor: float = 0.0
    ints: bool = False
    options: Mapping[str, Option] = field(default_factory=lambda: NO_OPTIONS)


@dataclass(slots=True)
class Labels:
    """Columns of one length, a row for each series."""

    names: list[str]
    """Shown as ``target``. ``alias(x, 5)`` stores the number, as graphite-web does, and JSON prints it as one."""
    path_expressions: Sequence[str]
    """What an enclosing function prints for the series."""
    tags: Tags
    consolidation_funcs: Sequence[str]
    x_files_factors: Sequence[float]
    ints: Sequence[bool]
    """Whether every value is an integer in graphite-web and prints without a fraction."""
    options: Sequence[Mapping[str, Option]]
    """How a chart draws them: ``color`` and the keys of graphite-web's ``TimeSeries.options``."""

    @classmethod
    def of(cls, labels: Sequence[Label]) -> Labels:
        """Those of single series."""
        return cls(
            [each.name for each in labels],
            [each.path_expression for each in labels],
            Tags([each.tags for each in labels]),
            [each.consolidation_func for each in labels],
            [each.x_files_factor for each in labels],
            [each.ints for each in labels],
            [each.options for each in labels],
        )

    @classmethod
    def called(cls, names: list[str], x_files_factor: float, tags: Tags | None = None) -> Labels:
        """Those of new series that are called so; they have no tags but their names unless ``tags`` are given."""
        count = len(names)
        tags = Tags([{"name": name} for name in names]) if tags is None else tags
        factors, plain = Same(x_files_factor, count), Same(NO_OPTIONS, count)
        return cls(names, names, tags, Same("average", count), factors, Same(False, count), plain)

    @classmethod
    def found(cls, paths: list[str], expression: str, x_files_factor: float) -> Labels:
        """Those of series that were found by a path expression."""
        labels = cls.called(paths, x_files_factor, Tags(paths))
        labels.path_expressions = Same(expression, len(paths))
        return labels

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Those of all parts, part after part."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            [name for each in parts for name in each.names],
            _columns([each.path_expressions for each in parts]),
            Tags.joined([each.tags for each in parts]),
            _columns([each.consolidation_funcs for each in parts]),
            _columns([each.x_files_factors for each in parts]),
            _columns([each.ints for each in parts]),
            _columns([each.options for each in parts]),
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, row: int) -> Label:
        """A copy of one row."""
        return Label(
            self.names[row],
            self.path_expressions[row],
            self.tags[row],
            self.consolidation_funcs[row],
            self.x_files_factors[row],
            self.ints[row],
            self.options[row],
        )

    def take(self, rows: Sequence[int]) -> Labels:
        """Those of these rows, in their order."""
        return Labels(
            taken(self.names, rows),
            _column(self.path_expressions, rows),
            self.tags.take(rows),
            _column(self.consolidation_funcs, rows),
            _column(self.x_files_factors, rows),
            _column(self.ints, rows),
            _column(self.options, rows),
        )

    @property
    def factors(self) -> Values:
        """The xFilesFactors as float64[rows, 1]."""
        return np.array(self.x_files_factors, np.float64)[:, np.newaxis]

    def wrapped(self, function: str, arguments: str = "") -> list[str]:
        """The names within a call of a function; ``arguments`` is what follows them."""
        return [f"{function}({name}{arguments})" for name in self.names]

    def become(self, names: list[str]) -> None:
        """Takes ``names`` for what is shown and for what an enclosing function prints."""
        self.names = self.path_expressions = names

    def renew(self, names: list[str]) -> None:
        """As :meth:`become`, of series that are new ones to graphite-web: they forget how a chart draws them."""
        self.become(names)
        self.options = Same(NO_OPTIONS, len(names))

    def tag(self, tag: str, text: str) -> None:
        """Sets a tag on every series."""
        self.tags = self.tags.also(tag, text)

    def all(
        self,
        *,
        consolidation_func: str | None = None,
        x_files_factor: float | None = None,
        ints: bool | None = None,
    ) -> None:
        """Sets what is given for every series."""
        count = len(self.names)
        if consolidation_func is not None:
            self.consolidation_funcs = Same(consolidation_func, count)
        if x_files_factor is not None:
            self.x_files_factors = Same(x_files_factor, count)
        if ints is not None:
            self.ints = Same(ints, count)

    def draw(self, **options: Option) -> None:
        """Adds to how a chart draws every series."""
        if isinstance(self.options, Same):
            self.options = Same({**self.options.item, **options}, len(self.options))
            return
        # Most share what they have, and share what they get.
        made: dict[int, Mapping[str, Option]] = {}
        for each in self.options:
            if id(each) not in made:
                made[id(each)] = {**each, **options}
        self.options = [made[id(each)] for each in self.options]


def taken(items: Sequence[_Item], rows: Sequence[int]) -> list[_Item]:
    """The items at these rows."""
    if len(rows) < 2:  # itemgetter gives a tuple of two at least
        return [items[row] for row in rows]
    return list(cast(tuple[_Item, ...], itemgetter(*rows)(items)))


def _column(items: Sequence[_Item], rows: Sequence[int]) -> Sequence[_Item]:
    return Same(items.item, len(rows)) if isinstance(items, Same) else taken(items, rows)


def _columns(parts: Sequence[Sequence[_Item]]) -> Sequence[_Item]:
    """Column after column."""
    first = parts[0] if parts else []
    if isinstance(first, Same) and all(isinstance(each, Same) and each.item == first.item for each in parts):
        return Same(first.item, sum(map(len, parts)))
    return [item for each in parts for item in each]
