"""The captures of a real collectd: what its library decodes, what its write_graphite writes, hostile datagrams."""

import gzip
import json
import math
import struct
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.collectd import CollectdParser
from ingestd.wire.graphite_names import GraphiteNames, Identity, NamingOptions
from ingestd.wire.seal import Level, Security, parse_auth_file
from ingestd.wire.typesdb import TypesDB, builtin_types, parse_types_db

GOLDEN = Path(__file__).parents[1] / "golden" / "collectd"
USERS = parse_auth_file((GOLDEN / "auth_file").read_text())
TYPES = parse_types_db((GOLDEN / "types.db").read_text(), TypesDB({}))
DEFAULT = NamingOptions()
LAST_SECOND = 1795380818
"""Where write_graphite's files end; the datagrams go on."""
NOW = 1795380810.0
LEVELS = {
    "none": Security(Level.NONE, USERS),
    "sign": Security(Level.SIGN, USERS),
    "encrypt": Security(Level.ENCRYPT, USERS),
    "none_without_authfile": Security(),
}


@cache
def datagrams(name):
    data = (GOLDEN / name).read_bytes()
    position, found = 0, []
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        found.append(data[position + 4 : position + 4 + length])
        position += 4 + length
    return found


def text_of(name):
    return gzip.decompress((GOLDEN / name).read_bytes()).decode()


def parser(security=LEVELS["none"], naming=DEFAULT, **options):
    return CollectdParser(TYPES, naming, security, **options)


def points(parsed):
    """``(path, timestamp, value)`` of every row, of which no name is known."""
    rows = zip(parsed.unknown, parsed.batch.timestamps.tolist(), parsed.batch.values.tolist(), strict=True)
    return [(new.path, stamp, value) for new, stamp, value in rows]


def expected_values(skip=lambda value: not math.isfinite(value)):
    """As points under the name host.plugin-instance.type-instance.ds, unescaped; and how many were skipped."""
    found, skipped = Counter(), Counter()
    lines = text_of("plain.expected.jsonl.gz").splitlines()
    assert len(lines) == 11360
    for line in lines:
        # As text, for a double of the time is not exact.
        row = json.loads(line, parse_float=str)
        value = float(row["value"]) if row["value"] is not None else math.nan
        if not math.isfinite(value):
            skipped["nan" if math.isnan(value) else "infinite"] += 1
            continue
        seconds, _, fraction = row["time"].partition(".")
        stamp = int(seconds) + (int(fraction) >= 500_000_000)
        identity = [row[k] for k in ("host", "plugin", "plugin_instance", "type", "type_instance", "ds_name")]
        found[*identity, stamp, value] += 1
    return found, skipped


def tags_of(path):
    return dict(tag.split("=", 1) for tag in path.split(";")[1:])


def readable(text):
    """A field as it stands in a tag's value."""
    return "".join("_" if c in ' \t"\\:!,/()\n\r' else c for c in text)


@pytest.mark.parametrize(
    ("file", "level"),
    [
        ("plain.bin", "none"),
        ("signed.bin", "sign"),
        ("encrypted.bin", "encrypt"),
        ("signed.bin", "none"),
        ("encrypted.bin", "none"),
        ("encrypted.bin", "sign"),
    ],
)
def test_values_at_every_level(file, level):
    under_test = parser(LEVELS[level], NamingOptions(use_tags=True, always_append_ds=True), store_rates=False)
    got, rejected, received = Counter(), Counter(), 0
    sent = datagrams(file)
    assert len(sent) == 420
    for datagram in sent:
        parsed = under_test.parse(datagram, {}, NOW)
        rejected.update(parsed.rejected)
        received += parsed.received
        for path, stamp, value in points(parsed):
            tags = tags_of(path)
            keys = ("host", "plugin", "plugin_instance", "type", "type_instance", "ds_name")
            got[*(tags.get(key, "") for key in keys), stamp, value] += 1
    expected, skipped = expected_values()
    assert got == Counter({(*map(readable, key[:6]), *key[6:]): n for key, n in expected.items()})
    assert received == 11360
    assert rejected == skipped
    assert under_test.mismatched == 0


@pytest.mark.parametrize(
    ("file", "level"), [("plain.bin", "sign"), ("plain.bin", "encrypt"), ("signed.bin", "encrypt")]
)
def test_nothing_below_the_level(file, level):
    under_test = parser(LEVELS[level])
    for datagram in datagrams(file):
        parsed = under_test.parse(datagram, {}, NOW)
        assert parsed.rejected == {"security": 1}
        assert not len(parsed.batch)


GRAPHITE = {
    "": {},
    ".separate_alwaysds_escdash": {"separate_instances": True, "always_append_ds": True, "escape_character": "-"},
    ".preserve_prefix_postfix": {"preserve_separator": True, "prefix": "collectd.", "postfix": ".post"},
    ".norates": {"store_rates": False},
    ".dropdup": {"drop_duplicate_fields": True, "always_append_ds": True},
    ".tags": {"use_tags": True, "prefix": "c."},
    ".reversehost_preserve": {"reverse_host": True, "preserve_separator": True, "store_rates": False},
}


def sorted_tags(name):
    path, *tags = name.split(";")
    return path + "".join(sorted(";" + tag for tag in tags))


@pytest.mark.parametrize("options", GRAPHITE)
def test_names_times_and_values_are_write_graphites(options):
    settings = dict(GRAPHITE[options])
    rated = settings.pop("store_rates", True)
    under_test = parser(naming=NamingOptions(**settings), store_rates=rated)
    got, rejected = {}, Counter()
    for datagram in datagrams("plain.bin"):
        parsed = under_test.parse(datagram, {}, NOW)
        rejected.update(parsed.rejected)
        got.update({(path, stamp): value for path, stamp, value in points(parsed) if stamp <= LAST_SECOND})
    lines = text_of(f"write_graphite{options}.txt.gz").splitlines()
    assert len(lines) == 11296
    no_point = 0
    for line in lines:
        name, written, stamp = line.rsplit(" ", 2)
        if written in {"nan", "inf", "-inf"}:
            no_point += 1
            continue
        value = got.pop((sorted_tags(name), int(stamp)))
        assert written in {f"{value:.15g}", f"{value:f}"} or (not rated and float(int(written)) == value)
    assert not got
    assert sum(rejected.values()) >= no_point > 40
    assert rejected["infinite"] == 22


def malformed():
    index = [json.loads(line) for line in (GOLDEN / "malformed.index.jsonl").read_text().splitlines()]
    found = list(zip(index, datagrams("malformed.bin"), strict=True))
    assert len(found) == 172
    return found


# Where a correct receiver takes another number of values than the real one wrote lines.
DIFFERENT = {("string-control-chars", "none_without_authfile"): 1, ("signed-user-NUL", "sign"): 0}


def paths_of(identities):
    """The paths of ``host/plugin/type-instance``, in which bytes are written as in Python."""
    names = GraphiteNames(DEFAULT)
    found = set()
    for identity in identities:
        host, plugin, rest = identity.encode().decode("unicode_escape").encode("latin-1").split(b"/", 2)
        type_, _, instance = rest.partition(b"-")
        found.add(names.path(Identity(host, plugin, b"", type_, instance), b"value", 1))
    return found


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("row", "datagram"), malformed(), ids=lambda v: v["name"] if isinstance(v, dict) else "")
def test_malformed_datagram(row, datagram, level):
    assert len(datagram) == row["len"]
    parsed = parser(LEVELS[level], store_rates=False).parse(datagram, {}, NOW)
    taken = len(parsed.batch) + parsed.rejected.get("nan", 0) + parsed.rejected.get("infinite", 0)
    assert len(parsed.unknown) == len(parsed.batch)
    if row["kind"] != "exact":
        return
    if level != "none":
        assert taken == DIFFERENT.get((row["name"], level), row["real"][level])
        return
    assert taken == row["lists"]
    if row["identities"] is not None and taken == len(parsed.batch):
        assert {new.path for new in parsed.unknown} == paths_of(row["identities"])


@pytest.mark.parametrize("name", ["signed-nested-40", "encrypted-nested-30"])
def test_nesting_is_bounded(name):
    (datagram,) = (datagram for row, datagram in malformed() if row["name"] == name)
    parsed = parser().parse(datagram, {}, NOW)
    assert parsed.rejected == {"security": 1}
    assert not len(parsed.batch)


def test_built_in_types_decode_the_capture():
    under_test = CollectdParser(builtin_types(), NamingOptions(), LEVELS["none"])
    rejected = Counter()
    for datagram in datagrams("plain.bin"):
        rejected.update(under_test.parse(datagram, {}, NOW).rejected)
    assert "unknown_type" not in rejected


@given(
    st.sampled_from([*datagrams("plain.bin")[:40], *datagrams("signed.bin")[:40], *datagrams("encrypted.bin")[:40]]),
    st.lists(st.tuples(st.integers(0, 1500), st.integers(0, 255)), max_size=8),
    st.integers(0, 1500),
    st.sampled_from(sorted(LEVELS)),
)
def test_mutated_datagram_never_raises(datagram, changes, cut, level):
    changed = bytearray(datagram[: cut or None])
    for position, byte in changes:
        if changed:
            changed[position % len(changed)] = byte
    parsed = parser(LEVELS[level]).parse(bytes(changed), {}, NOW)
    assert len(parsed.unknown) == len(parsed.batch) <= len(changed) // 9


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 1400), st.integers(0, 255)), max_size=6),
    st.data(),
)
def test_what_is_remembered_changes_no_result(order, changes, data):
    """Datagrams in any order, damaged ones among them: known lists give what unknown ones give."""
    sent = [bytearray(datagrams("plain.bin")[i]) for i in order]
    for which, position, byte in changes:
        if which < len(sent):
            sent[which][position % len(sent[which])] = byte
    for datagram in list(sent):
        cut = data.draw(st.integers(0, len(datagram)))
        sent.append(datagram[:cut])
    remembering = parser(store_rates=False)
    for datagram in sent:
        got = remembering.parse(bytes(datagram), {}, NOW)
        fresh = parser(store_rates=False).parse(bytes(datagram), {}, NOW)
        assert points(got) == points(fresh)
        assert got.rejected == fresh.rejected
        assert got.notifications == fresh.notifications
