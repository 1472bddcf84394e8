"""What is in deploy/: its schemas take it, and its parts agree with one another. No network is needed."""

import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml

from ingestd import config
from ingestd.cli import main
from ingestd.operate.settings import load_cluster

DEPLOY = Path(__file__).parents[2] / "deploy"
CONF = DEPLOY / "conf"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
MANIFESTS = [
    manifest
    for file in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text())
]
WORKLOADS = {m["metadata"]["name"]: m for m in MANIFESTS if m["kind"] in ("StatefulSet", "Deployment")}
CLUSTER = tomllib.loads((CONF / "cluster.toml").read_text())


def validated(program, *arguments):
    command = [Path(sysconfig.get_path("scripts")) / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_is_valid():
    validated("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifests_are_valid(version):
    validated("kubernetes-validate", "--strict", "-k", version, *(DEPLOY / "kubernetes").glob("*.yaml"))


def test_shellcheck_passes_the_brokers_start(require):
    subprocess.run([require("shellcheck"), CONF / "broker.sh"], check=True)


def container(workload):
    [one] = workload["spec"]["template"]["spec"]["containers"]
    return one


def pods():
    """{pod: (its workload, the name by which others call it)} of what has a name that lasts."""
    for name, workload in WORKLOADS.items():
        if workload["kind"] == "StatefulSet":
            for number in range(workload["spec"]["replicas"]):
                yield f"{name}-{number}", (workload, f"{name}-{number}.{workload['spec']['serviceName']}")


PODS = dict(pods())


def test_the_cluster_has_what_was_promised():
    kinds = [name.partition("-")[0] for name in SERVICES]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "broker": 3,
        "cluster": 1,
        "relay": 2,
        "store": 4,
        "query": 1,
    }
    zones = [node["zone"] for node in CLUSTER["nodes"]]
    assert (CLUSTER["replication"], zones) == (2, ["a", "a", "b", "b"])
    assert {m["metadata"]["name"] for m in MANIFESTS if m["kind"] == "PodDisruptionBudget"} == {
        "brokers",
        "relays",
        "stores",
        "query",
    }


def test_the_stores_are_the_nodes_of_the_cluster():
    for node in CLUSTER["nodes"]:
        name = node["name"]
        host = node["url"].removeprefix("http://").removesuffix(":8080")
        service, (workload, called) = SERVICES[name], PODS[name]
        assert service["networks"]["default"]["aliases"] == [host] == [called]
        assert service["command"][-2:] == ["--node", name]
        assert container(workload)["args"][-2:] == ["--node", "$(POD_NAME)"]
        assert workload["spec"]["template"]["metadata"]["labels"]["zone"] == node["zone"]
    stores = {name for name in [*SERVICES, *PODS] if name.startswith("store-")}
    assert stores == {node["name"] for node in CLUSTER["nodes"]}


def test_the_brokers_find_each_other_and_are_found():
    settings = dict(line.split(" = ", 1) for line in (CONF / "rabbitmq.conf").read_text().split("\n") if " = " in line)
    nodes = [value for key, value in settings.items() if key.startswith("cluster_formation.classic_config.nodes.")]
    hosts = [node.removeprefix("rabbit@") for node in nodes]
    named = {name: service for name, service in SERVICES.items() if name.startswith("broker-")}
    assert [service["environment"]["RABBITMQ_NODENAME"] for service in named.values()] == nodes
    assert [service["networks"]["default"]["aliases"] for service in named.values()] == [[host] for host in hosts]
    assert [PODS[name][1] for name in named] == hosts
    for file in ("cluster.toml", "relay.toml", "store.toml"):
        urls = tomllib.loads((CONF / file).read_text())["amqp"]["url"]
        assert urls == [f"amqp://ingestd@{host}:5672/" for host in hosts]


def test_the_stores_of_all_zones_are_alike():
    a, b = ((DEPLOY / "kubernetes" / "stores.yaml").read_text().split("\n---\n"))[2:]
    assert a.replace("zone-a", "zone-b").replace("store-a", "store-b").replace("zone: a", "zone: b") == b.rstrip("\n")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined_watched_and_finds_its_files(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert "disable" in service["healthcheck"] if name == "cluster" else service["healthcheck"]["test"]
    assert service.get("user") or service["image"] == "ingestd"  # which has its own
    for mount in service["volumes"]:
        source, _, target = mount.partition(":")
        if source.startswith("./"):
            assert (DEPLOY / source).is_file(), mount
            assert target.endswith(":ro")
        else:
            assert source in COMPOSE["volumes"]
    mounted = {mount.split(":")[1] for mount in service["volumes"]}
    assert {word for word in service.get("command", service["entrypoint"]) if word.startswith("/etc")} <= mounted


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_is_confined_watched_and_finds_its_files(name):
    workload = WORKLOADS[name]
    pod, one = workload["spec"]["template"]["spec"], container(workload)
    assert pod["securityContext"]["runAsNonRoot"]
    assert one["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "memory" in one["resources"]["limits"]
    if name != "operator":
        assert one["readinessProbe"]
    if one["name"] == "ingestd" and name != "operator":
        assert one["readinessProbe"]["httpGet"]["path"] == "/health"
        assert {"command", "args"} <= set(one)
    volumes = {
        v["name"] for v in [*pod["volumes"], *(c["metadata"] for c in workload["spec"].get("volumeClaimTemplates", []))]
    }
    assert {mount["name"] for mount in one["volumeMounts"]} == volumes
    for word in [*one["command"], *one.get("args", [])]:
        if word.startswith("/etc/ingestd/"):
            assert (CONF / word.removeprefix("/etc/ingestd/")).is_file()
    for mount in one["volumeMounts"]:
        assert (CONF / mount.get("subPath", "")).exists()


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_what_is_selected_is_there(manifest):
    labels = [workload["spec"]["template"]["metadata"]["labels"] for workload in WORKLOADS.values()]
    spec = manifest.get("spec", {})
    selector = spec.get("selector") or spec.get("podSelector") or {}
    wanted = selector.get("matchLabels", selector)
    assert any(wanted.items() <= each.items() for each in labels)
    if manifest["kind"] in ("StatefulSet", "Deployment"):
        assert wanted == spec["template"]["metadata"]["labels"]
    if manifest["kind"] == "StatefulSet":
        services = [m["metadata"]["name"] for m in MANIFESTS if m["kind"] == "Service" and m["spec"].get("clusterIP")]
        assert spec["serviceName"] in services
    if manifest["kind"] != "Namespace":
        assert manifest["metadata"]["namespace"] == "ingestd"


ARGUMENTS = {name: service["command"] for name, service in SERVICES.items() if service["image"] == "ingestd"} | {
    f"pod {name}": container(workload)["args"] for name, workload in WORKLOADS.items() if "args" in container(workload)
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_the_commands_take_what_they_are_given(name):
    command, arguments = main, ARGUMENTS[name]
    while arguments and not arguments[0].startswith("-"):
        command, *arguments = command.commands[arguments[0]], *arguments[1:]
    given = command.make_context(name, list(arguments)).params
    if command.name == "apply":
        return
    settings = config.load(CONF / given["file"].name)
    assert settings.http.listen == ("0.0.0.0:8080",)
    assert str(given.get("data", "/data")) == "/data"


def test_relays_stores_and_the_map_mean_the_same():
    cluster = load_cluster(CONF / "cluster.toml")
    relay, store = (config.load(CONF / f"{name}.toml") for name in ("relay", "store"))
    assert relay.relay.host_nodes == cluster.host_nodes
    assert relay.amqp.exchange == store.amqp.exchange == cluster.amqp.exchange
    assert store.amqp.consume.delivery_limit == cluster.amqp.delivery_limit
    assert not store.graphite.listen + store.pickle.listen + store.collectd.listen
    spool = PODS["relay-0"][0]["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"]
    assert int(spool.removesuffix("Gi")) << 30 > relay.relay.spool_limit


def test_queries_read_the_map_where_it_is():
    assert str(config.load(CONF / "query.toml").cluster.map) == "/map/cluster.map.json"
    assert "map:/map:ro" in SERVICES["query"]["volumes"]
    assert "map:/data" in SERVICES["cluster"]["volumes"]
    assert {"name": "map", "mountPath": "/map"} in container(WORKLOADS["query"])["volumeMounts"]
