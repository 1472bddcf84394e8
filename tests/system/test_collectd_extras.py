"""collectd beside its values: notifications, an AuthFile and a types.db that change while the daemon runs."""

import hashlib
import hmac
import os
import socket
import struct
import time


def text(kind, value):
    return struct.pack("!HH", kind, len(value) + 5) + value + b"\0"


def number(kind, value):
    return struct.pack("!HHQ", kind, 12, value)


def value(kind=b"gauge", host=b"h1"):
    head = text(0, host) + number(1, int(time.time())) + number(7, 10) + text(2, b"plug") + text(4, kind)
    return head + struct.pack("!HHHB", 6, 15, 1, 1) + struct.pack("<d", 2.5)


def signed(user, password, payload):
    mac = hmac.new(password, user + payload, hashlib.sha256).digest()
    return struct.pack("!HH", 0x0200, 36 + len(user)) + mac + user + payload


def send(daemon, datagram):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(datagram, daemon.address("collectd/udp"))


def later(path):
    """Give a file a time of change that differs, however coarse the file system's clock is."""
    stamp = time.time() + 5
    os.utime(path, (stamp, stamp))


def test_a_notification_becomes_an_event(daemon, wait_until):
    d = daemon()
    now = int(time.time())
    send(d, text(0, b"h1") + number(1, now) + number(0x0101, 2) + text(2, b"df") + text(0x0100, b"almost full"))
    query = [("from", now - 60), ("until", now + 60)]
    events = wait_until(lambda: d.get("/events/get_data", query)[1], "the event")
    assert [(e["when"], e["data"], e["what"]) for e in events] == [(now, "almost full", "h1/df")]
    assert "warning" in events[0]["tags"]
    assert d.settled()["received"] == 0
    d.kill()
    d.start()
    assert d.get("/events/get_data", query)[1] == events


def test_a_user_added_later_is_known(daemon, wait_until, tmp_path):
    auth = tmp_path / "auth"
    auth.write_text("alice: one\n")
    d = daemon("--collectd-security", "sign", "--collectd-auth", str(auth))
    send(d, signed(b"bob", b"two", value()))
    wait_until(lambda: d.ledger["rejected"].get("security") == 1, "the refusal")
    auth.write_text("alice: one\nbob: two\n")
    later(auth)

    def accepted():
        send(d, signed(b"bob", b"two", value()))
        return d.ledger["stored"]

    wait_until(accepted, "the new AuthFile to be read")
    d.settled()


def test_a_type_defined_later_is_known(daemon, wait_until, tmp_path):
    types = tmp_path / "types.db"
    types.write_text("mine value:GAUGE:0:U\n")
    d = daemon("--typesdb", str(types))
    send(d, value(b"mine") + value(b"yours", b"h2"))
    wait_until(lambda: d.ledger["received"] == 2, "the datagram")
    assert d.settled()["rejected"] == {"unknown_type": 1}
    types.write_text("mine value:GAUGE:0:U\nyours value:GAUGE:0:U\n")
    later(types)

    def accepted():
        send(d, value(b"yours", b"h2"))
        return d.ledger["stored"] >= 2

    wait_until(accepted, "the new types.db to be read")
    d.settled()
