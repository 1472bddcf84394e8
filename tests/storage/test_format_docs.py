"""The drawn formats have the sizes of the structs, without a gap."""

import itertools
import re
from pathlib import Path

import pytest

from ingestd.ingest import spool
from ingestd.storage import fileformat, manifest

DOCS = Path(__file__).parents[2] / "docs" / "format"


def tables(name):
    """The (offset, size) rows of each table that is drawn with numbers."""
    found = []
    for text in re.split(r"\n\n", (DOCS / name).read_text()):
        rows = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+) \| (\d+) \|", text, re.M)]
        if rows:
            found.append(rows)
    return found


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("journal.md", [fileformat.SEGMENT_HEADER.size, fileformat.JOURNAL_RECORD.size]),
        ("registry.md", [fileformat.LOG_HEADER.size, fileformat.LOG_RECORD.size]),
        ("events.md", [fileformat.LOG_HEADER.size, fileformat.LOG_RECORD.size]),
        ("marks.md", [fileformat.LOG_HEADER.size, fileformat.LOG_RECORD.size]),
        ("manifest.md", [manifest._ENTRY.size]),
        ("block.md", [fileformat.PAGE]),
        ("spool.md", [spool.SEGMENT_HEADER.size, spool.RECORD.size]),
    ],
)
def test_drawn_sizes(name, sizes):
    drawn = tables(name)
    assert [sum(rows[-1]) for rows in drawn] == sizes
    for rows in drawn:
        assert rows[0][0] == 0
        assert all(a + size == b for (a, size), (b, _) in itertools.pairwise(rows))
