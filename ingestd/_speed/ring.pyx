# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A batch's way into the ring and out: the compiled twins of ``survey``, ``Buffer.put`` and ``Buffer.lay`` in
:mod:`ingestd.storage.ring`.
"""

from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t


def survey(const uint32_t[::1] ids not None, const int64_t[::1] times not None, const uint16_t[::1] layout_of not None):
    """The layout of n points' series, -1 if there are several, and the least and greatest of ``times`` (n > 0)."""
    cdef Py_ssize_t i, n = ids.shape[0], known = layout_of.shape[0]
    cdef int64_t least, greatest, time
    cdef int layout
    if n == 0 or times.shape[0] != n:
        raise ValueError(f"{n} ids and {times.shape[0]} times")
    if ids[0] >= known:
        raise IndexError(f"series {ids[0]} of {known}")
    least = greatest = times[0]
    layout = layout_of[ids[0]]
    for i in range(n):
        if ids[i] >= known:
            raise IndexError(f"series {ids[i]} of {known}")
        if layout_of[ids[i]] != layout:
            layout = -1
        time = times[i]
        if time < least:
            least = time
        elif time > greatest:
            greatest = time
    return layout, least, greatest


def scatter(
    const uint32_t[::1] ids not None,
    const int64_t[::1] times not None,
    const double[::1] values not None,
    int64_t step,
    int64_t first,
    const int32_t[::1] columns not None,
    double[:, ::1] data not None,
    uint8_t[::1] touched not None,
    Py_ssize_t start,
):
    """Assign ``values`` from row ``start`` on at (``times`` // ``step`` - ``first``, column of the series).

    A row of ``data`` is filled with NaN before its first point. Gives the first row whose series has no column, where
    it ends; the number of points if there is none.
    """
    cdef Py_ssize_t i, k, n = ids.shape[0], known = columns.shape[0]
    cdef Py_ssize_t length = data.shape[0], width = data.shape[1]
    cdef int64_t time = 0, slot = -1
    cdef int32_t column
    if times.shape[0] != n or values.shape[0] != n or touched.shape[0] != length or step < 1:
        raise ValueError("columns of different lengths")
    for i in range(start, n):
        column = columns[ids[i]] if ids[i] < known else -1
        if column < 0 or column >= width:
            return i
        if slot < 0 or times[i] != time:
            time = times[i]
            slot = time // step - (time % step < 0) - first
            if not 0 <= slot < length:
                raise IndexError(f"slot {slot} of {length}")
            if not touched[slot]:
                for k in range(width):
                    data[slot, k] = NAN
                touched[slot] = 1
        data[slot, column] = values[i]
    return n


cdef enum:
    TILE = 128  # series that are laid at once: their slots of a block, 60 KB, stay in the caches


def lay(
    const double[:, ::1] data not None,
    const uint8_t[::1] touched not None,
    const int32_t[::1] columns not None,
    Py_ssize_t low,
    double[:, :] out not None,
):
    """Lay the rows of ``data`` from ``low`` on that are ``touched`` over ``out``, a row each of n ``columns``.

    What is no number leaves ``out`` as it was, as does a column below 0.
    """
    cdef Py_ssize_t i, slot, begin, end, n = columns.shape[0], slots = out.shape[1], width = data.shape[1]
    cdef double value
    if out.shape[0] != n or low < 0 or low + slots > data.shape[0] or data.shape[0] != touched.shape[0]:
        raise ValueError("columns of different lengths")
    for i in range(n):
        if columns[i] >= width:
            raise IndexError(f"column {columns[i]} of {width}")
    with nogil:
        begin = 0
        while begin < n:
            end = min(begin + TILE, n)
            for slot in range(slots):
                if not touched[low + slot]:
                    continue
                for i in range(begin, end):
                    if columns[i] >= 0:
                        value = data[low + slot, columns[i]]
                        if value == value:
                            out[i, slot] = value
            begin = end
