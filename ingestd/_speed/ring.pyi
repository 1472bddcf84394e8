import numpy as np
from numpy.typing import NDArray

def survey(
    ids: NDArray[np.uint32], times: NDArray[np.int64], layout_of: NDArray[np.uint16]
) -> tuple[int, int, int]: ...
def scatter(
    ids: NDArray[np.uint32],
    times: NDArray[np.int64],
    values: NDArray[np.float64],
    step: int,
    first: int,
    columns: NDArray[np.int32],
    data: NDArray[np.float64],
    touched: NDArray[np.uint8],
    start: int,
) -> int: ...
def lay(
    data: NDArray[np.float64],
    touched: NDArray[np.uint8],
    columns: NDArray[np.int32],
    low: int,
    out: NDArray[np.float64],
) -> None: ...
