"""Headers of every answer, in one place: what browsers must not do with what is served here.

Pages that come later get their scripts and styles from files of this daemon: ``PAGE_POLICY`` allows these and nothing
inline, so that a name that slipped through unescaped still would not run.
"""

from __future__ import annotations

from typing import Final

DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)

# The library would name its own version and Python's.
SERVER: Final = {"Server": "ingestd"}
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": DATA_POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
