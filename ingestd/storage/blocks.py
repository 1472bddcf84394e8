"""Block files: immutable, mapped for reading, every tile of rows under its own checksum.

``blocks/L<layout>/a<archive>/<block>.g<generation>.blk``; :mod:`ingestd.storage.fileformat` has the layout of the
bytes.
"""

from __future__ import annotations

import logging
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from ingestd._speed import rows_compiled
from ingestd.points import Ids, Values
from ingestd.storage.errors import CorruptFileError
from ingestd.storage.fileformat import (
    COMPLETE,
    PAGE,
    TILE_ROWS,
    BlockHeader,
    as_bytes,
    crc32c,
    pack_block_header,
    unpack_block_header,
)
from ingestd.storage.files import Files, make_durably
from ingestd.storage.layout import Key
from ingestd.storage.view import BlockRef, Fold, Places

log = logging.getLogger(__name__)

UNREAD: Final = Path("quarantine", "unread")
"""Where, in the data directory, block files are kept that could not be read when they were written anew."""
OPEN_FILES: Final = 512
"""Block files that stay mapped, least recently used out first: 400 days of 10 minutes are 128 files a layout."""


class BlockFile:
    """One block file, open for reading from any thread; closed when the last reader lets go of it."""

    def __init__(self, files: Files, path: Path, access: Literal["mmap", "pread"] = "mmap") -> None:
        """Raises FileNotFoundError, OSError, or CorruptFileError where header or ids fail their checksums."""
        self.path = path
        self._files = files
        self._access = access
        self._fd = files.open(path, os.O_RDONLY)
        try:
            self._open()
        except BaseException:
            files.close(self._fd)
            self._fd = -1
            raise

    def _open(self) -> None:
        size = self._files.size(self._fd)
        found = unpack_block_header(self._files.read(self._fd, PAGE, 0))
        if found is None:
            raise CorruptFileError(self.path, 0, "the header fails its checksum")
        self.header, ids_crc, crcs_crc = found
        self._size = self.header.size
        if size < self._size:
            raise CorruptFileError(self.path, size, f"cut short: {self.header.size} bytes belong here")
        ids = self._files.read(self._fd, 4 * self.header.n, PAGE)
        if crc32c(ids) != ids_crc:
            raise CorruptFileError(self.path, PAGE, "the ids fail their checksum")
        crcs = self._files.read(self._fd, 4 * self.header.tiles, self.header.crcs_at)
        if crc32c(crcs) != crcs_crc:
            raise CorruptFileError(self.path, self.header.crcs_at, "the table of checksums fails its own")
        self.ids: Ids = np.frombuffer(ids, "<u4")
        self._crcs = np.frombuffer(crcs, "<u4")
        self._verified = np.zeros(self.header.tiles, np.bool_)
        self._marks = self._verified.view(np.uint8)
        self._map: mmap.mmap | None = None
        self._data: Values | None = None
        if self._access == "mmap":
            self._map = self._files.map(self._fd, self.header.size)
            flat = np.frombuffer(self._map, "<f8", self.header.n * self.header.length, self.header.data_at)
            self._data = flat.reshape(self.header.n, self.header.length)

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self._files.close(self._fd)

    def tile(self, number: int) -> Values:
        """Rows ``number * TILE_ROWS`` and on, float64[up to TILE_ROWS, B], read and verified.

        Raises CorruptFileError.
        """
        first = number * TILE_ROWS
        rows = min(TILE_ROWS, self.header.n - first)
        offset = self.header.data_at + 8 * first * self.header.length
        data = self._files.read(self._fd, 8 * rows * self.header.length, offset)
        if len(data) != 8 * rows * self.header.length or crc32c(data) != self._crcs[number]:
            raise CorruptFileError(self.path, offset, f"rows {first} to {first + rows - 1} fail their checksum")
        self._verified[number] = True
        return np.frombuffer(data, "<f8").reshape(rows, self.header.length)

    def lay(self, out: Values, ids: Ids, low: int, high: int) -> None:
        """Lay slots ``low`` to ``high`` of series ``ids`` (ascending uint32[n]) over ``out`` float64[n, high - low].

        Raises CorruptFileError with ``out`` as it was or with verified values in it.
        """
        if rows_compiled is not None and self._data is not None:
            asked = (self._data, self.ids, TILE_ROWS, self._marks, ids, low, high, out)
            self._demand_whole()
            while lacking := rows_compiled.lay_known(*asked):
                for number in lacking:
                    self.tile(number)
                self._demand_whole()
            return
        places = np.searchsorted(self.ids, ids)
        places[places == len(self.ids)] = 0
        rows = np.flatnonzero(self.ids[places] == ids)
        if not len(rows):
            return
        places = places[rows]
        if self._data is not None:
            self._put(out, rows, self._mapped(places)[places, low:high])
            return
        tiles = places // TILE_ROWS
        for number in np.unique(tiles):
            mine = tiles == number
            self._put(out, rows[mine], self.tile(int(number))[places[mine] - number * TILE_ROWS, low:high])

    def fold(self, into: Fold, ids: Ids, places: Places, low: int, high: int) -> bool:
        """Fold slots ``low`` to ``high`` of series ``ids`` (uint32[n]) into one row, in this order.

        ``places`` intp[n]: guesses of their rows, which are put right. Whether it can be done: not without kernels and
        a mapping. Raises CorruptFileError with nothing folded.
        """
        if rows_compiled is None or self._data is None:
            return False
        if rows_compiled.locate(self.ids, ids, places):
            rows_compiled.fold_rows(self._mapped(places), places, low, high, *into)
        return True

    def _mapped(self, places: Places) -> Values:
        """The values float64[rows, B] where they are mapped; the tiles of ``places`` (-1: none) are verified.

        Raises CorruptFileError.
        """
        assert self._data is not None
        for number in self._unverified(places):
            self.tile(number)
        self._demand_whole()
        return self._data

    def _demand_whole(self) -> None:
        """Raises CorruptFileError where the file was cut short: to touch a mapping behind its end ends the process."""
        if (size := self._files.size(self._fd)) < self._size:
            raise CorruptFileError(self.path, size, "cut short while it was in use")

    def _unverified(self, places: Places) -> list[int]:
        """The tiles of these rows that have not been verified."""
        if rows_compiled is not None:
            return rows_compiled.unmarked(places, TILE_ROWS, self._marks)  # type: ignore[no-any-return]
        tiles = np.unique(places[places >= 0] // TILE_ROWS)
        return tiles[~self._verified[tiles]].tolist()  # type: ignore[no-any-return]

    @staticmethod
    def _put(out: Values, rows: NDArray[np.intp], values: Values) -> None:
        if len(rows) == len(out):
            np.copyto(out, values, where=~np.isnan(values))
        else:
            out[rows] = np.where(np.isnan(values), out[rows], values)


class BlockDirectory:
    """All block files of a store: names, an LRU of open ones, writing and removing. Thread-safe."""

    def __init__(
        self, root: Path, files: Files, access: Literal["mmap", "pread"], open_files: int = OPEN_FILES
    ) -> None:
        self.damage: list[str] = []
        """What was found corrupt and is not served."""
        self._root = root
        self._files = files
        self._access = access
        self._limit = open_files
        self._open: OrderedDict[tuple[Key, int], BlockFile | None] = OrderedDict()
        self._lock = threading.Lock()
        self._lost: frozenset[Path] = frozenset()
        self._corrupt: set[Path] = set()
        self._durable: set[Path] = set()
        files.make_directory(root)

    def path(self, key: Key, generation: int) -> Path:
        return self._root / f"L{key.layout}" / f"a{key.archive}" / f"{key.block}.g{generation}.blk"

    def give_up(self, paths: Iterable[Path]) -> None:
        """Take ``paths`` for files that were lost: they hold nothing."""
        self._lost |= frozenset(paths)

    def _file(self, key: Key, generation: int) -> BlockFile | None:
        """The open file; None where it is corrupt, which is noted once."""
        name = (key, generation)
        with self._lock:
            if name in self._open:
                self._open.move_to_end(name)
                return self._open[name]
        path = self.path(key, generation)
        if path in self._lost:
            return None
        try:
            file = BlockFile(self._files, path, self._access)
            own = file.header
            if (own.layout, own.archive, own.block, own.generation) != (*key, generation):
                raise CorruptFileError(path, 0, "the header is another block's")
        except CorruptFileError as e:
            self._note(e)
            file = None
        with self._lock:
            self._open[name] = file
            while len(self._open) > self._limit:
                self._open.popitem(last=False)
        return file

    def _note(self, error: CorruptFileError) -> None:
        self._corrupt.add(error.path)
        if str(error) not in self.damage:
            self.damage.append(str(error))
            log.error("not served: %s", error)

    def lay(self, out: Values, key: Key, generation: int, ids: Ids, low: int, high: int) -> None:
        """Lay a file's values over ``out``; corrupt tiles give nothing. FileNotFoundError if the file is gone."""
        file = self._file(key, generation)
        if file is None:
            return
        try:
            file.lay(out, ids, low, high)
        except CorruptFileError as e:
            self._note(e)

    def fold(self, into: Fold, key: Key, generation: int, ids: Ids, places: Places, low: int, high: int) -> bool:
        """As :meth:`BlockFile.fold`; of a corrupt file nothing is folded. FileNotFoundError if the file is gone."""
        file = self._file(key, generation)
        if file is None:
            return True
        try:
            return file.fold(into, ids, places, low, high)
        except CorruptFileError as e:
            self._note(e)
            return True

    def series(self, key: Key, generation: int) -> Ids:
        """The series that have a row, uint32[n] ascending; none where the file is corrupt."""
        file = self._file(key, generation)
        return np.empty(0, np.uint32) if file is None else file.ids

    def write(
        self, key: Key, ref: BlockRef, step: int, ids: Ids, parts: Sequence[slice], values: Callable[[Ids], Values]
    ) -> None:
        """Write a block file, synced under its name. ``parts`` cut ``ids`` at multiples of TILE_ROWS.

        ``values(ids)`` gives float64[m, B]. Any failure leaves no file.
        """
        path = self.path(key, ref.generation)
        fresh = path.with_suffix(".tmp")
        self._settle(path.parent)
        fd = self._files.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            self._fill(fd, key, ref, step, ids, parts, values)
            self._files.sync(fd)
            self._files.rename(fresh, path)
            with self._lock:
                # A checkpoint that failed before its commit may have left, and opened, a file of this name.
                self._open.pop((key, ref.generation), None)
            self._files.sync_directory(path.parent)
        except BaseException:
            self._files.unlink(fresh)
            raise
        finally:
            self._files.close(fd)

    def _settle(self, directory: Path) -> None:
        """Make an archive's directory durable, once: a commit is to name no file that has no way to it."""
        if directory not in self._durable:
            make_durably(self._files, directory.parent)
            make_durably(self._files, directory)
            self._durable.add(directory)

    def _fill(
        self,
        fd: int,
        key: Key,
        ref: BlockRef,
        step: int,
        ids: Ids,
        parts: Sequence[slice],
        values: Callable[[Ids], Values],
    ) -> None:
        crcs: list[int] = []
        header: BlockHeader | None = None
        for part in parts:
            rows = values(ids[part])
            if header is None:
                flags = COMPLETE if ref.complete else 0
                length = rows.shape[1]
                header = BlockHeader(
                    flags, key.layout, key.archive, step, length, len(ids), key.block, ref.generation, ref.lsn
                )
                self._files.allocate(fd, header.size)
            crcs += [crc32c(rows[i : i + TILE_ROWS]) for i in range(0, len(rows), TILE_ROWS)]
            self._files.write(fd, as_bytes(rows), header.data_at + 8 * part.start * header.length)
        if header is None:
            raise ValueError("a block has at least one series")
        table = np.array(crcs, "<u4")
        stored_ids = np.ascontiguousarray(ids, "<u4")
        self._files.write(fd, as_bytes(stored_ids), PAGE)
        self._files.write(fd, as_bytes(table), header.crcs_at)
        self._files.write(fd, pack_block_header(header, crc32c(stored_ids), crc32c(table)), 0)

    def remove(self, key: Key, generation: int) -> None:
        """Unlink a file; who reads it still has it. One that could not be read is kept in quarantine, for a repair."""
        path = self.path(key, generation)
        with self._lock:
            self._open.pop((key, generation), None)
        if path in self._corrupt:
            place = self._root.parent / UNREAD / path.relative_to(self._root.parent)
            make_durably(self._files, place.parent)
            self._files.rename(path, place)
        else:
            self._files.unlink(path)

    def close(self) -> None:
        """Let go of all files; who reads one still has it."""
        with self._lock:
            self._open.clear()

    def listed(self) -> list[tuple[Path, Key | None, int]]:
        """Every file below the root: path, and block and generation where the name is a block file's."""
        found: list[tuple[Path, Key | None, int]] = []
        for layout in self._files.names(self._root):
            for archive in self._files.names(self._root / layout):
                for name in self._files.names(self._root / layout / archive):
                    found.append((self._root / layout / archive / name, *_parse(layout, archive, name)))
        return found


def _parse(layout: str, archive: str, name: str) -> tuple[Key | None, int]:
    block, _, rest = name.partition(".g")
    try:
        if name.endswith(".blk"):
            return Key(int(layout[1:]), int(archive[1:]), int(block)), int(rest.removesuffix(".blk"))
    except ValueError:
        pass
    return None, 0
