"""The errors of the storage floor."""

from __future__ import annotations

from pathlib import Path


class StorageError(Exception):
    """The store cannot do what it was asked; the base of this floor's errors."""


class InUseError(StorageError):
    """Another process holds the directory."""


class CorruptFileError(StorageError):
    """A file does not hold what its format and checksums say."""

    def __init__(self, path: Path, offset: int, why: str) -> None:
        super().__init__(f"{path}: at byte {offset}: {why}")
        self.path = path
        self.offset = offset
        self.why = why
