"""The middleware that lets requests in: Host, who asks, what it may do, and whether a browser was led to ask it.

Scopes belong to routes; a route without one is for administrators. What a browser sends by itself (Basic passwords,
certificates, being on this machine) proves nothing about who wrote the request, so requests that change something are
held to come from no other site; a Bearer token is never sent by itself. docs/adr/058-requests-of-browsers.md.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from ingestd.serve.deps import Guard
from ingestd.serve.params import ServeError
from ingestd.serve.tokens import ADMIN, READ, Grant
from ingestd.telemetry import Refusals

OPEN: Final = ""
"""The scope of a route that asks nobody who they are."""
OPEN_TO_ALL: Final = frozenset({"read", "write"})
"""What everybody may while there is no file of tokens; an administrator is then whoever is on this machine."""
_CHALLENGE: Final = 'Basic realm="ingestd", charset="UTF-8", Bearer realm="ingestd"'
_PROXIED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Origin", "Via")
_SAFE: Final = frozenset({"GET", "HEAD"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access:
    """Who was refused, and the middleware that refuses. ``scopes``: by the route's path, as it was added."""

    def __init__(self, guard: Guard, scopes: dict[str, str]) -> None:
        self._guard = guard
        self._scopes = scopes
        self._refused = Refusals(100)
        self._counts = {"unknown": 0, "scope": 0, "site": 0, "host": 0}

    def as_dict(self) -> dict[str, Any]:
        """What ``/status`` shows: refusals by reason, and the addresses with the most of them."""
        return {"refused": dict(self._counts), "top": self._refused.top()}

    @property
    def middleware(self) -> Any:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._admit(request)
            return await handler(request)

        return middleware

    def _admit(self, request: web.Request) -> None:
        resource = request.match_info.route.resource
        if resource is None:
            return  # no such route: 404 or 405 tell nothing
        scope = self._scopes.get(resource.canonical, ADMIN)
        if scope == OPEN:
            return
        hosts = self._guard.hosts
        if hosts and not _host_is(request, hosts):
            raise self._refusal(request, "host", 421, "this Host is not served; http.hosts has those that are")
        token, bearer = presented(request)
        self._check_scope(request, scope, token)
        if bearer and self._guard.tokens() is not None:
            return
        if (request.method not in _SAFE and scope != READ) or "jsonp" in request.query:
            self._check_site(request, jsonp=request.method in _SAFE)
        if scope == ADMIN and not _host_is(request, hosts):
            raise self._refusal(request, "host", 403, "the Host must be localhost, an address, or in http.hosts")

    def _check_scope(self, request: web.Request, scope: str, token: str | None) -> None:
        tokens = self._guard.tokens()
        if tokens is None:
            if scope not in OPEN_TO_ALL and not is_local(request):
                raise self._refusal(request, "scope", 403, "this is for this machine only")
            return
        grant = tokens.of_token(token) if token is not None else tokens.of_certificate(common_name(request))
        if grant is None and token is None:
            grant = Grant("", self._guard.anonymous)
        if grant is not None and scope in grant.scopes:
            return
        if grant is None or not grant.name:
            raise self._refusal(request, "unknown", 401, "a token is needed")
        raise self._refusal(request, "scope", 403, f"this needs a token of scope {scope}")

    def _check_site(self, request: web.Request, jsonp: bool) -> None:
        """Refuse what a page of another site made a browser send."""
        if jsonp and (self._guard.tokens() is None or READ in self._guard.anonymous):
            return  # what everybody may read; another site's page, too, through a script
        origin = request.headers.get("Origin")
        site = request.headers.get("Sec-Fetch-Site", "")
        own = origin is None or _same_site(origin, request, self._guard.hosts)
        if site == "cross-site" or not own:
            raise self._refusal(request, "site", 403, "a page of another site asked for this")

    def _refusal(self, request: web.Request, reason: str, status: int, text: str) -> ServeError:
        self._counts[reason] += 1
        self._refused.add(request.remote or "", reason, 1)
        return ServeError(status, text, {"WWW-Authenticate": _CHALLENGE} if status == 401 else {})


def presented(request: web.Request) -> tuple[str | None, bool]:
    """The token of a request, from ``Bearer TOKEN`` or as the password of ``Basic``, and whether it was the former."""
    header = request.headers.get("Authorization")
    if header is None:
        return None, False
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip(), True
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            return "", False
        return decoded.partition(":")[2], False
    return "", False


def common_name(request: web.Request) -> str:
    """The common name of the client's certificate, which was verified in the handshake; empty without one."""
    certificate = request.transport.get_extra_info("peercert") if request.transport else None
    for names in (certificate or {}).get("subject", ()):
        for key, value in names:
            if key == "commonName":
                return str(value)
    return ""


def is_local(request: web.Request) -> bool:
    """Whether a request comes from this machine and was not passed on by a proxy or led here by a web page."""
    if any(name in request.headers for name in _PROXIED):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport else None
    if not isinstance(peer, tuple):
        return False
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _name_of(host: str) -> str:
    """A Host without its port, lower case."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).strip("[]").lower()


def _host_is(request: web.Request, hosts: frozenset[str]) -> bool:
    """Whether the Host is one of ``hosts``, ``localhost`` or an address, to which no foreign name can be bound."""
    name = _name_of(request.headers.get("Host", ""))
    if name in hosts or name == "localhost":
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _same_site(origin: str, request: web.Request, hosts: frozenset[str]) -> bool:
    """Whether an Origin is the Host that was asked, or the name of the proxy before it."""
    authority = origin.partition("://")[2].lower()
    return bool(authority) and (authority == request.headers.get("Host", "").lower() or _name_of(authority) in hosts)
