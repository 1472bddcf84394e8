"""Names as write_graphite gives them; what it gives in a real run is held by test_collectd_graphite.py."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.wire.framing import WireError
from ingestd.wire.graphite_names import GraphiteNames, Identity, NamingOptions
from ingestd.wire.lines import PathLimits, canonical_path

IF = Identity(b"a.b.c", b"interface", b"eth0.1", b"if_octets", b"")
LOAD = Identity(b"h", b"load", b"", b"load", b"")


def path(identity, ds=b"value", sources=1, **options):
    return GraphiteNames(NamingOptions(**options)).path(identity, ds, sources)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "a_b_c.interface-eth0_1.if_octets.rx"),
        ({"prefix": "p.", "postfix": ".q"}, "p.a_b_c.q.interface-eth0_1.if_octets.rx"),
        ({"escape_character": "-"}, "a-b-c.interface-eth0-1.if_octets.rx"),
        ({"separate_instances": True}, "a_b_c.interface.eth0_1.if_octets.rx"),
        ({"preserve_separator": True}, "a.b.c.interface-eth0.1.if_octets.rx"),
        ({"reverse_host": True}, "c_b_a.interface-eth0_1.if_octets.rx"),
        ({"reverse_host": True, "preserve_separator": True}, "c.b.a.interface-eth0.1.if_octets.rx"),
        (
            {"use_tags": True, "prefix": "p.", "postfix": ".q"},
            "p.interface.if_octets.rx.q;ds_name=rx;host=a.b.c;plugin=interface;plugin_instance=eth0.1;type=if_octets",
        ),
    ],
)
def test_options(options, expected):
    assert path(IF, b"rx", 2, **options) == expected


def test_data_source_is_named_where_there_are_several_or_always():
    assert path(LOAD) == "h.load.load"
    assert path(LOAD, always_append_ds=True) == "h.load.load.value"
    assert path(LOAD, b"shortterm", 3) == "h.load.load.shortterm"


@pytest.mark.parametrize(
    ("identity", "sources", "expected"),
    [
        (LOAD, 1, "h.load.load"),
        (LOAD, 3, "h.load.value"),
        (LOAD._replace(type_instance=b"x"), 1, "h.load.x"),
        (LOAD._replace(type_instance=b"load"), 2, "h.load.value"),
        (LOAD._replace(plugin_instance=b"y"), 2, "h.load-y.load.value"),
        (LOAD._replace(plugin_instance=b"y", type=b"load-y"), 2, "h.load-y.value"),
    ],
)
def test_duplicate_fields_are_dropped(identity, sources, expected):
    assert path(identity, sources=sources, drop_duplicate_fields=True) == expected


def test_duplicate_tags_are_dropped():
    identity = LOAD._replace(plugin_instance=b"x", type_instance=b"x")
    assert path(identity, drop_duplicate_fields=True, use_tags=True) == "load;host=h;plugin=load;plugin_instance=x"
    assert path(identity, use_tags=True) == ("load.load;host=h;plugin=load;plugin_instance=x;type=load;type_instance=x")


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        (b"a b\tc\r\nd\x7f\x0b", {}, "a_b_c__d__"),
        (b'"\\:!,/()', {"escape_character": "-"}, "-----_--"),
        (b"a/b", {"escape_character": "-"}, "a_b"),
        (b"*?[]{}", {"escape_character": "-"}, "------"),
        (b"h\xff\xc3(\xe2\x82", {"escape_character": "-"}, "h__-__"),
        (b"h;tag=1", {"escape_character": "-"}, "h_tag=1"),
        ("ünï".encode(), {}, "ünï"),
        (b"=~@#^|", {}, "=~@#^|"),
        (b"../../etc", {"preserve_separator": True}, "_._etc"),
    ],
)
def test_bytes_that_no_path_may_hold(host, options, expected):
    assert path(LOAD._replace(host=host), **options) == f"{expected}.load.load"


def test_name_that_cannot_be_a_path():
    assert path(LOAD._replace(type=b"load."), preserve_separator=True) is None
    assert path(LOAD._replace(type=b"load.")) == "h.load.load_"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"~h", "load.load;host=_h;plugin=load;type=load"),
        (b"~", "load.load;host=_;plugin=load;type=load"),
        (b"h;tag=1", "load.load;host=h;plugin=load;tag=1;type=load"),
        (b"h;tag", None),
    ],
)
def test_tags(host, expected):
    assert path(LOAD._replace(host=host), use_tags=True) == expected


@pytest.mark.parametrize("escape", ["", "ab", " ", "*", ";", "\n", "ü"])
def test_bad_escape_character(escape):
    with pytest.raises(WireError, match="escape character"):
        NamingOptions(escape_character=escape)


FIELD = st.binary(max_size=20) | st.text(max_size=10).map(str.encode) | st.sampled_from([b".", b"a.b", b";x=y", b"~"])
FLAGS = ("separate_instances", "always_append_ds", "preserve_separator", "drop_duplicate_fields", "use_tags")


@given(st.builds(Identity, *[FIELD] * 5), FIELD, st.integers(1, 2), st.sets(st.sampled_from(FLAGS)))
def test_any_identity_gives_a_canonical_path_or_none(identity, ds, sources, flags):
    got = path(identity, ds, sources, **dict.fromkeys(flags, True))
    if got is not None:
        assert canonical_path(got.encode(), PathLimits()) == got
        assert not re.search(r"[\x00-\x20\x7f*?\[\]{}]", got)
