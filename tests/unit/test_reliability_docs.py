"""What docs/reliability.md, docs/threats.md and SECURITY.md name is there: tests and files."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("docs/reliability.md", "docs/threats.md", "SECURITY.md", "requirements/README.md")
NAMED = re.compile(r"`([\w/]+\.py)?(?:::(\w+))?`")


def named(page):
    """Every (file, test) that ``page`` names; ``::test`` alone is of the file before it."""
    file = None
    for path, test in NAMED.findall((ROOT / page).read_text()):
        if path.startswith(("ingestd/", "requirements/", "tests/")):
            continue
        file = path or file
        if path or test:
            yield file, test


@pytest.mark.parametrize("page", ["docs/reliability.md", "docs/threats.md"])
def test_every_named_test_exists(page):
    found = list(named(page))
    assert len(found) > 30
    for file, test in found:
        text = (ROOT / "tests" / file).read_text()
        assert not test or re.search(rf"^(?:async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text()):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_row_has_its_four_cells():
    table = (ROOT / "docs/reliability.md").read_text().partition("| Fault or attack")[2]
    rows = [line for line in table.splitlines()[1:] if line]
    assert all(re.fullmatch(r"\|([^|]*\|){4}", row) for row in rows)
