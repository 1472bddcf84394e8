"""Who may ask what: tokens and the names of client certificates, each with its scopes.

A file of them has a line for each, ``NAME SCOPES SHA256`` or ``cert:COMMONNAME SCOPES -``; scopes are joined by commas,
``#`` begins a comment. It holds no secrets: a token is 256 random bits, so that its plain SHA-256 can be neither
inverted nor searched, and a slow hash would only slow the daemon (docs/adr/057-tokens.md).
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

READ: Final = "read"
WRITE: Final = "write"
ADMIN: Final = "admin"
SCOPES: Final = (READ, WRITE, ADMIN)
CERTIFICATE: Final = "cert:"
TOKEN_MAX: Final = 1_024
"""Characters of what is looked at as a token: ours have 43."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class TokenError(Exception):
    """A line of the file, or a scope, that cannot be; the message says which."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one name may do."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """All grants: those of tokens by the SHA-256 of the token, those of certificates by common name."""

    by_digest: tuple[tuple[bytes, Grant], ...]
    by_certificate: dict[str, Grant]

    def of_token(self, token: str) -> Grant | None:
        """The grant of a presented token. It is compared with every known one, each in constant time."""
        if len(token) > TOKEN_MAX:
            return None
        digest = sha256(token.encode("utf-8", "surrogateescape")).hexdigest().encode()
        found = None
        for known, grant in self.by_digest:
            if hmac.compare_digest(known, digest):
                found = grant
        return found

    def of_certificate(self, name: str) -> Grant | None:
        """The grant of a verified certificate's common name."""
        return self.by_certificate.get(name)


def parse_scopes(names: Iterable[str]) -> frozenset[str]:
    """Scopes, at least one. Raises :class:`TokenError`."""
    scopes = frozenset(names)
    if not scopes or not scopes <= set(SCOPES):
        raise TokenError(f"scopes are {', '.join(SCOPES)}, joined by commas")
    return scopes


def parse_tokens(text: str) -> Tokens:
    """The grants of a file. Raises :class:`TokenError` with the number of the line, never with what stands there."""
    tokens: list[tuple[bytes, Grant]] = []
    certificates: dict[str, Grant] = {}
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        if len(fields) < 3:
            raise TokenError(f"line {number}: not NAME SCOPES SHA256, nor cert:COMMONNAME SCOPES -")
        # A common name may hold blanks.
        name, scopes, digest = " ".join(fields[:-2]), fields[-2], fields[-1].lower()
        try:
            grant = Grant(name, parse_scopes(scopes.split(",")))
        except TokenError as error:
            raise TokenError(f"line {number}: {error}") from None
        if name.startswith(CERTIFICATE) and digest == "-":
            certificates[name.removeprefix(CERTIFICATE)] = grant
        elif not name.startswith(CERTIFICATE) and len(fields) == 3 and _DIGEST.fullmatch(digest):
            tokens.append((digest.encode(), grant))
        else:
            raise TokenError(f"line {number}: not NAME SCOPES SHA256, nor cert:COMMONNAME SCOPES -")
    return Tokens(tuple(tokens), certificates)


def fresh_token(name: str, scopes: frozenset[str]) -> tuple[str, str]:
    """A new token, and its line for the file. Raises :class:`TokenError` for a name that no line can hold."""
    if not name or len(name.split()) != 1 or not name.isprintable() or name.startswith(("#", CERTIFICATE)):
        raise TokenError("a name is one word and begins with neither # nor cert:")
    token = secrets.token_urlsafe(32)
    listed = ",".join(scope for scope in SCOPES if scope in scopes)
    return token, f"{name} {listed} {sha256(token.encode()).hexdigest()}"
