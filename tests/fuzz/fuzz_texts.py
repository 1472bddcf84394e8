"""collectd's values as text: PUTVAL lines and JSON, of real messages and of nothing."""

from __future__ import annotations

import gzip
import json
from collections.abc import Hashable
from typing import Final

from fuzz_lines import NOW, check_parsed
from fuzz_mutate import Mutator
from fuzz_target import GOLDEN, Target, dice

from ingestd.wire.collectd import CollectdParser
from ingestd.wire.collectd_text import CollectdTexts
from ingestd.wire.graphite_names import NamingOptions
from ingestd.wire.seal import Security
from ingestd.wire.typesdb import builtin_types

REASONS: Final = {"malformed", "too_long", "unknown_type", "no_rate", "nan", "infinite", "path"}
LIMIT: Final = 1_800


class _Texts(Target):
    form = ""
    source = ""
    largest = 2_000

    def seeds(self) -> list[bytes]:
        lines = gzip.decompress((GOLDEN / "collectd" / self.source).read_bytes()).decode().splitlines()
        return [json.loads(line)["body"].encode() for line in lines[::100]]

    def begin(self) -> None:
        parser = CollectdParser(builtin_types(), NamingOptions(), Security(), limit=1_000)
        self._texts = CollectdTexts(parser, limit=LIMIT)

    def run(self, data: bytes) -> Hashable:
        parsed = getattr(self._texts, self.form)(data, {}, float(NOW))
        check_parsed(parsed)
        assert parsed.rejected.keys() <= REASONS
        assert ("too_long" in parsed.rejected) == (len(data) > LIMIT)
        assert parsed.received <= 1 + len(data)
        return (min(len(parsed.batch), 5), *sorted(parsed.rejected), dice(data) & 1)


class PutVals(_Texts):
    """:meth:`CollectdTexts.putval`: every line is read or refused."""

    name = "putval"
    form = "putval"
    source = "amqp_command.jsonl.gz"
    tokens = (
        b"PUTVAL ", b"putval ", b"interval=", b"meta:a=", b'"', b"\\", b"/", b"-", b":", b" N:1", b" U", b"nan",
        b"0x1f", b"\r\n", b"h/p/gauge", b"h/load/load 1:1:2:3", b"1e308", b"1e-400", b"18446744073709551615", b"\0",
    )  # fmt: skip

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        lines = [seed] + [mutator.pick(self.tokens) for _ in range(mutator.below(4))]
        return mutator.changed(mutator.pick((b"\n", b" ")).join(lines), self.largest)


class Jsons(_Texts):
    """:meth:`CollectdTexts.json`: every message is read or refused."""

    name = "collectd_json"
    form = "json"
    source = "amqp_json.jsonl.gz"
    tokens = (
        b'"values":', b'"dstypes":', b'["derive"]', b"null", b"NaN", b"-Infinity", b"true", b"1e999", b"[", b"]", b"{",
        b"}", b",", b'"', b'"\\u0000"', b'"\\ud800"', b'"time":', b"9" * 30, b'"labels":{}', b"\xff",
    )  # fmt: skip
