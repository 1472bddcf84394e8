"""Settings and the command line over them."""

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.config import ConfigError, Settings, documented, load, parse_address

EXAMPLE = Path(__file__).parents[2] / "conf" / "ingestd.toml"


def test_the_documented_file_and_the_defaults_agree():
    assert EXAMPLE.read_text() == documented()
    assert load(EXAMPLE) == Settings() == load()
    assert Settings.model_validate(tomllib.loads(documented())) == Settings()


def test_flags_beat_the_file_and_the_file_the_defaults(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('[limits]\nline = "64 KiB"\n[journal]\ninterval = "50 ms"\n[http]\nlisten = "off"\n')
    settings = load(file, {("graphite", "listen"): ("[::1]:2003",)})
    assert (settings.limits.line, settings.journal.interval, settings.http.listen) == (65536, 0.05, ())
    assert settings.graphite.listen == ("[::1]:2003",)
    assert load(file, {("http", "listen"): ("off",)}).http.listen == ()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[limits]\nlyne = 1", "limits.lyne: unknown"),
        ("[nothing]\n", "nothing: unknown"),
        ('[graphite]\nlisten = "2003"', "graphite.listen"),
        ('[limits]\nline = "1 mile"', "limits.line"),
        ("[collectd.names]\nprefix = 1", "collectd.names.prefix"),
        ("[", "Invalid|Expected|Unexpected"),
    ],
)
def test_an_error_names_file_and_key(tmp_path, text, key):
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"a\.toml: .*({key})"):
        load(file)


def test_addresses():
    assert parse_address("[::1]:2003") == ("::1", 2003)
    assert parse_address("localhost:0") == ("localhost", 0)
    for wrong in ("::1:2003", "a:65536", ":1", "off", ""):
        with pytest.raises(ConfigError):
            parse_address(wrong)


def test_config_check_prints_rule_and_schema(tmp_path):
    schemas = tmp_path / "s.conf"
    schemas.write_text("[web]\npattern = ^web\nretentions = 10s:1h\n")
    result = CliRunner().invoke(main, ["config", "check", "--schemas", str(schemas), "web.a", "b"])
    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "web.a: schema [web] 10s:360, aggregation [built-in] average 0.5",
        "b: schema [built-in] 10s:2160,60s:10080,600s:57600, aggregation [built-in] average 0.5",
    ]


def test_usage_errors_exit_with_2(tmp_path):
    for arguments, what in (
        (["serve", "--statsd", "127.0.0.1:1"], "does not serve"),
        (["serve", "--graphite", "nowhere"], "graphite.listen"),
        (["serve", "--schemas", str(tmp_path / "absent")], "absent"),
    ):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2
        assert what in result.output


def test_check_and_inspect_refuse_what_is_no_store(tmp_path):
    for arguments in (["check", str(tmp_path / "absent")], ["inspect", str(tmp_path / "absent")]):
        assert CliRunner().invoke(main, arguments).exit_code == 2
