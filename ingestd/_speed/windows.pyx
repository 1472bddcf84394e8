# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Windows that slide along each series, every run of ``size`` columns but the first made one.

The twins are the functions of :mod:`ingestd.query.along`. Every bit is the same, so nothing is added in another order.
Rows are independent; NaN = no data. ``out`` is float64[rows, n - size], written whole. The GIL is released.
"""

from libc.math cimport INFINITY, NAN, sqrt
from libc.stdlib cimport free, malloc
from libc.string cimport memmove

cdef enum:
    SUM, AVERAGE, SMALLEST, LARGEST
    FEW = 96  # values that are put in order anew as quickly as a place is searched among them


def medians(const double[:, ::1] values not None, Py_ssize_t size, double[:, ::1] out not None):
    """The median of the known values; none where there are none."""
    cdef Py_ssize_t i, j, n = values.shape[1], count
    cdef double value, fresh, middle, below
    cdef double* ordered
    _runs(values, size, out)
    ordered = <double*>malloc((size + 1) * sizeof(double))
    if ordered is NULL:
        raise MemoryError
    with nogil:
        for i in range(values.shape[0]):
            count = 0
            for j in range(size + 1):
                ordered[j] = INFINITY
            for j in range(n):
                value = values[i, j - size] if j >= size else NAN
                fresh = values[i, j]
                if size <= FEW:
                    # What is missing is infinite here and stands behind all others.
                    count += (fresh == fresh) - (value == value)
                    value = value if value == value else INFINITY
                    fresh = fresh if fresh == fresh else INFINITY
                    _exchanged(ordered, size, value, fresh)
                else:
                    if value == value:
                        count = _taken_out(ordered, count, value)
                    if fresh == fresh:
                        count = _put_in(ordered, count, fresh)
                if j >= size:
                    middle = ordered[count >> 1]
                    below = ordered[(count - (count > 0)) >> 1]
                    value = middle if count & 1 else (below + middle) / 2.0
                    out[i, j - size] = value if count else NAN
    free(ordered)


cdef inline void _exchanged(double* ordered, Py_ssize_t size, double old, double fresh) noexcept nogil:
    """One value for another in so many that ascend; behind them is an infinity.

    No branch depends on a value: such are guessed wrong every other time.
    """
    cdef Py_ssize_t k
    cdef double before = -INFINITY, rest, low, here = ordered[0], following
    for k in range(size):
        following = ordered[k + 1]
        rest = following if here >= old else here
        low = before if before > fresh else fresh
        ordered[k] = low if low < rest else rest
        before, here = rest, following


cdef inline Py_ssize_t _place(const double* ordered, Py_ssize_t count, double value) noexcept nogil:
    """Where the first of at least ``value`` stands."""
    cdef Py_ssize_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) >> 1
        if ordered[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline Py_ssize_t _put_in(double* ordered, Py_ssize_t count, double value) noexcept nogil:
    cdef Py_ssize_t at = _place(ordered, count, value)
    memmove(ordered + at + 1, ordered + at, (count - at) * sizeof(double))
    ordered[at] = value
    return count + 1


cdef inline Py_ssize_t _taken_out(double* ordered, Py_ssize_t count, double value) noexcept nogil:
    cdef Py_ssize_t at = _place(ordered, count, value)
    memmove(ordered + at, ordered + at + 1, (count - at - 1) * sizeof(double))
    return count - 1


cdef struct Run:
    double count
    double mean
    double squares  # distances from the mean


cdef inline Run _merged(Run one, Run other) noexcept nogil:
    cdef Run out
    cdef double weight, distance
    out.count = one.count + other.count
    weight = other.count / (1.0 if out.count == 0 else out.count)
    distance = other.mean - one.mean
    out.mean = other.mean if one.count == 0 else one.mean + distance * weight
    out.squares = one.squares + other.squares + distance * distance * weight * one.count
    return out


def deviations(const double[:, ::1] values not None, Py_ssize_t size, double[:, ::1] out not None):
    """The standard deviation of the known values.

    Runs of 1, 2, 4, ... are merged as :func:`ingestd.query.functions.moving.doubled` does it.
    """
    cdef Py_ssize_t i, j, n = values.shape[1], width, offset, length, runs = values.shape[1] - size + 1
    cdef Run* power
    cdef Run* made
    _runs(values, size, out)
    power = <Run*>malloc(2 * n * sizeof(Run))
    if power is NULL:
        raise MemoryError
    made = power + n
    with nogil:
        for i in range(values.shape[0]):
            for j in range(n):
                power[j].count = 1.0 if values[i, j] == values[i, j] else 0.0
                power[j].mean = values[i, j] if values[i, j] == values[i, j] else 0.0
                power[j].squares = 0.0
            width, offset, length = 1, 0, n
            while True:
                if size & width:
                    for j in range(runs):
                        made[j] = power[offset + j] if offset == 0 else _merged(made[j], power[offset + j])
                    offset += width
                if offset == size:
                    break
                length -= width
                for j in range(length):
                    power[j] = _merged(power[j], power[j + width])
                width *= 2
            for j in range(1, runs):
                out[i, j - 1] = sqrt(made[j].squares / made[j].count)
    free(power)


def windows(
    const double[:, ::1] values not None,
    Py_ssize_t size,
    int manner,
    Py_ssize_t in_order,
    const double[::1] factors not None,
    double[:, ::1] out not None,
):
    """``manner``: 0 = sum, 1 = average, 2 = smallest, 3 = largest of the known values. None where there are none, or fewer
    than the part ``factors`` float64[rows]. Runs of up to ``in_order`` columns are added in order, longer ones as
    :func:`ingestd.query.along.doubled` does it.
    """
    cdef Py_ssize_t i, j, n = values.shape[1], runs = values.shape[1] - size + 1, known
    cdef double neutral = INFINITY if manner == SMALLEST else -INFINITY if manner == LARGEST else 0.0
    cdef double* power
    cdef double* made
    _runs(values, size, out)
    if factors.shape[0] != values.shape[0] or not SUM <= manner <= LARGEST:
        raise ValueError(f"{factors.shape[0]} factors of {values.shape[0]} rows, in the manner {manner}")
    power = <double*>malloc(2 * n * sizeof(double))
    if power is NULL:
        raise MemoryError
    made = power + n
    with nogil:
        for i in range(values.shape[0]):
            for j in range(n):
                power[j] = values[i, j] if values[i, j] == values[i, j] else neutral
            if size <= in_order:
                for j in range(runs):
                    made[j] = power[j]
                for j in range(1, size):
                    _folded(made, power + j, runs, manner)
            else:
                _doubled(power, made, n, size, manner)
            known = 0
            for j in range(size):
                known += 1 if values[i, j] == values[i, j] else 0
            for j in range(1, runs):
                known -= 1 if values[i, j - 1] == values[i, j - 1] else 0
                known += 1 if values[i, j + size - 1] == values[i, j + size - 1] else 0
                if known == 0 or not (factors[i] <= 0 or <double>known / <double>size >= factors[i]):
                    out[i, j - 1] = NAN
                elif manner == AVERAGE:
                    out[i, j - 1] = made[j] / <double>known
                else:
                    out[i, j - 1] = made[j]
    free(power)


cdef inline void _folded(double* one, const double* other, Py_ssize_t n, int manner) noexcept nogil:
    cdef Py_ssize_t j
    if manner == SMALLEST:
        for j in range(n):
            one[j] = one[j] if one[j] < other[j] else other[j]
    elif manner == LARGEST:
        for j in range(n):
            one[j] = one[j] if one[j] > other[j] else other[j]
    else:
        for j in range(n):
            one[j] = one[j] + other[j]


cdef inline void _doubled(double* power, double* made, Py_ssize_t n, Py_ssize_t size, int manner) noexcept nogil:
    cdef Py_ssize_t j, width = 1, offset = 0, runs = n - size + 1
    while True:
        if size & width:
            if offset == 0:
                for j in range(runs):
                    made[j] = power[j]
            else:
                _folded(made, power + offset, runs, manner)
            offset += width
        if offset == size:
            return
        n -= width
        _folded(power, power + width, n, manner)
        width *= 2


cdef _runs(const double[:, ::1] values, Py_ssize_t size, double[:, ::1] out):
    if not 0 < size <= values.shape[1] or out.shape[0] != values.shape[0] or out.shape[1] != values.shape[1] - size:
        raise ValueError(f"runs of {size} of {values.shape[1]} columns into {out.shape[0]} x {out.shape[1]}")
