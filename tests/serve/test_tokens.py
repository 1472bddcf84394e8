import contextlib
from hashlib import sha256

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cli import main
from ingestd.serve.tokens import Grant, TokenError, fresh_token, parse_scopes, parse_tokens


def digest(token):
    return sha256(token.encode()).hexdigest()


def test_a_file_of_tokens():
    tokens = parse_tokens(f"# ours\n\ngrafana read {digest('a')}\nci  read,write {digest('b').upper()}\n"
                          "cert:the ops host admin -\n")  # fmt: skip
    assert tokens.of_token("a") == Grant("grafana", frozenset({"read"}))
    assert tokens.of_token("b") == Grant("ci", frozenset({"read", "write"}))
    assert tokens.of_certificate("the ops host") == Grant("cert:the ops host", frozenset({"admin"}))
    for unknown in ("", "c", digest("a"), "a" * 2000, "\udcff"):
        assert tokens.of_token(unknown) is None
    assert tokens.of_certificate("") is None
    assert tokens.of_certificate("grafana") is None


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a read",
        "a read -",
        f"a root {digest('a')}",
        f"a read, {digest('a')}",
        "a read 12",
        f"a b read {digest('a')}",
    ],
)
def test_a_line_that_cannot_be_is_named_and_not_shown(line):
    with pytest.raises(TokenError, match=r"^line 2: ") as caught:
        parse_tokens("# first\n" + line)
    assert digest("a") not in str(caught.value)


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(TokenError):
        parse_tokens(text)


def test_a_fresh_token_is_let_in_by_its_line():
    token, line = fresh_token("ci", parse_scopes(["write", "read"]))
    assert line.startswith("ci read,write ")
    assert token not in line
    assert parse_tokens(line).of_token(token) == Grant("ci", frozenset({"read", "write"}))
    assert fresh_token("ci", frozenset({"read"}))[0] != token
    for name in ("", "a b", "#a", "cert:a", "a\n"):
        with pytest.raises(TokenError):
            fresh_token(name, frozenset({"read"}))


def test_the_command_prints_token_and_line():
    result = CliRunner().invoke(main, ["token", "grafana", "--scopes", "read"])
    token, line = (text.split(":", 1)[1].strip() for text in result.output.splitlines())
    assert parse_tokens(line).of_token(token) == Grant("grafana", frozenset({"read"}))
    assert CliRunner().invoke(main, ["token", "x", "--scopes", "root"]).exit_code == 2
