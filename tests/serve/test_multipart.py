import contextlib

import pytest
from aiohttp import FormData
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from ingestd.serve.http import make_app
from ingestd.serve.multipart import parse_multipart
from ingestd.serve.params import FIELDS_MAX

KIND = "multipart/form-data; boundary=xyz"
names = st.text(st.characters(blacklist_characters='"\\\r\n', blacklist_categories=["Cs"]), max_size=9)
values = st.text(st.characters(blacklist_categories=["Cs"]), max_size=30).filter(lambda text: "\r\n--xyz" not in text)


def form(pairs, more=""):
    parts = [f'--xyz\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}' for name, value in pairs]
    return ("\r\n".join([*parts, "--xyz--\r\n"])).encode()


@given(st.lists(st.tuples(names, values), max_size=5))
def test_fields_are_read_as_they_were(pairs):
    assert parse_multipart(form(pairs), KIND, 99) == pairs


@given(st.binary(max_size=60), st.text(max_size=40))
def test_garbage_is_refused_in_one_way(body, kind):
    for header in (KIND, kind):
        with contextlib.suppress(ValueError):
            assert parse_multipart(body, header, 3) == []


@pytest.mark.parametrize("header", [KIND, 'multipart/form-data; charset=utf-8; boundary="xyz"', "m; BOUNDARY=xyz"])
def test_what_programs_write(header):
    body = (
        b'preamble\r\n--xyz\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; NAME="target"\r\n\r\na.b\r\n'
        b'--xyz  \r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\n\r\nno field\r\n'
        b'--xyz\r\nContent-Disposition: form-data; name="a\\"b"\r\n\r\n\r\n--xyz--\r\nepilogue'
    )
    assert parse_multipart(body, header, 9) == [("target", "a.b"), ('a"b', "")]


@pytest.mark.parametrize(
    "body",
    [b"", b"--xyz--"[:-1], form([("a", "b")])[:-6], b"--xyz\r\n\r\nx\r\n--xyz--", form([("a", "b")] * 4),
     b"--xyz\r\nContent-Disposition: form-data; x=\"a\"\r\n\r\nx\r\n--xyz--"],
)  # fmt: skip
def test_what_is_no_form_is_refused(body):
    with pytest.raises(ValueError, match=r"form|fields"):
        parse_multipart(body, KIND, 3)


async def test_forms_are_taken_as_graphite_web_and_curl_send_them(fakes):
    async with TestClient(TestServer(make_app(fakes.deps()))) as client:
        posted = FormData(default_to_multipart=True)
        for name, value in (("target", "a"), ("target", "b"), ("format", "json"), ("from", "0"), ("until", "100")):
            posted.add_field(name, value)
        response = await client.post("/render/?until=5", data=posted)
        assert [one["target"] for one in await response.json()] == ["a", "b"]
        assert fakes.requests[0].until == 100
        many = form([("target", "a")] * (FIELDS_MAX + 1))
        response = await client.post("/render", data=many, headers={"Content-Type": KIND})
        assert (response.status, "at most" in await response.text()) == (400, True)
        response = await client.post("/render", data=b"", headers={"Content-Type": "multipart/form-data"})
        assert response.status == 400
