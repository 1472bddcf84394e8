"""Who a relay is to the stores: its name, and sequence numbers that never come again, whatever happens to it.

Numbers are reserved on disk ahead of their use, so a start after a crash leaves out some and repeats none. The step is
small beside the window in which a store recognises what it has seen (65,536 numbers): messages that were spooled before
the crash are sent again within it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from pathlib import Path
from typing import Final

from ingestd.ingest.spool import Files

log = logging.getLogger(__name__)

STEP: Final = 8192
"""Numbers reserved at once: 8 s of a large relay's messages."""
_NAME_BYTES: Final = 16


class Producer:
    """The name and the numbers of one relay, kept in one small file."""

    def __init__(self, path: Path, files: Files) -> None:
        self.name = b""
        """32 hexadecimal digits."""
        self.next = 0
        """The next number to use."""
        self.reserved = 0
        """The first number that may not be used yet."""
        self._path = path
        self._files = files

    def open(self) -> None:
        """Read the file, or begin anew under a name that nobody has had. Raises OSError."""
        try:
            kept = json.loads(self._path.read_bytes())
            name, reserved = bytes.fromhex(kept["producer"]), int(kept["reserved"])
            if len(name) != _NAME_BYTES or not 0 <= reserved < 1 << 63:
                raise ValueError("out of range")
        except FileNotFoundError:
            name, reserved = secrets.token_bytes(_NAME_BYTES), 0
        except (ValueError, KeyError, TypeError) as error:
            # Under the old name, numbers might come again for other points, which stores would then drop.
            log.warning("%s cannot be read (%s): the relay takes another name", self._path, error)
            name, reserved = secrets.token_bytes(_NAME_BYTES), 0
        self.name = name.hex().encode()
        self.next = self.reserved = reserved
        self.reserve()

    def reserve(self) -> None:
        """Make :data:`STEP` more numbers than the next one usable. Raises OSError."""
        wanted = self.next + STEP
        self._keep(wanted)
        self.reserved = wanted

    def close(self) -> None:
        """Give back what was reserved and not used. Raises OSError."""
        self._keep(self.next)
        self.reserved = self.next

    @property
    def scarce(self) -> bool:
        """Whether it is time for :meth:`reserve`."""
        return self.reserved - self.next < STEP // 2

    def take(self) -> int | None:
        """A number; None if none is reserved."""
        if self.next >= self.reserved:
            return None
        number = self.next
        self.next += 1
        return number

    def _keep(self, reserved: int) -> None:
        fresh = self._path.with_name(f".{self._path.name}.tmp")
        data = json.dumps({"producer": self.name.decode(), "reserved": reserved}).encode()
        fd = self._files.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            self._files.write(fd, data, 0)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._files.rename(fresh, self._path)
        self._files.sync_directory(self._path.parent)
