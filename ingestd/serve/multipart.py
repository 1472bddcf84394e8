"""Forms as multipart/form-data (RFC 7578): what graphite-web posts to the members of its cluster, and curl with ``-F``.

The body is in memory and bounded before it comes here. Files are no fields of any request and are passed over.
"""

from __future__ import annotations

import re
from typing import Final

CONTENT_TYPE: Final = "multipart/form-data"
_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s";,]{1,70}))', re.IGNORECASE)
_DISPOSITION: Final = re.compile(rb"content-disposition:[ \t]*form-data[ \t]*;([^\r\n]*)", re.IGNORECASE)
_PARAMETER: Final = re.compile(rb'([a-z*]+)="((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def parse_multipart(body: bytes, content_type: str, most: int) -> list[tuple[str, str]]:
    """The fields of a body whose header says ``content_type``; ``most`` of them at most.

    :raises ValueError: it is no such form.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise ValueError("a multipart form needs a boundary")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    # The first delimiter may stand at the very beginning, without the line end that belongs to the others.
    _, *parts = (b"\r\n" + body).split(delimiter, 2 * most + 2)
    pairs: list[tuple[str, str]] = []
    for part in parts:
        if part.startswith(b"--"):
            return pairs
        if len(pairs) == most:
            raise ValueError(f"a request has at most {most} fields")
        name, value = _field(part)
        if name is not None:
            pairs.append((name, value.decode("utf-8", "replace")))
    raise ValueError("the form has no end")


def _field(part: bytes) -> tuple[str | None, bytes]:
    """Name and value; no name for a file. Raises ValueError."""
    head, blank, value = part.partition(b"\r\n\r\n")
    disposition = _DISPOSITION.search(head)
    parameters = dict(_PARAMETER.findall(disposition[1])) if blank and disposition else {}
    parameters = {key.lower(): text for key, text in parameters.items()}
    if b"name" not in parameters:
        raise ValueError("a part of the form has no name")
    if b"filename" in parameters or b"filename*" in parameters:
        return None, b""
    return re.sub(rb"\\(.)", rb"\1", parameters[b"name"]).decode("utf-8", "replace"), value
