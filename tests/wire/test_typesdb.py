"""types.db: collectd's grammar, the dialects of it, and the built-in table."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.typesdb import (
    ABSOLUTE,
    COUNTER,
    DERIVE,
    GAUGE,
    DataSource,
    TypesDB,
    builtin_types,
    parse_types_db,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "collectd" / "types.db"
NOTHING = TypesDB({})
INF = math.inf


def types(text):
    return dict(parse_types_db(text, NOTHING).types)


def test_built_in_table_defines_what_collectds_file_defines():
    golden = parse_types_db(GOLDEN.read_text(), NOTHING)
    assert len(golden.types) > 300
    assert not golden.refused
    assert dict(builtin_types().types) == dict(golden.types)


def test_definition():
    assert types("if_octets  rx:DERIVE:0:U, tx:counter:-1.5:1e3\n") == {
        b"if_octets": (DataSource(b"rx", DERIVE, 0.0, INF), DataSource(b"tx", COUNTER, -1.5, 1000.0))
    }
    assert types("a value:GAUGE:U:U\nb value:Absolute:0:65535") == {
        b"a": (DataSource(b"value", GAUGE, -INF, INF),),
        b"b": (DataSource(b"value", ABSOLUTE, 0.0, 65535.0),),
    }


@pytest.mark.parametrize(
    "line",
    [
        "ib_octets rcv:DERIVE:0:U xmt:DERIVE:0:U",
        "ib_octets rcv:DERIVE:0:U, xmt:DERIVE:0:U,",
        "\t ib_octets\t\trcv:derive:0:U,\txmt:Derive:0:U \r",
        "\ufeffib_octets rcv:DERIVE:0:U, xmt:DERIVE:0:U",
        "ib_octets rcv::DERIVE:0:U, xmt:DERIVE:0x:U",
    ],
)
def test_dialects(line):
    assert types(f"{line}\n# comment a:GAUGE:0:U\n\nlonely\n") == {
        b"ib_octets": (DataSource(b"rcv", DERIVE, 0.0, INF), DataSource(b"xmt", DERIVE, 0.0, INF))
    }


@pytest.mark.parametrize(
    "field",
    ["a:GAUGE:0", "a:GAUGE:0:U:1", "a:GUAGE:0:U", "a:GAUGE:0:U,b:GAUGE:0:U", ",", "a:GAUGE:0:U, ,"],
)
def test_bad_source_costs_its_line_only(field):
    db = parse_types_db(f"x v:GAUGE:0:U\ny {field}\nz v:GAUGE:0:U", NOTHING)
    assert set(db.types) == {b"x", b"z"}
    assert db.refused == (2,)


def test_later_definitions_win_and_the_base_stays():
    db = parse_types_db("load one:GAUGE:0:U\nmine v:GAUGE:0:U\nmine w:GAUGE:0:U", builtin_types())
    assert [s.name for s in db.types[b"load"]] == [b"one"]
    assert [s.name for s in db.types[b"mine"]] == [b"w"]
    assert len(db.types) == len(builtin_types().types) + 1
    assert len(builtin_types().types[b"load"]) == 3


def test_long_line_is_refused():
    assert not types("x v:GAUGE:0:U" + " " * 5000)
    assert types("x v:GAUGE:0:U" + " " * 4000)


@given(st.text() | st.text("ab :,UGgauge0#\n\t"))
def test_any_text_is_read(text):
    for sources in parse_types_db(text, NOTHING).types.values():
        assert sources
        assert all(s.kind in {COUNTER, GAUGE, DERIVE, ABSOLUTE} for s in sources)
