"""Values as people read them: unit systems, prefixes, decimals.

The systems, their prefixes and their sizes are graphite-web's (render/glyph.py, ``UnitSystems``). Where it chooses
prefix and decimals for each label by itself, here all labels of an axis share them, so that they can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

_SECONDS: Final = (("Y", 365 * 86_400.0), ("M", 30 * 86_400.0), ("D", 86_400.0), ("H", 3_600.0), ("m", 60.0))

SYSTEMS: Final[Mapping[str, tuple[tuple[str, float], ...]]] = {
    "si": (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)),
    "binary": tuple((name, 1024.0**power) for name, power in (("Pi", 5), ("Ti", 4), ("Gi", 3), ("Mi", 2), ("Ki", 1))),
    "sec": _SECONDS,
    "msec": (*((name, size * 1000) for name, size in _SECONDS), ("s", 1000.0)),
    "none": (),
}

_LONG: Final = 9
"""Characters of a label beyond which it may have an exponent."""
_TINY: Final = 1e-4
_HUGE: Final = 1e7
"""Numbers by themselves that are smaller or larger have an exponent."""
_WHOLE: Final = 1e5
"""Whole numbers below are written out rather than rounded."""


def system_of(name: str) -> tuple[tuple[str, float], ...]:
    """The prefixes of a unit system and their sizes, largest first; those of ``si`` if the name is none."""
    return SYSTEMS.get(name, SYSTEMS["si"])


def _sizes(largest: float, system: str) -> list[tuple[str, float]]:
    """The prefixes that numbers up to ``largest`` can have, largest first; the last is none."""
    return [(name, size) for name, size in system_of(system) if largest >= size * (1 - 1e-12)] + [("", 1.0)]


def labels_of(values: Sequence[float], step: float | None, system: str) -> list[str]:
    """The labels of an axis. ``step`` is the distance of its values, or None if they have none (a logarithmic axis).

    All have the prefix with which the longest is shortest, and as many decimals as tell them apart.
    """
    if not values:
        return []
    if step is None:
        return [label_of(value, system) for value in values]
    largest = max(map(abs, values))
    near_zero = [0.0 if abs(value) < step * 1e-6 else value for value in values]
    # Of equal ones, that with the larger prefix.
    best = min((_labelled(near_zero, step, *each) for each in _sizes(largest, system)), key=_longest)
    if _longest(best) <= _LONG:
        return best
    digits = max(1, math.ceil(math.log10(max(largest / step, 1)) - 1e-6) + 1)
    return min(best, [_exponent(value, digits) for value in near_zero], key=_longest)


def _longest(labels: Sequence[str]) -> int:
    return max(map(len, labels))


def _labelled(values: Sequence[float], step: float, prefix: str, size: float) -> list[str]:
    decimals = _places(step / size)
    return [_minus(f"{value / size:.{decimals}f} {prefix}".strip()) for value in values]


def _places(step: float) -> int:
    """Decimals that tell multiples of ``step`` apart."""
    for decimals in range(7):
        scaled = step * 10**decimals
        if scaled >= 0.999 and abs(scaled - round(scaled)) < 1e-3:
            return decimals
    # Beyond the digits of a float64 there is nothing to tell apart.
    return min(max(0, 1 - math.floor(math.log10(step))), 340)


def label_of(value: float, system: str) -> str:
    """One value by itself: a whole number of few digits as it is, any other to three digits."""
    if value == 0:
        return "0"
    prefix, size = _sizes(abs(value), system)[0]
    scaled = value / size
    digits = 2 - math.floor(math.log10(abs(scaled)))
    if prefix and abs(value) < _WHOLE and value == round(value) and round(scaled, digits) != scaled:
        prefix, scaled, digits = "", value, 0
    if abs(scaled) >= _HUGE or abs(scaled) < _TINY:
        return f"{_exponent(scaled, 3)} {prefix}".strip()
    number = f"{scaled:.{max(digits, 0)}f}"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return _minus(f"{number} {prefix}".strip())


def _exponent(value: float, digits: int) -> str:
    """A number with an exponent, to at most so many digits."""
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{min(digits, 17) - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return _minus(f"{mantissa}e{int(exponent)}")


def _minus(text: str) -> str:
    """A hyphen is too short beside digits."""
    return text.replace("-", "\u2212") if text.startswith("-") else text
