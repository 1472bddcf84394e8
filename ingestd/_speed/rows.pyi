import numpy as np
from numpy.typing import NDArray

def locate(have: NDArray[np.uint32], want: NDArray[np.uint32], places: NDArray[np.intp]) -> int: ...
def unmarked(places: NDArray[np.intp], size: int, marks: NDArray[np.uint8]) -> list[int]: ...
def fold_rows(
    data: NDArray[np.float64],
    places: NDArray[np.intp],
    low: int,
    high: int,
    manner: int,
    totals: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None: ...
def fold_columns(
    data: NDArray[np.float64],
    columns: NDArray[np.int32],
    touched: NDArray[np.uint8],
    low: int,
    high: int,
    manner: int,
    totals: NDArray[np.float64],
    counts: NDArray[np.float64],
) -> None: ...
def lay_known(
    data: NDArray[np.float64],
    have: NDArray[np.uint32],
    size: int,
    marks: NDArray[np.uint8],
    want: NDArray[np.uint32],
    low: int,
    high: int,
    out: NDArray[np.float64],
) -> list[int]: ...
