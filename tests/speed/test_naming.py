"""Names of value lists, put together by the kernel and by the reference, under any options."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd._speed import CollectdNaming
from ingestd.wire.graphite_names import GraphiteNames, NamingOptions

FLAGS = (
    "separate_instances", "always_append_ds", "preserve_separator", "drop_duplicate_fields", "use_tags", "reverse_host",
)  # fmt: skip
TYPICAL = st.text("ab.-_", max_size=8).map(str.encode)
ODD = st.binary(max_size=12).map(lambda field: field.replace(b"\0", b"")) | st.text(max_size=6).map(str.encode)
FIELD = st.one_of(TYPICAL, TYPICAL, TYPICAL, ODD.map(lambda field: field.replace(b"\0", b"")))
SOURCES = st.lists(st.one_of(TYPICAL, FIELD, st.sampled_from([b"value", b"a" * 4090])), min_size=1, max_size=3)
OPTIONS = st.builds(
    lambda flags, **texts: NamingOptions(**dict.fromkeys(flags, True), **texts),
    st.sets(st.sampled_from(FLAGS), max_size=2),
    prefix=st.sampled_from(["", "a.", "a b.", "ü", ".", "x/"]),
    postfix=st.sampled_from(["", ".b", "..", "*"]),
    escape_character=st.sampled_from(["_", "-", ".", "/", "="]),
)


@pytest.fixture(autouse=True, scope="module")
def _compiled(require_kernels):
    require_kernels()


def kernel(names):
    return CollectdNaming(names.scheme(), lambda type_, kinds: None, names.spellings)


@given(OPTIONS, st.lists(st.tuples(st.tuples(*[FIELD] * 5), SOURCES), max_size=4))
def test_names_are_the_same(options, identities):
    names = GraphiteNames(options)
    naming = kernel(names)
    for fields, sources in identities:
        assert naming.spellings(fields, sources) == names.spellings(fields, sources)


def test_plain_names_need_no_reference():
    def reference(fields, sources):
        raise AssertionError(fields)

    naming = CollectdNaming(GraphiteNames(NamingOptions(prefix="x.")).scheme(), lambda *_: None, reference)
    fields = (b"a.example", b"load", b"", b"load", b"")
    assert naming.spellings(fields, [b"one", b"two"]) == [b"x.a_example.load.load.one", b"x.a_example.load.load.two"]
    assert naming.spellings((b"a", b"df", b"/", b"df", b"free"), [b"value"]) == [b"x.a.df-_.df-free"]


@pytest.mark.parametrize("depth", [60, 124, 125, 126, 127])
def test_depth_and_length_are_limited_alike(depth):
    names = GraphiteNames(NamingOptions(preserve_separator=True))
    naming = kernel(names)
    host = b".".join([b"h"] * 60)
    fields = (host, b".".join([b"p"] * (depth - 60)) or b"p", b"", b"type", b"i")
    for sources in ([b"value"], [b"a", b"b"], [b"a" * 4000, b"b.c"]):
        assert naming.spellings(fields, sources) == names.spellings(fields, sources)


def test_what_is_no_identity_is_refused():
    naming = kernel(GraphiteNames(NamingOptions()))
    for fields in ((b"h",), (b"h", b"p", "x", b"t", b"")):
        with pytest.raises((TypeError, ValueError)):
            naming.spellings(fields, [b"value"])
    long = (b"h" * 300, b"p", b"", b"t", b"")
    assert naming.spellings(long, [b"value"]) == [b"h" * 300 + b".p.t"]
