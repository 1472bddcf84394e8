"""The file of a map: read as written, refused when changed, never half."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestd.cluster.map import Map, MapError, Node, check_map, decode_map, encode_map
from ingestd.cluster.map_file import held_map, read_map, write_map
from ingestd.cluster.placement import Wanted, plan

DOCUMENT = Path(__file__).parents[2] / "docs/format/map.md"


def grown() -> Map:
    nodes = (Node("a", "http://a:8080", "x"), Node("b", "http://b:8080", "y", 2.0))
    return plan(plan(None, Wanted(nodes[:1], 1)), Wanted(nodes, 1))


TEXT = encode_map(grown())


def test_a_map_is_read_as_it_was_written() -> None:
    found = decode_map(TEXT)
    assert found == grown()
    assert found.moving
    assert found.complete(min(found.moving)) == ("a",)
    assert found.bound(min(found.moving)) == ("b", "a")
    assert found.node("b").weight == 2.0
    assert found.bindings() == {"a": set(range(1024)), "b": set(found.moving)}
    assert encode_map(found) == TEXT


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(TEXT) - 1), st.characters(codec="utf-8"))
def test_a_changed_character_is_noticed(place: int, other: str) -> None:
    changed = TEXT[:place] + other + TEXT[place + 1 :]
    try:
        assert decode_map(changed) == grown()
    except MapError:
        assert changed != TEXT


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.text(), some),
        max_leaves=5,
    ),
    st.sampled_from(sorted(json.loads(TEXT))),
)
def test_values_of_other_types_are_refused(value: object, key: str) -> None:
    body = json.loads(TEXT)
    if body[key] != value:
        with pytest.raises(MapError):
            decode_map(json.dumps(body | {key: value}))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 100_000, '{"format": "ingestd map 1"}', TEXT[:-3], "9" * 10_000]
)
def test_what_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(MapError):
        decode_map(text)


NODES = (Node("a"), Node("b"))
OWNERS = (("a",),) * 1024


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (Map(1, 1, 1, NODES[::-1], OWNERS), "not sorted"),
        (Map(0, 1, 1, NODES, OWNERS), "version"),
        (Map(1, 1, 1, NODES, OWNERS[1:]), "1023 partitions"),
        (Map(1, 1, 2, NODES, OWNERS), "partition 0: not 2 different owners"),
        (Map(1, 1, 2, NODES, (("a", "a"),) * 1024), "partition 0: not 2 different owners"),
        (Map(1, 1, 1, NODES, (("c",),) * 1024), "an owner that is no node"),
        (Map(1, 1, 1, (Node("a", leaving=True),), OWNERS), "an owner that is no node"),
        (Map(1, 1, 1, NODES, OWNERS, {1024: ("a",)}), "moving partition 1024: there is none"),
        (Map(1, 1, 1, NODES, OWNERS, {0: ()}), "moving partition 0"),
        (Map(1, 1, 1, NODES, OWNERS, {0: ("c",)}), "moving partition 0"),
    ],
)
def test_a_map_whose_parts_disagree_is_refused(found: Map, message: str) -> None:
    with pytest.raises(MapError, match=message):
        check_map(found)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    assert read_map(file) is None
    write_map(file, grown())
    assert read_map(file) == grown()
    assert [one.name for one in tmp_path.iterdir()] == ["map.json"]
    file.write_text(TEXT.replace('"weight": 2.0', '"weight": 3.0'))
    with pytest.raises(MapError, match=re.escape(f"{file}: wrong checksum")):
        read_map(file)
    file.write_bytes(b"\xff")
    with pytest.raises(MapError, match="utf-8"):
        read_map(file)
    with pytest.raises(MapError, match="No such file"):
        write_map(tmp_path / "none/map.json", grown())


def test_two_cannot_change_a_map_at_once(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    with held_map(file), pytest.raises(MapError, match="by another process"), held_map(file):
        pass
    with held_map(file):
        pass


def test_the_document_says_what_the_file_holds() -> None:
    text = DOCUMENT.read_text()
    for key in json.loads(TEXT):
        assert f"| `{key}` |" in text
    for key in json.loads(TEXT)["nodes"][0]:
        assert f"`{key}`" in text
