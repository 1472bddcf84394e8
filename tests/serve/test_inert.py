"""No name, tag, text or title becomes anything but text, whatever it holds."""

import csv
import io
import json
import logging
import re
from datetime import UTC
from xml.etree import ElementTree

import numpy as np
import pytest
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ingestd.query.grid import Series
from ingestd.serve.deps import Limits
from ingestd.serve.find import respond
from ingestd.serve.formats import to_csv, to_json, to_raw
from ingestd.serve.headers import DATA_POLICY, PAGE_POLICY
from ingestd.serve.http import _line, make_app
from ingestd.serve.params import Params, ServeError
from ingestd.telemetry import _Formatter

PIECES = ["<script>", "</script>", "<!--", "]]>", '"', "'", "&", "=", "+", "-", "@", "\t", "\r", "\n", ";", "|", ",",
          "\0", "\x1b[31m", "\x07", "\x7f", "\x85", "\u2028", "\u2029", "\u202e", "\u2066", "\u200b", "\ufeff",
          "\uff1d", "%0d%0a", "\\", "cmd|' /C calc'!A0", "a", " "]  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)
FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def series(name, tags=()):
    return Series(name, name, dict(tags), 0, 20, 10, np.array([1.0, -2.5]))


@given(st.lists(hostile, min_size=1, max_size=3), st.dictionaries(hostile, hostile, max_size=3))
def test_json_is_ascii_and_gives_names_back(names, tags):
    text = to_json([series(name, tags) for name in names])
    assert text.isascii()
    assert text.isprintable()
    assert [(one["target"], one["tags"]) for one in json.loads(text)] == [(name, tags) for name in names]


@given(hostile)
@example(";\t")
def test_no_cell_of_a_table_is_a_formula_wherever_it_is_cut(name):
    text = to_csv([series(name)], UTC)
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in rows] in ([name] * 2, ["'" + name] * 2)
    assert all(len(row) == 3 for row in rows)
    for separator in ",;\t|":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            for cell in row:
                number = re.fullmatch(r"-?[0-9.]+|", cell) or re.match(r"[0-9]{4}-", cell)
                assert number or not FORMULA.match(cell), (separator, cell)


@given(hostile)
def test_raw_keeps_a_name_on_its_line(name):
    assert len(to_raw([series(name)]).splitlines()) == 1


@given(hostile, hostile)
def test_a_callback_is_a_name_or_refused(callback, what):
    params = Params([("jsonp", callback)])
    try:
        text = respond(params, [{"what": what}]).text
    except ServeError:
        assert not re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$.]*", callback) or len(callback) > 128
        return
    if callback:
        assert re.fullmatch(r"[A-Za-z_$][A-Za-z0-9_$.]*\(.*\)", text, re.DOTALL)
    assert text.isascii()


@given(hostile)
def test_an_error_is_one_line_that_shows(text):
    assert _line(text).isprintable()
    assert len(_line(text * 1000)) <= 1000


def record(message, extra, error=None):
    try:
        raise error or ValueError(message)
    except ValueError as raised:
        one = logging.LogRecord("x", logging.ERROR, "f", 1, "said %s", (message,), (ValueError, raised, None))
    one.path = extra
    return one


@given(hostile, hostile)
def test_a_log_line_cannot_be_forged(message, extra):
    lines = _Formatter(False).format(record(message, extra)).splitlines()
    assert re.match(r"\d{4}-\d\d-\d\dT", lines[0])
    assert all(line.startswith("  ") for line in lines[1:])
    assert all(line.isprintable() for line in lines)
    (line,) = _Formatter(True).format(record(message, extra)).splitlines()
    assert line.isascii()
    assert json.loads(line)["path"] == extra


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=hostile)
async def test_events_and_errors_over_http(fakes, text):
    fakes.events.clear()
    async with TestClient(TestServer(make_app(fakes.deps(), Limits()))) as client:
        await client.post("/events", data=json.dumps({"what": text, "data": text, "tags": [text]}))
        for path, parameters in (
            ("/events/get_data", {}),
            ("/events/1", {}),
            ("/render", {"target": text, "format": "json"}),
            ("/render", {"target": text, "format": text}),
            ("/render", {"target": text, "format": "svg", "title": text, "fgcolor": text, "xFormat": text}),
            ("/render", {"target": "a", "from": text, "format": "json"}),
            ("/metrics/find", {"query": text}),
        ):
            async with client.get(path, params=parameters) as response:
                if response.content_type == "image/png":
                    assert (await response.read()).startswith(b"\x89PNG")
                    body = ""
                elif response.content_type == "image/svg+xml":
                    names = {
                        element.tag.rpartition("}")[2]
                        for element in ElementTree.fromstring(await response.read()).iter()
                    }
                    assert names <= {"svg", "title", "rect", "g", "path", "text"}
                    body = ""
                else:
                    body = await response.text()
                    assert response.content_type in ("application/json", "text/plain")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                assert response.headers["Content-Security-Policy"] == DATA_POLICY
                assert response.headers["X-Frame-Options"] == "DENY"
                assert response.headers["Referrer-Policy"] == "no-referrer"
                assert body.isprintable()
                assert response.status in (200, 400)


def test_no_policy_lets_scripts_stand_in_a_page():
    for policy in (DATA_POLICY, PAGE_POLICY):
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize("path", ["/<b>", "/%3Cscript%3E", "/render/<b>"])
async def test_an_unknown_path_is_not_repeated(fakes, path):
    async with TestClient(TestServer(make_app(fakes.deps()))) as client, client.get(path) as response:
        assert response.status == 404
        assert await response.text() == "404: Not Found"
