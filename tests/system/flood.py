"""A sender that offers more than a daemon can take: ``python flood.py JSON``; prints what it sent as JSON.

``{"kind": "tcp" or "udp", "address": [host, port], "prefix": text, "series": number, "connections": number,
"growth": seconds, "seconds": seconds, "rate": points a second (0: as fast as it goes)}``. Lines come in pieces (a TCP
write of 2,000, a datagram of 30) that are made before, hold the series in random order, and get the time when they are
sent. The series appear evenly over the first ``growth`` seconds.
"""

import contextlib
import json
import os
import random
import socket
import sys
import time

LINES = {"tcp": 2000, "udp": 30}
TIME = b"@@@@@@@@@@"


def pieces(kind, prefix, series):
    order = list(range(series))
    random.Random(prefix).shuffle(order)
    size = LINES[kind]
    return [
        b"".join(b"%s.s%06d.value %d %s\n" % (prefix.encode(), i, i % 1000, TIME) for i in order[at : at + size])
        for at in range(0, series - series % size, size)
    ]


def flood(sockets, made, *, growth, seconds, rate, size):
    """Send through each socket in turn; the pieces sent and the seconds that sending took."""
    rnd = random.Random(len(made))
    began = time.monotonic()
    sent, blocked = 0, 0.0
    while (elapsed := time.monotonic() - began) < seconds:
        if rate and sent * size > rate * elapsed:
            time.sleep(0.001)
            continue
        fresh = min(int(len(made) * elapsed / growth) if growth else len(made), len(made) - 1)
        # A new piece as soon as it is due, and else any of those before it.
        piece = made[fresh if rnd.random() < 0.2 else rnd.randrange(fresh + 1)]
        data = piece.replace(TIME, b"%d" % time.time())
        before = time.monotonic()
        sockets[sent % len(sockets)].sendall(data)
        blocked += time.monotonic() - before
        sent += 1
    return sent, blocked


def main():
    wish = json.loads(sys.argv[1])
    kind = wish["kind"]
    # The daemon is what is to be overloaded, not the machine.
    os.nice(10)
    made = pieces(kind, wish["prefix"], wish["series"])
    keys = ("growth", "seconds", "rate")
    with contextlib.ExitStack() as stack:
        sockets = []
        for _ in range(wish["connections"]):
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
            sockets.append(stack.enter_context(sock))
            sock.connect(tuple(wish["address"]))
        began = time.monotonic()
        sent, blocked = flood(sockets, made, **{k: wish[k] for k in keys}, size=LINES[kind])
        if kind == "tcp":
            for sock in sockets:
                sock.shutdown(socket.SHUT_WR)
            # All was read once the daemon closes its side.
            assert all(sock.recv(1) == b"" for sock in sockets)
        seconds = time.monotonic() - began
    answer = {"pieces": sent, "points": sent * LINES[kind], "seconds": seconds, "blocked": blocked / seconds}
    print(json.dumps(answer))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
