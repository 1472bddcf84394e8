"""Answers that lack something: labelled by a header, or refused where whoever asks says ``strict=1``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from ingestd.query.missing import Missing, watched
from ingestd.serve.deps import Deps
from ingestd.serve.params import Params, ServeError

T = TypeVar("T")

PARTIAL: Final = "X-Ingestd-Partial"
"""The header of an answer that lacks something: why, in one line."""
_LONGEST: Final = 500


def whole(deps: Deps, params: Params, make: Callable[[], T]) -> tuple[T, dict[str, str]]:
    """What ``make`` gives and the headers that say what it lacks; for a worker thread.

    :raises ServeError: 503, it lacks something, and the request or the settings say that it must not.
    """
    with watched() as missing:
        made = make()
    if missing and is_strict(deps, params):
        raise ServeError(503, f"the answer would be partial: {_line(missing)}", {PARTIAL: _line(missing)})
    return made, {PARTIAL: _line(missing)} if missing else {}


def is_strict(deps: Deps, params: Params) -> bool:
    """Whether a partial answer is an error."""
    return params.get("strict") not in ("", "0", "false") if "strict" in params else deps.strict


def _line(missing: Missing) -> str:
    """The reasons as the value of a header."""
    line = " ".join(str(missing).split())[:_LONGEST]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in line)
