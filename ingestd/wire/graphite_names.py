"""The name that collectd's write_graphite gives to a value, as a canonical path.

The rules are those of collectd 5.12's ``format_graphite.c`` with all its options. Where write_graphite's name would
not be a path that can be asked for, it is made one:

- bytes that are no UTF-8 become ``_``;
- ``* ? [ ] { }`` become the escape character: a glob could not name them;
- ``;`` becomes ``_``, unless UseTags: there it separates tags, also within a field, as it does for carbon;
- with UseTags a ``~`` at the start of a tag's value becomes the escape character: no tag may begin so;
- tags are sorted, and dots collapse, as in every canonical path.

What still is none (a name that ends in a dot, a ``;`` that makes a tag without ``=``) has no path.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ingestd.wire.framing import WireError
from ingestd.wire.lines import PathLimits, canonical_path

_LIMITS: Final = PathLimits()
_NO_TEXT = re.compile("[\udc80-\udcff]")
_GLOB: Final = "*?[]{}"
_SEPARATOR: Final = "."
_WHITE_OR_CONTROL: Final = "".join(map(chr, (*range(0x21), 0x7F)))
_FORBIDDEN_IN_NAME: Final = ' \t"\\:!,/()\n\r' + _GLOB


NO_PATH: Final = b""
"""Stands for the spelling of a value whose name cannot be a path."""
_PLAIN: Final = frozenset(map(chr, range(0x21, 0x7F))) - set(_GLOB + ";/")
"""What stands for itself in a path, and the dot, which does between two others."""


class Identity(NamedTuple):
    """What names a value list, as bytes of the wire; the instances may be empty."""

    host: bytes
    plugin: bytes
    plugin_instance: bytes
    type: bytes
    type_instance: bytes


@dataclass(frozen=True, slots=True)
class NamingOptions:
    """write_graphite's options by the same names, with its defaults. Raises :class:`WireError` for a bad escape."""

    prefix: str = ""
    postfix: str = ""
    escape_character: str = "_"
    separate_instances: bool = False
    always_append_ds: bool = False
    preserve_separator: bool = False
    drop_duplicate_fields: bool = False
    use_tags: bool = False
    reverse_host: bool = False

    def __post_init__(self) -> None:
        escape = self.escape_character
        if len(escape) != 1 or escape in _WHITE_OR_CONTROL or escape in _GLOB or escape in ";~" or not escape.isascii():
            raise WireError(f"collectd escape character {escape!r}: must be one printable ASCII character of a path")


class Scheme(NamedTuple):
    """How names are put together of fields of ASCII: ``head``, host, ``tail``, and the others between dots and dashes.

    ``fields`` and ``sources``, 256 bytes each, give what stands for each byte of a field, or of the name of a data
    source; 0 where that depends on more than the byte.
    """

    fields: bytes
    sources: bytes
    head: bytes
    tail: bytes
    dash: bytes
    always: bool
    """Whether a single data source is named as well."""
    length: int
    depth: int
    """Limits of a path: bytes and nodes."""


class GraphiteNames:
    """Gives the paths of value lists under fixed :class:`NamingOptions`."""

    __slots__ = ("_field", "_name", "_options")

    def __init__(self, options: NamingOptions) -> None:
        self._options = options
        escape = options.escape_character
        white = _WHITE_OR_CONTROL if options.preserve_separator or options.use_tags else _WHITE_OR_CONTROL + _SEPARATOR
        self._field = str.maketrans(dict.fromkeys(white, escape))
        self._name = str.maketrans(dict.fromkeys(_FORBIDDEN_IN_NAME, escape) | ({} if options.use_tags else {";": "_"}))

    def path(self, identity: Identity, ds_name: bytes, sources: int) -> str | None:
        """The canonical path of source ``ds_name`` of a list of ``sources`` values, or None if it has none."""
        host, *fields = (field_text(field).replace("/", "_") for field in identity)
        if self._options.reverse_host and not self._options.use_tags:
            host = ".".join(reversed(host.split(".")))
        host, plugin, plugin_instance, type_, type_instance = (f.translate(self._field) for f in (host, *fields))
        ds = field_text(ds_name) if sources > 1 or self._options.always_append_ds else ""
        form = self._tagged if self._options.use_tags else self._plain
        name = form(host, plugin, plugin_instance, type_, type_instance, ds)
        return canonical_path(name.translate(self._name).encode(), _LIMITS)

    def spellings(self, fields: tuple[bytes, ...], sources: Sequence[bytes]) -> list[bytes]:
        """The paths of all values of an identity, whose data sources have these names; NO_PATH for one without."""
        identity = Identity(*fields)
        paths = [self.path(identity, source, len(sources)) for source in sources]
        return [NO_PATH if path is None else path.encode() for path in paths]

    def scheme(self) -> Scheme | None:
        """What a kernel needs to give the same as :meth:`spellings`; None where the options look at whole fields."""
        options = self._options
        ends = [text.translate(self._name) for text in (options.prefix, options.postfix)]
        if (
            options.use_tags
            or options.drop_duplicate_fields
            or options.reverse_host
            or not _PLAIN.issuperset("".join(ends))
        ):
            return None
        bytes_ = [chr(byte) for byte in range(0x80)]
        tables = (
            [text.replace("/", "_").translate(self._field).translate(self._name) for text in bytes_],
            [text.translate(self._name) for text in bytes_],
        )
        fields, sources = (
            bytes(ord(text) if text in _PLAIN else 0 for text in table).ljust(256, b"\0") for table in tables
        )
        dash = b"." if options.separate_instances else b"-"
        head, tail = map(str.encode, ends)
        return Scheme(fields, sources, head, tail, dash, options.always_append_ds, _LIMITS.length, _LIMITS.depth)

    def _plain(self, host: str, plugin: str, plugin_instance: str, type_: str, type_instance: str, ds: str) -> str:
        options = self._options
        dash = "." if options.separate_instances else "-"
        first = f"{plugin}{dash}{plugin_instance}" if plugin_instance else plugin
        if not type_instance:
            second = type_
        elif options.drop_duplicate_fields and plugin == type_:
            second = type_instance
        else:
            second = f"{type_}{dash}{type_instance}"
        start = f"{options.prefix}{host}{options.postfix}."
        if not ds:
            return f"{start}{first}.{second}"
        if options.drop_duplicate_fields and first == second:
            return f"{start}{first}.{ds}"
        return f"{start}{first}.{second}.{ds}"

    def _tagged(self, host: str, plugin: str, plugin_instance: str, type_: str, type_instance: str, ds: str) -> str:
        options = self._options
        dropped = options.drop_duplicate_fields and plugin == type_
        if options.drop_duplicate_fields and plugin_instance == type_instance:
            type_instance = ""
        name = f"{options.prefix}{plugin}" + ("" if dropped else f".{type_}") + (f".{ds}" if ds else "")
        tags = {
            "host": host,
            "plugin": plugin,
            "plugin_instance": plugin_instance,
            "type": "" if dropped else type_,
            "type_instance": type_instance,
            "ds_name": ds,
        }
        return (
            name + options.postfix + "".join(f";{key}={self._tag_value(value)}" for key, value in tags.items() if value)
        )

    def _tag_value(self, value: str) -> str:
        return self._options.escape_character + value[1:] if value[0] == "~" else value


def field_text(field: bytes) -> str:
    """UTF-8 as text, each byte that is none as ``_``."""
    try:
        return field.decode()
    except UnicodeDecodeError:
        return _NO_TEXT.sub("_", field.decode("utf-8", "surrogateescape"))
