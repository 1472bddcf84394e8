"""The loop that sends: what arrives is what was made, however slowly it is read."""

import contextlib
import http.server
import socket
import threading

import pytest

from ingestd.load import connecting, sending
from ingestd.load.connecting import connect, parse_target
from ingestd.load.figures import Dashboard, Report
from ingestd.load.run import prepare, run
from ingestd.load.sending import Sender
from ingestd.load.workloads import Load, LoadError, lanes


@contextlib.contextmanager
def sink(size=1 << 16):
    """The address of a listener that reads ``size`` bytes at a time until its peers end; what each sent."""
    found = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as server:
        stopped = threading.Event()

        def read(sock):
            with sock:
                data = bytearray()
                while piece := sock.recv(size):
                    data += piece
            found.append(bytes(data))

        def accept():
            readers = []
            while not stopped.is_set():
                sock, _ = server.accept()
                readers.append(threading.Thread(target=read, args=(sock,)))
                readers[-1].start()
            for reader in readers:
                reader.join()

        thread = threading.Thread(target=accept)
        thread.start()
        host, port = server.getsockname()
        try:
            yield f"{host}:{port}", found
        finally:
            stopped.set()
            socket.create_connection((host, port)).close()
            thread.join()


def made(load):
    """All lines that a load has, in any order, without their values."""
    material = prepare(load)
    out = bytearray(1 << 20)
    data = b""
    for lane in lanes(load, material, 100):
        while not lane.finished:
            data += bytes(out[: lane.fill(sending.Clock(0.0, 0.0), 0.0, out).ends[-1]])
    return sorted(line.split()[0] for line in data.splitlines())


@pytest.mark.parametrize(
    "options",
    [
        {"series": 20_000, "steps": 5},
        {"series": 2_000, "steps": 5, "connections": 40},
        {"series": 100, "steps": 3, "rate": 1_000.0, "connections": 3},
        {"workload": "fleet", "hosts": 150, "interval": 0.1, "steps": 3},
        {"workload": "random", "series": 500, "steps": 3},
        {"workload": "churn", "series": 500, "steps": 3},
        {"series": 3, "steps": 2, "connections": 5},
    ],
)
@pytest.mark.parametrize("size", [700, 1 << 16])
def test_all_that_was_made_arrives(options, size):
    load = Load(**options)
    told = []
    with sink(size) as (target, found):
        report = run(load, prepare(load), target, None, lambda points, seconds: told.append((points, seconds)))
    lines = b"".join(found).splitlines()
    assert report.points == len(lines)
    assert report.size == sum(map(len, found))
    assert sorted(line.split()[0] for line in lines) == made(load)
    assert all(data.endswith(b"\n") for data in found if data)
    assert 0.0 <= report.blocked <= 1.0
    assert report.latencies.count
    assert told[-1] == (report.points, report.seconds)
    assert told == sorted(told)


def test_what_a_socket_does_not_take_is_sent_later():
    load = Load(series=30_000, steps=1)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        data = bytearray()
        waits = threading.Semaphore(0)

        def read():
            # The sender says how far it is once more: by then it can but wait.
            for _ in range(2):
                waits.acquire()
            while piece := far.recv(1000):
                data.extend(piece)
            far.close()

        report = Report()
        reader = threading.Thread(target=read)
        reader.start()
        Sender([near], list(lanes(load, prepare(load), 4096)), load, report, lambda *_: waits.release()).run()
        reader.join()
    assert data.count(b"\n") == report.points == 30_000
    assert report.blocked > 0.0


def test_a_load_of_some_seconds_ends_with_whole_lines():
    load = Load(series=1_000, seconds=0.2)
    with sink() as (target, found):
        report = run(load, prepare(load), target, None, lambda *_: None)
    data = b"".join(found)
    assert data.endswith(b"\n")
    assert data.count(b"\n") == report.points > 0


def test_a_target_that_hangs_up_is_told():
    load = Load(series=50_000, steps=20)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up():
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        host, port = server.getsockname()
        with pytest.raises(LoadError, match=rf"{host}:{port} after [0-9,]+ points: "):
            run(load, prepare(load), f"{host}:{port}", None, lambda *_: None)
        thread.join()


def test_datagrams_that_nobody_takes_are_told():
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    load = Load(protocol="collectd", series=20, lines=10, steps=1)
    with pytest.raises(LoadError, match="refused"):
        run(load, prepare(load), f"127.0.0.1:{port}", None, lambda *_: None)


@pytest.mark.parametrize("target", ["", "a", "a:", ":1", "a:b", "a:0", "a:65536", "a:-1", "a:1x"])
def test_a_target_is_host_and_port(target):
    with pytest.raises(LoadError, match="HOST:PORT"):
        parse_target(target)


def test_targets_of_all_kinds():
    assert parse_target("a.b:2003") == ("a.b", 2003)
    assert parse_target("[::1]:2003") == ("::1", 2003)


def test_more_connections_than_descriptors_are_refused(monkeypatch):
    monkeypatch.setattr(connecting.resource, "getrlimit", lambda _: (100, 1000))
    with pytest.raises(LoadError, match="the limit is 1000"):
        connect("127.0.0.1:1", socket.SOCK_STREAM, 5000)


@pytest.mark.parametrize(("status", "answered"), [(200, True), (503, False)])
def test_a_dashboard_asks_until_it_is_stopped(status, answered):
    asked = threading.Semaphore(0)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"[]")
            asked.release()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        report = Report()
        dashboard = Dashboard(f"http://127.0.0.1:{server.server_port}/render", report, every=0.01)
        dashboard.start()
        for _ in range(3):
            assert asked.acquire(timeout=60)
        dashboard.stop()
        server.shutdown()
        thread.join()
    assert (report.queries.count >= 3) == answered
    assert (report.failures >= 3) != answered
    assert any("queries" in line for line in report.lines())
