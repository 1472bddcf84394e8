"""What the ledger called stored is there after ``kill -9``; a start after SIGTERM has nothing to replay."""

import random
import subprocess
import sys
import time


def lines(points):
    return b"".join(b"%s %r %d\n" % (path.encode(), value, when) for path, value, when in points)


def values(rendered):
    return {(name, when): value for name, pairs in rendered.items() for value, when in pairs if value is not None}


def test_stored_points_survive_a_kill(daemon):
    d = daemon()
    now = int(time.time()) // 10 * 10
    points = [(f"host{i}.load", float(i + j), now - 10 * j) for i in range(50) for j in range(20)]
    d.send(lines(points))
    ledger = d.settled(len(points))
    assert ledger["stored"] == len(points)
    d.kill()
    d.start()
    got = values(d.render("host*.load", start=now - 600, end=now, now=now))
    assert got == {(path, when): value for path, value, when in points}


def test_a_start_after_sigterm_replays_nothing(daemon):
    d = daemon()
    now = int(time.time()) // 10 * 10
    d.send(lines([("a.b", 1.5, now), ("a.c", 2.5, now - 10)]))
    d.settled(2)
    assert d.stop() == 0
    assert not (d.directory / "listeners.json").exists()
    d.start()
    status = d.status()
    assert status["journal"]["end"] == status["journal"]["from"]
    assert status["replayed"] == 0
    assert values(d.render("a.*", start=now - 60, end=now, now=now)) == {("a.b", now): 1.5, ("a.c", now - 10): 2.5}


def test_a_second_start_on_the_same_directory_refuses(daemon):
    d = daemon()
    command = [sys.executable, "-m", "ingestd.cli", "serve", "--data", str(d.directory), "--graphite", "127.0.0.1:0"]
    second = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "in use" in second.stderr
    assert d.get("/health", decode=False)[0] == 200
    assert (d.directory / "listeners.json").exists()


def test_points_of_every_age_survive_kills_and_flushes(daemon):
    """Points of all archives, late ones and overwritten ones, over kills at random moments."""
    d = daemon()
    rnd = random.Random(7)
    now = int(time.time()) // 600 * 600
    model = {}
    for round_ in range(5):
        batch = []
        for _ in range(400):
            step, age = rnd.choice([(10, 5 * 3600), (60, 6 * 86400), (600, 300 * 86400)])
            low = {10: 10, 60: 7 * 3600, 600: 8 * 86400}[step]
            when = (now - rnd.randrange(low, age)) // step * step
            path = f"s{rnd.randrange(20)}.v{step}"
            batch.append((path, float(round_ * 1000 + len(batch)), when))
        d.send(lines(batch))
        d.settled(0)
        model.update({(path, when): value for path, value, when in batch})
        if round_ % 2:
            assert d.get("/flush", data=b"", decode=False)[0] == 200
        d.kill()
        d.start()
    for step, start in ((10, now - 5 * 3600), (60, now - 6 * 86400), (600, now - 390 * 86400)):
        got = values(d.render(f"*.v{step}", start=start - step, end=now, now=now))
        expected = {k: v for k, v in model.items() if k[0].endswith(f"v{step}")}
        assert got == expected
