from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

def count(starts: array[int], nodes: NDArray[np.uint32]) -> int: ...
def below(rows: list[bytes], starts: array[int], nodes: NDArray[np.uint32], prefix: bytes) -> NDArray[np.uint32]: ...
def named(rows: list[bytes], starts: array[int], nodes: NDArray[np.uint32], name: bytes) -> NDArray[np.uint32]: ...
def taken(rows: list[bytes], nodes: NDArray[np.uint32], match: Callable[[str], object]) -> NDArray[np.uint8]: ...
def matches(
    rows: list[bytes],
    depths: array[int],
    nodes: NDArray[np.uint32],
    depth: int,
    leaves_only: bool,
    hidden: bytes,
) -> list[tuple[str, str, bool]]: ...
def leaves(
    rows: list[bytes],
    depths: array[int],
    ids: array[int],
    nodes: NDArray[np.uint32],
    depth: int,
    hidden: bytes,
) -> list[tuple[str, int]]: ...
def series(
    rows: list[bytes],
    depths: array[int],
    ids: array[int],
    nodes: NDArray[np.uint32],
    depth: int,
    hidden: bytes,
) -> NDArray[np.uint32] | None: ...
