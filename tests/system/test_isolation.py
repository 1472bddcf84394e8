"""One client's garbage never delays or loses another client's points."""

import random
import socket
import struct
import threading
import time
from contextlib import ExitStack
from pathlib import Path

HOSTILE = Path(__file__).parents[1] / "golden" / "collectd" / "malformed.bin"
RANDOM = random.Random(3)


def hostile_datagrams():
    data, at = HOSTILE.read_bytes(), 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def random_bytes(graphite, collectd, done):
    while not done.is_set():
        with socket.create_connection(graphite) as s:
            s.sendall(RANDOM.randbytes(65536))


def endless_line(graphite, collectd, done):
    with socket.create_connection(graphite) as s:
        while not done.is_set():
            s.sendall(b"x" * 65536)


def reset_in_mid_line(graphite, collectd, done):
    while not done.is_set():
        with socket.create_connection(graphite) as s:
            s.sendall(b"cut.off 1 17")
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def hostile(graphite, collectd, done):
    datagrams = list(hostile_datagrams())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        while not done.is_set():
            for datagram in datagrams:
                s.sendto(datagram, collectd)
            done.wait(0.05)


def slow(graphite, collectd, done):
    with socket.create_connection(graphite) as s:
        for byte in b"slow.client 1 17":
            s.sendall(bytes([byte]))
            if done.wait(1):
                return


GARBAGE = (random_bytes, endless_line, reset_in_mid_line, hostile, slow)


def test_good_points_arrive_beside_every_kind_of_garbage(daemon):
    d = daemon()
    now = int(time.time()) // 10 * 10
    graphite, collectd = d.address("graphite/tcp"), d.address("collectd/udp")
    done = threading.Event()
    threads = [threading.Thread(target=t, args=(graphite, collectd, done)) for t in GARBAGE]
    points = 200
    with ExitStack() as idle:
        for _ in range(200):
            idle.enter_context(socket.create_connection(graphite))
        for thread in threads:
            thread.start()
        try:
            for round_ in range(points // 10):
                d.send(b"".join(b"good.n%d %d %d\n" % (i, i, now) for i in range(round_ * 10, round_ * 10 + 10)))
        finally:
            done.set()
            for thread in threads:
                thread.join()
        rendered = d.render("good.*", start=now - 10, end=now, now=now)
        assert {name: pairs[-1][0] for name, pairs in rendered.items()} == {f"good.n{i}": i for i in range(points)}
    ledger = d.settled(points)
    assert ledger["stored"] >= points
    assert d.get("/health", decode=False)[0] == 200
    assert "Traceback" not in d.log
