"""collectd's values as text: what a real one published, line by line what is read and refused, any bytes."""

import gzip
import json
import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.collectd import CollectdParser
from ingestd.wire.collectd_text import CollectdTexts
from ingestd.wire.graphite_names import Identity, NamingOptions
from ingestd.wire.lines import PathLimits, parse_lines
from ingestd.wire.packets import ValueListError, packed
from ingestd.wire.putval import read_putval
from ingestd.wire.seal import Security
from ingestd.wire.typesdb import COUNTER, GAUGE, TypesDB, builtin_types, parse_types_db

GOLDEN = Path(__file__).parents[1] / "golden" / "collectd"
TYPES = parse_types_db((GOLDEN / "types.db").read_text(), TypesDB({}))
NOW = 1795380810.0


def texts(*, store_rates=True, json_rates="auto", **options):
    return CollectdTexts(
        CollectdParser(TYPES, NamingOptions(), Security(), store_rates=store_rates), json_rates, **options
    )


def points(parsed):
    rows = zip(parsed.unknown, parsed.batch.timestamps.tolist(), parsed.batch.values.tolist(), strict=True)
    return [(new.path, stamp, value) for new, stamp, value in rows]


@cache
def published(name):
    lines = gzip.decompress((GOLDEN / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
    return [json.loads(line)["body"].encode() for line in lines]


@cache
def written(name):
    """{(path, second): text of the value} of what write_graphite wrote."""
    found = {}
    for line in gzip.decompress((GOLDEN / name).read_bytes()).decode().splitlines():
        path, value, stamp = line.rsplit(" ", 2)
        found[path, int(stamp)] = value
    return found


def taken(under_test, form, name):
    """{(path, second): value}, and what was rejected."""
    found, rejected = {}, Counter()
    for body in published(name):
        parsed = getattr(under_test, form)(body, {}, NOW)
        rejected.update(parsed.rejected)
        found.update({(path, stamp): value for path, stamp, value in points(parsed)})
    return found, rejected


@pytest.mark.parametrize(("name", "count"), [("amqp_command", 3157), ("write_http_command", 2602)])
def test_putval_gives_the_names_and_values_of_write_graphite(name, count):
    found, rejected = taken(texts(store_rates=False), "putval", name)
    assert len(found) == count
    expected = written("write_graphite.norates.txt.gz")
    for key, value in found.items():
        assert expected[key] == f"{value:.15g}" or float(int(expected[key])) == value
    assert set(rejected) <= {"nan", "infinite"}


def test_putval_gives_the_rates_of_write_graphite():
    """Within the milliseconds to which PUTVAL has its times."""
    found, rejected = taken(texts(), "putval", "amqp_command")
    assert len(found) == 2696
    assert rejected == {"no_rate": 461, "nan": 2, "infinite": 2}
    expected = written("write_graphite.txt.gz")
    for key, value in found.items():
        assert math.isclose(float(expected[key]), value, rel_tol=5e-3, abs_tol=1e-6)


@pytest.mark.parametrize(("name", "count", "nulls"), [("amqp_json", 2696, 465), ("write_http_json", 681, 435)])
def test_json_with_rates_gives_the_names_and_values_of_write_graphite(name, count, nulls):
    found, rejected = taken(texts(), "json", name)
    assert len(found) == count
    assert rejected == {"nan": nulls}
    expected = written("write_graphite.txt.gz")
    # collectd's JSON has ? for what is no ASCII; a name can be asked for without it.
    lost = {key for key in found if "__n_____x" in key[0]}
    for key in found.keys() - lost:
        assert expected[key] in {f"{found[key]:.15g}", f"{found[key]:f}"}
    assert len(lost) == (2 if name == "amqp_json" else 0)


def test_graphite_bodies_are_lines():
    rejected = Counter()
    for body in published("amqp_graphite"):
        parsed = parse_lines(body, {}, int(NOW), PathLimits())
        rejected.update(parsed.rejected)
        assert all(path.startswith("collectd.") for path, _, _ in points(parsed))
    assert set(rejected) <= {"nan", "infinite", "malformed", "path"}
    assert rejected["malformed"] + rejected["path"] < 20


ONE = b"PUTVAL h/p/gauge interval=10 1000.4:1.5"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (ONE, [("h.p.gauge", 1000, 1.5)]),
        (ONE + b"\r\n", [("h.p.gauge", 1000, 1.5)]),
        (b"putval h/p/gauge N:2", [("h.p.gauge", int(NOW), 2.0)]),
        (b"PUTVAL h/p-a-b/gauge-c/d 1000:1", [("h.p-a-b.gauge-c_d", 1000, 1.0)]),
        (b'PUTVAL "h/p/gauge-a b" 1000:1', [("h.p.gauge-a_b", 1000, 1.0)]),
        (b'PUTVAL "h/p/gauge-a\\"b\\\\c" 1000:1', [("h.p.gauge-a_b_c", 1000, 1.0)]),
        (b'PUTVAL h/p/gauge meta:note="a b c" 1000:1', [("h.p.gauge", 1000, 1.0)]),
        (b"PUTVAL h/p/gauge 1000:1 1010:2", [("h.p.gauge", 1000, 1.0), ("h.p.gauge", 1010, 2.0)]),
        (b"PUTVAL h/p/gauge Interval=1 1000:1e3", [("h.p.gauge", 1000, 1000.0)]),
        (b"PUTVAL h/load/load 1000:1:2:3", [(f"h.load.load.{n}term", 1000, v) for n, v in
                                            (("short", 1.0), ("mid", 2.0), ("long", 3.0))]),
        (b"PUTVAL h/p/counter 1000:0x10", [("h.p.counter", 1000, 16.0)]),
        (b"PUTVAL h/p/counter 1000:010", [("h.p.counter", 1000, 8.0)]),
        (b"PUTVAL h/p/derive 1000:-7.9", [("h.p.derive", 1000, -7.0)]),
    ],
)  # fmt: skip
def test_a_line_that_is_read(line, expected):
    parsed = texts(store_rates=False).putval(line, {}, NOW)
    assert points(parsed) == expected
    assert parsed.rejected == {}


@pytest.mark.parametrize(
    "line",
    [
        b"PUTVAL h/p/gauge",
        b"PUTVAL h/p/gauge interval=10",
        b"PUTNOTIF h/p/gauge 1000:1",
        b"PUTVAL h/p 1000:1",
        b"PUTVAL /p/gauge 1000:1",
        b"PUTVAL h//gauge 1000:1",
        b"PUTVAL h/p/ 1000:1",
        b"PUTVAL h/p/gauge 0:1",
        b"PUTVAL h/p/gauge -5:1",
        b"PUTVAL h/p/gauge nan:1",
        b"PUTVAL h/p/gauge 1e300:1",
        b"PUTVAL h/p/gauge 1000",
        b"PUTVAL h/p/gauge 1000:",
        b"PUTVAL h/p/gauge 1000:1x",
        b"PUTVAL h/p/gauge 1000:1_0",
        b"PUTVAL h/p/gauge 1000:1:2",
        b"PUTVAL h/load/load 1000:1:2",
        b"PUTVAL h/p/counter 1000:U",
        b"PUTVAL h/p/counter 1000:-1",
        b"PUTVAL h/p/counter 1000:18446744073709551616",
        b"PUTVAL h/p/derive 1000:9223372036854775808",
        b"PUTVAL h/p/gauge colour=red 1000:1",
        b"PUTVAL h/p/gauge interval=x 1000:1",
        b'PUTVAL "h/p/gauge 1000:1',
        b"PUTVAL h/p/gauge-" + b"x" * 128 + b" 1000:1",
        b"PUTVAL h/p/gauge 1000:" + b"1" * 60_000 + b"x",
        b"PUTVAL h/p/gauge 1000:1 1010:x",
        b"PUTVAL h/p/gau\0ge 1000:1",
        b"PUTVAL h/p/gauge" + b" 1000:1" * 10_000,
    ],
)
def test_a_line_that_is_refused_costs_no_other(line):
    parsed = texts().putval(line + b"\n\n" + ONE, {}, NOW)
    assert points(parsed) == [("h.p.gauge", 1000, 1.5)]
    assert parsed.rejected == {"malformed": 1}


def test_what_is_no_number_and_what_types_db_does_not_know():
    parsed = texts().putval(b"PUTVAL h/p/gauge 1000:U\nPUTVAL h/p/odd 1000:1:2\nPUTVAL h/p/gauge 1000:inf", {}, NOW)
    assert points(parsed) == []
    assert parsed.rejected == {"nan": 1, "unknown_type": 2, "infinite": 1}


def value_list(**changes):
    one = {"values": [1], "dstypes": ["gauge"], "dsnames": ["value"], "time": 1000.4, "interval": 10}
    one |= {"host": "h", "plugin": "p", "plugin_instance": "", "type": "gauge", "type_instance": ""}
    return {key: value for key, value in (one | changes).items() if value is not ...}


def read_json(*lists, under_test=None):
    return (under_test or texts()).json(json.dumps(lists).encode(), {}, NOW)


def test_lists_of_a_message_alerts_and_meta():
    alert = {"labels": {"alertname": "x"}, "annotations": {}}
    parsed = read_json(value_list(meta={"a": [1]}), alert, value_list(type_instance="a/b", values=[2.5]))
    assert points(parsed) == [("h.p.gauge", 1000, 1.0), ("h.p.gauge-a_b", 1000, 2.5)]
    assert parsed.rejected == {}
    one = texts().json(json.dumps(value_list(dstypes=..., interval=..., plugin_instance=...)).encode(), {}, NOW)
    assert points(one) == [("h.p.gauge", 1000, 1.0)]


@pytest.mark.parametrize(
    ("changes", "points_refused"),
    [
        ({"values": 1}, 1),
        ({"values": []}, 1),
        ({"values": ["1"]}, 1),
        ({"values": [True]}, 1),
        ({"values": [1, 2]}, 2),
        ({"dstypes": ["colour"]}, 1),
        ({"dstypes": [["gauge"]]}, 1),
        ({"dstypes": 1}, 1),
        ({"time": "1000"}, 1),
        ({"time": ...}, 1),
        ({"time": -1}, 1),
        ({"time": 1e300}, 1),
        ({"time": 10**400}, 1),
        ({"interval": math.inf}, 1),
        ({"host": ""}, 1),
        ({"host": 7}, 1),
        ({"host": "a\0b"}, 1),
        ({"plugin": "x" * 128}, 1),
        ({"dstypes": ["counter"], "type": "counter", "values": [-1]}, 1),
        ({"dstypes": ["counter"], "type": "counter", "values": [1 << 64]}, 1),
    ],
)
def test_a_list_that_is_refused_costs_no_other(changes, points_refused):
    parsed = read_json(value_list(**changes), value_list())
    assert points(parsed) == [("h.p.gauge", 1000, 1.0)]
    assert parsed.rejected == {"malformed": points_refused}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1", b"[" * 100_000, b'"' + b"x" * 100, b"\xff", b"[" + b"9" * 5000 + b"]", b"[0,", b"1"]
)
def test_what_is_no_message_is_one_point(body):
    assert texts().json(body, {}, NOW).rejected == {"malformed": 1}


def test_an_integer_beyond_a_float_is_infinite():
    for value in (10**386, -(10**386)):
        parsed = read_json(value_list(values=[value]), value_list())
        assert points(parsed) == [("h.p.gauge", 1000, 1.0)]
        assert parsed.rejected == {"infinite": 1}


def test_over_the_limit():
    under_test = texts(limit=100)
    for form in (under_test.json, under_test.putval):
        assert form(b"x" * 101, {}, NOW).rejected == {"too_long": 1}
    many = json.dumps([{}] * 10_001).encode()
    assert texts().json(many, {}, NOW).rejected == {"malformed": 1}


def counters(time, value, host="h"):
    return value_list(type="derive", dstypes=["derive"], time=time, values=[value], host=host)


def test_counters_in_json_become_rates_unless_they_are():
    under_test = texts()
    assert read_json(counters(1000, 10), under_test=under_test).rejected == {"no_rate": 1}
    assert points(read_json(counters(1010, 30), under_test=under_test)) == [("h.p.derive", 1010, 2.0)]
    assert points(read_json(counters(1000, 0.5, "r"), under_test=under_test)) == [("r.p.derive", 1000, 0.5)]
    assert points(read_json(counters(1010, 3, "r"), under_test=under_test)) == [("r.p.derive", 1010, 3.0)]
    assert points(read_json(counters(1020, 50), under_test=under_test)) == [("h.p.derive", 1020, 2.0)]


def test_the_sender_of_rates_is_forgotten():
    under_test = texts()
    body = json.dumps([counters(1000, None)]).encode()
    assert under_test.json(body, {}, NOW).rejected == {"nan": 1}
    integer = json.dumps([counters(2000, 3)]).encode()
    assert points(under_test.json(integer, {}, NOW + 599)) == [("h.p.derive", 2000, 3.0)]
    assert under_test.json(integer, {}, NOW + 601).rejected == {"no_rate": 1}


@pytest.mark.parametrize(("rates", "rejected"), [("always", {}), ("never", {"malformed": 1})])
def test_what_counters_are_can_be_said(rates, rejected):
    assert read_json(counters(1000, 0.5), under_test=texts(json_rates=rates)).rejected == rejected


names = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=30)
KINDS = {"gauge": GAUGE, "counter": COUNTER}


@given(names, names, names, names, st.sampled_from(sorted(KINDS)), st.integers(0, 1 << 53), st.integers(1, 1 << 31))
def test_every_form_says_the_same(host, plugin, plugin_instance, instance, type_, value, stamp):
    """Binary, PUTVAL and JSON of one value list: the same path, time and value."""
    host, plugin = host.replace("/", "x"), plugin.replace("/", "x").replace("-", "x")
    plugin_instance = plugin_instance.replace("/", "x")
    text = f"{host}/{plugin}-{plugin_instance}/{type_}-{instance}"
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    line = f"PUTVAL {quoted} interval=10 {stamp}:{value}".replace("\n", " ").encode()
    fields = [host, plugin, plugin_instance, type_, instance]
    identity = Identity(*(field.replace("\n", " ").encode() for field in fields))
    parser = CollectdParser(TYPES, NamingOptions(), Security(), store_rates=False)
    binary = parser.parse(packed(identity, stamp, 10, bytes([KINDS[type_]]), [value]), {}, NOW)
    one = value_list(
        host=host, plugin=plugin, plugin_instance=plugin_instance, type=type_, type_instance=instance, time=stamp,
        values=[value], dstypes=[type_],
    )  # fmt: skip
    assert points(texts(store_rates=False).putval(line, {}, NOW)) == points(binary)
    assert points(read_json(one, under_test=texts(store_rates=False))) == points(binary)
    assert binary.rejected.keys() <= {"path"}


@given(st.binary(max_size=200) | st.sampled_from(published("amqp_command")), st.integers(0, 300), st.binary(max_size=4))
def test_any_line_is_read_or_refused(line, at, change):
    line = line[:at] + change + line[at:]
    try:
        parts = read_putval(line, builtin_types(), NOW)
    except ValueListError:
        return
    assert parts
    parsed = CollectdParser(builtin_types(), NamingOptions(), Security()).parse(parts, {}, NOW)
    assert "malformed" not in parsed.rejected


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5)
                    | st.sampled_from(["gauge", "values", "h", [1], ["derive"]]),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
                        ["values", "dstypes", "time", "interval", "host", "plugin", "type", "labels"]), inner),
                    max_leaves=20))  # fmt: skip
def test_any_json_is_read_or_refused(value):
    parsed = texts().json(json.dumps(value).encode(), {}, NOW)
    assert parsed.rejected.keys() <= {"malformed", "unknown_type", "no_rate", "nan", "infinite", "path"}
    assert len(parsed.unknown) == len(parsed.batch)
