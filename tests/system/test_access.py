"""TLS, rights, and limits of sources and prefixes, as an operator sets them."""

import hmac
import socket
import ssl
import struct
import time

import pytest
import trustme

NOW = int(time.time())


@pytest.fixture
def configured(daemon, tmp_path):
    """``configured(toml)``: a daemon with these settings."""

    def start(text):
        file = tmp_path / "ingestd.toml"
        file.write_text(text)
        return daemon("--config", str(file))

    return start


def refused(daemon, kind):
    return {item["name"]: item["reasons"] for item in daemon.status()["refusals"][kind]}


def test_an_explosion_fills_its_own_prefix_and_nobody_elses(configured):
    d = configured('[limits]\nprefix_series = 100\n[[limits.prefixes]]\nprefix = "big."\nseries = 1000\n')
    for round_ in range(3):
        d.send(b"".join(b"bad.request%d 1 %d\n" % (i + 500 * round_, NOW) for i in range(500)))
        d.send(b"".join(b"%s.cpu%d 1 %d\n" % (host, i, NOW) for host in (b"web1", b"web2") for i in range(50)))
    d.send(b"".join(b"big.%d 1 %d\n" % (i, NOW) for i in range(1001)))
    ledger = d.settled(3 * 600 + 1001)
    assert ledger["rejected"] == {"quota": 3 * 500 - 100 + 1}
    assert refused(d, "prefixes") == {"bad": {"quota": 1400}, "big.": {"quota": 1}}
    assert refused(d, "sources") == {"127.0.0.1": {"quota": 1401}}
    # The count of a prefix survives a restart: it is that of the names.
    d.kill()
    d.start()
    d.send(b"bad.more 1 %d\nweb1.cpu0 2 %d\nweb1.fresh 1 %d\n" % (NOW, NOW, NOW))
    assert d.settled(3)["rejected"] == {"quota": 1}


def test_collectd_users_write_what_is_theirs(configured, tmp_path, wait_until):
    auth = tmp_path / "auth"
    auth.write_text("alice: one\nbob: two\n")
    d = configured(
        f'[collectd.security]\nlevel = "sign"\nauth_file = "{auth}"\n'
        '[access]\nanonymous = []\ncollectd_users = {alice = ["web."], bob = ["db.", "cache."]}\n'
    )

    def text(kind, value):
        return struct.pack("!HH", kind, len(value) + 5) + value + b"\0"

    def send(user, password, host):
        payload = text(0, host) + struct.pack("!HHQ", 1, 12, int(time.time())) + text(2, b"plug") + text(4, b"gauge")
        payload += struct.pack("!HHHBd", 6, 15, 1, 1, 0.0)
        mac = hmac.digest(password, user + payload, "sha256")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(struct.pack("!HH", 0x0200, 36 + len(user)) + mac + user + payload, d.address("collectd/udp"))

    for host in (b"web", b"db", b"cache", b"web"):
        send(b"alice", b"one", host)
        send(b"bob", b"two", host)
    d.send(b"web.plain 1 %d\n" % NOW)
    wait_until(lambda: d.ledger["received"] == 9, "all datagrams")
    ledger = d.settled(9)
    assert (ledger["stored"], ledger["rejected"]) == (4, {"forbidden": 5})
    assert refused(d, "sources") == {
        "user alice at 127.0.0.1": {"forbidden": 2},
        "user bob at 127.0.0.1": {"forbidden": 2},
        "127.0.0.1": {"forbidden": 1},
    }


def test_a_certificate_is_renewed_while_the_daemon_runs(configured, tmp_path, wait_until):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def issue():
        certificate = authority.issue_cert("127.0.0.1", common_name="server")
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.new")
        (tmp_path / "server.new").replace(tmp_path / "server.pem")
        return ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())

    def context(name):
        made = ssl.create_default_context(cafile=tmp_path / "ca.pem")
        authority.issue_cert(name, common_name=name).configure_cert(made)
        return made

    def send(name, data):
        with (
            socket.create_connection(d.address("graphite/tcp"), timeout=60) as plain,
            context(name).wrap_socket(plain, server_hostname="127.0.0.1") as s,
        ):
            s.sendall(data)
            seen = s.getpeercert(binary_form=True)
            s.unwrap()
        return seen

    first = issue()
    d = configured(
        f'[graphite]\nudp = false\n[graphite.tls]\ncertificate = "{tmp_path}/server.pem"\n'
        f'client_ca = "{tmp_path}/ca.pem"\nclient_certificates = "required"\n'
        '[access]\ncertificates = {web1 = ["web1."], "*" = ["misc."]}\n'
    )
    assert "graphite/udp" not in d.addresses
    assert send("web1", b"web1.load 1 %d\nweb2.load 1 %d\n" % (NOW, NOW)) == first
    assert send("other", b"misc.x 1 %d\nweb1.load 5 %d\n" % (NOW, NOW)) == first
    ledger = d.settled(4)
    assert (ledger["stored"], ledger["rejected"]) == (2, {"forbidden": 2})
    second = issue()
    wait_until(lambda: send("web1", b"") == second, "the renewed certificate")
    (tmp_path / "server.pem").write_text("not a certificate\n")
    wait_until(lambda: "stays in force" in d.log, "a word on the broken certificate")
    assert send("web1", b"web1.load 2 %d\n" % NOW) == second
    d.settled(5)


def test_a_wide_listener_without_authentication_is_warned_of(configured):
    d = configured('[graphite]\nlisten = ["0.0.0.0:0"]\n[access]\nanonymous = [""]\n')
    assert "takes points of everybody who reaches it" not in d.log  # the flag, loopback, beats the file
    d.kill()
    d.start("--graphite", "127.0.0.1:0", "--collectd", "0.0.0.0:0")
    assert "collectd/udp listens at 0.0.0.0:0 and takes points of everybody who reaches it" in d.log


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[graphite.tls]\nkey = "/nowhere"\n', "there is no certificate"),
        ('[graphite.tls]\ncertificate = "/nowhere.pem"\n', "/nowhere.pem"),
        ('[graphite.tls]\nclient_certificates = "required"\n', "needs certificate and client_ca"),
        ("[access]\ncollectd_users = {alice = 3}\n", "access.collectd_users.alice"),
        ("[[limits.prefixes]]\nseries = 3\n", "limits.prefixes.0.prefix"),
    ],
)
def test_settings_that_cannot_be(tmp_path, text, message):
    import subprocess
    import sys

    file = tmp_path / "ingestd.toml"
    file.write_text(text)
    options = ["--graphite", "127.0.0.1:0", "--pickle", "off", "--collectd", "off", "--http", "off"]
    command = [sys.executable, "-m", "ingestd.cli", "serve", "--config", str(file), "--data", str(tmp_path / "d")]
    found = subprocess.run([*command, *options], check=False, capture_output=True, text=True, timeout=60)
    assert found.returncode != 0
    assert message in found.stderr


def test_short_memory_refuses_new_series_alone(configured, wait_until):
    d = configured("[limits]\nmemory = 1048576\n")
    wait_until(lambda: "new series are refused" in d.log, "the first look at the memory")
    d.send(b"a.b 1 %d\n" % NOW)
    assert d.settled(1)["rejected"] == {"limit": 1}
    assert d.get("/health", decode=False)[0] == 200
    d.kill()
    (d.directory.parent / "ingestd.toml").write_text("")
    d.start()
    d.send(b"a.b 1 %d\n" % NOW)
    (d.directory.parent / "ingestd.toml").write_text("[limits]\nmemory = 1048576\n")
    d.settled(1)
    d.kill()
    d.start()
    wait_until(lambda: d.log.count("new series are refused") == 2, "the first look at the memory")
    d.send(b"a.b 2 %d\na.c 2 %d\n" % (NOW, NOW))
    ledger = d.settled(2)
    assert (ledger["stored"], ledger["rejected"]) == (1, {"limit": 1})
