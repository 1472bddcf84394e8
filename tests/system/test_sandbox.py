"""The systemd unit's sandbox: the daemon, watched call by call, needs nothing that the unit takes away."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "conf" / "ingestd.service"
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?([a-z]\w*)(?:\(| resumed)(.*)", re.MULTILINE)
REFUSED = "mbind"
"""OpenBLAS asks for near memory as it is loaded, and lives without: here it is told EPERM, as in the sandbox."""
WORST_EXPOSURE = 1.5
"""Of 10, as ``systemd-analyze security`` counts; 2 and below is what it calls OK at best, for a daemon with sockets."""


@pytest.fixture
def traced(daemon, require, monkeypatch, tmp_path):
    """(daemon that is traced, file of the calls): started by a script in the interpreter's place."""
    strace, calls = require("strace"), tmp_path / "calls"
    if subprocess.run([strace, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets no process be traced")
    script = tmp_path / "python"
    options = f"-D -f -qq -y -o {calls} -e trace=all -e inject={REFUSED}:error=EPERM"
    script.write_text(f'#!/bin/sh\nexec {strace} {options} {sys.executable} -B "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return daemon(), calls


def settings(name):
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def members(analyze, name, seen=()):
    """System calls of a set such as ``@system-service``."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run([analyze, "syscall-filter", name], capture_output=True, text=True, check=True).stdout
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(members(analyze, n) for n in names))


def allowed(analyze):
    """What the unit's SystemCallFilter lines leave: the first allows, those with ``~`` take away."""
    calls = set()
    for line in settings("SystemCallFilter"):
        found = set().union(*(members(analyze, name) for name in line.lstrip("~").split()))
        calls = calls - found if line.startswith("~") else calls | found
    return calls


def test_a_whole_life_within_the_sandbox(traced, require):
    d, calls = traced
    now = int(time.time()) // 10 * 10
    d.send(b"a.b 1 %d\n" % now)
    for listener in ("graphite/udp", "collectd/udp"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"a.c 1 %d\n" % now, d.address(listener))
    d.settled(2)
    assert d.render("a.*", start=now - 10, end=now, now=now)
    for path in ("/metrics", "/metrics/index.json", "/version"):
        assert d.get(path, decode=False)[0] == 200
    for picture in ("png", "svg", "pdf"):
        with urllib.request.urlopen(f"http://{d.addresses['http']}/render?target=a.*&format={picture}") as answer:
            assert answer.read()
    assert d.get("/events", decode=False, data=b'{"what": "w", "tags": ["t"]}')[0] == 200
    assert d.get("/flush", decode=False, data=b"")[0] == 200
    assert d.stop() == 0

    found = CALL.findall(calls.read_text(errors="replace"))
    used = {name for name, _ in found}
    assert {"recvfrom", "fdatasync"} & used
    assert used - allowed(require("systemd-analyze")) <= {REFUSED}, "SystemCallFilter"
    assert [name for name, _ in found].count("execve") == 1, "it runs no program"
    for name, rest in found:
        if name in ("mmap", "mprotect", "pkey_mprotect"):
            writes = "PROT_WRITE" in rest or name != "mmap"
            assert not (writes and "PROT_EXEC" in rest), f"MemoryDenyWriteExecute: {name}{rest}"
        if name == "socket":
            assert rest.split(",")[0] in settings("RestrictAddressFamilies")[0].split(), f"{name}{rest}"
        if name in ("open", "openat", "creat") and re.search("O_WRONLY|O_RDWR|O_CREAT", rest):
            path = re.search(r'"([^"]*)"', rest)[1]
            assert path == "/dev/null" or Path(path).is_relative_to(d.directory), f"ProtectSystem: {rest}"


def test_the_units_exposure(require, tmp_path, figure):
    unit = tmp_path / "ingestd.service"
    unit.write_text(UNIT.read_text())
    command = [require("systemd-analyze"), "security", "--offline=true", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    exposure = float(re.search(r"Overall exposure level[^:]*: ([0-9.]+)", said)[1])
    figure(f"exposure level {exposure} of 10")
    assert exposure <= WORST_EXPOSURE, said
