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

_DECIMALS: Final = 2
_TINY: Final = 1e-4
_HUGE: Final = 1e7
"""Without a prefix, larger numbers are written with an exponent."""


def system_of(name: str) -> tuple[tuple[str, float], ...]:
    """The prefixes of a unit system and their sizes, largest first; those of ``si`` if the name is none."""
    return SYSTEMS.get(name, SYSTEMS["si"])


def decimals_of(step: float) -> int | None:
    """How many decimals tell multiples of ``step`` apart; None if more than :data:`_DECIMALS` places are needed."""
    for decimals in range(_DECIMALS + 1):
        scaled = step * 10**decimals
        if scaled >= 1 - 1e-9 and abs(scaled - round(scaled)) < 1e-6 * scaled:
            return decimals
    return None


def _prefix(values: Sequence[float], step: float | None, system: str) -> tuple[str, float]:
    """The largest prefix in which the largest value is at least one and steps need few decimals."""
    largest = max(map(abs, values))
    for prefix, size in system_of(system):
        if largest < size * (1 - 1e-12):
            continue
        decimals = _DECIMALS if step is None else decimals_of(step / size)
        # "1.05 k" is no shorter than "1050".
        if decimals is not None and (step is None or decimals < _DECIMALS or largest >= 10 * size):
            return prefix, size
        if largest >= 1000 * size:
            return prefix, size
    return "", 1.0


def labels_of(values: Sequence[float], step: float | None, system: str) -> list[str]:
    """The labels of an axis. ``step`` is the distance of its values, or None if they have none (a logarithmic axis)."""
    if not values:
        return []
    if step is None:
        return [label_of(value, system) for value in values]
    prefix, size = _prefix(values, step, system)
    scaled = [0.0 if abs(value) < step * 1e-6 else value / size for value in values]
    largest = max(map(abs, scaled))
    if step / size < _TINY or largest >= _HUGE:
        numbers = [_exponent(value) for value in scaled]
    else:
        decimals = _places(step / size)
        numbers = [f"{value:.{decimals}f}" for value in scaled]
    return [_minus(f"{number} {prefix}".strip()) for number in numbers]


def _places(step: float) -> int:
    """Decimals that tell multiples of ``step`` apart, a step of at least :data:`_TINY`."""
    for decimals in range(7):
        scaled = step * 10**decimals
        if scaled >= 0.999 and abs(scaled - round(scaled)) < 1e-3:
            return decimals
    return max(0, 1 - math.floor(math.log10(step)))


def label_of(value: float, system: str) -> str:
    """One value by itself, to three digits."""
    if value == 0:
        return "0"
    prefix, size = _prefix([value], None, system)
    scaled = value / size
    if abs(scaled) >= _HUGE or abs(scaled) < _TINY:
        return _minus(f"{_exponent(scaled)} {prefix}".strip())
    digits = max(0, 2 - math.floor(math.log10(abs(scaled))))
    number = f"{scaled:.{digits}f}"
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return _minus(f"{number} {prefix}".strip())


def _exponent(value: float) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.4e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}e{int(exponent)}"


def _minus(text: str) -> str:
    """A hyphen is too short beside digits."""
    return text.replace("-", "\u2212") if text.startswith("-") else text
