"""Carbon's storage-schemas.conf and storage-aggregation.conf."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.storage.errors import StorageError
from ingestd.storage.schema import (
    DEFAULT,
    METHODS,
    Archive,
    SchemaError,
    SchemaRules,
    load_rules,
    parse_aggregation,
    parse_retentions,
    parse_schemas,
)

UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}


@pytest.mark.parametrize(
    ("text", "archives"),
    [
        ("10s:6h", [(10, 2160)]),
        ("60:1440", [(60, 1440)]),
        ("10s:6h, 1m:7d,10min:400d", [(10, 2160), (60, 10080), (600, 57600)]),
        ("1m:7d,10s:6h", [(10, 2160), (60, 10080)]),
        ("1h:1y", [(3600, 8760)]),
        ("1d:2w", [(86400, 14)]),
    ],
)
def test_retentions_as_carbon_reads_them(text, archives):
    assert list(parse_retentions(text)) == archives


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "STEP"),
        ("10", "STEP"),
        ("10x:5", "STEP"),
        ("-1:5", "STEP"),
        ("0:5", "at least 1 s"),
        ("10:0", "1 slot"),
        ("60:10,60:20", "same step"),
        ("10:100,25:100", "divide"),
        ("10:100,20:50", "further back"),
        ("10:2,60:100", "slots to fill"),
        ("1:4294967296", "span"),
    ],
)
def test_whispers_rules(text, why):
    with pytest.raises(SchemaError, match=why):
        parse_retentions(text)


@given(st.integers(1, 9999), st.sampled_from(sorted(UNITS)), st.integers(1, 1000))
def test_units(number, unit, slots):
    step = number * UNITS[unit]
    try:
        assert parse_retentions(f"{number}{unit}:{slots}") == (Archive(step, slots),)
    except SchemaError:
        assert step * slots > 2**32 - 1


def test_first_match_of_the_file_wins_and_priority_is_ignored():
    rules = SchemaRules(
        parse_schemas(
            "# a comment\n[b]\npattern = ^a\\.b\nretentions = 60:10\n"
            "[a]\npriority = 100\nPATTERN = ^a\nretentions = 10s:1h\n[default]\nretentions = 1m:1d\n"
        ),
        parse_aggregation(
            "[sums]\npattern = \\.count$\nxFilesFactor = 0\naggregationMethod = sum\n[max]\npattern = \\.max$\n"
        ),
    )
    assert rules.match("a.b.count")[::2] == ("b", "sums")
    assert rules.schema("a.b.count").method == "sum"
    assert rules.schema("a.b.count").x_files_factor == 0
    assert rules.match("a.c.max")[::2] == ("a", "max")
    assert rules.schema("a.c.max").method == "average"
    assert rules.match("x.a.b")[::2] == ("default", "built-in")
    assert rules.schema("x") is rules.schema("y")


def test_without_files_the_built_in_default_holds(tmp_path):
    assert SchemaRules().match("a.b") == ("built-in", DEFAULT, "built-in")
    assert DEFAULT.archives == parse_retentions("10s:6h,1m:7d,10m:400d")
    with pytest.raises(SchemaError, match=r"absent\.conf"):
        load_rules(tmp_path / "absent.conf", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[x]\nretentions = 60:1", r"f: \[x\]: pattern is missing"),
        ("[x]\npattern = a", r"f: \[x\]: retentions are missing"),
        ("[x]\npattern = (\nretentions = 60:1", r"f: \[x\]: pattern"),
        ("[x]\npattern = a\nretentions = 60:1,60:2", r"f: \[x\]: archives .* same step"),
        ("pattern = a", "f: File contains no section headers"),
    ],
)
def test_an_error_names_file_section_and_rule(text, why):
    with pytest.raises(SchemaError, match=why):
        parse_schemas(text, "f")


@pytest.mark.parametrize(
    "line", ["xFilesFactor = 1.5", "xFilesFactor = nan", "xFilesFactor = x", "aggregationMethod = p9"]
)
def test_aggregation_is_checked(line):
    with pytest.raises(SchemaError, match=r"f: \[x\]: "):
        parse_aggregation(f"[x]\npattern = a\n{line}\n", "f")


@given(
    st.one_of(
        st.text(),
        st.lists(
            st.sampled_from(["[a]", "[default]", "[", "pattern = (", "pattern=a", "retentions = 1:1", " x", "=", "x"])
        ).map("\n".join),
    )
)
def test_garbage_gives_the_floors_error_only(text):
    for parse in (parse_schemas, parse_aggregation, parse_retentions):
        with contextlib.suppress(StorageError):
            parse(text)


def test_every_method_of_whisper_is_taken():
    for method in METHODS:
        assert parse_aggregation(f"[x]\npattern=a\naggregationMethod={method}")[0].method == method
