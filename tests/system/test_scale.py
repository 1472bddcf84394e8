"""180,000 series × 20 steps over one connection: all stored, all read back, in bounded memory, over a kill -9."""

import socket
import time

import numpy as np

HOSTS, PLUGINS, STEPS = 18_000, 10, 20


def rss(process):
    with open(f"/proc/{process.pid}/status") as f:  # noqa: PTH123
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) << 10


def test_a_fleet_on_one_connection(daemon):
    d = daemon()
    end = int(time.time()) // 10 * 10
    names = [b"collectd.host%05d.plugin-%d.value" % (h, p) for h in range(HOSTS) for p in range(PLUGINS)]
    with socket.create_connection(d.address("graphite/tcp")) as s:
        for step in range(STEPS):
            when = end - 10 * (STEPS - 1 - step)
            tail = b" %d\n" % when
            s.sendall(b"".join([b"%s %d%s" % (n, i % 977 + step, tail) for i, n in enumerate(names)]))
        s.shutdown(socket.SHUT_WR)
        s.settimeout(120)
        assert s.recv(1) == b""
    total = HOSTS * PLUGINS * STEPS
    ledger = d.settled(total)
    assert ledger["stored"] == total
    assert rss(d.process) < 500_000_000
    d.kill()
    d.start()
    assert d.status()["series"] >= HOSTS * PLUGINS
    start = end - 10 * STEPS
    for plugin in (0, 9):
        got = d.render(f"collectd.host000[0-4]*.plugin-{plugin}.value", start=start, end=end, now=end)
        assert len(got) == 50
        for name, pairs in got.items():
            index = names.index(name.encode())
            assert [v for v, _ in pairs] == [index % 977 + step for step in range(STEPS)]
    sums = d.render("sumSeries(collectd.*.plugin-3.value)", start=start, end=end, now=end)
    expected = [sum((h * PLUGINS + 3) % 977 + step for h in range(HOSTS)) for step in range(STEPS)]
    np.testing.assert_allclose([v for v, _ in next(iter(sums.values()))], expected)
    assert d.stop() == 0
    d.start()
    assert d.status()["replayed"] == 0
    sums = d.render("sumSeries(collectd.*.plugin-3.value)", start=start, end=end, now=end)
    np.testing.assert_allclose([v for v, _ in next(iter(sums.values()))], expected)
