"""Attacks on the TCP and UDP ports of a real daemon, each beside a client whose every point has to arrive.

What one client's garbage costs another is in ``test_isolation.py``; here are the attacks that aim at memory,
descriptors, the disk, names and the log. Every test ends with the ledger balanced, memory within its bound, the good
client's points read back, and a log without a traceback.
"""

import random
import re
import resource
import select
import socket
import struct
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

MIB = 1 << 20
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes a close a reset, which also leaves no port of ours in TIME_WAIT."""
RANDOM = random.Random(61)
DATA_FILES = re.compile(
    r"(lock|listeners\.json|registry\.log|manifest\.log|events\.log"
    r"|journal/[0-9a-f]{16}\.[0-9a-f]{4}\.jnl|blocks/L\d+/a\d+/-?\d+\.g\d+\.blk)"
)
"""Every file that may be in a data directory, as ``storage/home.py`` and docs/format list them."""


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))


def descriptors(process):
    return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())


class Good:
    """A client that keeps one connection and sends ten points a round; ``verify`` reads every one of them back."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.now = int(time.time()) // 10 * 10
        self.sent = 0
        self.before = None
        self.socket = socket.create_connection(daemon.address("graphite/tcp"))
        self.round()
        daemon.settled(10)
        self.before = resident(daemon.process)

    def round(self):
        first = self.sent
        self.socket.sendall(b"".join(b"good.n%d %d %d\n" % (i, i, self.now) for i in range(first, first + 10)))
        self.sent += 10

    def arrives(self, wait_until):
        """One round more, and its last point can be read: nobody else's traffic holds it up for ever."""
        self.round()
        last = f"good.n{self.sent - 1}"
        wait_until(
            lambda: self.daemon.render(last, start=self.now - 10, end=self.now, now=self.now), "the good client's point"
        )
        assert self.daemon.get("/health", decode=False)[0] == 200

    def verify(self, growth):
        """The ledger once all is settled; memory has grown by less than ``growth`` bytes since the client began."""
        self.socket.close()
        ledger = self.daemon.settled(self.sent)
        got = self.daemon.render("good.*", start=self.now - 10, end=self.now, now=self.now)
        assert {name: pairs[-1][0] for name, pairs in got.items()} == {f"good.n{i}": i for i in range(self.sent)}
        assert resident(self.daemon.process) - self.before < growth
        assert self.daemon.process.poll() is None
        assert "Traceback" not in self.daemon.log
        return ledger

    @property
    def grown(self):
        return (resident(self.daemon.process) - self.before) / MIB


@pytest.fixture
def good_client():
    """``good_client(daemon)``: a :class:`Good` whose connection is closed afterwards."""
    with ExitStack() as stack:

        def make(daemon):
            good = Good(daemon)
            stack.callback(good.socket.close)
            return good

        yield make


@pytest.fixture
def room_for():
    """``room_for(n)``: let this process, and the daemon it starts, open ``n`` descriptors, or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def raise_limit(wanted):
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"needs {wanted} descriptors, the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))

    yield raise_limit
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(address, n, stack):
    """``n`` connections that are reset when ``stack`` ends."""
    sockets = []
    for _ in range(n):
        s = stack.enter_context(socket.create_connection(address))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        sockets.append(s)
    return sockets


# -- connections -------------------------------------------------------------------------------------------------------


def test_slow_loris(daemon, good_client, wait_until, room_for, effort, figure):
    """5,000 connections that each send a byte at a time and never end a line."""
    connections, rounds = 5000, effort(8, 400)
    room_for(connections + 1000)
    d = daemon()
    good = good_client(d)
    with ExitStack() as stack:
        loris = connect(d.address("graphite/tcp"), connections, stack)
        for number in range(rounds):
            byte = b"never.ends"[number % 10 :][:1]
            for s in loris:
                s.sendall(byte)
            good.arrives(wait_until)
        assert d.status()["connections"]["open"] == connections + 1
        figure(f"{connections} connections, {rounds} bytes each, daemon grew by {good.grown:.0f} MiB")
        assert good.grown < 40
    wait_until(lambda: d.status()["connections"]["open"] <= 1, "the daemon to let go of them")
    ledger = good.verify(40 * MIB)
    assert ledger["stored"] == good.sent
    assert set(ledger["rejected"]) <= {"malformed"}


def test_ten_thousand_idle_connections(daemon, good_client, wait_until, room_for, figure):
    connections = 10_000
    room_for(connections + 1000)
    d = daemon()
    good = good_client(d)
    with ExitStack() as stack:
        connect(d.address("graphite/tcp"), connections, stack)
        wait_until(lambda: d.status()["connections"]["open"] == connections + 1, "all connections")
        for _ in range(20):
            good.arrives(wait_until)
        figure(f"{connections} idle connections, daemon grew by {good.grown:.0f} MiB")
        good.verify(40 * MIB)
    wait_until(lambda: d.status()["connections"]["open"] == 0, "the daemon to let go of them")


def test_frames_that_dribble_and_frames_that_lie(daemon, good_client, wait_until, room_for, effort, figure):
    """Pickle: frames of a mebibyte whose end never comes, and lengths that nobody can mean."""
    connections, each = 500, effort(64, 512) << 10
    room_for(2 * connections)
    d = daemon()
    good = good_client(d)
    with ExitStack() as stack:
        slow = connect(d.address("pickle/tcp"), connections, stack)
        for s in slow:
            s.sendall(struct.pack("!I", MIB))
        for _ in range(each // (16 << 10)):
            for s in slow:
                s.sendall(b"]" * (16 << 10))
            good.arrives(wait_until)
        figure(f"{connections} frames with {each >> 10} KiB of their MiB each, daemon grew by {good.grown:.0f} MiB")
        assert good.grown < connections * each / MIB + 60
        for s in connect(d.address("pickle/tcp"), 100, stack):
            s.sendall(struct.pack("!I", RANDOM.randrange(MIB + 1, 1 << 32)))
            with suppress(ConnectionError):
                assert s.recv(1) == b""
        good.arrives(wait_until)
    wait_until(lambda: d.status()["connections"]["open"] <= 1, "the daemon to let go of them")
    books = good.verify(connections * each + 60 * MIB)["listeners"]["pickle/tcp"]
    assert books["rejected"] == {"malformed": connections, "too_long": 100}
    assert len(d.log.splitlines()) < 30


def test_who_holds_every_connection_makes_room(daemon, good_client, wait_until, tmp_path):
    """Silent connections, and such that dribble, fill the listener; who comes with points is let in all the same."""
    config = tmp_path / "few.toml"
    config.write_text("[graphite]\nmax_connections = 100\n")
    d = daemon("--config", str(config))
    good = good_client(d)
    with ExitStack() as stack:
        for s in connect(d.address("graphite/tcp"), 200, stack)[::2]:
            with suppress(ConnectionError):
                s.sendall(b"half a li")
        wait_until(lambda: d.status()["connections"]["open"] == 100, "a full listener")
        for _ in range(20):
            d.send(b"newcomer.n 1 %d\n" % good.now)
        good.arrives(wait_until)
        assert d.status()["connections"]["refused"] == 0
        assert d.status()["connections"]["evicted"] >= 101
    ledger = good.verify(20 * MIB)
    assert ledger["stored"] == good.sent + 20


def abandon(address):
    with socket.create_connection(address):
        pass


def reset(address):
    with socket.create_connection(address) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def reset_in_mid_line(address):
    with socket.create_connection(address) as s:
        s.sendall(b"good.n0 666 17000")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def half_close(address):
    with socket.create_connection(address) as s:
        s.sendall(b"good.n0 666 17000")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""


def never_wait(address):
    """A handshake begun and given up at once: what a SYN flood looks like to a process."""
    with socket.socket() as s:
        s.setblocking(False)
        s.connect_ex(address)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_connections_that_come_and_go_leave_nothing(daemon, good_client, wait_until, effort, figure):
    d = daemon()
    good = good_client(d)
    address, opened = d.address("graphite/tcp"), descriptors(d.process)
    each = effort(400, 5000)
    for kind in (abandon, reset, reset_in_mid_line, half_close, never_wait):
        for _ in range(each):
            kind(address)
        good.arrives(wait_until)
    figure(f"{5 * each} connections that come and go, daemon grew by {good.grown:.0f} MiB")
    ledger = good.verify(20 * MIB)
    assert ledger["stored"] == good.sent
    assert set(ledger["rejected"]) <= {"malformed"}
    wait_until(lambda: d.status()["connections"]["open"] == 0, "every connection to end")
    # The client's own connection has ended since, and /status may hold one of HTTP.
    assert descriptors(d.process) <= opened + 1


def test_a_line_that_does_not_end(daemon, good_client, wait_until, effort, figure):
    size = effort(10, 1000) * MIB
    d = daemon()
    good = good_client(d)
    with socket.create_connection(d.address("graphite/tcp")) as s:
        for _ in range(size // MIB):
            s.sendall(b"x" * MIB)
            good.round()
        s.sendall(b" 1 1700000000\nafter.it 1 %d\n" % good.now)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
    good.arrives(wait_until)
    figure(f"a line of {size // MIB} MiB, daemon grew by {good.grown:.0f} MiB")
    ledger = good.verify(20 * MIB)
    assert ledger["rejected"] == {"too_long": 1}
    assert ledger["stored"] == good.sent + 1


# -- datagrams ---------------------------------------------------------------------------------------------------------


def part(kind, text):
    return struct.pack("!HH", kind, len(text) + 5) + text + b"\0"


def number(kind, value):
    return struct.pack("!HHQ", kind, 12, value)


def gauge(host, when, plugin=b"load"):
    head = part(0, host) + number(1, when) + number(7, 10) + part(2, plugin) + part(4, b"gauge")
    return head + struct.pack("!HHHBd", 6, 15, 1, 1, 0)[:7] + struct.pack("<d", 1.0)


def hostile_datagrams(now):
    """Every shape that has broken a receiver somewhere: empty, short, huge, random, lengths that lie, seals."""
    yield from (b"", b"\0", b"\0\0\0\0", b"\0\0\0\x03", b"\xff" * 65_507, b"\n" * 65_507, b"x" * 65_507)
    yield b"a " * 32_753
    yield from (struct.pack("!HH", kind, length) for kind in (0, 1, 6, 0x200, 0x210) for length in range(8))
    yield struct.pack("!HHH", 6, 65_535, 65_535)
    yield struct.pack("!HH", 0x200, 36 + 4) + b"\0" * 32 + b"root" + gauge(b"h", now)
    yield struct.pack("!HHH", 0x210, 65_535, 65_000) + b"root" * 100
    for _ in range(300):
        yield RANDOM.randbytes(RANDOM.choice((3, 30, 300, 1400, 9000)))
    valid = gauge(b"host", now)
    for _ in range(300):
        at = RANDOM.randrange(len(valid))
        yield valid[:at] + RANDOM.randbytes(RANDOM.randrange(1, 5)) + valid[at + 1 :]


@pytest.mark.parametrize("listener", ["graphite/udp", "collectd/udp"])
def test_no_datagram_is_answered_or_kept(daemon, good_client, wait_until, effort, figure, listener):
    d = daemon()
    good = good_client(d)
    rounds = effort(10, 1000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(d.address(listener))
        s.setblocking(False)
        sent = 0
        for _ in range(rounds):
            for datagram in hostile_datagrams(good.now):
                select.select([], [s], [])
                s.send(datagram)
                sent += 1
            good.arrives(wait_until)
        ledger = good.verify(40 * MIB)
        # A reply, or an ICMP error that stands for one, would be here by now: the daemon has read everything.
        with pytest.raises(BlockingIOError):
            s.recv(1)
    books = ledger["listeners"][listener]
    assert sum(books["rejected"].values()) > 0
    figure(f"{listener}: {sent} hostile datagrams, daemon grew by {good.grown:.0f} MiB")
    assert len(d.log.splitlines()) < 30


def test_an_explosion_of_hosts_stops_at_its_sources_quota(daemon, good_client, wait_until, tmp_path, figure):
    hosts, quota = 50_000, 1000
    config = tmp_path / "quota.toml"
    config.write_text(f"[limits]\nsource_series = {quota}\n")
    d = daemon("--config", str(config))
    good = good_client(d)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.2", 0))
        s.connect(d.address("collectd/udp"))
        for first in range(0, hosts, 500):
            for host in range(first, first + 500):
                s.send(gauge(b"host%d" % host, good.now))
            if first % 10_000 == 0:
                good.arrives(wait_until)
    # loopback delivers in order, or drops and counts
    wait_until(
        lambda: (b := d.ledger["listeners"]["collectd/udp"])["received"] + b["kernel_drops"] >= hosts, "all datagrams"
    )
    good.arrives(wait_until)
    figure(f"{hosts} hosts against a quota of {quota}: daemon grew by {good.grown:.0f} MiB")
    books = good.verify(80 * MIB)["listeners"]["collectd/udp"]
    assert books["received"] + books["kernel_drops"] == hosts
    assert books["stored"] == quota
    assert books["rejected"] == {"quota": books["received"] - quota}
    assert d.status()["refusals"]["sources"][0]["name"] == "127.0.0.2"


def test_a_flood_of_notifications(daemon, good_client, wait_until, tmp_path, effort, figure):
    """Each is synced to the disk, so most come faster than they can be kept: those are counted as lost."""
    sent, kept = effort(5000, 500_000), 500
    config = tmp_path / "events.toml"
    config.write_text(f"[storage]\nevents = {kept}\n")
    d = daemon("--config", str(config))
    good = good_client(d)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(d.address("collectd/udp"))
        for first in range(0, sent, 1000):
            for i in range(first, first + 1000):
                s.send(notification(f"flood{i}", good.now))
            good.arrives(wait_until)
    # What is still to be written counts as neither: at most a thousand wait.
    wait_until(lambda: d.status()["events"] == kept, "the newest events")
    lost = d.status()["events_lost"]
    figure(f"{sent} notifications, {lost} lost, daemon grew by {good.grown:.0f} MiB")
    good.verify(40 * MIB)
    assert len(d.log.splitlines()) < 30


# -- names, files and the log ------------------------------------------------------------------------------------------

PATHS = (
    "../../etc/passwd",
    "..",
    "....//....//outside",
    "..%2f..%2foutside",
    "../outside.n",
    "a/../../../outside",
    "/abs/outside",
    "/",
    "./x",
    "~/outside",
    "C:\\outside",
    "..\\outside",
    "\\\\host\\share",
    "CON",
    "aux.nul",
    "nul\0byte",
    "x" * 10_000,
    "x" * 4000,
    ".".join("d" * 3000),
    "bell\a.back\b.esc\x1b[2J\x1b]0;title\a",
    "csi\x9b31m.del\x7f",
    "carriage\rreturn",
    "tab\tin",
    "line\u2028separator",
    "next\u0085line",
    "rtl\u202eoverride\u2066",
    "zero\u200bwidth\ufeff",
    "$(touch outside)",
    "`touch outside`",
    "; touch outside;",
    "| touch outside",
    "%s%n%x{0.__class__}",
    "<script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "listeners.json",
    "journal/0000000000000000.0000.jnl",
    "blocks/L0/a0/0.g0.blk",
    "a;tag=../../outside",
    "a;../../outside=x",
)


def everything(root):
    """{path: contents} of all files under ``root``."""
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def notification(name, now):
    words = name.encode()[:100].replace(b"\0", b"")
    return part(0, words) + number(1, now) + number(0x0101, 1) + part(2, words) + part(0x0100, words)


def test_no_name_reaches_the_disk_or_the_log(daemon, good_client, wait_until, tmp_path, monkeypatch):
    """Names that try to be paths, commands, formats or terminal codes, on every port, in every field."""
    cwd, data = tmp_path / "cwd", tmp_path / "home" / "data"
    for folder in (cwd, data, tmp_path / "etc"):
        folder.mkdir(parents=True)
    for canary in (cwd / "canary", tmp_path / "home" / "canary", tmp_path / "etc" / "passwd"):
        canary.write_text("untouched\n")
    monkeypatch.chdir(cwd)
    config = tmp_path / "config.toml"
    config.write_text('[server]\nlog_level = "debug"\n')
    d = daemon("--config", str(config), directory="home/data")
    good = good_client(d)
    before = {k: v for k, v in everything(tmp_path).items() if not k.startswith("home/data")}
    d.send(b"".join(name.encode() + b" 1 %d\n" % good.now for name in PATHS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for name in PATHS:
            s.sendto(name.encode()[:9000] + b" 1 %d\n" % good.now, d.address("graphite/udp"))
            raw = name.encode()[:1000]
            for datagram in (
                gauge(raw, good.now),
                gauge(b"h", good.now, plugin=raw),
                notification(name, good.now),
            ):
                s.sendto(datagram, d.address("collectd/udp"))
    good.arrives(wait_until)
    for name in PATHS:
        assert d.get("/render", [("target", name[:4000]), ("format", "json")], decode=False)[0] in (200, 400)
        d.get("/metrics/find", [("query", name[:4000])], decode=False)
    assert d.get("/flush", decode=False, data=b"")[0] == 200
    good.verify(60 * MIB)
    d.kill()
    d.start()
    assert d.stop() == 0
    inside = set(everything(data))
    assert any(f.startswith("blocks/") for f in inside)
    assert {f for f in inside if not DATA_FILES.fullmatch(f)} == set()
    after = {k: v for k, v in everything(tmp_path).items() if not k.startswith("home/data")}
    assert after == before
    for line in d.log.split("\n"):
        assert line.isprintable(), repr(line)


def test_garbage_does_not_fill_the_log(daemon, good_client, wait_until, tmp_path, effort, figure):
    """At the level ``debug``, which says most."""
    config = tmp_path / "config.toml"
    config.write_text('[server]\nlog_level = "debug"\n')
    d = daemon("--config", str(config))
    good = good_client(d)
    lines = effort(100_000, 10_000_000)
    told = len(d.log)
    shapes = [b"\x1b[31m garbage\n", b"a.b x 1\n", b"a..b\n", b"\xff\xfe 1 1\n", b"a.b 1 99999999999\n"]
    chunk = b"".join(shapes[i % len(shapes)] for i in range(10_000))
    for _ in range(lines // 10_000):
        d.send(chunk)
        good.round()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(lines // 100):
            s.sendto(RANDOM.randbytes(100), d.address("collectd/udp"))
            s.sendto(b"garbage\n" * 10, d.address("graphite/udp"))
    good.arrives(wait_until)
    ledger = good.verify(60 * MIB)
    assert sum(ledger["listeners"]["graphite/tcp"]["rejected"].values()) == lines
    said = d.log[told:]
    figure(f"{lines} lines of garbage: {len(said.splitlines())} lines of log, daemon grew by {good.grown:.0f} MiB")
    assert len(said.splitlines()) <= 10
    assert len(said) < 10_000
