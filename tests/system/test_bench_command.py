"""``ingestd bench`` against a real daemon: the ledger has what it says it sent."""

import re
import socket
import subprocess
import sys

import pytest


def bench(*options):
    """The finished command."""
    command = [sys.executable, "-m", "ingestd.cli", "bench", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def sent(done):
    """Points that the command says it sent."""
    assert done.returncode == 0, done.stderr
    return int(re.search(r"^sent +([0-9,]+) points", done.stdout, re.MULTILINE)[1].replace(",", ""))


@pytest.mark.parametrize(
    ("options", "points"),
    [
        (("--series", "5003", "--steps", "3"), 15_009),
        (("--series", "5003", "--steps", "3", "--connections", "7", "--workload", "random"), 15_009),
        (("--series", "1000", "--steps", "5", "--workload", "churn", "--churn", "0.1"), 5_000),
        (("--hosts", "300", "--interval", "0.2", "--steps", "3", "--workload", "fleet"), 9_000),
        (("--series", "2000", "--steps", "2", "--rate", "20000"), 4_000),
        (("--workload", "small", "--series", "50"), 20_000),
    ],
)
def test_the_ledger_has_what_was_sent(daemon, options, points):
    d = daemon()
    done = bench("--target", d.addresses["graphite/tcp"], *options)
    assert sent(done) == points
    ledger = d.settled(points)
    assert ledger["listeners"]["graphite/tcp"]["stored"] == points
    assert not ledger["rejected"]
    for word in ("rate", "blocked", "writes"):
        assert re.search(rf"^{word} ", done.stdout, re.MULTILINE)


def test_churn_makes_series_and_steady_does_not(daemon):
    d = daemon()
    bench("--target", d.addresses["graphite/tcp"], "--series", "1000", "--steps", "5", "--workload", "churn")
    before = d.status()["series"]
    assert before >= 1000 + 4 * 50
    bench("--target", d.addresses["graphite/tcp"], "--series", "1000", "--steps", "5")
    again = d.status()["series"]
    bench("--target", d.addresses["graphite/tcp"], "--series", "1000", "--steps", "5", "--workload", "random")
    assert again - before <= 1100
    assert d.status()["series"] - again < 50
    d.settled(15_000)


def test_collectds_values_arrive(daemon):
    d = daemon()
    options = ("--protocol", "collectd", "--series", "2000", "--steps", "3", "--rate", "20000")
    done = bench("--target", d.addresses["collectd/udp"], *options)
    assert sent(done) == 6000
    assert d.settled(6000)["listeners"]["collectd/udp"]["stored"] == 6000


def test_a_query_is_asked_meanwhile(daemon):
    d = daemon()
    url = f"http://{d.addresses['http']}/render?target=load.host000001.*.*&format=json"
    options = ("--series", "100", "--seconds", "0.5", "--rate", "1000", "--query", url)
    done = bench("--target", d.addresses["graphite/tcp"], *options)
    points = sent(done)
    assert re.search(r"^queries  p50 .* [1-9][0-9]* answered, 0 failed$", done.stdout, re.MULTILINE)
    assert d.settled(points)["stored"] == points


@pytest.mark.parametrize("protocol", ["graphite", "collectd"])
def test_a_target_that_is_not_there_is_one_line(protocol):
    with socket.socket(type=socket.SOCK_STREAM if protocol == "graphite" else socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{taken.getsockname()[1]}"
        if protocol == "collectd":
            taken.close()
        done = bench("--target", target, "--protocol", protocol, "--series", "1000", "--steps", "1")
    assert done.returncode == 1
    assert done.stdout == ""
    *_, reason = done.stderr.splitlines()
    assert reason.startswith(f"Error: {target}")
    assert "refused" in reason


@pytest.mark.parametrize(
    "options",
    [
        ("--series", "0"),
        ("--steps", "-1"),
        ("--interval", "nan"),
        ("--rate", "0"),
        ("--workload", "fleet", "--rate", "5"),
        ("--query", "file:///etc/passwd"),
        ("--churn", "2"),
    ],
)
def test_what_makes_no_sense_is_refused(options):
    done = bench("--target", "127.0.0.1:1", *options)
    assert done.returncode == 2
