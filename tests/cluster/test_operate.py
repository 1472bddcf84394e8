"""`ingestd cluster` without a broker: cluster.toml, plan, and what is refused."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner

from ingestd.cli import main
from ingestd.cluster.map_file import read_map, write_map
from ingestd.cluster.placement import plan
from ingestd.config_types import ConfigError, Table
from ingestd.operate.broker import without_password
from ingestd.operate.settings import Broker, Cluster, StoreNode, first_line, load_cluster
from ingestd.operate.status import look
from ingestd.wire.batch import PARTITIONS

EXAMPLE = Path(__file__).parents[2] / "conf/cluster.toml"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.toml"
    file.write_text('[[nodes]]\nname = "a"\nzone = "x"\n[[nodes]]\nname = "b"\nzone = "y"\n')
    return file


def run(*arguments: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["cluster", *map(str, arguments)])
    return done.exit_code, done.output


def test_the_example_has_every_key_with_its_default() -> None:
    found = load_cluster(EXAMPLE)
    assert found.map == EXAMPLE.parent / "cluster.map.json"
    assert [one.zone for one in found.nodes] == ["a", "b", "c"]
    text = tomllib.loads(EXAMPLE.read_text())
    tables: list[tuple[type[Table], dict[str, object]]] = [(Cluster, text), (Broker, text["amqp"])]
    for kind, table in (*tables, (StoreNode, text["nodes"][0])):
        assert set(table) == set(kind.model_fields)
    defaults = Cluster.model_validate({})
    assert Cluster.model_validate(text | {"nodes": []}) == defaults


def test_paths_begin_where_the_file_stands(tmp_path: Path) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text('map = "m.json"\ntoken_file = "/etc/token"\n[amqp]\npassword_file = "p"\n')
    (tmp_path / "p").write_text("secret\nother\n")
    found = load_cluster(file)
    assert found.map == tmp_path / "m.json"
    assert found.token_file == Path("/etc/token")
    assert first_line(found.amqp.password_file) == "secret"
    with pytest.raises(ConfigError, match="/etc/token"):
        first_line(found.token_file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing = 1", "nothing: unknown setting"),
        ("replication = 0", "replication: "),
        ('[amqp]\nurl = "http://a"', "amqp.url: must be amqp"),
        ('[[nodes]]\nname = "a"\nurl = "store1:8080"', "nodes.0.url: must be http"),
        ("[[nodes]]\nzone = 'a'", "nodes.0.name: "),
        ("[", "cluster.toml: "),
        ("# " + "x" * (1 << 20), "has over 1048576 bytes"),
    ],
)
def test_an_error_names_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "cluster.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_cluster(file)


def test_plan_shows_what_would_change_and_writes_nothing(toml: Path) -> None:
    code, output = run("plan", "--config", toml)
    assert code == 0
    assert "version none -> 1, 2 nodes" in output
    assert re.search(r"^a +x +1024 +1024 +0 +0$", output, re.MULTILINE)
    assert [one.name for one in toml.parent.iterdir()] == ["cluster.toml"]


def test_plan_shows_moves_and_warnings(toml: Path) -> None:
    settings = load_cluster(toml)
    write_map(settings.map, plan(None, settings.wanted()))
    assert run("plan", "--config", toml) == (0, "version 1: nothing changes\n")
    toml.write_text("replication = 1\n" + toml.read_text() + '[[nodes]]\nname = "c"\nzone = "z"\n')
    code, output = run("plan", "--config", toml, "--json")
    assert code == 0
    shown = json.loads(output)
    assert (shown["version"], shown["next_version"]) == (1, 2)
    assert shown["nodes"]["c"] == {"owned": 341, "gained": 341, "copied": 341, "given": 0}
    assert shown["moving"] == 341
    assert any("replication is 1" in one for one in shown["warnings"])
    assert "warning: replication is 1" in run("plan", "--config", toml)[1]
    assert read_map(settings.map) == plan(None, settings.wanted())


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["plan", "--lost", "a"], 1, "node a: is lost, and wanted as well"),
        (["apply"], 1, "no broker: amqp://127.0.0.1:1/: "),
        (["settle"], 2, "--copied says that it was"),
        (["settle", "--copied"], 1, "there is no map yet"),
        (["status"], 1, "there is no map yet"),
    ],
)
def test_what_cannot_be_done_is_said(toml: Path, arguments: list[str], code: int, message: str) -> None:
    toml.write_text('[amqp]\nurl = "amqp://user:secret@127.0.0.1:1/"\n' + toml.read_text())
    found, output = run(*arguments, "--config", toml)
    assert found == code
    assert message in output
    assert "secret" not in output
    assert not (toml.parent / "cluster.map.json").exists()


def test_status_without_a_broker_is_a_problem(toml: Path) -> None:
    toml.write_text('[amqp]\nurl = "amqp://127.0.0.1:1/"\n' + toml.read_text())
    settings = load_cluster(toml)
    write_map(settings.map, plan(None, settings.wanted()))
    code, output = run("status", "--config", toml, "--json")
    assert code == 1
    shown = json.loads(output)
    assert "no broker" in shown["problems"][0]
    assert shown["nodes"][0]["lag"] is None
    assert "PROBLEM: no broker" in run("status", "--config", toml)[1]


def with_map(toml: Path, amqp: str, url: str = "") -> Cluster:
    """The settings with this table and node a at this URL, and their map."""
    toml.write_text(amqp + toml.read_text().replace('name = "a"', f'name = "a"\nurl = "{url}"'))
    settings = load_cluster(toml)
    write_map(settings.map, plan(None, settings.wanted()))
    return settings


async def test_bindings_that_no_map_has_are_seen_where_the_management_api_is(toml: Path) -> None:
    """What RabbitMQ's management plugin answers, from a server that stands in for it."""
    queues = [{"name": "ingestd.a", "messages_unacknowledged": 7}, {"name": "ingestd.b"}]
    bindings = [
        {"destination": f"ingestd.{name}", "routing_key": str(key)} for name in "ab" for key in range(1024) if key > 2
    ]
    bindings += [{"destination": "other", "routing_key": "5"}, {"destination": "ingestd.a", "routing_key": "1024"}]
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.raw_path, request.headers["Authorization"]))
        return web.json_response(queues if "/queues/" in request.path else bindings)

    app = web.Application()
    app.router.add_get("/api/{rest:.*}", answer)
    async with TestServer(app) as server:
        amqp = f'[amqp]\nurl = "amqp://user:pass@127.0.0.1:1/metrics"\nmanagement = "{server.make_url("")}"\n'
        settings = with_map(toml, amqp)
        state = await look(settings, 0)
    assert [path for path, _ in asked] == [
        "/api/exchanges/metrics/ingestd/bindings/source",
        "/api/queues/metrics",
    ]
    assert asked[0][1] == "Basic dXNlcjpwYXNz"
    assert [one.unacked for one in state.nodes] == [7, None]
    assert [one for one in state.problems if "bindings" in one] == [
        "queue ingestd.a has 1 bindings that the map does not know",
        "queue ingestd.a lacks 3 bindings of the map: `ingestd cluster apply` makes them",
        "queue ingestd.b lacks 3 bindings of the map: `ingestd cluster apply` makes them",
        "queue other has 1 bindings that the map does not know",
    ]


async def test_what_nodes_say_of_themselves_is_shown(toml: Path) -> None:
    async def health(_: web.Request) -> web.Response:
        return web.Response(status=503, text="draining")

    async def status(request: web.Request) -> web.Response:
        known = request.headers.get("Authorization") == "Bearer secret"
        amqp = {"queues": {"ingestd.a": {"delay": 2.5}}, "misplaced": 3}
        return web.json_response({"version": "1.2", "amqp": amqp}) if known else web.Response(status=401)

    app = web.Application()
    app.router.add_get("/health", health)
    app.router.add_get("/status", status)
    async with TestServer(app) as server:
        settings = with_map(toml, '[amqp]\nurl = "amqp://127.0.0.1:1/"\n', str(server.make_url("")))
        state = await look(settings, 0)
        assert "node a is not healthy: draining" in state.problems
        assert "node a: /status answers 401; token_file names a token" in state.notes
        token = toml.parent / "token"
        token.write_text("secret\n")
        state = await look(settings.model_copy(update={"token_file": token}), 0)
    assert (state.nodes[0].version, state.nodes[0].health, state.notes) == ("1.2", "draining", [])
    assert any("node a has got 3 messages with series of other partitions" in one for one in state.problems)
    assert [(one.name, one.delay) for one in state.nodes] == [("a", 2.5), ("b", None)]
    by_owners = {one.owners: one for one in state.partitions}
    assert sum(len(one.partitions) for one in state.partitions) == PARTITIONS
    assert all(one.delay == (2.5 if "a" in owners else None) for owners, one in by_owners.items())


def test_partitions_of_the_same_owners_are_a_line(toml: Path) -> None:
    toml.write_text('replication = 2\n[amqp]\nurl = "amqp://127.0.0.1:1/"\n' + toml.read_text())
    settings = load_cluster(toml)
    write_map(settings.map, plan(None, settings.wanted()))
    lines = run("status", "--config", toml, "--partitions")[1].splitlines()
    assert "partitions" not in "".join(run("status", "--config", toml)[1].splitlines()[1:])
    at = next(i for i, line in enumerate(lines) if line.startswith("partitions"))
    assert lines[at].split() == ["partitions", "owners", "whole", "at", "lag", "delay"]
    rows = [line.split("  ") for line in lines[at + 1 : -2]]
    owners = {column.strip() for row in rows for column in row if "," in column}
    assert {"a,b", "b,a"} & owners


def test_urls_are_shown_without_their_passwords() -> None:
    assert without_password("amqps://user:pass@mq1:5671/metrics") == "amqps://mq1:5671/metrics"
