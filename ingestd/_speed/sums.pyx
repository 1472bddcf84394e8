# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Sums over many series at once: the compiled twin of ``total`` and ``known`` in :mod:`ingestd.query.reduce`.

Row after row from 0.0 on, as numpy adds rows that lie one after the other, so that every bit is the same; one pass and
no array between, where numpy makes three.
"""

import numpy as np


def sums(const double[:, ::1] rows not None):
    """Of each column: the sum of its values that are no NaN and how many they are, two float64[n].

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
