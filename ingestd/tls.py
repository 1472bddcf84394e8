"""TLS contexts of the listeners, from the settings: part of the composition root.

Certificates are read again when their files change, so that a renewed one is served without a restart.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from pathlib import Path
from typing import Final

from ingestd.config import Tls
from ingestd.config_types import ConfigError

log = logging.getLogger(__name__)

_VERIFY: Final = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class TlsContext:
    """The server context of one listener's settings; :meth:`poll` follows its files."""

    def __init__(self, settings: Tls) -> None:
        """Raises :class:`ConfigError` where a file cannot be read or used."""
        if not settings.certificate:
            raise ConfigError("there is no certificate")
        self._certificate = Path(settings.certificate)
        self._key = Path(settings.key) if settings.key else None
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client that renegotiates makes the server sign again and again.
        self.context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        self.context.verify_mode = _VERIFY[settings.client_certificates]
        try:
            self._seen = self._mark()
            self._load()
            if settings.client_ca:
                self.context.load_verify_locations(settings.client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"TLS certificate {self._certificate}: {error}") from error

    def _load(self) -> None:
        self.context.load_cert_chain(self._certificate, self._key)

    def _mark(self) -> tuple[tuple[int, int], ...]:
        stats = [path.stat() for path in (self._certificate, self._key) if path is not None]
        return tuple((s.st_mtime_ns, s.st_ino) for s in stats)

    def poll(self) -> None:
        """Serve new connections with the certificate as its files are now; one that cannot be used changes nothing."""
        try:
            mark = self._mark()
            if mark == self._seen:
                return
            self._seen = mark
            self._load()
            log.info("%s has changed and was read again", self._certificate)
        except (OSError, ssl.SSLError) as error:
            log.error("%s: the certificate read before stays in force: %s", self._certificate, error)


def make_tls(settings: Tls) -> TlsContext | None:
    """The context of these settings; None where they name no certificate. Raises :class:`ConfigError`."""
    return TlsContext(settings) if settings.certificate else None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener at ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False
