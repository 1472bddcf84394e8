"""The file of a map: read whole, replaced whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ingestd.cluster.map import Map, MapError, decode_map, encode_map


def read_map(path: Path) -> Map | None:
    """The map of a file, None where there is no file. Raises :class:`MapError`, which names the file."""
    try:
        return decode_map(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MapError) as error:
        raise MapError(f"{path}: {error}") from error


def write_map(path: Path, found: Map) -> None:
    """Put a map in place of the file, as :func:`replace_file` does."""
    replace_file(path, encode_map(found))


def replace_file(path: Path, text: str) -> None:
    """Put a text in place of a file, durably: whoever reads meanwhile gets the one or the other. Raises MapError."""
    beside = path.with_name(path.name + ".tmp")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise MapError(f"{path}: {error}") from error


@contextlib.contextmanager
def held_map(path: Path) -> Iterator[None]:
    """Keep others from changing the map of this file. Raises :class:`MapError` if somebody does already."""
    beside = path.with_name(path.name + ".lock")
    try:
        fd = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise MapError(f"{beside}: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise MapError(f"{path} is being changed by another process") from None
    finally:
        os.close(fd)
