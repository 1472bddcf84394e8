"""The vocabulary: names as columns are what they are one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestd.points import NewName, NewNames, Paths, keys_of

paths = st.lists(st.text(st.characters(codec="utf-8"), max_size=4), max_size=6)


@given(paths)
def test_paths_are_their_texts(texts: list[str]) -> None:
    columns = Paths([text.encode() for text in texts])
    assert list(columns) == texts
    assert list(columns[1:]) == texts[1:]
    assert [columns[at] for at in range(-len(texts), len(texts))] == texts + texts
    assert keys_of(columns) == keys_of(texts) == columns.keys


@given(paths)
def test_new_names_are_their_columns(texts: list[str]) -> None:
    names = [NewName(2 * at, text.encode(), text) for at, text in enumerate(texts)]
    columns = NewNames.of(names)
    assert columns is not None
    assert NewNames.of(columns) is columns
    assert columns == names
    assert names == columns
    assert columns[1:] == names[1:]
    assert [columns[at] for at in range(len(names))] == names
    assert columns != [*names, NewName(99, b"", "")]
    assert (columns.rows.tolist(), columns.keys) == ([n.row for n in names], [n.spelling for n in names])


def test_a_name_that_is_not_its_path_is_no_column() -> None:
    assert NewNames.of([NewName(0, b"a", "a"), NewName(1, b"a..b", "a.b")]) is None
    assert NewNames(np.zeros(0, np.intp), []) != 3
    with pytest.raises(TypeError):
        hash(NewNames(np.zeros(0, np.intp), []))
