from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ingestd._speed.table import Table

def parse(
    data: bytes,
    table: Table,
    now: int,
    parse_line: Callable[[bytes, int], tuple[bytes, float, int] | str | None],
    length_max: int,
    depth_max: int,
) -> tuple[
    NDArray[np.uint32],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.intp],
    list[bytes],
    list[int],
    dict[str, int],
]: ...
