"""Large numbers with the prefixes of a system of units, as graphite-web writes them."""

from __future__ import annotations

from typing import Final

SYSTEMS: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "si": (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)),
    "binary": (("Pi", 2.0**50), ("Ti", 2.0**40), ("Gi", 2.0**30), ("Mi", 2.0**20), ("Ki", 2.0**10)),
}
"""Prefixes and their sizes, the largest first."""


def with_unit(value: float, system: str) -> tuple[float, str]:
    """The number before the largest prefix that it reaches, and that prefix."""
    for prefix, size in SYSTEMS[system]:
        if abs(value) >= size:
            return value / size, prefix
    return value, ""
