"""The examples of docs/deploy/anycast.md: their own programs take them, and they withdraw a daemon that is not healthy.

Two ExaBGP on loopback: one as on a relay, with the files of deploy/anycast, and a router that says what it learns.
"""

import json
import os
import re
import resource
import shlex
import socket
import subprocess
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.services

EXAMPLES = Path(__file__).parents[2] / "deploy" / "anycast"
ROUTER = """
process seen {{ run {keep}; encoder json; }}
neighbor 127.0.0.2 {{
    router-id 127.0.0.1; local-address 127.0.0.1; local-as 64512; peer-as 64512; passive;
    api {{ processes [ seen ]; receive {{ parsed; update; }} }}
}}
"""


def checked_by_keepalived():
    return shlex.split(re.search(r'^    script "(.*)"$', (EXAMPLES / "keepalived.conf").read_text(), re.MULTILINE)[1])


def checked_by_exabgp():
    return shlex.split(re.search(r"^command = (.*)$", (EXAMPLES / "ingestd.health").read_text(), re.MULTILINE)[1])


def test_exabgp_takes_its_example(require):
    done = subprocess.run(
        [require("exabgp"), "--validate", str(EXAMPLES / "exabgp.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_keepalived_takes_its_example(require, tmp_path):
    # keepalived 2.2.7 kills itself where it tests a file with another script_user than root; 2.2.8 does not.
    example = tmp_path / "keepalived.conf"
    example.write_text((EXAMPLES / "keepalived.conf").read_text().replace("script_user nobody", "script_user root"))
    done = subprocess.run(
        [require("keepalived"), "--config-test", "-f", str(example)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_both_ask_the_same(require):
    assert checked_by_keepalived() == [require("curl"), *checked_by_exabgp()[1:]]
    assert checked_by_exabgp()[-1] == "http://127.0.0.1:8080/health"


class Announced:
    """What the router learned of the address; the two ExaBGP."""

    def __init__(self, exabgp, directory, health):
        self._seen, self._off = directory / "seen", directory / "ingestd.off"
        self._seen.touch()
        keep = directory / "keep"
        # ExaBGP ends where one of its processes closes its output.
        keep.write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line" >>{self._seen}; done\n')
        keep.chmod(0o755)
        (directory / "router.conf").write_text(ROUTER.format(keep=keep))
        example = (EXAMPLES / "exabgp.conf").read_text()
        for there, here in (("192.0.2.11", "127.0.0.2"), ("192.0.2.1", "127.0.0.1"), ("/etc/exabgp", str(directory))):
            assert there in example
            example = example.replace(there, here)
        (directory / "relay.conf").write_text(example)
        settings = (
            (EXAMPLES / "ingestd.health").read_text().replace("127.0.0.1:8080", health).replace("rise = 5", "rise = 2")
        )
        (directory / "ingestd.health").write_text(settings.replace("/etc/exabgp", str(directory)))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        whoever = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        environment = {
            **os.environ,
            "exabgp_daemon_user": whoever,
            "exabgp_api_cli": "false",
            "exabgp_tcp_port": str(port),
        }
        self._running = []
        for name, more in (("router", {"exabgp_tcp_bind": "127.0.0.1"}), ("relay", {})):
            with (directory / f"{name}.log").open("wb") as log:
                self._running.append(
                    subprocess.Popen(
                        [exabgp, str(directory / f"{name}.conf")], env=environment | more, stdout=log, stderr=log
                    )
                )

    def now(self):
        """ "announce" or "withdraw", as the last update said; None before the first."""
        for line in reversed(self._seen.read_text().split("\n")[:-1]):
            message = json.loads(line)["neighbor"]["message"].get("update", {})
            if message:
                assert "198.51.100.1/32" in line
                return "announce" if "announce" in message else "withdraw"
        return None

    def switch_off(self):
        self._off.touch()

    def stop(self):
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(30)


@pytest.fixture
def announced(require, tmp_path):
    """``announced(address of /health)``: ExaBGP with the examples, and what its router learns."""
    require("curl")
    made = []

    def start(health):
        made.append(Announced(require("exabgp"), tmp_path, health))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def test_the_router_learns_of_a_healthy_daemon_alone(daemon, announced, wait_until):
    d = daemon()
    http = d.addresses["http"]
    route = announced(http)
    wait_until(lambda: route.now() == "announce", "the address of a healthy daemon")

    resource.prlimit(d.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))  # a full disk
    with socket.create_connection(d.address("graphite/tcp")) as s:
        s.sendall(b"a.b 1 %d\n" % time.time())
        wait_until(lambda: d.get("/health", decode=False)[0] == 503, "503")
        wait_until(lambda: route.now() == "withdraw", "the address to go with 503")
        resource.prlimit(d.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: route.now() == "announce", "the address once there is space")

    d.kill()
    wait_until(lambda: route.now() == "withdraw", "the address of a dead daemon to go")
    d.start("--http", http)
    wait_until(lambda: route.now() == "announce", "the address of the next one")

    route.switch_off()
    wait_until(lambda: route.now() == "withdraw", "the address to go where the operator says so")
    assert d.get("/health", decode=False)[0] == 200
