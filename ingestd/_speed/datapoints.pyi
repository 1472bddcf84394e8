import numpy as np
from numpy.typing import NDArray

def encode(
    heads: list[bytes],
    values: list[NDArray[np.float64]],
    times: list[tuple[int, int, int, bool]],
    no_nulls: bool,
    separator: bytes,
) -> bytes: ...
