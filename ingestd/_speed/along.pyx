# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Along each series from point to point: what depends on the points before, or else takes numpy many passes.

The twins are the functions of :mod:`ingestd.query.along`, and ``rounded`` of :mod:`ingestd.query.functions.transform`.
Every bit is the same, so nothing is added or multiplied in another order. Rows are independent; NaN = no data. ``out`` is
written whole and does not overlap ``values``. The GIL is released.
"""

from libc.math cimport NAN, fabs, rint, sqrt

cdef double TOO_LARGE = 4503599627370496.0


def fill(const double[:, ::1] values not None, double limit, double[:, ::1] out not None):
    """Gaps of at most ``limit`` points between a value and the next, or the end, become the value before them."""
    _same_shape(values, out)
    cdef Py_ssize_t i, j, at, last, n = values.shape[1]
    with nogil:
        for i in range(values.shape[0]):
            last = -1
            for j in range(n + 1):
                if j < n:
                    out[i, j] = values[i, j]
                    if values[i, j] != values[i, j]:
                        continue
                if last >= 0 and j - last - 1 <= limit:
                    for at in range(last + 1, j):
                        out[i, at] = values[i, last]
                last = j


def bridge(const double[:, ::1] values not None, double limit, double[:, ::1] out not None):
    """Gaps of at most ``limit`` points between two values become a straight line."""
    _same_shape(values, out)
    cdef Py_ssize_t i, j, at, last, n = values.shape[1]
    cdef double begin, rise
    with nogil:
        for i in range(values.shape[0]):
            last = -1
            for j in range(n):
                out[i, j] = values[i, j]
                if values[i, j] != values[i, j]:
                    continue
                if 0 <= last < j - 1 and j - last - 1 <= limit:
                    begin = values[i, last]
                    rise = values[i, j] - begin
                    for at in range(last + 1, j):
                        out[i, at] = begin + <double>(at - last) * rise / <double>(j - last)
                last = j


def changes(const double[:, ::1] values not None, double[:, ::1] out not None):
    """1 where a value differs from the last one before it, else 0."""
    _same_shape(values, out)
    cdef Py_ssize_t i, j
    cdef double last, value
    with nogil:
        for i in range(values.shape[0]):
            last = NAN
            for j in range(values.shape[1]):
                value = values[i, j]
                # A value differs from NaN, too, which stands for none before it.
                out[i, j] = 1.0 if value == value and last == last and value != last else 0.0
                last = value if value == value else last


def spreads(const double[:, ::1] values not None, Py_ssize_t points, double tolerance, double[:, ::1] out not None):
    """Deviations of the last ``points`` values by running sums; none where fewer than ``tolerance`` of them are known."""
    _same_shape(values, out)
    cdef Py_ssize_t i, j
    cdef double value, total, squares, count
    if points < 1:
        raise ValueError(f"a window of {points} points")
    with nogil:
        for i in range(values.shape[0]):
            total = squares = count = 0.0
            for j in range(values.shape[1]):
                if j >= points:
                    value = values[i, j - points]
                    if value == value:
                        total -= value
                        squares -= value * value
                        count -= 1.0
                value = values[i, j]
                if value == value:
                    total += value
                    squares += value * value
                    count += 1.0
                if count > 0 and count / <double>points >= tolerance:
                    out[i, j] = sqrt(count * squares - total * total) / count
                else:
                    out[i, j] = NAN


def averages(
    const double[:, ::1] values not None,
    double weight,
    const double[::1] firsts not None,
    Py_ssize_t block,
    double[:, ::1] out not None,
):
    """``weight * value + (1 - weight) * average before`` where there is a value; ``firsts`` are the averages before all.

    In blocks as :func:`recur`.
    """
    _same_shape(values, out)
    _check(firsts, values.shape[0], block)
    cdef Py_ssize_t i, j
    cdef double value, rest = 1.0 - weight
    cdef Block at
    with nogil:
        for i in range(values.shape[0]):
            at = _begun(firsts[i], block)
            for j in range(values.shape[1]):
                value = values[i, j]
                if value == value:
                    out[i, j] = _next(&at, rest, weight * value)
                else:
                    _next(&at, 1.0, 0.0)
                    out[i, j] = NAN


def recur(
    const double[:, ::1] factors not None,
    const double[:, ::1] additions not None,
    const double[::1] firsts not None,
    Py_ssize_t block,
    double[:, ::1] out not None,
):
    """``y[j] = factors[j] * y[j - 1] + additions[j]``; ``firsts`` are those before all.

    In blocks of so many points, each as if nothing came before it and then given what did, as numpy does it.
    """
    _same_shape(factors, out)
    _same_shape(additions, out)
    _check(firsts, factors.shape[0], block)
    cdef Py_ssize_t i, j
    cdef Block at
    with nogil:
        for i in range(factors.shape[0]):
            at = _begun(firsts[i], block)
            for j in range(factors.shape[1]):
                out[i, j] = _next(&at, factors[i, j], additions[i, j])


cdef struct Block:
    Py_ssize_t size
    Py_ssize_t left
    double before  # what came before the block
    double own  # as if nothing had
    double scale  # of what came before


cdef inline Block _begun(double first, Py_ssize_t size) noexcept nogil:
    cdef Block at
    at.size = at.left = size
    at.before, at.own, at.scale = first, 0.0, 1.0
    return at


cdef inline double _next(Block* at, double factor, double addition) noexcept nogil:
    cdef double y
    at.own = addition if at.left == at.size else addition + factor * at.own
    at.scale = factor * at.scale
    y = at.own + at.scale * at.before
    at.left -= 1
    if at.left == 0:
        at.left, at.before, at.scale = at.size, at.scale * at.before + at.own, 1.0
    return y


cdef _check(const double[::1] firsts, Py_ssize_t rows, Py_ssize_t block):
    if firsts.shape[0] != rows or block < 1:
        raise ValueError(f"{firsts.shape[0]} values before {rows} rows, in blocks of {block}")


def rounded(const double[::1] values not None, double power, bint up, double[::1] out not None):
    """``rint(value * power) / power``, or ``rint(value / power) * power`` unless ``up``.

    Values of 2 ** 52 of the last digits and more stay. Returns a list of the indices of ties, near or exact ones.
    """
    cdef Py_ssize_t i
    cdef double product, nearest, size
    cdef list ties = []
    if values.shape[0] != out.shape[0]:
        raise ValueError(f"{values.shape[0]} values into {out.shape[0]}")
    for i in range(values.shape[0]):
        product = values[i] * power if up else values[i] / power
        nearest = rint(product)
        size = fabs(product)
        out[i] = values[i] if size >= TOO_LARGE else nearest / power if up else nearest * power
        if fabs(product - nearest) + size * 5e-16 >= 0.5 and size < 1e14:
            ties.append(i)
    return ties


cdef _same_shape(const double[:, ::1] values, double[:, ::1] out):
    if values.shape[0] != out.shape[0] or values.shape[1] != out.shape[1]:
        raise ValueError(f"{values.shape[0]} x {values.shape[1]} into {out.shape[0]} x {out.shape[1]}")
