"""The README claims what is there."""

import re
import xml.dom.minidom
from pathlib import Path

import ingestd.query.functions  # noqa: F401 - fills FUNCTIONS
from ingestd.cli import main
from ingestd.config import Settings
from ingestd.query.functions.registry import FUNCTIONS
from ingestd.serve.chart.options import ChartLimits, parse_options
from ingestd.telemetry import REASONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_reasons_are_the_ledgers():
    table = README.partition("| Reason |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE)) == REASONS


def test_the_functions_are_those_that_are_served():
    listed = README.partition("Functions: ")[2].partition("\n### ")[0]
    served = {}
    for name, each in FUNCTIONS.items():
        served.setdefault("Beyond graphite-web" if each.extension else each.group, set()).add(name)
    groups = re.findall(r"^- \*\*([\w -]+)\*\*: (.*?)\.$", listed, re.MULTILINE | re.DOTALL)
    assert {group: set(re.findall(r"`(\w+)`", names)) for group, names in groups} == served
    assert f"all {sum(not each.extension for each in FUNCTIONS.values())} of" in listed


def test_the_flags_exist_and_their_defaults_are_the_settings():
    flags = {flag for option in main.commands["serve"].params for flag in option.opts}
    rows = re.findall(r"^\| [^|]+ \| `--(graphite|pickle|collectd|http)` \| ([0-9.:]+) \|$", README, re.MULTILINE)
    assert len(rows) == 4
    for name, address in rows:
        assert f"--{name}" in flags
        assert getattr(Settings(), name).listen == (address,)


def test_every_link_leads_to_a_file():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        text = (ROOT / path).read_text() if anchor and path else README
        headings = [heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
        assert (ROOT / path).exists(), target
        assert not anchor or anchor in headings, target


def test_the_options_of_pictures_are_those_that_are_read():
    read = set()

    class Recorded(dict):
        def get(self, name, default=None):
            read.add(name)
            return default

    parse_options(Recorded(), ChartLimits())
    table = README.partition("| What | Graphite's options |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) - {"tz"} == read


def test_the_picture_is_well_formed():
    assert xml.dom.minidom.parse(str(ROOT / "docs" / "picture.svg")).documentElement.tagName == "svg"
