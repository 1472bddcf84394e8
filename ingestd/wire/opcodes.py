"""Pickle's stack machine, with the opcodes of lists, tuples, texts and numbers, and no other.

Whatever names a class, calls, builds, imports, or makes anything else refuses the whole pickle; nothing of this module
leads to Python's own. The opcodes, of protocols 0 to 5, mean what the source of CPython's ``pickletools`` says.

Time and memory are linear in the pickle: an opcode pushes one reference and makes one object at most, of a size that
its own bytes or a constant bound. Its user walks no deeper than points go, and calls :meth:`Machine.close`, so that a
list that holds itself does not wait for the garbage collector.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final

from ingestd.wire.framing import WireError

OPCODES_MAX: Final = 1 << 19
"""Opcodes of a pickle. A point takes nine of them and 24 bytes at the least: an honest pickle of 1 MiB stays below."""
LISTS_MAX: Final = 1 << 17
"""Lists of a pickle, the largest objects for a byte: two a point where a client writes no tuples."""
MARKS_MAX: Final = 16
"""Marks that wait for their end: a list of points, a point and its pair need three."""
_LONG_MAX: Final = 256
"""Bytes of an integer: twice those of the largest double; a longer one is no number here."""
_DIGITS_MAX: Final = 400
"""Bytes of a number written as text: more than those of the largest double."""
_INTEGER = re.compile(rb"[+-]?[0-9]+").fullmatch
_FLOAT = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*(?:e[+-]?[0-9]+)?|inf|nan)").fullmatch
_INDEX = re.compile(rb"[0-9]{1,10}").fullmatch
_QUOTED = re.compile(rb"'([^'\\]*+(?:\\.[^'\\]*+)*+)'|\"([^\"\\]*+(?:\\.[^\"\\]*+)*+)\"", re.DOTALL).fullmatch
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)", re.DOTALL).sub
_ESCAPED: Final = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}
_double = struct.Struct(">d").unpack_from
_int32 = struct.Struct("<i").unpack_from
_uint32 = struct.Struct("<I").unpack_from


class PickleError(WireError):
    """A pickle of something else than lists, tuples, texts and numbers."""


# What most points are made of, by the numbers of the opcodes.
_BINUNICODE, _SHORT_BINUNICODE, _MEMOIZE, _BINPUT, _LONG_BINPUT = b"X\x8c\x94qr"
_BINFLOAT, _BININT, _TUPLE2, _MARK, _BINGET, _STOP = b"GJ\x86(h."


class Machine:
    """The stack machine over one pickle. A text is bytes, a number int or float, what is no use for a point None."""

    __slots__ = ("data", "lists", "memo", "outer", "position", "stack")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        """The stacks below the marks."""
        self.memo: dict[int, Any] = {}
        self.lists: list[list[Any]] = []

    def run(self) -> Any:  # noqa: C901, PLR0912 - a chain of comparisons is what costs least
        """The object that the pickle makes. Raises one of :data:`REFUSALS`."""
        data, stack, memo, position = self.data, self.stack, self.memo, 0
        for _ in repeat(None, OPCODES_MAX):
            opcode = data[position]
            position += 1
            if opcode == _BINPUT:
                memo[data[position]] = stack[-1]
                position += 1
            elif opcode == _MEMOIZE:
                memo[len(memo)] = stack[-1]
            elif opcode == _LONG_BINPUT:
                memo[_uint32(data, position)[0]] = stack[-1]
                position += 4
            elif opcode == _TUPLE2:
                last = stack.pop()
                stack[-1] = (stack[-1], last)
            elif opcode == _BINFLOAT:
                stack.append(_double(data, position)[0])
                position += 8
            elif opcode == _BININT:
                stack.append(_int32(data, position)[0])
                position += 4
            elif opcode == _SHORT_BINUNICODE:
                start = position + 1
                # Past the end of the frame a slice is short, and reading the next opcode ends it.
                position = start + data[position]
                stack.append(data[start:position])
            elif opcode == _BINUNICODE:
                start = position + 4
                position = start + _uint32(data, position)[0]
                stack.append(data[start:position])
            elif opcode == _BINGET:
                stack.append(memo[data[position]])
                position += 1
            elif opcode == _MARK:
                if len(self.outer) >= MARKS_MAX:
                    raise PickleError("deeper than points go")
                self.outer.append(stack)
                stack = []
            elif opcode == _STOP:
                return stack.pop()
            else:
                self.position, self.stack = position, stack
                _RARE[opcode](self)
                position, stack = self.position, self.stack
        raise PickleError("more opcodes than points can need")

    def close(self) -> None:
        """Empty all lists that were made."""
        for made in self.lists:
            made.clear()

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        start = self.position
        self.position += size
        if self.position > len(self.data):
            raise PickleError("cut short")
        return self.data[start : self.position]

    def take_counted(self, width: int) -> bytes:
        """What follows a length of ``width`` bytes."""
        return self.take(int.from_bytes(self.take(width), "little"))

    def take_line(self) -> bytes:
        """What stands before the next LF."""
        start, end = self.position, self.data.index(b"\n", self.position)
        self.position = end + 1
        return self.data[start:end]

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark, which goes."""
        pushed, self.stack = self.stack, self.outer.pop()
        return pushed

    def push(self, item: Any) -> None:
        self.stack.append(item)

    def push_list(self, items: list[Any]) -> None:
        if len(self.lists) >= LISTS_MAX:
            raise PickleError("more lists than points can need")
        self.lists.append(items)
        self.push(items)

    def append(self, items: Iterable[Any]) -> None:
        """Append to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise PickleError("not a list")
        self.stack[-1].extend(items)

    def push_tuple(self, size: int) -> None:
        if len(self.stack) < size:
            raise PickleError("nothing to make a tuple of")
        self.stack[-size:] = [tuple(self.stack[-size:])]


def _long(text: bytes) -> int | None:
    return int.from_bytes(text, "little", signed=True) if len(text) <= _LONG_MAX else None


def _integer(text: bytes) -> int | None:
    return int(text) if len(text) <= _DIGITS_MAX and _INTEGER(text) else None


def _float(text: bytes) -> float | None:
    return float(text) if len(text) <= _DIGITS_MAX and _FLOAT(text) else None


def _quoted(text: bytes) -> bytes:
    """The bytes of a text as Python 2's repr writes it."""
    found = _QUOTED(text)
    if not found:
        raise PickleError("not a quoted text")
    inner = found[1] if found[2] is None else found[2]
    return _ESCAPE(lambda m: bytes([int(m[1][1:], 16)]) if len(m[1]) == 3 else _ESCAPED[m[1]], inner)


def _index(text: bytes) -> int:
    if not _INDEX(text):
        raise PickleError("not an index")
    return int(text)


def _put(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _protocol(machine: Machine) -> None:
    if machine.take(1)[0] > 5:
        raise PickleError("a protocol of the future")


REFUSALS: Final = (PickleError, IndexError, KeyError, ValueError, struct.error)
"""What :meth:`Machine.run` raises where there is no such pickle: an opcode that it does not know is a KeyError."""
_RARE: Final[dict[int, Callable[[Machine], object]]] = {
    ord(opcode): act
    for opcode, act in {
        "\x80": _protocol,
        "\x95": lambda m: m.take(8),  # FRAME: where the writer flushed its buffer
        "]": lambda m: m.push_list([]),
        "l": lambda m: m.push_list(m.since_mark()),
        "a": lambda m: m.append([m.stack.pop()]),
        "e": lambda m: m.append(m.since_mark()),
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.since_mark())),
        "\x85": lambda m: m.push_tuple(1),
        "\x87": lambda m: m.push_tuple(3),
        "\x8d": lambda m: m.push(m.take_counted(8)),  # BINUNICODE8
        "V": lambda m: m.push(m.take_line().decode("raw-unicode-escape").encode("utf-8", "surrogatepass")),
        "U": lambda m: m.push(m.take_counted(1)),  # SHORT_BINSTRING
        "T": lambda m: m.push(m.take_counted(4)),  # BINSTRING
        "S": lambda m: m.push(_quoted(m.take_line())),
        "C": lambda m: m.push(m.take_counted(1)),  # SHORT_BINBYTES
        "B": lambda m: m.push(m.take_counted(4)),  # BINBYTES
        "\x8e": lambda m: m.push(m.take_counted(8)),  # BINBYTES8
        "K": lambda m: m.push(m.take(1)[0]),
        "M": lambda m: m.push(int.from_bytes(m.take(2), "little")),
        "\x8a": lambda m: m.push(_long(m.take_counted(1))),
        "\x8b": lambda m: m.push(_long(m.take_counted(4))),
        "I": lambda m: m.push(_integer(m.take_line())),  # 00 and 01 are False and True: numbers as well
        "L": lambda m: m.push(_integer(m.take_line().removesuffix(b"L"))),
        "F": lambda m: m.push(_float(m.take_line())),
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(1),
        "\x89": lambda m: m.push(0),
        "p": lambda m: _put(m, _index(m.take_line())),
        "g": lambda m: m.push(m.memo[_index(m.take_line())]),
        "j": lambda m: m.push(m.memo[int.from_bytes(m.take(4), "little")]),
    }.items()
}
"""What the other opcodes do."""
