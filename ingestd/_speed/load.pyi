import numpy as np
from numpy.typing import NDArray

def lines(
    names: NDArray[np.uint8],
    starts: NDArray[np.int64],
    rows: NDArray[np.uint32],
    timestamp: int,
    state: int,
    out: bytearray,
) -> tuple[int, int, int]: ...
def datagrams(
    hosts: NDArray[np.uint8],
    host_starts: NDArray[np.int64],
    parts: NDArray[np.uint8],
    part_starts: NDArray[np.int64],
    counts: NDArray[np.uint8],
    rows: NDArray[np.uint32],
    timestamp: int,
    interval: int,
    state: int,
    out: bytearray,
    ends: NDArray[np.uint32],
) -> tuple[int, int, int, int]: ...
