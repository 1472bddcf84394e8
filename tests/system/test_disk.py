"""A disk that takes no more: reading stops, /health says so, nothing accepted is lost, and it goes on by itself.

The disk "fills" through the daemon's file size limit, which makes every write past it fail.
"""

import resource
import socket
import time


def limit_files(daemon, size):
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_stops_reading_and_loses_nothing(daemon, wait_until):
    d = daemon()
    now = int(time.time()) // 10 * 10
    d.send(b"before.it 1 %d\n" % now)
    d.settled(1)
    limit_files(d, 4096)
    step = b"".join(b"full.s%d 1 %d\n" % (i, now) for i in range(20_000))
    sent = 0
    with socket.create_connection(d.address("graphite/tcp")) as s:
        s.settimeout(2)
        try:
            while sent < 400 << 20:
                sent += s.send(step[sent % len(step) :])
        except TimeoutError:
            pass
        assert sent < 400 << 20, "reading never stopped"
        status, text = d.get("/health", decode=False)
        assert status == 503, text
        ledger = d.ledger
        assert ledger["in_flight"] > 0
        limit_files(d, resource.RLIM_INFINITY)
        wait_until(lambda: d.get("/health", decode=False)[0] == 200, "health after space is back")
        s.settimeout(60)
        s.sendall(step[sent % len(step) :] if sent % len(step) else b"")
        sent += -sent % len(step)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
    total = 1 + 20_000 * (sent // len(step))
    ledger = d.settled(total)
    assert ledger["stored"] == ledger["received"] == total
    d.kill()
    d.start()
    got = d.render("full.*", start=now - 20, end=now, now=now)
    assert len(got) == 20_000
    assert all(pairs[-1] == [1.0, now] for pairs in got.values())


def test_a_failed_checkpoint_is_retried(daemon, wait_until):
    d = daemon()
    now = int(time.time()) // 10 * 10
    d.send(b"".join(b"ck.s%d 1 %d\n" % (i, now) for i in range(2000)))
    d.settled(2000)
    limit_files(d, 4096)
    assert d.get("/flush", data=b"", decode=False)[0] != 200
    assert d.status()["checkpoint_failure"]
    limit_files(d, resource.RLIM_INFINITY)
    wait_until(lambda: d.status()["unflushed"] == 0, "the checkpoint")
    assert d.status()["checkpoint_failure"] is None
    assert len(d.render("ck.*", start=now - 20, end=now, now=now)) == 2000
