from collections.abc import Callable, Mapping
from typing import Any

from ingestd._speed import Found
from ingestd._speed.naming import Naming

class Reader:
    mismatched: int
    padded: int
    unverified: int
    forgotten: int
    def __init__(
        self,
        naming: Naming,
        tell: Callable[[int, int, tuple[bytes, ...], bytes], Any],
        verified: Callable[[bytes, int, int, int, Mapping[bytes, bytes]], bool],
        decrypted: Callable[[bytes, int, int, Mapping[bytes, bytes]], tuple[bytes, bytes] | None],
        rated: bool,
        interval: int,
        limit: int,
    ) -> None: ...
    def __len__(self) -> int: ...
    def clear(self) -> None: ...
    def read(self, datagrams: list[bytes], names: Any, now: float, security: Any) -> Found: ...
