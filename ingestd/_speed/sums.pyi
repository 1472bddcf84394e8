import numpy as np
from numpy.typing import NDArray

def sums(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
