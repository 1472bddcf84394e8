"""Every golden line through a real daemon, over TCP and UDP, and read back by /render."""

import json
import math
import socket
import time
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden" / "graphite" / "lines.jsonl"
STEP = 1000
"""Divides 1,700,000,000, so that the golden times are slots."""
LONGEST = 16384


@pytest.fixture
def schemas(tmp_path):
    path = tmp_path / "schemas.conf"
    path.write_text(f"[all]\npattern = .*\nretentions = {STEP}:30y\n")
    return "--schemas", str(path)


def send_udp(address, data):
    with socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(data, address)


def value_at(d, path, when):
    slot = when // STEP * STEP
    # A target cannot spell every legal path: a call has parentheses, a blank ends a name. A glob reaches those.
    target = "".join("?" if c in "()%+@:" or c.isspace() else c for c in path)
    rendered = d.render(target, start=slot - 1, end=slot, now=int(time.time()))
    assert path in rendered
    [[value, stamp]] = rendered[path]
    assert stamp == slot
    return value


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_every_golden_line(daemon, schemas, transport):
    d = daemon(*schemas)
    rejected, received = {}, 0
    for case in map(json.loads, GOLDEN.read_text().splitlines()):
        data = case["line"].encode("latin-1") + b"\n"
        before = int(time.time())
        if transport == "tcp":
            d.send(data)
        else:
            send_udp(d.address("graphite/udp"), data)
        if case.get("ignored"):
            continue
        received += 1
        ledger = d.settled(received)
        assert ledger["received"] == received
        if reason := case.get("rejected"):
            rejected[reason] = rejected.get(reason, 0) + 1
        else:
            path, value, when = case["point"]
            if when == "now":
                slots = {before // STEP * STEP, int(time.time()) // STEP * STEP}
                assert value in [value_at(d, path, slot) for slot in slots], case
            else:
                got = value_at(d, path, when)
                assert got == value, case
                assert math.copysign(1, got) == math.copysign(1, value), case
        assert {k: n for k, n in ledger["rejected"].items() if n} == rejected, case


def test_ipv6_beside_ipv4(daemon, schemas):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    d = daemon(*schemas, "--graphite", "[::1]:0")
    listening = [line.split()[1:] for line in d.log.splitlines() if line.startswith("listening graphite/")]
    assert len(listening) == 4
    for number, (listener, address) in enumerate(listening):
        host, port = address.rsplit(":", 1)
        target = host.strip("[]"), int(port)
        data = b"from.n%d %d 1700000000\n" % (number, number)
        if listener.endswith("udp"):
            send_udp(target, data)
        else:
            with socket.create_connection(target) as s:
                s.sendall(data)
    assert d.settled(4)["stored"] == 4
    assert [value_at(d, f"from.n{n}", 1700000000) for n in range(4)] == [0, 1, 2, 3]


def test_an_oversize_line_costs_one_point_and_the_rest_goes_on(daemon, schemas):
    d = daemon(*schemas)
    d.send(b"a.b 1 1700000000\n" + b"x" * (5 * LONGEST) + b" 1 1700000000\na.c 2 1700000000\n")
    ledger = d.settled(3)
    assert (ledger["received"], ledger["stored"]) == (3, 2)
    assert sum(ledger["rejected"].values()) == 1
    assert [value_at(d, p, 1700000000) for p in ("a.b", "a.c")] == [1, 2]


def test_what_has_no_line_end_is_no_point(daemon, schemas):
    """carbon forgets a line that ends with the connection: it may be cut short (``1700000000`` as ``17000``)."""
    d = daemon(*schemas)
    d.send(b"a.b 1 1700000000\na.b 7 17000000")
    d.send(b"a.c 2 1700000000\n")
    ledger = d.settled(2)
    assert ledger["stored"] == 2
    assert value_at(d, "a.b", 1700000000) == 1
