"""The files that an operator writes: settings in TOML, and carbon's two files of schemas."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

from fuzz_mutate import Mutator
from fuzz_target import Target

from ingestd.config import load
from ingestd.config_types import ConfigError
from ingestd.storage.schema import (
    DEFAULT,
    METHODS,
    SchemaError,
    SchemaRules,
    check_archives,
    parse_aggregation,
    parse_schemas,
)

EXAMPLE: Final = Path(__file__).parents[2] / "conf" / "ingestd.toml"


class File:
    """A file of these bytes, as far as readers of settings ask for one."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_text(self, encoding: str) -> str:
        return self._data.decode(encoding)

    def __str__(self) -> str:
        return "a file"


class Settings(Target):
    """:func:`load`: settings, or :class:`ConfigError` of one line."""

    name = "config"
    largest = 600
    allowed = 0.3
    tokens = (
        *b"true false 0 1 -1 1.5 nan inf 1e999 0x10 1_000 10s 8MiB off".split(),
        *b"127.0.0.1:2003 [::1]:2003 :0 [::]:65536".split(),
        b'"', b"'", b'"""', b"[", b"]", b"[[", b"]]", b"{", b"}", b"=", b".", b",", b"\n", b"#", b"\\u0000", b"\\ud800",
        b"1979-05-27T07:32:00Z", b"[graphite]\n", b"[limits]\n", b"[[limits.prefixes]]\n", b'prefix = "a"\n',
        b"listen = ",
        b"[" * 60, b"a." * 60, b"{a=" * 30, b'"off"', b'["off"]', b"[http.tls]\n",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        """Every setting of the example by itself, with what is set for it, and several together."""
        table, found = b"", []
        for line in EXAMPLE.read_bytes().split(b"\n"):
            text = line.removeprefix(b"# ").removeprefix(b"#")
            if text.startswith(b"["):
                table = text
            elif b" = " in text:
                found.append(table + b"\n" + text + b"\n")
        return [*found, *(b"".join(found[at : at + 40 : 10]) for at in range(20))]

    def run(self, data: bytes) -> Hashable:
        file: Any = File(data)
        try:
            settings = load(file)
        except ConfigError as error:
            text = str(error)
            text.encode("utf-8", "surrogateescape")
            return re.sub(r"[^a-z ]", "", text.rpartition(": ")[2])[:24]
        return settings.model_dump_json()[:0] or len(settings.model_fields_set)


class Schemas(Target):
    """storage-schemas.conf: rules whose archives whisper would take, or :class:`SchemaError`."""

    name = "schemas"
    share = 0.5  # the other half goes to the other file of the same format
    largest = 600
    tokens = (
        b"[", b"]", b"\n", b"=", b":", b",", b"pattern = ", b"retentions = ", b"priority = 1", b"[default]\n",
        b"[DEFAULT]\n",
        b"60:1440", b"10s:6h", b"1m:7d", b"1y", b"0:1", b"1:0", b"4294967295:1", b"9999999999y", b"1s:1s", b"^a\\.",
        b".*", b"(a+)+$", b"(?P<a>", b"[a-", b"(?i)", b"{1000}{1000}", b"\\", b"(" * 30, b"%(x)s", b"#", b";", b" ",
        b"\t",
        "\u2028".encode(),
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        return [
            b"[carbon]\npattern = ^carbon\\.\nretentions = 60:90d\n\n[default]\nretentions = 10s:6h,1m:7d,10m:400d\n",
            b"[a]\npattern = .*\npriority = 100\nretentions = 60s:1d,5m:30d\n  , 1h:5y\n",
        ]

    def run(self, data: bytes) -> Hashable:
        text = data.decode("utf-8", "replace")
        try:
            rules = parse_schemas(text)
        except SchemaError as error:
            return str(error)[22:40]
        for rule in rules:
            assert check_archives(rule.archives) == rule.archives
        known = SchemaRules(rules)
        assert len(known.fingerprint) == 64
        assert SchemaRules(()).match("a.b").schema == DEFAULT
        return (len(rules), min((len(rule.archives) for rule in rules), default=0))


class Aggregation(Target):
    """storage-aggregation.conf: methods that there are and factors from 0 to 1, or :class:`SchemaError`."""

    name = "aggregation"
    share = 0.5
    largest = 600
    tokens = (
        *Schemas.tokens, b"xFilesFactor = ", b"aggregationMethod = ", b"nan", b"1e-400", b"1_0", b"-0.0", b"0.5",
        b"sum",
        b"last", b"avg_zero", b"count",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        return [
            b"[min]\npattern = \\.min$\nxFilesFactor = 0.1\naggregationMethod = min\n",
            b"[default_average]\npattern = .*\nxFilesFactor = 0.5\naggregationMethod = average\n\n[default]\n",
        ]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        return mutator.changed(seed, self.largest)

    def run(self, data: bytes) -> Hashable:
        try:
            rules = parse_aggregation(data.decode("utf-8", "replace"))
        except SchemaError as error:
            return str(error)[26:44]
        for rule in rules:
            assert rule.method in METHODS
            assert 0 <= rule.x_files_factor <= 1
        return (len(rules), min((METHODS.index(rule.method) for rule in rules), default=-1))
