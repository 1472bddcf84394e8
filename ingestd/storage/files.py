"""The seam through which storage touches the disk: every operation on files is here.

A test hands in its own :class:`Files` to fail, to record or to tear operations.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Final

from ingestd.storage.errors import InUseError

COPY_BYTES: Final = 1 << 20
"""Read at once where a file is copied."""


class Files:
    """The operations of the operating system; all raise OSError as it does."""

    def open(self, path: Path, flags: int) -> int:
        """A file descriptor; new files are readable by their owner and group alone."""
        return os.open(path, flags | os.O_CLOEXEC, 0o640)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of ``data`` at ``offset``."""
        left = memoryview(data).cast("B")
        while len(left):
            done = os.pwrite(fd, left, offset)
            left, offset = left[done:], offset + done

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes from ``offset``, fewer at the file's end."""
        pieces = []
        while size:
            piece = os.pread(fd, size, offset)
            if not piece:
                break
            pieces.append(piece)
            size, offset = size - len(piece), offset + len(piece)
        return b"".join(pieces)

    def allocate(self, fd: int, size: int) -> None:
        """Give the first ``size`` bytes disk blocks now, so that a full disk fails here and not in a mapping."""
        os.posix_fallocate(fd, 0, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def map(self, fd: int, size: int) -> mmap.mmap:
        """A read-only mapping of the first ``size`` bytes."""
        return mmap.mmap(fd, size, prot=mmap.PROT_READ)

    def rename(self, source: Path, target: Path) -> None:
        """Replace ``target``; durable after the directory is synced."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; both are the same bytes."""
        os.link(source, target)

    def make_directory(self, path: Path) -> None:
        """Make one directory, or leave it; durable after the one that it stands in is synced."""
        path.mkdir(mode=0o750, exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """Make names in a directory durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def names(self, path: Path) -> list[str]:
        """Names in a directory, sorted; none if it does not exist."""
        try:
            return sorted(entry.name for entry in path.iterdir())
        except FileNotFoundError:
            return []

    def free_bytes(self, path: Path) -> int:
        """Bytes that an unprivileged writer may still take."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def lock(self, path: Path) -> int:
        """Lock a file for as long as the descriptor that is returned stays open. Raises InUseError if it is taken."""
        fd = self.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise InUseError(f"{path.parent} is in use by another process") from None
        return fd


def make_durably(files: Files, path: Path) -> None:
    """Make a directory and those above it; one that is there may have been made before a kill, and is synced too."""
    if not path.parent.is_dir():
        make_durably(files, path.parent)
    files.make_directory(path)
    # Who may not read the directory above has been given this one by somebody else.
    with contextlib.suppress(PermissionError):
        files.sync_directory(path.parent)


def link_or_copy(files: Files, source: Path, target: Path) -> bool:
    """Make ``target`` a second name of ``source``, or a synced copy where that cannot be; whether it is the same file.

    Raises OSError, with no ``target`` where the copy failed.
    """
    try:
        files.link(source, target)
    except OSError as e:
        # Another file system, one without links, a foreign owner, or too many links already.
        if e.errno not in (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        copy(files, source, target)
        return False
    return True


def copy(files: Files, source: Path, target: Path, size: int | None = None) -> None:
    """Copy the first ``size`` bytes (all if None) to a new file, synced. Raises OSError with no ``target``."""
    read = files.open(source, os.O_RDONLY)
    try:
        left = files.size(read) if size is None else size
        written = files.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            at = 0
            while left > at and (piece := files.read(read, min(COPY_BYTES, left - at), at)):
                files.write(written, piece, at)
                at += len(piece)
            files.sync(written)
        except OSError:
            files.unlink(target)
            raise
        finally:
            files.close(written)
    finally:
        files.close(read)
