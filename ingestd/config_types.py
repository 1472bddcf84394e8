"""What the tables of settings are made of: quantities with units, addresses, the error of the settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_SIZES: Final = {"B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_TIMES: Final = {"MS": 0.001, "S": 1, "MIN": 60, "H": 3600, "D": 86400}
_QUANTITY: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?) ?([A-Za-z]+)")
_ADDRESS: Final = re.compile(r"(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\[\]:\s]+)):([0-9]{1,5})")


class ConfigError(Exception):
    """Settings that cannot be; the message names the file or flag and the key."""


def _quantity(units: Mapping[str, float]) -> BeforeValidator:
    def read(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value == "off":
            return 0
        found = _QUANTITY.fullmatch(value.strip())
        if not found or found[2].upper() not in units:
            raise ValueError(f"must be a number, or one with a unit of {', '.join(units).lower()}")
        number = float(found[1]) * units[found[2].upper()]
        return int(number) if number.is_integer() else number

    return BeforeValidator(read)


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT`` as (host, port). Raises :class:`ConfigError`."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[3]) > 65535:
        raise ConfigError(f"{text!r}: must be HOST:PORT, [IPv6]:PORT or off")
    return found[1] or found[2], int(found[3])


def _addresses(value: object) -> object:
    if value == "off":
        return ()
    listed = [value] if isinstance(value, str) else value
    if isinstance(listed, list | tuple) and "off" in listed:
        if len(listed) > 1:
            raise ValueError("off stands alone")
        return ()
    for one in listed if isinstance(listed, list | tuple) else ():
        if isinstance(one, str):
            try:
                parse_address(one)
            except ConfigError as error:
                raise ValueError(str(error)) from error
    return listed


Size = Annotated[int, _quantity(_SIZES)]
Seconds = Annotated[float, Field(allow_inf_nan=False), _quantity(_TIMES)]
Addresses = Annotated[tuple[str, ...], BeforeValidator(_addresses)]


class Table(BaseModel):
    """A table of settings: unknown keys are refused, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
