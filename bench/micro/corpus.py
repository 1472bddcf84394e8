"""The points that the parsers read: one step of a fleet, as each protocol has it."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import struct
from itertools import pairwise
from typing import Final

import numpy as np
from cryptography.hazmat.decrepit.ciphers.modes import OFB
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256

from bench.material import GOLDEN, PIECE
from bench.parsing import NOW, new_parser
from bench.storing import BATCH
from ingestd._speed import Table
from ingestd.load.material import Datagrams
from ingestd.points import Values
from ingestd.wire.batch import encode_batch
from ingestd.wire.seal import Level, parse_auth_file

HOSTS: Final = 500
METRICS: Final = 20
"""Values of a host: gauges."""
POINTS: Final = HOSTS * METRICS
FRAME: Final = 500
"""Points of a pickle frame: what carbon's own relay sends at once."""
IV: Final = bytes(range(16))


class Corpus:
    """The same points of the same series, in the same order, for all protocols.

    ``paths`` and ``values`` float64[10,000] are what the parser reads out of collectd's datagrams; lines, pickles and
    batches are made of these.
    """

    def __init__(self) -> None:
        sent = _made()
        user, password = next(iter(parse_auth_file((GOLDEN / "auth_file").read_text()).items()))
        self.datagrams: dict[Level, list[bytes]] = {
            Level.NONE: sent,
            Level.SIGN: [_signed(datagram, user, password) for datagram in sent],
            Level.ENCRYPT: [_encrypted(datagram, user, password) for datagram in sent],
        }
        parsed = new_parser(Level.NONE).parse_all(sent, Table(), NOW)
        self.paths = [new.path for new in parsed.unknown]
        self.values: Values = parsed.batch.values
        numbers = self.values.tolist()
        keys = [path.encode() for path in self.paths]
        lines = [b"%s %.2f %d\n" % (key, value, NOW) for key, value in zip(keys, numbers, strict=True)]
        self.lines = [b"".join(lines[i : i + BATCH]) for i in range(0, POINTS, BATCH)]
        items = [(path, (NOW, value)) for path, value in zip(self.paths, numbers, strict=True)]
        self.pickles = [pickle.dumps(items[i : i + FRAME], protocol=2) for i in range(0, POINTS, FRAME)]
        self.message = encode_batch(b"bench", 1, 0, keys, np.arange(POINTS), np.full(POINTS, NOW), self.values)


def _made() -> list[bytes]:
    """The datagrams of one step."""
    fleet = Datagrams(HOSTS, METRICS, 10)
    rows, out = np.arange(fleet.rows, dtype=np.uint32), bytearray(PIECE)
    sent: list[bytes] = []
    while len(rows):
        filled = fleet.fill(rows, NOW, out)
        sent += [bytes(out[start:end]) for start, end in pairwise([0, *filled.ends])]
        rows = rows[filled.rows :]
    return sent


def _signed(payload: bytes, user: bytes, password: bytes) -> bytes:
    """``payload`` behind a part with its signature, as collectd's network plugin writes it."""
    mac = hmac.digest(password, user + payload, "sha256")
    return struct.pack(">HH", 0x0200, 36 + len(user)) + mac + user + payload


def _encrypted(payload: bytes, user: bytes, password: bytes) -> bytes:
    """``payload`` as an encrypted part."""
    encryptor = Cipher(AES256(hashlib.sha256(password).digest()), OFB(IV)).encryptor()
    sealed = encryptor.update(hashlib.sha1(payload, usedforsecurity=False).digest() + payload)
    return struct.pack(">HHH", 0x0210, 42 + len(user) + len(payload), len(user)) + user + IV + sealed
