"""Settings and the command line over them."""

import contextlib
import dataclasses
import tempfile
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ingestd.cli import main
from ingestd.config import Settings, documented, load
from ingestd.config_types import ConfigError, parse_address
from ingestd.ingest.pickle import PickleSettings
from ingestd.ingest.pipeline import SeriesLimits
from ingestd.ingest.streams import StreamSettings
from ingestd.query.limits import QueryLimits
from ingestd.serve import deps
from ingestd.storage import events
from ingestd.storage.journal_thread import Durability
from ingestd.storage.store import StoreSettings
from ingestd.wire.lines import PathLimits

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
        ("[limits]\nfuture = inf", "limits.future"),
        ("[limits]\nnames_per_second = nan", "limits.names_per_second"),
        ('[http]\nlisten = ["off", "a:1"]', "http.listen"),
        ("[", "Invalid|Expected|Unexpected"),
    ],
)
def test_an_error_names_file_and_key(tmp_path, text, key):
    file = tmp_path / "a.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"a\.toml: .*({key})"):
        load(file)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a" + ".a" * 8000 + " = 1", "line 1 has over 4096 characters"),
        ("\nn = " + "1" * 4096, "line 2 has over"),
        ("n = " + "[\n" * 3000, "too deep"),
    ],
)
def test_a_file_that_would_take_long_is_refused(tmp_path, text, reason):
    file = tmp_path / "ingestd.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=reason):
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


def test_config_default_prints_the_documented_file():
    assert CliRunner().invoke(main, ["config", "default"]).output == documented()


def test_every_limit_of_a_query_has_the_setting_that_its_message_names():
    limits = Settings().limits
    for name, default in dataclasses.asdict(QueryLimits()).items():
        assert getattr(limits, f"query_{name}") == default


def test_the_defaults_are_those_of_the_floors():
    settings = Settings()
    limits, store, http = settings.limits, StoreSettings(), deps.Limits()
    assert PathLimits(limits.path_length, limits.path_depth, limits.path_tags) == PathLimits()
    assert SeriesLimits(limits.series, limits.names_per_second, limits.names_burst) == SeriesLimits()
    stream = StreamSettings(limits.line, settings.graphite.max_connections, settings.graphite.idle_timeout)
    assert stream == StreamSettings()
    pickled = StreamSettings(connections=settings.pickle.max_connections, idle_timeout=settings.pickle.idle_timeout)
    assert PickleSettings(stream=pickled, frame=settings.pickle.max_frame) == PickleSettings()
    assert (limits.future, settings.storage.lateness) == (store.future, store.lateness)
    assert (limits.in_flight, settings.journal.limit) == (store.in_flight, store.journal_limit)
    assert (settings.storage.late_budget, settings.storage.access) == (store.late_budget, store.access)
    assert settings.storage.events == events.LIMIT
    assert Durability(settings.journal.fsync, settings.journal.interval, settings.journal.bytes) == Durability()
    ours = (settings.http.body, settings.http.workers, settings.http.waiting, settings.http.timeout)
    assert ours == (http.body, http.workers, http.waiting, http.timeout)


@given(
    st.text(max_size=80)
    | st.lists(st.sampled_from(["[limits]", "line", "=", '"1 MiB"', "[x", "[[http]]"])).map(" ".join)
)
def test_any_file_gives_settings_or_the_floors_error(text):
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(ConfigError):
        file = Path(folder) / "a.toml"
        file.write_text(text, "utf-8", "surrogatepass")
        load(file)
