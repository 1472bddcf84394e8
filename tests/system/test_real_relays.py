"""carbon-relay (pickles) and carbon-c-relay (lines) in front of a real daemon: all they take arrives, and is equal."""

import contextlib
import socket
import subprocess
import time

import pytest

PER_SERIES = 40
CARBON = """\
[relay]
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {line}
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {pickle}
RELAY_METHOD = {method}
REPLICATION_FACTOR = 1
DESTINATIONS = 127.0.0.1:{to}:a
DESTINATION_PROTOCOL = pickle
MAX_DATAPOINTS_PER_MESSAGE = 500
MAX_QUEUE_SIZE = 1000000
USE_FLOW_CONTROL = {flow}
CARBON_METRIC_INTERVAL = 0
"""
C_RELAY = """\
cluster ingestd forward 127.0.0.1:{to} ;
match * send to ingestd stop ;
listen type linemode 127.0.0.1:{line} proto tcp ;
"""


@pytest.fixture
def schemas(tmp_path):
    path = tmp_path / "storage-schemas.conf"  # carbon-relay too looks for it, beside its own file
    path.write_text("[all]\npattern = .*\nretentions = 1s:2h\n")
    return "--schemas", str(path)


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [s.getsockname()[1] for s in sockets]


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def relay(tmp_path, wait_until):
    """``relay(port, command)``: run a relay in the foreground until it listens at ``port``."""
    log = tmp_path / "relay.log"
    running = []

    def start(port, command):
        with log.open("wb") as out:
            running.append(subprocess.Popen(command, stdout=out, stderr=out, cwd=tmp_path))
        assert wait_until(lambda: listens(port) or running[-1].poll() is not None, "the relay to listen")
        assert running[-1].poll() is None, log.read_text()

    yield start
    for process in running:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def make_points(prefix, first, series):
    """{(path, timestamp): value}: values of all lengths, over ``PER_SERIES`` seconds."""
    return {
        (f"{prefix}.host{n % 50:02d}.m{n}", first + second): (n * PER_SERIES + second) / 7 - 1000
        for second in range(PER_SERIES)
        for n in range(series)
    }


def send(port, points):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as s:
        s.sendall(b"".join(b"%b %b %d\n" % (p.encode(), repr(v).encode(), t) for (p, t), v in points.items()))


def rendered(d, prefix, points):
    times = [when for _, when in points]
    found = d.render(f"{prefix}.*.*", start=min(times) - 1, end=max(times), now=int(time.time()))
    return {(path, when): value for path, pairs in found.items() for value, when in pairs if value is not None}


def carbon_relay(require, tmp_path, relay, d, *, method, flow):
    """The port of a carbon-relay before the daemon."""
    program = require("carbon-relay")
    line, pickle = free_ports(2)
    conf = tmp_path / "carbon.conf"
    to = d.address("pickle/tcp")[1]
    conf.write_text(CARBON.format(line=line, pickle=pickle, to=to, method=method, flow=flow))
    (tmp_path / "relay-rules.conf").write_text(f"[default]\ndefault = true\ndestinations = 127.0.0.1:{to}:a\n")
    options = [f"--config={conf}", f"--pidfile={tmp_path / 'pid'}", f"--rules={tmp_path / 'relay-rules.conf'}"]
    relay(line, [program, "--nodaemon", *options, f"--logdir={tmp_path}", "start"])
    return line


@pytest.mark.services
@pytest.mark.parametrize(("method", "flow"), [("rules", False), ("consistent-hashing", True)])
def test_carbon_relay(require, daemon, wait_until, schemas, tmp_path, relay, effort, figure, method, flow):
    d = daemon(*schemas)
    line = carbon_relay(require, tmp_path, relay, d, method=method, flow=flow)
    points = make_points("relayed", int(time.time()) - 600, effort(300, 5000))
    send(line, points)
    wait_until(lambda: d.ledger["received"] >= len(points), "all points of the relay")
    ledger = d.settled(len(points))
    assert ledger["listeners"]["pickle/tcp"]["stored"] == ledger["received"] == len(points)
    assert rendered(d, "relayed", points) == points
    figure(f"{len(points)} points through carbon-relay ({method}), all stored and equal")


@pytest.mark.services
def test_carbon_relay_over_a_kill(require, daemon, wait_until, schemas, tmp_path, relay):
    """What the relay holds while the daemon is away comes when it is back; what was stored has stayed."""
    d = daemon(*schemas)
    line = carbon_relay(require, tmp_path, relay, d, method="consistent-hashing", flow=True)
    now = int(time.time())
    before, after = make_points("relayed", now - 600, 100), make_points("relayed", now - 300, 150)
    send(line, before)
    d.settled(len(before))
    port = d.address("pickle/tcp")[1]
    d.kill()
    send(line, after)
    d.start("--pickle", f"127.0.0.1:{port}")
    ledger = d.settled(len(after))
    assert ledger["listeners"]["pickle/tcp"]["stored"] == ledger["received"] == len(after)
    assert rendered(d, "relayed", before | after) == before | after


@pytest.mark.services
def test_carbon_c_relay(require, daemon, wait_until, schemas, tmp_path, relay, effort, figure):
    program = require("carbon-c-relay")
    d = daemon(*schemas)
    (line,) = free_ports(1)
    conf = tmp_path / "relay.conf"
    conf.write_text(C_RELAY.format(line=line, to=d.address("graphite/tcp")[1]))
    relay(line, [program, "-f", str(conf), "-s", "-q", "1000000"])
    points = make_points("relayed", int(time.time()) - 600, effort(300, 5000))
    send(line, points)
    wait_until(lambda: d.ledger["received"] >= len(points), "all points of the relay")
    ledger = d.settled(len(points))
    assert ledger["listeners"]["graphite/tcp"]["stored"] == ledger["received"] == len(points)
    assert rendered(d, "relayed", points) == points
    figure(f"{len(points)} points through carbon-c-relay, all stored and equal")
