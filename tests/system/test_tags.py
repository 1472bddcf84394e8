"""Tagged series through the whole daemon: found, registered, deleted, and what a restart makes of that."""

import json
import time
import urllib.parse


def post(daemon, path, *pairs):
    return daemon.get(path, data=urllib.parse.urlencode(pairs).encode())


def find(daemon, *expressions):
    status, found = daemon.get("/tags/findSeries", [("expr", each) for each in expressions])
    assert status == 200, found
    return found


def test_tagged_series_are_found_registered_and_deleted(daemon):
    d = daemon()
    now = int(time.time()) // 10 * 10
    lines = [f"cpu;host=h{i};dc=dc{i % 2} {i} {now - 20}\n" for i in range(4)]
    d.send("".join(lines).encode() + b"plain.one 5 %d\n" % (now - 20))
    d.settled(5)
    assert find(d, "name=cpu", "dc=dc1") == ["cpu;dc=dc1;host=h1", "cpu;dc=dc1;host=h3"]
    target = 'seriesByTag("host=~h[12]","name=cpu")'
    points = d.render(target, start=now - 60, end=now, now=now)
    assert {name: [v for v, _ in p if v is not None] for name, p in points.items()} == {
        "cpu;dc=dc1;host=h1": [1.0],
        "cpu;dc=dc0;host=h2": [2.0],
    }

    assert post(d, "/tags/tagSeries", ("path", "new;b=2;a=1"))[1] == "new;a=1;b=2"
    status, found = post(d, "/tags/tagMultiSeries", ("path", "cpu;host=h0;dc=dc0"), ("path", 'm{t="v"}'))
    assert (status, found) == (200, ["cpu;dc=dc0;host=h0", "m;t=v"])
    assert post(d, "/tags/tagSeries", ("path", "a;b"))[0] == 400
    assert find(d, "a=1") == ["new;a=1;b=2"]

    d.send(f"cpu;host=h1;dc=dc1 7 {now - 10}\n".encode())
    assert post(
        d, "/tags/delSeries", ("path", "cpu;host=h1;dc=dc1"), ("path", "nosuch;a=b"), ("path", "plain.one")
    ) == (
        200,
        True,
    )
    assert find(d, "name=cpu") == ["cpu;dc=dc0;host=h0", "cpu;dc=dc0;host=h2", "cpu;dc=dc1;host=h3"]
    assert d.get("/metrics/index.json")[1] == []
    d.kill()
    d.start()
    assert find(d, "name=cpu") == ["cpu;dc=dc0;host=h0", "cpu;dc=dc0;host=h2", "cpu;dc=dc1;host=h3"]
    assert find(d, "t=v") == ["m;t=v"]
    assert d.get("/metrics/find", {"query": "plain.*"})[1] == []

    d.send(f"cpu;host=h1;dc=dc1 9 {now - 10}\n".encode())
    d.settled(1)
    points = d.render("seriesByTag('host=h1')", start=now - 60, end=now, now=now)
    assert {name: [v for v, _ in p if v is not None] for name, p in points.items()} == {"cpu;dc=dc1;host=h1": [9.0]}
    assert d.stop() == 0
    assert json.loads(d.log.splitlines()[-1]) if d.log.startswith("{") else "Traceback" not in d.log


def test_a_connection_that_goes_on_after_its_series_was_deleted_makes_it_anew(daemon, wait_until):
    import socket

    d = daemon()
    now = int(time.time()) // 10 * 10
    with socket.create_connection(d.address("graphite/tcp")) as s:
        for value in (1, 2):
            s.sendall(b"a.b %d %d\na.c %d %d\n" % (value, now - 30, value, now - 30))
        wait_until(lambda: d.ledger["stored"] == 4, "the points")
        assert post(d, "/tags/delSeries", ("path", "a.b"))[1] is True
        s.sendall(b"a.b 3 %d\na.c 3 %d\n" % (now - 20, now - 20))
        wait_until(lambda: d.ledger["stored"] == 6, "the points")
    points = d.render("a.*", start=now - 60, end=now, now=now)
    known = {name: [v for v, _ in p if v is not None] for name, p in points.items()}
    assert known == {"a.b": [3.0], "a.c": [2.0, 3.0]}
