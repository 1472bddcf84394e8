"""Texts that a client writes: targets, times, globs and searches by tag."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Hashable
from datetime import UTC
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from fuzz_mutate import Mutator
from fuzz_target import GOLDEN, Target, dice

from ingestd.index.globs import FindLimitError, Globs, tree_key
from ingestd.index.names import NameIndexError, Names
from ingestd.index.tag_expressions import Expression, parse_expression
from ingestd.index.tags import TagLimits, Tags
from ingestd.index.walk import lines
from ingestd.query.attime import LAST_EPOCH, parse_time
from ingestd.query.functions import FUNCTIONS
from ingestd.query.limits import QueryError, QueryLimits
from ingestd.query.parse import Call, Literal, Node, Path, first_path, parse
from ingestd.query.substitute import Search

NOW: Final = 1_795_389_600
LIMITS: Final = QueryLimits(depth=12, target_length=15_000)
"""Narrow ones: inputs reach them."""
FUNCTION_NAMES: Final = tuple(sorted(FUNCTIONS))
PATHS: Final = (
    "a.b.c", "a.*", "a.*.c", "*", "a.{b,c}.d", "a.[a-c]?", "a.b;x=1", "**", "{a,b}{c,d}", "ä.ö", "a\\.b", "a.{b,{c,d}}",
    "nosuch", "3a.4", "true.x", "a-b.c_d", "a b", "$x", "#A", "%", "a=b", "{a}", "{", "}",
)  # fmt: skip
LITERALS: Final = (
    "1", "-1", "0", "1.5", "1e3", "1e999", "-1e-3", "true", "False", "None", "inf", "'1min'", '"-1h"', "'a'", '"b\\"c"',
    "''", '"\\1"', "'(a+)+$'", "9" * 40, "9" * 301, "'10s'", "'0s'", "'sum'", "'average'", "'-1d'", "2147483648",
    "'1000y'", "'\\g<0>'", '"[["', "'x' * 3", "0x10", "'a.*'",
)  # fmt: skip


@cache
def golden_targets() -> tuple[bytes, ...]:
    """The targets that graphite-web was asked for."""
    cases = json.loads((GOLDEN / "render" / "cases.json").read_text())["cases"]
    return tuple(sorted({case["target"].encode() for case in cases}))


def expression(mutator: Mutator, depth: int) -> str:
    """A target by the grammar, of real and invented functions."""
    way = mutator.random()
    if depth <= 0 or way < 0.25:
        return mutator.pick(PATHS if way < 0.15 else LITERALS)
    name = mutator.pick(FUNCTION_NAMES) if way < 0.95 else "f"
    args = [expression(mutator, depth - 1 - mutator.below(2)) for _ in range(mutator.below(4))]
    if way > 0.85:
        args.append(f"{mutator.pick(('func', 'n', 'total', 'x'))}={mutator.pick(LITERALS)}")
    if way > 0.8 and args:
        return f"{args[0]}|{name}({', '.join(args[1:])})"
    return f"{name}({','.join(args)})"


def target_text(mutator: Mutator, seed: bytes, largest: int) -> bytes:
    """A hostile target."""
    if mutator.chance(0.45):
        return mutator.changed(seed[:400], largest)
    data = expression(mutator, mutator.pick((1, 2, 2, 3, 3, 4))).encode()
    return mutator.changed(data, largest) if mutator.chance(0.4) else data


class Targets(Target):
    """:func:`parse`: a tree within the limits, or :class:`QueryError`."""

    name = "targets"
    tokens = tuple(
        piece.encode()
        for piece in (
            *PATHS, *LITERALS, "(", ")", ",", "|", "=", "{", "}", "'", '"', "\\", " ", "\t", "a(", "f(x,", "alias(",
            ")" * 9,
            "|f()" * 5, "a(b,k=a(b,k=", "f(a=" * 6, "{a,b}" * 5,
        )
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        return list(golden_targets())

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        return target_text(mutator, seed, self.largest)

    def run(self, data: bytes) -> Hashable:
        text = data.decode("utf-8", "replace")
        try:
            tree = parse(text, LIMITS)
        except QueryError as error:
            return ("refused", str(error)[:12])
        depth, kinds = _measured(tree)
        assert depth <= LIMITS.depth
        first = None
        try:
            first = first_path(text, LIMITS)
        except QueryError:
            assert isinstance(tree, Call)
        assert first is None or first
        return (depth, kinds)


def _measured(tree: Node) -> tuple[int, int]:
    """Calls within calls, and which kinds of nodes there are."""
    deepest, kinds, todo = 0, 0, [(tree, 0)]
    while todo:
        node, depth = todo.pop()
        deepest = max(deepest, depth)
        if isinstance(node, Call):
            assert node.name
            kinds |= 1 | (2 if node.kwargs else 0)
            todo += [(inner, depth + 1) for inner in (*node.args, *(value for _, value in node.kwargs))]
        elif isinstance(node, Path):
            assert node.text
            kinds |= 4
        else:
            assert isinstance(node, Literal)
            kinds |= 8
    return deepest, kinds


class Times(Target):
    """:func:`parse_time`: seconds that a calendar has, or :class:`QueryError`."""

    name = "times"
    largest = 160
    tokens = tuple(
        b"now today yesterday tomorrow noon midnight teatime am pm 12am 6pm : / - + _ , 1 12 31 2000 1970 9999 0 -1d "
        b"+1h -1mon min s y w monday sun feb jan1 dec31 20261123 19000101 99991231 1795389600 253402300799 "
        b"999999999999 00:00_ 23:59 1/1/70 02/30/26 -9999y -1s2min3h 24:00 12:60".split(b" ")
    )
    zones = (UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("America/St_Johns"), ZoneInfo("Pacific/Apia"))

    def seeds(self) -> list[bytes]:
        return [*self.tokens, b"6pm+tomorrow", b"00:00_20261123", b"noon yesterday", b"now-1d12h", b"8:50pm jan 31"]

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        if mutator.chance(0.4):
            return mutator.changed(seed, self.largest)
        return b"".join([mutator.pick(self.tokens) for _ in range(1 + mutator.below(5))])

    def run(self, data: bytes) -> Hashable:
        text = data.decode("utf-8", "replace")
        roll = dice(data)
        now = NOW if roll & 12 else (0, 1, LAST_EPOCH, -LAST_EPOCH)[roll % 4]
        try:
            epoch = parse_time(text, now, self.zones[roll % len(self.zones)])
        except QueryError as error:
            return str(error).rpartition(":")[2][:16]
        assert type(epoch) is int
        assert -LAST_EPOCH <= epoch <= LAST_EPOCH
        return ("time", epoch.bit_length(), epoch < 0)


NAMES: Final = (
    "a", "a.b", "a.b.c", "a.b.d", "a.c.c", "a.c.d.e", "b", "b.a", "b.ab", "b.abc", "b.ac", "b-c", "b-c.d", "b!", "b!.x",
    "ä.ö", "ä.ö.ü", "host1.cpu-0.idle", "host1.cpu-1.idle", "host2.cpu-0.idle", "host2.load", "ingestd.own.x", "x^y",
    "x]y",
    "zz.a\\b", "a.b;x=1", "a.b;x=1;y=2", "_tagged.q", "c.(d)", "\U0010ffff.a", "d.x y", "d.x+y.z", "f.f.f.f.f.f",
)  # fmt: skip
"""A small index; ``]`` and the like are in it to be found by patterns that hold them."""
TREE: Final = tuple(tree_key(name.encode()).decode() for name in NAMES)
WORDS: Final = (
    "a", "b", "c", "d", "ab", "host1", "host2", "cpu-0", "idle", "ä", "*", "**", "?", "a*", "*b", "[ab]", "[!a]",
    "[a-c]*",
    "{a,b}", "{a,{b,c}}", "{,a}", "{a", "b}", "[", "]", "[]", "[!]", "[]]", "[a", "a]", "", "\\", "{a,b}{c,d}{e,f}",
    "_tagged",
    "*;x=1", "b;x=1", ";", "{" + ",".join("abcdefgh") + "}", "(", "^", "$", "+", "{*,a}", "{**}", "\U0010ffff",
    "[z-a]", "[a-",
    "[--]", "[*]", "[?]", "[[]", "[&&b]", "[a||b]", "[~~]",
)  # fmt: skip


class GlobPatterns(Target):
    """:class:`Globs` over a small index: what a plain matcher finds, each name once and sorted."""

    name = "globs"
    largest = 256
    allowed = 0.6  # 4,096 texts of braces that are all globs
    tokens = tuple(word.encode() for word in (*WORDS, ".", "..", ",", "{", "}", "[", "]", "*", "?", "\\", "-", "!"))

    def seeds(self) -> list[bytes]:
        return [name.encode() for name in NAMES] + [b"a.*.c", b"{a,b}.**.c", b"host[12].cpu-?.*", b"**.**", b"*.*.*.*"]

    def begin(self) -> None:
        names = Names()
        names.add(np.arange(0, 2 * len(NAMES), 2, dtype=np.uint32), list(NAMES))
        self._globs = Globs(names, visits_max=400, results_max=40, private="ingestd")

    def make(self, mutator: Mutator, seed: bytes) -> bytes:
        # Long ones are mostly braces that expand to thousands: few suffice.
        most = self.largest if mutator.chance(0.02) else 40
        if mutator.chance(0.4):
            return mutator.changed(seed, most)
        parts = [mutator.pick(WORDS) for _ in range(1 + mutator.below(4))]
        if mutator.chance(0.3):
            parts[-1] += mutator.pick(WORDS)
        data = ".".join(parts).encode()
        return mutator.changed(data, most) if mutator.chance(0.2) else data

    def run(self, data: bytes) -> Hashable:
        pattern = data.decode("utf-8", "replace")
        try:
            found = self._globs.find_leaves(pattern)
            nodes = self._globs.find_nodes(pattern)
            matches = self._globs.find_matches(pattern)
            ids = self._globs.find_ids(pattern)
        except FindLimitError:
            return "limit"
        paths = [path for path, _ in found]
        assert ids is None or ids.tolist() == [series for _, series in found]
        expected = by_plain_matching(pattern) if dice(data) & 3 == 0 and len(data) < 400 else None
        if expected is not None:
            assert paths == expected
        assert all(path in (NAMES[series // 2], TREE[series // 2]) for path, series in found)
        shown = [node.path.removesuffix(".") for node in nodes]
        assert shown == sorted(set(shown))
        assert all(node.is_leaf or node.is_branch for node in nodes)
        assert sorted(matches) == sorted(lines(nodes, False))
        return (min(len(paths), 12), min(len(nodes), 12))


@lru_cache(4096)
def _one_part(part: str) -> tuple[frozenset[str], tuple[re.Pattern[str], ...], bool]:
    """Literals, globs, and whether it may be any depth, of one part of a pattern."""
    texts = _expanded(part)
    globs = tuple(re.compile(fnmatch.translate(text)) for text in texts if text != "**" and set("*?[") & set(text))
    return frozenset(text for text in texts if not set("*?[") & set(text)), globs, "**" in texts


def _expanded(text: str) -> set[str]:
    """Braces expanded, innermost first: the plain way."""
    todo, done = {text}, set()
    while todo:
        one = todo.pop()
        match = re.search(r"\{([^{}]*)\}", one)
        if match is None:
            done.add(one)
        else:
            todo |= {one[: match.start()] + choice + one[match.end() :] for choice in match[1].split(",")}
        if len(todo) + len(done) > 300:
            raise FindLimitError("too many for the plain way")
    return done


def by_plain_matching(pattern: str) -> list[str] | None:
    """The names of the index that a pattern means, each looked at by itself; None where that is too much."""
    pattern = pattern.replace("\\", "")
    if ";" in pattern and not pattern.startswith("_tagged."):
        return [pattern] if pattern in NAMES else []
    parts = [part for part in pattern.split(".") if part]
    if pattern.endswith(".") or not parts or len(parts) > 8:
        return [] if pattern.endswith(".") or not parts else None
    try:
        split = [_one_part(part) for part in parts]
    except FindLimitError:
        return None
    private = bool(set("*?[") & set(parts[0]))
    found = []
    for path in TREE:
        if private and path.startswith("ingestd."):
            continue
        if _means(split, path.split(".")):
            found.append(path)
    return sorted(found)


def _means(parts: list[tuple[frozenset[str], tuple[re.Pattern[str], ...], bool]], nodes: list[str]) -> bool:
    if not parts:
        return not nodes
    literals, globs, any_depth = parts[0]
    rest = parts[1:]
    if any_depth:
        least = 0 if rest else 1
        if any(_means(rest, nodes[skipped:]) for skipped in range(least, len(nodes) + 1)):
            return True
    if "" in literals and rest and _means(rest, nodes):
        return True
    if not nodes:
        return False
    first = nodes[0]
    return (first in literals or any(glob.match(first) for glob in globs)) and _means(rest, nodes[1:])


TAGGED: Final = ("cpu;dc=a;host=b", "cpu;dc=b", "disk;dc=a;rack=r.1", "ä;x=\u2028", "mem;dc=~a", "~odd;dc=c")


class TagSearches(Target):
    """Expressions, one a line: the series that satisfy them one by one, or one of the two errors that are answered."""

    name = "tags"
    largest = 200
    tokens = (
        b"dc=a", b"dc!=a", b"host=", b"host!=", b"name=~", b"dc!=~", b"\n", b"=", b"!", b"~", b"^", b"$", b".*",
        b"[ab]", b"|", b"(", b")", b"r.1", b"x=", "ä".encode(), b"a;b", b"\\d+", b"\\Z", b"(?i)", b"{2,}", b"\\1",
    )  # fmt: skip

    def seeds(self) -> list[bytes]:
        return [b"dc=a", b"name=~c.*\nhost!=b", b"rack!=\ndc=a", b"dc=~[ab]|c\nx=", b"name=~^cpu|disk\ndc!=~b"]

    def begin(self) -> None:
        names = Names()
        names.add(np.arange(len(TAGGED), dtype=np.uint32), TAGGED)
        self._tags = Tags(names, Search, TagLimits(expressions=6, length=100))

    def run(self, data: bytes) -> Hashable:
        texts = data.decode("utf-8", "replace").split("\n")
        try:
            found = [path for path, _ in self._tags.find(texts)]
        except (NameIndexError, QueryError) as error:
            str(error).encode()
            return str(error)[:14]
        asked = [parse_expression(text, Search) for text in texts]
        assert found == sorted(path for path in TAGGED if all(_satisfies(path, one) for one in asked))
        assert self._tags.complete_tags(texts, "", 1)[:1] == self._tags.complete_tags(texts, "", 9)[:1]
        return (len(found), len(asked), sum(one.takes_empty for one in asked))


def _satisfies(path: str, asked: Expression) -> bool:
    name, *rest = path.split(";")
    value = dict([("name", name.lstrip("~")), *(text.split("=", 1) for text in rest)]).get(asked.tag, "")
    if not value:
        return asked.takes_empty
    fits = asked.fits(value) if asked.fits else value == asked.value
    return fits != asked.negated
