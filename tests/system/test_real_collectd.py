"""A real collectd sends over its network plugin, and the same values with write_graphite: both must agree."""

import math
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

CONFIGURATION = """
Hostname "lab1.example.com"
FQDNLookup false
Interval 1
BaseDir "{base}"
PIDFile "{base}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
{plugins}
LoadPlugin network
LoadPlugin write_graphite
<Plugin network>
  <Server "127.0.0.1" "{port}">
    {security}
  </Server>
</Plugin>
<Plugin write_graphite>
  <Node "recorder">
    Host "127.0.0.1"
    Port "{recorder}"
    Protocol "tcp"
    LogSendErrors true
  </Node>
</Plugin>
"""
PLUGINS = ("cpu", "memory", "load", "df", "interface", "disk", "processes", "swap")


class Recorder:
    """A TCP server that keeps what it is sent, until every sender has closed."""

    def __init__(self):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.received = b""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        connection, _ = self.listening.accept()
        with connection:
            while data := connection.recv(65536):
                self.received += data

    def lines(self):
        self.thread.join(30)
        self.listening.close()
        return [line.split() for line in self.received.decode().split("\r\n") if line]


def run_collectd(base, port, recorder, security, seconds):
    configuration = base / "collectd.conf"
    plugins = "\n".join(f"LoadPlugin {p}" for p in PLUGINS)
    configuration.write_text(
        CONFIGURATION.format(base=base, port=port, recorder=recorder, plugins=plugins, security=security)
    )
    process = subprocess.Popen(
        ["collectd", "-f", "-C", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
    _, said = process.communicate(timeout=30)
    return said


@pytest.mark.services
@pytest.mark.parametrize("level", ["none", "sign", "encrypt"])
def test_both_ways_give_the_same_points(require, daemon, wait_until, tmp_path, level):
    require("collectd")
    assert shutil.which("collectd")
    auth = tmp_path / "auth_file"
    auth.write_text("bob: pässwörd bob\n")
    schemas = tmp_path / "storage-schemas.conf"
    schemas.write_text("[second]\npattern = .*\nretentions = 1s:2h\n")
    options = ["--schemas", str(schemas), "--collectd-security", level]
    d = daemon(*options, *(["--collectd-auth", str(auth)] if level != "none" else []))
    security = ""
    if level != "none":
        security = f'SecurityLevel {level.capitalize()}\n    Username "bob"\n    Password "pässwörd bob"'
    recorder = Recorder()
    said = run_collectd(tmp_path, d.address("collectd/udp")[1], recorder.port, security, seconds=8)
    sent = {}
    finite = infinite = 0
    for name, value, when in recorder.lines():
        number = float(value)
        if math.isfinite(number):
            sent[name, int(when)] = value
            finite += 1
        elif math.isinf(number):
            infinite += 1
    assert len(sent) > 500, said
    wait_until(lambda: d.ledger["stored"] >= finite, "the last datagram")
    ledger = d.settled()
    assert ledger["rejected"].get("infinite", 0) == infinite
    assert ledger["listeners"]["collectd/udp"]["kernel_drops"] == 0
    times = [when for _, when in sent]
    now = max(*times, int(time.time()))  # collectd rounds a time to its nearest second, which may not have come yet
    patterns = ["lab1_example_com.*", "lab1_example_com.*.*", "lab1_example_com.*.*.*"]
    rendered = d.render(*patterns, start=min(times) - 2, end=now, now=now)
    got = {(name, when): value for name, pairs in rendered.items() for value, when in pairs if value is not None}
    assert sorted(set(sent) - set(got)) == []
    assert sorted(set(got) - set(sent)) == []
    for key, text in sent.items():
        assert text in (f"{got[key]:.15g}", f"{got[key]:f}"), key


def test_multicast(daemon):
    """A listener on a multicast group takes what is sent to it, beside a unicast one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.192.74.66") + bytes(4))
        except OSError as e:
            pytest.skip(f"this machine has no route for multicast: {e}")
    d = daemon("--collectd", "239.192.74.66:0")
    parts = b""
    for kind, text in ((0, b"h1"), (2, b"load"), (4, b"gauge")):
        parts += struct.pack("!HH", kind, len(text) + 5) + text + b"\0"
    parts += struct.pack("!HHQ", 1, 12, int(time.time()))
    parts += struct.pack("!HHHB", 6, 15, 1, 1) + struct.pack("<d", 2.5)
    group = [a for a in d.status()["listening"] if a[1].startswith("239.")]
    assert group, d.status()["listening"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)  # stays on this machine
        s.sendto(parts, ("239.192.74.66", int(group[0][1].rsplit(":", 1)[1])))
    ledger = d.settled(1)
    assert ledger["stored"] == 1
