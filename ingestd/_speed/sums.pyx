# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sums over many series at once, and of each: the compiled twins of ``total`` and ``known`` in
:mod:`ingestd.query.reduce`.

Every bit is the same, so values are added in numpy's order; one pass and no array between, where numpy makes three.
"""

import numpy as np


def sums(const double[:, ::1] rows not None):
    """Of each column, row after row from 0.0 on: the sum of its values that are no NaN and how many they are, two float64[n].

    There are at least two columns: one alone numpy would add in another order.
    """
    cdef Py_ssize_t i, j, n = rows.shape[0], points = rows.shape[1]
    if points < 2:
        raise ValueError("at least two columns")
    total, count = np.zeros(points), np.zeros(points)
    cdef double[::1] sum_of = total, count_of = count
    cdef double* s = &sum_of[0]
    cdef double* c = &count_of[0]
    cdef const double* row
    cdef double value
    with nogil:
        for i in range(n):
            row = &rows[i, 0]
            for j in range(points):
                value = row[j]
                s[j] += value if value == value else 0.0
                c[j] += 1.0 if value == value else 0.0
    return total, count


def row_sums(const double[:, ::1] rows not None):
    """Of each row: the sum of its values that are no NaN, float64[n], and how many they are, intp[n].

    There are more than 8 columns: up to that many numpy's twin adds in order.
    """
    cdef Py_ssize_t i, n = rows.shape[0], points = rows.shape[1]
    if points <= 8:
        raise ValueError("more than 8 columns")
    total, count = np.empty(n), np.empty(n, np.intp)
    cdef double[::1] total_of = total
    cdef Py_ssize_t[::1] count_of = count
    with nogil:
        for i in range(n):
            # numpy adds what it finds to nothing.
            total_of[i] = 0.0 + _sum(&rows[i, 0], points)
            count_of[i] = _known(&rows[i, 0], points)
    return total, count


cdef double _sum(const double* values, Py_ssize_t n) noexcept nogil:
    """The sum as numpy makes it: of more than 128 values that of two halves, of fewer that of eight sums side by side."""
    cdef double[8] parts
    cdef double total, value
    cdef Py_ssize_t i, k, half
    if n > 128:
        half = n / 2
        half -= half % 8
        return _sum(values, half) + _sum(values + half, n - half)
    for k in range(8):
        parts[k] = values[k] if values[k] == values[k] else 0.0
    for i in range(8, n - n % 8, 8):
        for k in range(8):
            value = values[i + k]
            parts[k] += value if value == value else 0.0
    total = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + ((parts[4] + parts[5]) + (parts[6] + parts[7]))
    for i in range(n - n % 8, n):
        total += values[i] if values[i] == values[i] else 0.0
    return total


cdef Py_ssize_t _known(const double* values, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i, count = 0
    for i in range(n):
        count += values[i] == values[i]
    return count
