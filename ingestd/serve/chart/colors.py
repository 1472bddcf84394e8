"""Colours: Graphite's names and notations, its templates, and the palette of those who ask for none.

Names and their values are those of graphite-web 1.1.10 (render/glyph.py, ``colorAliases``), the templates those of its
conf/graphTemplates.conf.example, where ``default`` is ours: near-black on white and a palette whose neighbours people
with any colour vision tell apart, from Okabe and Ito (2008) and Paul Tol's muted scheme, without the yellows that
vanish on white.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

Color: TypeAlias = tuple[float, float, float, float]
"""Red, green, blue and alpha, 0 to 1."""

NAMES: Final[dict[str, str]] = {
    "black": "000000",
    "white": "ffffff",
    "blue": "6464ff",
    "green": "00c800",
    "red": "c80032",
    "yellow": "ffff00",
    "orange": "ffa500",
    "purple": "c864ff",
    "brown": "966432",
    "cyan": "00ffff",
    "aqua": "009696",
    "gray": "afafaf",
    "grey": "afafaf",
    "magenta": "ff00ff",
    "pink": "ff6464",
    "gold": "c8c800",
    "rose": "c896c8",
    "darkblue": "0000ff",
    "darkgreen": "00ff00",
    "darkred": "ff0000",
    "darkgray": "6f6f6f",
    "darkgrey": "6f6f6f",
}

_HEX: Final = re.compile(r"(?:#|%23)?([0-9a-fA-F]{6})([0-9a-fA-F]{2})?")


class ColorError(Exception):
    """A text that is no colour."""


def parse_color(text: str) -> Color:
    """The colour that ``text`` says: a name of Graphite's, ``rrggbb`` or ``rrggbbaa``, with or without ``#``.

    :raises ColorError: it says none.
    """
    text = text.strip()
    match = _HEX.fullmatch(NAMES.get(text.lower(), text))
    if match is None:
        raise ColorError(f"no colour: {text[:40]}")
    red, green, blue = (int(match[1][at : at + 2], 16) / 255 for at in (0, 2, 4))
    return red, green, blue, int(match[2], 16) / 255 if match[2] else 1.0


def with_alpha(color: Color, alpha: float) -> Color:
    """The colour with its opacity times ``alpha``."""
    return (*color[:3], color[3] * min(max(alpha, 0.0), 1.0))


def over(color: Color, ground: Color) -> Color:
    """The opaque colour that is seen where ``color`` lies on ``ground``."""
    alpha = color[3]
    red, green, blue = (top * alpha + low * (1 - alpha) for top, low in zip(color[:3], ground[:3], strict=True))
    return red, green, blue, 1.0


def mixed(color: Color, ground: Color, share: float) -> Color:
    """A step between two opaque colours: ``share`` of the first."""
    return over((*color[:3], share), ground)


def luminance(color: Color) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.1)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color[:3]]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def readable_on(color: Color) -> Color:
    """Black or white, whichever is read more easily on ``color``."""
    return (0.0, 0.0, 0.0, 1.0) if luminance(color) > 0.18 else (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Template:
    """Colours of a chart whose request names none; an empty grid colour = a step between the two grounds."""

    background: str = "white"
    foreground: str = "333333"
    major: str = ""
    minor: str = ""
    lines: tuple[str, ...] = (
        *("0072b2", "d55e00", "009e73", "cc79a7", "e69f00"),
        *("56b4e9", "882255", "999933", "332288", "777777"),
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_GRAPHITE: Final = _words("blue green red purple brown yellow aqua grey magenta pink gold rose")
_NOC: Final = _words("blue green red yellow purple brown aqua grey magenta pink gold rose")
_SOLARIZED: Final = _words("268bd2aa 859900aa dc322faa d33682aa db4b16aa b58900aa 2aa198aa 6c71c4aa")
_GRAFANA: Final = _words("7eb26d eab839 6ed0e0 ef843c e24d42 1f78c1 ba43a9 705da0 508642 cca300 447ebc")
_SCALES: Final = {
    "ocean": "f7fcf0 e0f3db ccebc5 a8ddb5 7bccc4 4eb3d3 2b8cbe 0868ac 084081",
    "forest": "f7fcf5 e5f5e0 c7e9c0 a1d99b 74c476 41ab5d 238b45 005a32",
    "sunset": "fff5eb fee6ce fdd0a2 fdae6b fd8d3c f16913 d94801 8c2d04",
    "moonlight": "fcfbfd efedf5 dadaeb bcbddc 9e9ac8 807dba 6a51a3 4a1486",
    "lava": "fff5f0 fee0d2 fcbba1 fc9272 fb6a4a ef3b2c cb181d 99000d",
}

DEFAULT: Final = Template()
TEMPLATES: Final[dict[str, Template]] = {
    "default": DEFAULT,
    "plain": Template("white", "black", "grey", "e0e0e0", _GRAPHITE),
    "classic": Template("black", "white", "", "", _GRAPHITE),
    "noc": Template("black", "white", "", "", _NOC),
    "solarized-light": Template("fdf6e3", "657b83", "", "", _SOLARIZED),
    "solarized-dark": Template("002b36", "839496", "", "", _SOLARIZED),
    "summary": Template("black", "white", "", "", ("6666ff", "66ff66", "ff6666")),
    "alphas": Template("white", "black", "grey", "rose", ("00ff00aa", "ff000077", "00337799")),
    "grafana": Template("white", "black", "", "", _GRAFANA),
    **{f"{name}1": Template(lines=_words(scale)) for name, scale in _SCALES.items()},
    **{f"{name}2": Template(lines=_words(scale)[::-1]) for name, scale in _SCALES.items()},
}
