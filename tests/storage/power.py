"""Power loss by simulation: every operation on the disk is recorded, and what a crash may leave of them is built.

The method is that of SQLite's crash tests and of ALICE (Pillai et al., OSDI 2014). What POSIX leaves open is open here:
data is safe once its file was synced, a name once its directory was. Anything else may be there or not, in any order;
writes are torn at sectors, files may have grown with zeros, and a name may come before the data that it stands for.
"""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from ingestd.storage.files import Files

SECTOR = 512
MANNERS = ("all", "none", "names", "data", "grown", "prefix", "random", "sectors")
"""What is kept of that which was not synced: everything, nothing, names alone, data alone, names and sizes with zeros
for data, everything up to some operation, each operation or not, each sector or not."""


class Op(NamedTuple):
    """An operation on ``node``: a file, or the directory in which ``name`` is given to ``other`` or taken away."""

    what: str
    node: int
    name: str = ""
    other: int = 0
    target: str = ""
    offset: int = 0
    data: bytes = b""


class Node:
    """A file (``data``) or a directory (``names``): what is durable, and the operations that are not yet."""

    def __init__(self, *, directory: bool) -> None:
        self.names: dict[str, int] | None = {} if directory else None
        self.data = bytearray()
        self.pending: list[tuple[int, Op]] = []


def replay(ops: list[Op]) -> dict[int, Node]:
    """The nodes after ``ops``; 0 is the root, which exists."""
    nodes = {0: Node(directory=True)}
    for number, op in enumerate(ops):
        if op.what in ("create", "make"):
            nodes.setdefault(op.other, Node(directory=op.what == "make"))
        node = nodes[op.node]
        if op.what == "sync":
            for _, done in node.pending:
                change(node.data, done)
            node.pending = []
        elif op.what == "sync_directory":
            for _, done in node.pending:
                rename(node.names, done)
            node.pending = []
        else:
            node.pending.append((number, op))
    return nodes


def change(data: bytearray, op: Op) -> None:
    """Do what ``op`` does to a file's bytes."""
    if op.what == "truncate":
        del data[op.offset :]
    data.extend(bytes(max(0, op.offset + len(op.data) - len(data))))
    data[op.offset : op.offset + len(op.data)] = op.data


def rename(names: dict[str, int], op: Op) -> None:
    """Do what ``op`` does to a directory's names."""
    if op.what in ("create", "make"):
        names[op.name] = op.other
        return
    if names.get(op.name) == op.other:
        names.pop(op.name, None)
    if op.what == "rename":
        names[op.target] = op.other


class Crash:
    """What a power loss after ``ops`` leaves, in one ``manner``."""

    def __init__(self, ops: list[Op], manner: str, random: Random) -> None:
        self._nodes = replay(ops)
        self._manner = manner
        self._random = random
        self._share = random.choice((0.1, 0.5, 0.9))
        self._last = random.randrange(len(ops) + 1)

    def build(self, target: Path) -> None:
        """Make the directory ``target``."""
        target.mkdir()
        for path, node in self._walk(target, 0):
            if node.names is None:
                path.write_bytes(self._bytes(node))
            else:
                path.mkdir(exist_ok=True)

    def _walk(self, path: Path, number: int) -> Iterator[tuple[Path, Node]]:
        node = self._nodes[number]
        yield path, node
        if node.names is not None:
            names = dict(node.names)
            for at, op in node.pending:
                if self._keeps(at, name=True):
                    rename(names, op)
            for name, other in names.items():
                yield from self._walk(path / name, other)

    def _keeps(self, at: int, *, name: bool) -> bool:
        match self._manner:
            case "all":
                return True
            case "none":
                return False
            case "names" | "grown":
                return name
            case "data":
                return not name
            case "prefix":
                return at < self._last
        return self._random.random() < self._share

    def _bytes(self, node: Node) -> bytes:
        data = bytearray(node.data)
        size = len(data)
        grown = self._manner == "grown" or (self._manner in ("random", "sectors") and self._random.random() < 0.5)
        for at, op in node.pending:
            if op.what == "write" and (self._manner == "sectors" or (self._manner == "prefix" and at == self._last)):
                self._tear(data, op)
            elif self._keeps(at, name=False):
                change(data, op)
            if op.what == "truncate":
                size = min(size, op.offset)
            size = max(size, op.offset + len(op.data))
        return bytes(data.ljust(size, b"\0") if grown else data)

    def _tear(self, data: bytearray, op: Op) -> None:
        begin = op.offset
        end = op.offset + len(op.data)
        while begin < end:
            stop = min(end, (begin // SECTOR + 1) * SECTOR)
            if self._random.random() < self._share:
                change(data, op._replace(offset=begin, data=op.data[begin - op.offset : stop - op.offset]))
            begin = stop


class Recording(Files):
    """Does every operation for real below ``root``, except to sync, and keeps a record of it in :attr:`ops`."""

    def __init__(self, root: Path, ops: list[Op] | None = None) -> None:
        """``ops``: what was done before; its outcome, as those who did it saw it, is built at ``root``.

        None: ``root`` and what it holds are durable.
        """
        self.ops: list[Op] = []
        self._root = root
        self._nodes: dict[Path, int] = {root: 0}
        self._open: dict[int, int] = {}
        self._guard = threading.RLock()
        self._next = 1
        if ops is None:
            self._adopt()
        else:
            Crash(ops, "all", Random(0)).build(root)
            self.ops = list(ops)
            self._next = 1 + max([op.other for op in ops], default=0)
            self._find(replay(ops), root, 0)

    def _adopt(self) -> None:
        for path in sorted(self._root.rglob("*")):
            number = self._name("make" if path.is_dir() else "create", path)
            if path.is_file():
                self.ops += [Op("write", number, data=path.read_bytes()), Op("sync", number)]
            self.ops.append(Op("sync_directory", self._nodes[path.parent]))

    def _find(self, nodes: dict[int, Node], path: Path, number: int) -> None:
        self._nodes[path] = number
        names = nodes[number].names
        if names is not None:
            names = dict(names)
            for _, op in nodes[number].pending:
                rename(names, op)
            for name, other in names.items():
                self._find(nodes, path / name, other)

    def _name(self, what: str, path: Path) -> int:
        number, self._next = self._next, self._next + 1
        self.ops.append(Op(what, self._nodes[path.parent], path.name, number))
        self._nodes[path] = number
        return number

    def open(self, path: Path, flags: int) -> int:
        with self._guard:
            fd = super().open(path, flags)
            if path not in self._nodes:
                self._name("create", path)
            elif flags & os.O_TRUNC:
                self.ops.append(Op("truncate", self._nodes[path]))
            self._open[fd] = self._nodes[path]
            return fd

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        with self._guard:
            super().write(fd, data, offset)
            self.ops.append(Op("write", self._open[fd], offset=offset, data=bytes(data)))

    def allocate(self, fd: int, size: int) -> None:
        with self._guard:
            super().allocate(fd, size)
            self.ops.append(Op("allocate", self._open[fd], offset=size))

    def truncate(self, fd: int, size: int) -> None:
        with self._guard:
            super().truncate(fd, size)
            self.ops.append(Op("truncate", self._open[fd], offset=size))

    def sync(self, fd: int) -> None:
        with self._guard:
            self.ops.append(Op("sync", self._open[fd]))

    def sync_directory(self, path: Path) -> None:
        with self._guard:
            self.ops.append(Op("sync_directory", self._nodes[path]))

    def rename(self, source: Path, target: Path) -> None:
        with self._guard:
            super().rename(source, target)
            assert source.parent == target.parent
            number = self._nodes[target] = self._nodes.pop(source)
            self.ops.append(Op("rename", self._nodes[source.parent], source.name, number, target.name))

    def unlink(self, path: Path) -> None:
        with self._guard:
            super().unlink(path)
            if path in self._nodes:
                self.ops.append(Op("unlink", self._nodes[path.parent], path.name, self._nodes.pop(path)))

    def make_directory(self, path: Path) -> None:
        with self._guard:
            super().make_directory(path)
            if path not in self._nodes:
                self._name("make", path)
