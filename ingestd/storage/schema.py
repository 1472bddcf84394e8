"""Schemas: how finely and how long a series is kept, from carbon's storage-schemas.conf and storage-aggregation.conf.

Both files are read as carbon reads them: sections in the order of the file, the first whose ``pattern`` is found in
the path (``re.search``) decides, ``priority`` is ignored. Archives obey whisper's rules (``validateArchiveList``).
Patterns are written by the operator and trusted; they are matched once for each new series.
"""

from __future__ import annotations

import configparser
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from ingestd.storage.errors import StorageError

T = TypeVar("T")

METHODS: Final = ("average", "sum", "last", "max", "min", "avg_zero", "absmax", "absmin")
"""whisper's aggregation methods."""
BUILT_IN: Final = "built-in"
"""The name of the rule that holds where no file does."""
_UNITS: Final = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86400, "weeks": 604800, "years": 31536000}
_NUMBER: Final = re.compile(r"([0-9]{1,10})([a-z]*)")
_LARGEST: Final = 2**32 - 1
"""whisper keeps steps and slots in 32 bits."""
_NO_SECTION: Final = "\0"


class SchemaError(StorageError):
    """A schema that cannot be, or a file of them that cannot be read; one line naming file, section and rule."""


class Archive(NamedTuple):
    """One archive: ``step`` seconds a slot, ``slots`` slots."""

    step: int
    slots: int

    @property
    def retention(self) -> int:
        """Seconds."""
        return self.step * self.slots


@dataclass(frozen=True, slots=True)
class Schema:
    """Archives from the finest to the coarsest, one of :data:`METHODS`, and the share of slots a rollup needs."""

    archives: tuple[Archive, ...]
    method: str = "average"
    x_files_factor: float = 0.5


class SchemaRule(NamedTuple):
    """A section of storage-schemas.conf."""

    name: str
    pattern: re.Pattern[str]
    archives: tuple[Archive, ...]


class AggregationRule(NamedTuple):
    """A section of storage-aggregation.conf."""

    name: str
    pattern: re.Pattern[str]
    method: str
    x_files_factor: float


class Match(NamedTuple):
    """The schema of a path and the names of the rules it comes from."""

    schema_rule: str
    schema: Schema
    aggregation_rule: str


def parse_retentions(text: str) -> tuple[Archive, ...]:
    """Carbon's ``10s:6h,60:1440``: step and retention, or step and number of slots. Raises :class:`SchemaError`."""
    return check_archives(_archive(part.strip()) for part in text.split(","))


def _archive(text: str) -> Archive:
    precision, colon, length = text.partition(":")
    step, slots = _number(precision.strip()), _number(length.strip())
    if not colon or step is None or slots is None:
        raise SchemaError(f"retention {text!r}: must be STEP:SLOTS or STEP:TIME, as in 60:1440 or 10s:6h")
    seconds = step[0] * (step[1] or 1)
    if not seconds:
        raise SchemaError(f"retention {text!r}: the step must be at least 1 s")
    count = slots[0] if slots[1] is None else slots[0] * slots[1] // seconds
    return Archive(seconds, count)


def _number(text: str) -> tuple[int, int | None] | None:
    """(number, seconds of its unit or None if it has none), or None for what is no number."""
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    number, unit = int(found[1]), found[2]
    if not unit:
        return number, None
    return next(((number, seconds) for name, seconds in _UNITS.items() if name.startswith(unit)), None)


def check_archives(archives: Iterator[Archive] | Sequence[Archive]) -> tuple[Archive, ...]:
    """The archives, finest first, if whisper would take them; :class:`SchemaError` names the rule they break."""
    ordered = tuple(sorted(archives))
    if not ordered:
        raise SchemaError("retentions: there must be at least one archive")
    for one in ordered:
        if not 0 < one.slots <= _LARGEST or one.retention > _LARGEST:
            raise SchemaError(f"archive {_show(one)}: must have 1 slot at least and span {_LARGEST} s at most")
    for fine, coarse in itertools.pairwise(ordered):
        both = f"archives {_show(fine)} and {_show(coarse)}"
        if fine.step == coarse.step:
            raise SchemaError(f"{both}: no two may have the same step")
        if coarse.step % fine.step:
            raise SchemaError(f"{both}: each step must divide the next coarser one")
        if coarse.retention <= fine.retention:
            raise SchemaError(f"{both}: the coarser must reach further back")
        if fine.slots < coarse.step // fine.step:
            raise SchemaError(f"{both}: the finer must have the slots to fill one of the coarser")
    return ordered


def _show(archive: Archive) -> str:
    return f"{archive.step}s:{archive.slots}"


DEFAULT: Final = Schema((Archive(10, 2160), Archive(60, 10080), Archive(600, 57600)))
"""10s:6h,1m:7d,10m:400d, average, 0.5."""


def parse_schemas(text: str, file: str = "storage-schemas.conf") -> tuple[SchemaRule, ...]:
    """The rules of a storage-schemas.conf. Raises :class:`SchemaError`."""

    def rule(section: configparser.SectionProxy) -> SchemaRule:
        if "retentions" not in section:
            raise SchemaError("retentions are missing")
        return SchemaRule(section.name, _pattern(section), parse_retentions(section["retentions"]))

    return _rules(text, file, rule)


def parse_aggregation(text: str, file: str = "storage-aggregation.conf") -> tuple[AggregationRule, ...]:
    """The rules of a storage-aggregation.conf; what a rule leaves out is carbon's default. Raises SchemaError."""

    def rule(section: configparser.SectionProxy) -> AggregationRule:
        method = section.get("aggregationmethod", DEFAULT.method).strip()
        if method not in METHODS:
            raise SchemaError(f"aggregationMethod {method!r}: must be one of {', '.join(METHODS)}")
        factor = section.get("xfilesfactor", str(DEFAULT.x_files_factor))
        try:
            share = float(factor)
        except ValueError:
            share = math.nan
        if not 0 <= share <= 1:
            raise SchemaError(f"xFilesFactor {factor!r}: must be a number from 0 to 1")
        return AggregationRule(section.name, _pattern(section), method, share)

    return _rules(text, file, rule)


def _rules(text: str, file: str, rule: Callable[[configparser.SectionProxy], T]) -> tuple[T, ...]:
    parser = configparser.RawConfigParser(default_section=_NO_SECTION)
    try:
        parser.read_string(text, file)
    except configparser.Error as error:
        raise SchemaError(f"{file}: {' '.join(str(error).split())}") from error
    rules = []
    for name in parser.sections():
        try:
            rules.append(rule(parser[name]))
        except SchemaError as error:
            raise SchemaError(f"{file}: [{name}]: {error}") from error
    return tuple(rules)


def _pattern(section: configparser.SectionProxy) -> re.Pattern[str]:
    pattern = section.get("pattern")
    if pattern is None:
        if section.name.lower() != "default":
            raise SchemaError("pattern is missing")
        pattern = ""
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise SchemaError(f"pattern {pattern!r}: {error}") from error


class SchemaRules:
    """The rules of both files, in their order; the built-in default where none matches."""

    def __init__(self, schemas: Sequence[SchemaRule] = (), aggregation: Sequence[AggregationRule] = ()) -> None:
        self._schemas = [(rule.pattern.search, rule) for rule in schemas]
        self._aggregation = [(rule.pattern.search, rule) for rule in aggregation]
        self._made: dict[tuple[int, int], Schema] = {}

    @property
    def fingerprint(self) -> str:
        """The same text for the same rules: a store whose rules have another one matches its series anew."""
        schemas = [(rule.pattern.pattern, rule.archives) for _, rule in self._schemas]
        aggregation = [(rule.pattern.pattern, rule.method, rule.x_files_factor) for _, rule in self._aggregation]
        return hashlib.sha256(repr((schemas, aggregation, DEFAULT)).encode()).hexdigest()

    def match(self, path: str) -> Match:
        """The schema that a new series ``path`` gets."""
        first, second = self._numbers(path)
        name = self._schemas[first][1].name if first >= 0 else BUILT_IN
        aggregation = self._aggregation[second][1].name if second >= 0 else BUILT_IN
        return Match(name, self.schema(path), aggregation)

    def schema(self, path: str) -> Schema:
        """Of :meth:`match` only the schema: the same object for all that the same rules match."""
        numbers = self._numbers(path)
        schema = self._made.get(numbers)
        return schema if schema is not None else self._make(numbers)

    def schemas(self, paths: Sequence[str]) -> list[Schema]:
        """:meth:`schema` of each path."""
        if not self._schemas and not self._aggregation:
            return [self.schema("")] * len(paths)
        return list(map(self.schema, paths))

    def _numbers(self, path: str) -> tuple[int, int]:
        """Which rule of each file matches first; -1 for none."""
        first = second = -1
        for number, (search, _) in enumerate(self._schemas):
            if search(path):
                first = number
                break
        for number, (search, _) in enumerate(self._aggregation):
            if search(path):
                second = number
                break
        return first, second

    def _make(self, numbers: tuple[int, int]) -> Schema:
        first, second = numbers
        archives = self._schemas[first][1].archives if first >= 0 else DEFAULT.archives
        rule = self._aggregation[second][1] if second >= 0 else DEFAULT
        schema = self._made[numbers] = Schema(archives, rule.method, rule.x_files_factor)
        return schema


def load_rules(schemas: Path | None, aggregation: Path | None) -> SchemaRules:
    """The rules of the files that are given. Raises :class:`SchemaError`, also for a file that cannot be read."""
    return SchemaRules(
        parse_schemas(_text(schemas), str(schemas)) if schemas else (),
        parse_aggregation(_text(aggregation), str(aggregation)) if aggregation else (),
    )


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"{file}: {error}") from error
