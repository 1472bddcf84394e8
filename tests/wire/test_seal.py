"""Users, signatures and encryption of collectd's protocol."""

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import OFB
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from hypothesis import given
from hypothesis import strategies as st

from ingestd._speed import xor_compiled
from ingestd.wire import seal
from ingestd.wire.framing import WireError
from ingestd.wire.seal import Level, Security, decrypted, parse_auth_file, parse_level, verified

USERS = {b"alice": b"secret", b"b": "pässwörd b".encode()}


def signed(user, password, payload):
    mac = hmac.digest(password, user + payload, "sha256")
    return struct.pack(">HH", 0x0200, 36 + len(user)) + mac + user + payload


def encrypted(user, password, payload, iv=bytes(range(16))):
    encryptor = Cipher(algorithms.AES256(hashlib.sha256(password).digest()), OFB(iv)).encryptor()
    sealed = encryptor.update(hashlib.sha1(payload).digest() + payload) + encryptor.finalize()
    head = struct.pack(">HHH", 0x0210, 42 + len(user) + len(payload), len(user))
    return head + user + iv + sealed


def test_auth_file():
    text = "alice: secret\n  bob :\t pass word \n# eve: x\n\nnobody\nempty:   \n:none\nalice: other\ncarl:a:b\r\nü: ö"
    assert parse_auth_file(text) == {
        b"alice": b"secret",
        b"bob ": b"pass word ",
        b"carl": b"a:b",
        "ü".encode(): "ö".encode(),
    }


@given(st.text() | st.text("ab: \t#\r\n"))
def test_any_auth_file_is_read(text):
    assert all(user and password for user, password in parse_auth_file(text).items())


def test_levels():
    assert [parse_level(t) for t in ("None", "sign", "ENCRYPT")] == [Level.NONE, Level.SIGN, Level.ENCRYPT]
    with pytest.raises(WireError, match="None, Sign or Encrypt"):
        parse_level("all")
    with pytest.raises(WireError, match="AuthFile"):
        Security(Level.SIGN)
    assert Security().users is None


@given(st.sampled_from(sorted(USERS)), st.binary(max_size=200), st.binary(max_size=20))
def test_signed_by_a_user(user, payload, before):
    data = before + signed(user, USERS[user], payload)
    start, stop, end = len(before), len(before) + 36 + len(user), len(data)
    assert verified(data, start, stop, end, USERS)
    assert not verified(data, start, stop, end, {user: b"another"})
    assert not verified(data, start, stop, end, {})
    for position in (start + 4, start + 36, end - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        assert not verified(bytes(changed), start, stop, end, USERS)


@given(st.sampled_from(sorted(USERS)), st.binary(min_size=1, max_size=200), st.binary(max_size=20))
def test_encrypted_by_a_user(user, payload, before):
    data = before + encrypted(user, USERS[user], payload)
    start, stop = len(before), len(data)
    assert decrypted(data, start, stop, USERS) == (user, payload)
    assert decrypted(data, start, stop, {user: b"another"}) is None
    assert decrypted(data, start, stop, {}) is None
    for position in (start + 6, start + 6 + len(user), stop - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        assert decrypted(bytes(changed), start, stop, USERS) is None


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=100), st.binary(min_size=16, max_size=16)), max_size=5))
def test_parts_one_after_the_other_and_false_ones_between(sent):
    """What is kept of a password carries nothing over from one part to the next."""
    for password in (b"secret", b"p" * 64, b"p" * 65):
        users = {b"alice": password}
        for payload, iv in sent:
            good, false = encrypted(b"alice", password, payload, iv), encrypted(b"alice", b"another", payload, iv)
            assert decrypted(false, 0, len(false), users) is None
            assert decrypted(good, 0, len(good), users) == (b"alice", payload)
            data = signed(b"alice", password, payload)
            assert verified(data, 0, 41, len(data), users)


@given(st.binary(max_size=40), st.binary(max_size=9))
def test_xor_is_compiled_to_the_same(one, more):
    other = one[::-1] + more
    expected = bytes(a ^ b for a, b in zip(one, other, strict=False))
    assert seal.xor(one, other) == expected
    assert xor_compiled is None or xor_compiled(one, other) == expected


def test_parts_that_are_too_short():
    assert not verified(signed(b"", b"x", b""), 0, 36, 36, {b"": b"x"})
    assert decrypted(encrypted(b"alice", b"secret", b""), 0, 47, USERS) is None
    assert decrypted(encrypted(b"", b"secret", b"payload"), 0, 49, {b"": b"secret"}) is None


@given(st.binary(max_size=100))
def test_any_bytes_are_refused(data):
    assert not verified(data, 0, min(len(data), 41), len(data), USERS)
    assert decrypted(data, 0, len(data), USERS) is None
