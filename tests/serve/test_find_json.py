"""JSON of found names, written at once, against that of objects."""

import json
from urllib.parse import unquote_plus

from hypothesis import given
from hypothesis import strategies as st

from ingestd.serve.find import plain, tree

names = st.text(st.sampled_from('ab%20+"\\é\n☃\U0001f600'), min_size=1, max_size=4)
found = st.lists(st.tuples(names, st.sampled_from(["", "x.", "é."]), st.sampled_from(["leaf", "branch", "both"]))).map(
    lambda drawn: sorted(
        {
            (name, before + name, leaf)
            for name, before, kind in drawn
            for leaf in {"leaf": [True], "branch": [False], "both": [False, True]}[kind]
        }
    )
)
KINDS = (
    {"allowChildren": 1, "expandable": 1, "leaf": 0},
    {"allowChildren": 0, "expandable": 0, "leaf": 1},
)


@given(found, st.integers(0, 2**40))
def test_paths_in_order(matches, until):
    times = {"intervals": [{"start": 0, "end": until}]}
    expected = [
        {"path": path, "is_leaf": leaf, **(times if leaf else {})}
        for _, path, leaf in sorted(matches, key=lambda match: match[1:])
    ]
    assert plain(matches, until) == json.dumps(expected)


@given(found, names, st.booleans())
def test_nodes_of_a_tree(matches, base, wildcards):
    first = {}
    for name, _, leaf in matches:
        first.setdefault(name, leaf)
    lines = [
        {"text": unquote_plus(name), "id": base + name, **KINDS[leaf]}
        for leaf in (False, True)
        for name, kind in first.items()
        if kind == leaf
    ]
    if wildcards and len(matches) > 1:
        lines.insert(0, {"text": "*", "id": base + "*", **KINDS[all(leaf for _, _, leaf in matches)]})
    assert tree(matches, base, wildcards) == json.dumps(lines)
