"""collectd's signed and encrypted parts: HMAC-SHA-256 and AES-256-OFB, and who may send what.

A signature covers the name of the user and all that follows its part. An encrypted part holds the SHA-1 of its
payload before the payload: that is collectd's format, and no protection against someone who knows the payload.
Neither holds anything against a datagram that is sent twice.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.modes import CBC

from ingestd._speed import xor_compiled
from ingestd.wire.framing import WireError

NESTING_LIMIT: Final = 2
"""Sealed parts within each other: senders never nest, and every level reads all that follows once more."""

_HEADER: Final = 4
_MAC: Final = 32
_USER_LENGTH: Final = 2
_IV: Final = 16
_CHECKSUM: Final = 20
SIGN_OVERHEAD: Final = _HEADER + _MAC
ENCRYPT_OVERHEAD: Final = _HEADER + _USER_LENGTH + _IV + _CHECKSUM
_BLOCK: Final = 16
_ZEROS: Final = bytes(1 << 16)
"""At least what a part can hold."""
_PASSWORDS: Final = 1024
"""Passwords whose keys are kept: 1 KB each."""


class Level(IntEnum):
    """How a part must be protected at least to be read."""

    NONE = 0
    SIGN = 1
    ENCRYPT = 2


@dataclass(frozen=True, slots=True)
class Security:
    """What a listener asks of its senders. Raises :class:`WireError` for a level that needs users and has no AuthFile.

    ``users``: password by user, both as bytes; None = there is no AuthFile: a signature is then not verified and
    counts for nothing, and nothing can be decrypted.
    """

    level: Level = Level.NONE
    users: Mapping[bytes, bytes] | None = None

    def __post_init__(self) -> None:
        if self.users is None and self.level is not Level.NONE:
            raise WireError(f"collectd security level {self.level.name.lower()} needs an AuthFile")


def parse_level(text: str) -> Level:
    """The level that collectd calls None, Sign or Encrypt, in any case. Raises :class:`WireError`."""
    try:
        return Level[text.upper()]
    except KeyError:
        raise WireError(f"collectd security level {text!r}: must be None, Sign or Encrypt") from None


def parse_auth_file(text: str) -> dict[bytes, bytes]:
    """Passwords by user of an AuthFile, as collectd 5.12 reads it.

    Lines ``user: password``; blanks before the user and before the password do not count, all others do. Of a user
    that stands twice the first line holds; lines that are none of this are skipped, as are comments (``#``).
    """
    users: dict[bytes, bytes] = {}
    for line in text.split("\n"):
        user, colon, password = line.rstrip("\r").lstrip(" \t").partition(":")
        password = password.lstrip(" \t")
        if user and not user.startswith("#") and colon and password:
            users.setdefault(user.encode("utf-8", "surrogateescape"), password.encode("utf-8", "surrogateescape"))
    return users


class _Keys:
    """What follows from a password, worked out once: a context of the library costs as much as a datagram."""

    __slots__ = ("_cipher", "_last", "_mac")

    def __init__(self, password: bytes) -> None:
        self._mac = hmac.new(password, digestmod="sha256")
        self._cipher = Cipher(algorithms.AES256(hashlib.sha256(password).digest()), CBC(bytes(_BLOCK))).encryptor()
        self._last = bytes(_BLOCK)

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256 of ``message``."""
        mac = self._mac.copy()
        mac.update(message)
        return mac.digest()

    def stream(self, iv: bytes, size: int) -> bytes:
        """At least ``size`` bytes of the key stream of AES-256-OFB from ``iv`` on.

        That is the CBC encryption of zeros, so one context serves all parts: its first block takes back what the last
        part left in the chain.
        """
        first = int.from_bytes(iv, "big") ^ int.from_bytes(self._last, "big")
        found = self._cipher.update(first.to_bytes(_BLOCK, "big") + _ZEROS[: (size - 1) // _BLOCK * _BLOCK])
        self._last = found[-_BLOCK:]
        return found


_keys = lru_cache(_PASSWORDS)(_Keys)


def xor(one: bytes, other: bytes) -> bytes:
    """``one`` and as many bytes of ``other``, bit by bit one or the other."""
    return (int.from_bytes(one, "little") ^ int.from_bytes(other[: len(one)], "little")).to_bytes(len(one), "little")


_xor: Final = xor_compiled or xor


def verified(data: bytes, start: int, stop: int, end: int, users: Mapping[bytes, bytes]) -> bool:
    """Whether the signed part ``data[start:stop]`` signs ``data[stop:end]``, by a user of ``users``."""
    if stop - start <= SIGN_OVERHEAD:
        return False
    mac_end = start + SIGN_OVERHEAD
    password = users.get(data[mac_end:stop])
    if password is None:
        return False
    # Name and payload stand one after the other: one piece.
    mac = _keys(password).mac(data[mac_end:end])
    return hmac.compare_digest(mac, data[start + _HEADER : mac_end])


def decrypted(data: bytes, start: int, stop: int, users: Mapping[bytes, bytes]) -> tuple[bytes, bytes] | None:
    """User and payload of the encrypted part ``data[start:stop]``; None if it is not what one of ``users`` sent."""
    if stop - start <= ENCRYPT_OVERHEAD:
        return None
    length = data[start + _HEADER] << 8 | data[start + _HEADER + 1]
    if not 1 <= length < stop - start - ENCRYPT_OVERHEAD:
        return None
    user_end = start + _HEADER + _USER_LENGTH + length
    user = data[start + _HEADER + _USER_LENGTH : user_end]
    password = users.get(user)
    if password is None:
        return None
    sealed = data[user_end + _IV : stop]
    clear = _xor(sealed, _keys(password).stream(data[user_end : user_end + _IV], len(sealed)))
    payload = clear[_CHECKSUM:]
    checksum = hashlib.sha1(payload, usedforsecurity=False).digest()
    return (user, payload) if hmac.compare_digest(checksum, clear[:_CHECKSUM]) else None
