"""Labels of many series are those of each."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.query.grid import Grid, SeriesList
from ingestd.query.labels import Label, Labels, Same, Tags, path_tags, taken

texts = st.text("ab;=~", max_size=4)
sources = st.lists(texts | st.dictionaries(texts, texts, max_size=2), max_size=5)


def plain(sources: list[str | dict[str, str]]) -> list[dict[str, str]]:
    return [path_tags(each) if isinstance(each, str) else each for each in sources]


@given(sources, st.data())
def test_tags(sources: list[str | dict[str, str]], data: st.DataObject) -> None:
    expected = plain(sources)
    rows = data.draw(st.lists(st.sampled_from(range(len(sources))), max_size=4)) if sources else []
    tags = Tags(sources)
    assert list(tags) == expected
    assert len(tags) == len(expected)
    assert list(tags.take(rows)) == [expected[row] for row in rows]
    one = tags.also("a", "1").also("b", "2")
    assert list(one) == [{**each, "a": "1", "b": "2"} for each in expected]
    assert list(tags) == expected
    some = [None if row % 2 else str(row) for row in range(len(sources))]
    each = one.each("c", some)
    assert list(each) == [
        {**tags, "a": "1", "b": "2"} | ({} if text is None else {"c": text})
        for tags, text in zip(expected, some, strict=True)
    ]
    assert [each[row] for row in rows] == list(each.take(rows))


def labels(names: list[str]) -> Labels:
    return Labels.of(
        [Label(name, f"{name}.*", {"name": name}, "max", at / 10, at % 2 == 0) for at, name in enumerate(names)]
    )


def rows(labels: Labels) -> list[Label]:
    return [labels[at] for at in range(len(labels))]


def test_rows_parts_and_columns_agree() -> None:
    both = labels(["a", "b", "c"])
    assert [both[at].name for at in range(len(both))] == both.names
    assert rows(both.take([2, 0])) == rows(Labels.of([both[at] for at in (2, 0)])) == [both[2], both[0]]
    assert rows(Labels.joined([both.take([0]), both.take([1, 2])])) == rows(both)
    assert both.factors.tolist() == [[0.0], [0.1], [0.2]]


def test_a_change_leaves_what_shares_the_columns() -> None:
    one = labels(["a", "b"])
    other = one.take([0, 1])
    one.draw(color="red")
    one.renew(one.wrapped("f", ",1"))
    one.draw(stacked=True)
    one.tag("f", "1")
    one.all(ints=True, x_files_factor=1.0, consolidation_func="min")
    assert one[1] == Label("f(b,1)", "f(b,1)", {"name": "b", "f": "1"}, "min", 1.0, True, {"stacked": True})
    assert rows(other) == rows(labels(["a", "b"]))


def test_options_are_added_to_those_of_each() -> None:
    some = labels(["a", "b", "c"])
    some.options = [{"color": "red"}, {}, {"color": "blue"}]
    some.draw(alpha=0.5)
    assert list(some.options) == [{"color": "red", "alpha": 0.5}, {"alpha": 0.5}, {"color": "blue", "alpha": 0.5}]


def test_names_are_in_the_order_of_the_list() -> None:
    def grid(names: list[str], places: list[int]) -> Grid:
        return Grid(0, 10, 10, np.zeros((len(names), 1)), labels(names), np.array(places, np.intp))

    series = SeriesList([grid(["a", "d"], [0, 3]), grid(["b", "c"], [1, 2])])
    assert series.names == series.labels.names == ["a", "b", "c", "d"]
    series.shown(["1", "2", "3", "4"])
    assert [each.labels.names for each in series.grids] == [["1", "4"], ["2", "3"]]
    assert [each.name for each in series.series()] == ["1", "2", "3", "4"]
    assert series.pick(np.array([3, 1])).names == ["4", "2"]
    assert (SeriesList().names, len(SeriesList().labels)) == ([], 0)


def test_taken() -> None:
    assert [taken("abc", rows) for rows in ([], [1], [2, 0, 0])] == [[], ["b"], ["c", "a", "a"]]


@given(st.integers(0, 4), st.integers(-5, 5), st.integers(-5, 5))
def test_a_column_of_one_item(count: int, start: int, stop: int) -> None:
    same, plain = Same("a", count), ["a"] * count
    assert (len(same), list(same), list(same[start:stop])) == (len(plain), plain, plain[start:stop])
    if -count <= start < count:
        assert same[start] == "a"
    else:
        with pytest.raises(IndexError):
            same[start]


@given(sources, sources, st.booleans())
def test_tags_part_after_part(one: list[str | dict[str, str]], other: list[str | dict[str, str]], added: bool) -> None:
    parts = [Tags(one), Tags(other).also("a", "1") if added else Tags(other)]
    assert list(Tags.joined(parts)) == [tags for each in parts for tags in each]


@given(st.lists(texts))
def test_names_without_other_tags(paths: list[str]) -> None:
    names = Tags(paths).names()
    assert names is None or [{"name": name} for name in names] == list(Tags(paths))
    assert Tags(["a.b", "c"]).names() == ["a.b", "c"]
    assert Tags(paths).also("a", "1").names() is Tags([*paths, {}]).names() is None
