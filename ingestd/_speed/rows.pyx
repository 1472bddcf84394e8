# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Rows of many series into one, straight from where they are kept; used by :mod:`ingestd.storage.totals`.

The reference is what reading them into an array and :func:`ingestd.query.reduce.across` give: values are added row
after row in the order of ``places``, so that every bit is the same, and of equal extremes the first stays. The GIL is
released. ``manner``: 0 = sum, 1 = largest, 2 = smallest.
"""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    #ifdef __GNUC__
    #define ingestd_prefetch(p) __builtin_prefetch(p)
    #else
    #define ingestd_prefetch(p) ((void)(p))
    #endif
    """
    void ingestd_prefetch(const void*) noexcept nogil

cdef enum:
    SUM, LARGEST, SMALLEST
    AHEAD = 6  # rows that are called for while others are read: they may lie anywhere in a file
    LINE = 8  # values in a line of the cache


def locate(const uint32_t[::1] have not None, const uint32_t[::1] want not None, Py_ssize_t[::1] places not None):
    """Put into ``places`` where each of ``want`` stands in ``have``, which ascends; -1 where it does not.

    What ``places`` holds before are guesses: the files of one archive mostly have the same series in the same rows.
    Returns how many are there.
    """
    cdef Py_ssize_t n = want.shape[0], found = 0
    if places.shape[0] != n:
        raise ValueError(f"{n} ids and {places.shape[0]} places")
    if n:
        with nogil:
            found = _locate(&have[0] if have.shape[0] else NULL, have.shape[0], &want[0], n, &places[0])
    return found


cdef Py_ssize_t _locate(
    const uint32_t* have, Py_ssize_t known, const uint32_t* want, Py_ssize_t n, Py_ssize_t* places
) noexcept nogil:
    cdef Py_ssize_t i, at = 0, low, high, middle, step, found = 0
    cdef uint32_t wanted
    for i in range(n):
        wanted = want[i]
        low = places[i]
        if not (0 <= low < known and have[low] == wanted):
            # Mostly ids ascend: from the place of the one before, by steps that double.
            low = at if at < known and have[at] <= wanted else 0
            high, step = low, 1
            while high < known and have[high] < wanted:
                low = high + 1
                high += step
                step *= 2
            if high > known:
                high = known
            while low < high:
                middle = (low + high) >> 1
                if have[middle] < wanted:
                    low = middle + 1
                else:
                    high = middle
            at = low
            if low == known or have[low] != wanted:
                places[i] = -1
                continue
            places[i] = low
        at = low
        found += 1
    return found


def unmarked(const Py_ssize_t[::1] places not None, Py_ssize_t size, const uint8_t[::1] marks not None):
    """Which runs of ``size`` rows have one of ``places`` (-1: none) and no mark: their numbers, each once."""
    if not places.shape[0]:
        return []
    return _unmarked(&places[0], places.shape[0], size, marks)


cdef list _unmarked(const Py_ssize_t* places, Py_ssize_t n, Py_ssize_t size, const uint8_t[::1] marks):
    cdef Py_ssize_t i, run, last = -1
    cdef list found = []
    for i in range(n):
        if places[i] < 0:
            continue
        run = places[i] / size
        if run != last:
            last = run
            if run >= marks.shape[0]:
                raise IndexError(f"run {run} of {marks.shape[0]}")
            if not marks[run] and run not in found:
                found.append(run)
    return found


def fold_rows(
    const double[:, ::1] data not None,
    const Py_ssize_t[::1] places not None,
    Py_ssize_t low,
    Py_ssize_t high,
    int manner,
    double[::1] totals not None,
    double[::1] counts not None,
):
    """Fold columns ``low`` to ``high`` of the rows ``places`` of ``data`` (-1: none) into ``totals``, and count them."""
    cdef Py_ssize_t i, n = places.shape[0], rows = data.shape[0], width = high - low
    if not 0 <= low <= high <= data.shape[1] or totals.shape[0] != width or counts.shape[0] != width:
        raise ValueError(f"columns {low} to {high} of {data.shape[1]} into {totals.shape[0]} and {counts.shape[0]}")
    for i in range(n):
        if places[i] >= rows:
            raise IndexError(f"row {places[i]} of {rows}")
    if width == 0:
        return
    with nogil:
        for i in range(n):
            if i + AHEAD < n and places[i + AHEAD] >= 0 and places[i + AHEAD] != places[i + AHEAD - 1] + 1:
                _call(&data[places[i + AHEAD], low], width)
            if places[i] >= 0:
                _fold(&data[places[i], low], width, manner, &totals[0], &counts[0])


def fold_columns(
    const double[:, ::1] data not None,
    const int32_t[::1] columns not None,
    const uint8_t[::1] touched not None,
    Py_ssize_t low,
    Py_ssize_t high,
    int manner,
    double[::1] totals not None,
    double[::1] counts not None,
):
    """The same of a ring: rows are slots, of which those count that are ``touched``, and ``columns`` are the series."""
    cdef Py_ssize_t i, slot, n = columns.shape[0], width = high - low
    cdef const double* row
    cdef double total, count, value
    if not 0 <= low <= high <= data.shape[0] or totals.shape[0] != width or counts.shape[0] != width:
        raise ValueError(f"slots {low} to {high} of {data.shape[0]} into {totals.shape[0]} and {counts.shape[0]}")
    if touched.shape[0] != data.shape[0]:
        raise ValueError(f"{touched.shape[0]} slots of {data.shape[0]}")
    for i in range(n):
        if columns[i] >= data.shape[1]:
            raise IndexError(f"column {columns[i]} of {data.shape[1]}")
    with nogil:
        for slot in range(low, high):
            if not touched[slot]:
                continue
            row = &data[slot, 0]
            total, count = totals[slot - low], counts[slot - low]
            for i in range(n):
                if columns[i] < 0:
                    continue
                value = row[columns[i]]
                if value == value:
                    if manner == SUM:
                        total += value
                    elif count == 0 or (value > total if manner == LARGEST else value < total):
                        total = value
                    count += 1
            totals[slot - low], counts[slot - low] = total, count


def lay_known(
    const double[:, ::1] data not None,
    const uint32_t[::1] have not None,
    Py_ssize_t size,
    const uint8_t[::1] marks not None,
    const uint32_t[::1] want not None,
    Py_ssize_t low,
    Py_ssize_t high,
    double[:, :] out not None,
):
    """Lay columns ``low`` to ``high`` of the rows of ``data`` that are those of ``want`` over ``out``, where no NaN is.

    ``have`` ascends: whose the rows are. Runs of ``size`` rows have a mark in ``marks``; where one lacks it, nothing is
    laid, and the list of their numbers returned. One call in place of three: the arrays of one series cost more than
    its values.
    """
    cdef Py_ssize_t i, j, n = want.shape[0], rows = data.shape[0], width = high - low
    cdef Py_ssize_t one = -1
    cdef Py_ssize_t* places = &one
    cdef const double* row
    cdef double* line
    cdef list lacking
    if not 0 <= low <= high <= data.shape[1] or out.shape[0] != n or out.shape[1] != width:
        raise ValueError(f"columns {low} to {high} of {data.shape[1]} over {out.shape[0]} x {out.shape[1]}")
    if have.shape[0] > rows:
        raise ValueError(f"{have.shape[0]} ids of {rows} rows")
    if not n or not width or not have.shape[0]:
        return []
    if out.strides[1] != sizeof(double):
        raise ValueError("the values of a row lie one after the other")
    if n > 1:
        places = <Py_ssize_t*>malloc(n * sizeof(Py_ssize_t))
        if places == NULL:
            raise MemoryError
    try:
        with nogil:
            for i in range(n):
                places[i] = -1
            _locate(&have[0], have.shape[0], &want[0], n, places)
        lacking = _unmarked(places, n, size, marks)
        if lacking:
            return lacking
        with nogil:
            for i in range(n):
                if i + AHEAD < n and places[i + AHEAD] >= 0 and places[i + AHEAD] != places[i + AHEAD - 1] + 1:
                    _call(&data[places[i + AHEAD], low], width)
                if places[i] >= 0:
                    row = &data[places[i], low]
                    line = &out[i, 0]
                    for j in range(width):
                        line[j] = row[j] if row[j] == row[j] else line[j]
    finally:
        if places != &one:
            free(places)
    return lacking


cdef inline void _call(const double* row, Py_ssize_t width) noexcept nogil:
    """Have a row brought from memory."""
    cdef Py_ssize_t j = 0
    while j < width:
        ingestd_prefetch(row + j)
        j += LINE


cdef inline void _fold(
    const double* row, Py_ssize_t width, int manner, double* totals, double* counts
) noexcept nogil:
    cdef Py_ssize_t j
    cdef double value
    if manner == SUM:
        for j in range(width):
            value = row[j]
            totals[j] += value if value == value else 0.0
            counts[j] += 1.0 if value == value else 0.0
    elif manner == LARGEST:
        for j in range(width):
            value = row[j]
            # Before the first value a total is NaN, which is above nothing.
            totals[j] = value if value > totals[j] or totals[j] != totals[j] else totals[j]
            counts[j] += 1.0 if value == value else 0.0
    else:
        for j in range(width):
            value = row[j]
            totals[j] = value if value < totals[j] or totals[j] != totals[j] else totals[j]
            counts[j] += 1.0 if value == value else 0.0
