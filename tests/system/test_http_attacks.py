"""Attacks on the HTTP port of a real daemon: floods, slow clients, hostile questions, hostile names, wrong tokens."""

import base64
import json
import resource
import socket
import ssl
import time
import urllib.parse
from contextlib import ExitStack, suppress
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

NOW = int(time.time()) // 10 * 10
RANGE = {"start": NOW - 10, "end": NOW, "now": NOW}


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def configured(daemon, tmp_path):
    """``configured(toml)``: a daemon with these settings."""

    def start(text):
        file = tmp_path / "ingestd.toml"
        file.write_text(text)
        return daemon("--config", str(file))

    return start


def ask(d, target, method="GET", context=None, body=None, **headers):
    """(status, body) of a request on a connection of its own, headers as they are given."""
    raw = socket.create_connection(d.address("http"), timeout=60)
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with context.wrap_socket(raw, server_hostname="127.0.0.1") if context else raw as s:
        s.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        answer = b""
        while piece := s.recv(1 << 16):
            answer += piece
    if not answer:
        raise ConnectionError("no answer")
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text


def shown(d, part="connections"):
    return d.status()["http"][part]


def quiet(d):
    """A log without tracebacks and errors."""
    assert "Traceback" not in d.log
    assert " error " not in d.log


def test_ten_thousand_connections_lock_nobody_out(daemon, effort, figure):
    connections = effort(4_000, 10_000)
    d = daemon()
    before, slowest = resident(d.process), 0.0
    with ExitStack() as stack:
        for i in range(connections):
            s = stack.enter_context(socket.create_connection(d.address("http")))
            with suppress(ConnectionError):
                s.sendall(b"GET /render?target=")
            if i % 1_000 == 999:
                began = time.perf_counter()
                assert d.get("/health", decode=False)[0] == 200
                slowest = max(slowest, time.perf_counter() - began)
        counts = shown(d)
        assert counts["open"] <= 1_000
        assert counts["evicted"] + counts["late_heads"] >= connections - 1_000
        assert counts["refused"] == 0
        grown = resident(d.process) - before
    assert grown < 100 << 20
    figure(f"{connections:,} connections: /health within {slowest * 1e3:.0f} ms, {grown >> 20} MiB more")
    d.send(b"good 1 %d\n" % NOW)
    d.settled(1)
    quiet(d)


def test_answers_that_nobody_reads_are_dropped(configured, wait_until, figure):
    d = configured('[http]\nwrite_timeout = "1s"\nunread = "32MiB"\n')
    d.send(b"".join(b"wide.%04d%s 1 %d\n" % (i, b"x" * 1000, NOW) for i in range(5_000)))
    d.settled(5_000)
    before = resident(d.process)
    with ExitStack() as stack:
        for _ in range(30):
            s = stack.enter_context(socket.socket())
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.connect(d.address("http"))
            s.sendall(b"GET /metrics/index.json HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(lambda: shown(d)["unread"] == 30, "unread answers to be dropped")
        assert d.get("/health", decode=False)[0] == 200
    grown = resident(d.process) - before
    figure(f"30 answers of 5 MB unread: {grown >> 20} MiB more")
    assert grown < 200 << 20
    quiet(d)


def test_questions_whose_clients_hang_up_free_the_workers(daemon, figure, wait_until):
    d = daemon()
    d.send(b"".join(b"a.b%d.c%d 1 %d\n" % (i % 50, i, NOW) for i in range(2_000)))
    d.settled(2_000)
    heavy = "/render?format=json&from=-6h&target=" + "sumSeries(" * 40 + "a.*.*" + ")" * 40
    began = time.perf_counter()
    for _ in range(1_000):
        with socket.create_connection(d.address("http")) as s:
            s.sendall(f"GET {heavy} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    wait_until(lambda: d.get("/render?target=a.b1.c1&format=json", decode=False)[0] == 200, "a worker")
    figure(f"1,000 questions hung up on: the next is answered after {time.perf_counter() - began:.1f} s")
    quiet(d)


BOMBS = [
    ("nested 300 deep", {"target": "f(" * 300 + "a" + ")" * 300}, "limits.query_depth"),
    ("nested 10,000 deep", {"target": "sum(" * 10_000 + "a" + ")" * 10_000}, "limits.query_depth"),
    ("piped 300 times", {"target": "a" + "|sum()" * 300}, "limits.query_depth"),
    ("2^20 by braces", {"target": "a." + "{x,y}" * 20}, "braces"),
    ("2^20 by nodes of braces", {"target": "a." + ".".join(["{x,y}"] * 20)}, None),
    ("1,001 targets", [("target", f"a{i}") for i in range(1_001)], "limits.query_targets"),
    ("a long target", {"target": "a" * 66_000}, "65536"),
    ("a million years", {"target": "a.*.*", "from": "-1000000y"}, "-1000000y"),
    ("all of time", {"target": "a.*.*", "from": "0", "until": "4000000000"}, None),
    ("no end", {"target": "a.*.*", "from": "0", "until": "9" * 30}, "9999"),
    ("no points", {"target": "a.b1.c1", "maxDataPoints": "0"}, "maxDataPoints"),
    ("fewer than no points", {"target": "a.*.*", "maxDataPoints": "-1"}, None),
    ("a trillion points", {"target": "a.*.*", "maxDataPoints": "1e12"}, None),
    ("a trillion points in digits", {"target": "a.*.*", "maxDataPoints": "1" + "0" * 12}, None),
    ("a pattern that backtracks", {"target": 'aliasSub(a.b1.*,"(a+)+$|(x+x+)+y","b")'}, None),
    ("a pattern that explodes", {"target": 'aliasSub(a.b1.*,"' + "(a{1,900}){1,900}" + '","b")'}, "regular expression"),
    ("a replacement that grows", {"target": 'aliasSub(a.b1.c1,"","' + "x" * 60_000 + '")'}, "characters"),
    ("globs everywhere", {"target": "*.*.*.*.*.*"}, None),
    ("any depth, often", {"target": "**.**.*.**.x.**.*"}, None),
    ("stars in a node", {"target": "a." + "*b" * 30 + ".*"}, None),
    (
        "8,000 patterns",
        {"target": "sumSeries(" + ",".join(f"a{i}" for i in range(8_000)) + ")"},
        "limits.query_patterns",
    ),
    ("averages of averages", {"target": "movingAverage(" * 30 + "a.b1.c1" + ",2)" * 30}, "limits.query_calls"),
    ("a window of centuries", {"target": 'movingAverage(a.*.*,"9000000d")'}, None),
    ("a shift of centuries", {"target": 'timeShift(a.*.*,"3000y")'}, None),
    ("a NUL", {"target": "a\0b"}, None),
    ("a lone surrogate", {"target": "a%ud800"}, None),
]


@pytest.fixture(scope="module")
def crowd():
    """Lines of a tree of many names."""
    return lambda names: b"".join(b"a.b%d.c%d 1 %d\n" % (i % 300, i, NOW) for i in range(names))


def test_hostile_questions_get_short_answers_in_time(daemon, crowd, effort, figure):
    names = effort(5_000, 180_000)
    d = daemon()
    d.send(crowd(names))
    d.settled(names)
    before, slowest = resident(d.process), (0.0, "")
    for what, parameters, words in BOMBS:
        pairs = [("from", "-2min"), *(parameters.items() if isinstance(parameters, dict) else parameters)]
        form = urllib.parse.urlencode([*pairs, ("format", "json")]).encode()
        began = time.perf_counter()
        status, text = d.get("/render", data=form, decode=False)
        slowest = max(slowest, (time.perf_counter() - began, what))
        if words is None:
            assert status in (200, 400), (what, status, text[:300])
        else:
            assert status == 400, (what, status, text[:300])
            assert words in text, (what, text)
        if status == 400:
            assert len(text) < 1_100, what
            assert "\n" not in text, what
        assert d.get("/health", decode=False)[0] == 200, what
    figure(f"{len(BOMBS)} hostile questions over {names:,} names: the slowest took {slowest[0]:.1f} s ({slowest[1]})")
    assert resident(d.process) - before < 1 << 30
    quiet(d)


def test_bodies_and_forms_are_bounded(daemon):
    d = daemon()
    fifty = b"target=" + b"a" * (50 << 20)
    with socket.create_connection(d.address("http")) as s:
        s.sendall(b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(fifty))  # fmt: skip
        with suppress(ConnectionError):
            s.sendall(fifty)
        assert b" 413 " in s.recv(1000)
    assert d.get("/render", data=b"&".join(b"x%d=" % i for i in range(2_001)), decode=False)[0] == 400
    assert ask(d, "/events", "POST", body=b"x" * 100, Content_Encoding="gzip")[0] == 415
    quiet(d)


NAMES = [
    "<script>alert(1)</script>", "'\"><img/src=x>", "=cmd|'/C_calc'!A0", "+1+1", "-1+1", "@SUM(1)", "a;=1+1",
    "\u202egnp.exe", "\u2066x\u2069", "a\u200bb", "a&b", "a%0d%0aSet-Cookie:x", "${jndi:x}", "javascript:alert(1)",
    "]]>", "{{7*7}}", "a\\u003cb", "\x1b[31mred", "a\x07b", "a\x7fb", "\u2028x", "a\x85b",
]  # fmt: skip


def test_no_name_becomes_markup_formula_or_a_line_of_the_log(daemon):
    d = daemon()
    d.send(b"".join(b"evil.%s 1 %d\n" % (name.encode(), NOW) for name in NAMES))
    d.send(b"".join(b"%s 1 %d\n" % (name.encode(), NOW) for name in NAMES))
    for name in NAMES:
        event = json.dumps({"what": name, "tags": [name], "data": f"{name}\r\n{name}"}).encode()
        assert d.get("/events/", data=event, decode=False)[0] == 200
    targets = ["evil.*", "*", "alias(evil.*,'=1+1')", "alias(evil.*,'<b>')", 'alias(evil.*,"a\r\nb")']
    for path, parameters in [
        *(("/render", [("target", t), ("format", f), *times]) for t in targets for f in ("json", "csv", "raw")
          for times in [[("from", NOW - 10), ("until", NOW), ("now", NOW)]]),
        ("/render", [("target", "evil.*"), ("format", "json"), ("jsonp", "cb")]),
        *(("/metrics/find", [("query", "evil.*"), ("format", f)])
          for f in ("treejson", "completer", "json", "nodelist")),
        ("/metrics/expand", [("query", "*")]), ("/metrics/index.json", []), ("/events/get_data", []), ("/status", []),
        ("/metrics", []), ("/render", [("target", "<b>(a)"), ("format", "json")]),
        ("/render", [("target", "a"), ("from", "<b>\x1b[31m"), ("format", "json")]),
        ("/render", [("target", "a"), ("jsonp", "<b>"), ("format", "json")]), ("/<b>", []),
    ]:  # fmt: skip
        raw = ask_raw(d, path + "?" + urllib.parse.urlencode(parameters))
        head, _, body = raw.partition(b"\r\n\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head.decode().split("\r\n")[1:])
        kind = headers["content-type"].split(";")[0]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert kind in ("application/json", "text/javascript", "text/csv", "text/plain"), path
        assert "set-cookie" not in headers
        text = body.decode()
        if kind in ("application/json", "text/javascript"):
            assert text.isascii()
            assert "\x1b" not in text
        elif kind == "text/plain":
            # splitlines knows every separator: each line is one of ours.
            assert all(line.isprintable() or "evil" in line or "|" in line for line in text.splitlines())
            assert "\x1b" not in text
        else:
            cells = [line for line in text.split("\r\n") if line]
            assert all(not cell.lstrip('"').startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    log = d.log
    assert all(line.isprintable() for line in log.split("\n"))
    d.settled()
    quiet(d)


def ask_raw(d, target):
    with socket.create_connection(d.address("http"), timeout=60) as s:
        s.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := s.recv(1 << 16):
            answer += piece
    return answer


def line_of(name, scopes, token):
    return f"{name} {scopes} {sha256(token.encode()).hexdigest()}\n"


def test_tokens_are_read_again_when_their_file_changes(configured, tmp_path, wait_until):
    file = tmp_path / "tokens"
    file.write_text(line_of("grafana", "read", "one"))
    d = configured(f'[http.auth]\ntokens_file = "{file}"\n')
    assert ask(d, "/status")[0] == 401
    assert ask(d, "/status", Authorization="Bearer one")[0] == 200
    assert ask(d, "/status", Authorization="Basic " + base64.b64encode(b"admin:one").decode())[0] == 200
    assert ask(d, "/flush", "POST", Authorization="Bearer one")[0] == 403
    assert ask(d, "/flush", "POST")[0] == 401
    file.write_text("this is no line\n")
    wait_until(lambda: "stays in force" in d.log, "the broken file to be refused")
    assert ask(d, "/status", Authorization="Bearer one")[0] == 200
    file.write_text(line_of("ops", "admin", "two"))
    wait_until(lambda: ask(d, "/status", Authorization="Bearer one")[0] == 401, "the token to be revoked")
    assert ask(d, "/flush", "POST", Authorization="Bearer two")[0] == 200
    assert "one" not in [word.strip("'\"") for word in d.log.split()]


def test_a_start_without_the_file_of_tokens_is_refused(tmp_path, configured):
    with pytest.raises(pytest.fail.Exception, match="none"):
        configured(f'[http.auth]\ntokens_file = "{tmp_path}/none"\n')


@pytest.fixture
def secured(configured, tmp_path, monkeypatch):
    """A daemon with TLS that asks for certificates; its authority, and the settings' files."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    (tmp_path / "tokens").write_text(
        "cert:grafana read -\n" + line_of("ci", "write", "secret") + line_of("x", "read", "reading")
    )
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    def start(more=""):
        monkeypatch.setattr("urllib.request.urlopen", opener(trusting))
        return configured(
            f'[http]\n{more}\n[http.auth]\ntokens_file = "{tmp_path}/tokens"\n'
            f'[http.tls]\ncertificate = "{tmp_path}/server.pem"\n'
            f'client_ca = "{tmp_path}/ca.pem"\nclient_certificates = "optional"\n'
        )

    return authority, trusting, start


def opener(context):
    """urlopen for a daemon whose /health is behind TLS."""
    import urllib.request

    plain = urllib.request.urlopen

    def urlopen(request, timeout):
        request.full_url = request.full_url.replace("http://", "https://", 1)
        return plain(request, timeout=timeout, context=context)

    return urlopen


def test_certificates_open_what_their_names_may(secured, tmp_path, wait_until):
    authority, trusting, start = secured
    d = start()
    holder = ssl.create_default_context()
    authority.configure_trust(holder)
    authority.issue_cert("grafana", common_name="grafana").configure_cert(holder)
    stranger = ssl.create_default_context()
    authority.configure_trust(stranger)
    authority.issue_cert("mallory", common_name="mallory").configure_cert(stranger)
    event = b'{"what": "x"}'
    assert ask(d, "/status", context=holder)[0] == 200
    assert ask(d, "/events", "POST", context=holder, body=event)[0] == 403
    assert ask(d, "/events", "POST", context=holder, body=event, Authorization="Bearer secret")[0] == 200
    assert ask(d, "/status", context=stranger)[0] == 401
    assert ask(d, "/status", context=trusting)[0] == 401
    forged = ssl.create_default_context()
    authority.configure_trust(forged)
    trustme.CA().issue_cert("grafana", common_name="grafana").configure_cert(forged)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        ask(d, "/status", context=forged)
    old = ssl.create_default_context()
    authority.configure_trust(old)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert ask(d, "/health", context=old)[0] == 200
    # A renewed certificate of another authority is served without a restart.
    other = trustme.CA()
    other.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    renewed = ssl.create_default_context()
    other.configure_trust(renewed)

    def served():
        with suppress(ssl.SSLError):
            return ask(d, "/health", context=renewed)[0] == 200

    wait_until(served, "the renewed certificate")
    quiet(d)


def test_answers_that_nobody_reads_are_dropped_over_tls_too(secured, wait_until):
    _, trusting, start = secured
    d = start('write_timeout = "1s"')
    d.send(b"".join(b"wide.%04d%s 1 %d\n" % (i, b"x" * 1000, NOW) for i in range(5_000)))
    reading = {"Authorization": "Bearer reading", "context": trusting}

    def shown():
        return json.loads(ask(d, "/status", **reading)[1])

    wait_until(lambda: shown()["ledger"]["stored"] == 5_000, "the journal to catch up")
    with ExitStack() as stack:
        for _ in range(3):
            raw = socket.socket()
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.connect(d.address("http"))
            s = stack.enter_context(trusting.wrap_socket(raw, server_hostname="127.0.0.1"))
            s.sendall(b"GET /metrics/index.json HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer reading\r\n\r\n")
        wait_until(lambda: shown()["http"]["connections"]["unread"] == 3, "unread answers to be dropped")
    quiet(d)


def test_handshakes_that_are_left_make_room(secured, figure):
    _, trusting, start = secured
    d = start("max_connections = 50")
    with ExitStack() as stack:
        for _ in range(500):
            s = stack.enter_context(socket.create_connection(d.address("http")))
            with suppress(ConnectionError):
                s.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline
            with suppress(OSError):
                if ask(d, "/health", context=trusting)[0] == 200:
                    break
        assert d.stop() == 0
    quiet(d)
