# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Series to the JSON of /render: the compiled twin of :func:`ingestd.serve.formats.to_json`, which is the reference.

One pass over all series without the interpreter lock, into bytes that grow while they are too few.
"""

from cpython.buffer cimport PyBUF_FORMAT, PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject, Py_XDECREF
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from ingestd._speed.decimals cimport WIDEST, write_integer, write_number

cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize"(const char*, Py_ssize_t) except NULL
    char* text_of "PyBytes_AS_STRING"(PyObject*)
    int _PyBytes_Resize(PyObject**, Py_ssize_t) except -1

cdef extern from "math.h" nogil:
    double fabs(double)

cdef extern from *:
    """
    #include <stdint.h>
    #ifdef __linux__
    #include <sys/mman.h>
    #endif
    static inline void ingestd_huge(char *at, size_t size) {
    #ifdef MADV_HUGEPAGE
        uintptr_t page = 1 << 21, low = ((uintptr_t)at + page - 1) / page * page, high = ((uintptr_t)at + size) / page * page;
        if (high > low)
            (void)madvise((void *)low, high - low, MADV_HUGEPAGE);
    #else
        (void)at, (void)size;
    #endif
    }
    """
    void ingestd_huge(char*, size_t) nogil  # large pages for whole ones within: a fault for each 4 KB takes a fifth

cdef enum:
    HUGE = 1 << 22  # bytes from which an answer gets them
    CELLS = 2048  # timestamps whose text is kept: 64 KB
    CELL = 32  # bytes of one: a comma, up to 20 of an int64, "],[", and in the last byte how many they are
    ROOM = WIDEST + CELL  # bytes that must be free before a point

cdef int64_t TIMES = <int64_t>1 << 62
cdef double EXACT = 9007199254740992.0  # 2**53: from here on a float64 is not every integer


cdef struct Place:
    char* at
    char* end
    Py_ssize_t series  # the next one
    Py_ssize_t point  # and the next of its points
    bint begun  # whether its head is written
    bint any  # whether a series is written
    int places  # decimals of the number before
    int64_t start  # what the cells hold
    int64_t step
    Py_ssize_t first
    Py_ssize_t last


cdef struct Row:
    const char* values
    Py_ssize_t stride
    Py_ssize_t n
    int64_t start
    int64_t step
    const char* head
    Py_ssize_t head_size
    bint ints


def encode(list heads not None, list values not None, list times not None, bint no_nulls, bytes separator not None):
    """The list of all series as bytes.

    ``heads`` (bytes): an object up to the "[" before its points. ``values``: float64[n] each, in any strides.
    ``times``: (points, start, step, whether the numbers are Graphite's integers). ``no_nulls`` leaves out nulls and
    series without points; ``separator`` stands between series. The GIL is released.
    """
    cdef Py_ssize_t n = len(heads), i, held = 0, points = 0
    cdef Row* rows = <Row*>calloc(n + 1, sizeof(Row))
    cdef Py_buffer* views = <Py_buffer*>calloc(n + 1, sizeof(Py_buffer))
    cdef char* cells = <char*>calloc(CELLS, CELL)
    cdef bytes head
    cdef bint ints
    try:
        if rows is NULL or views is NULL or cells is NULL:
            raise MemoryError
        if len(values) != n or len(times) != n:
            raise ValueError("as many heads as rows and times")
        for i in range(n):
            PyObject_GetBuffer(values[i], &views[i], PyBUF_STRIDES | PyBUF_FORMAT)
            held += 1
            if views[i].ndim != 1 or views[i].itemsize != 8 or views[i].format[0] != c"d" or views[i].format[1]:
                raise ValueError("values are float64[n]")
            head = <bytes?>heads[i]
            rows[i].n, rows[i].start, rows[i].step, ints = times[i]
            if not 0 <= rows[i].n <= views[i].shape[0]:
                raise ValueError(f"{rows[i].n} points of {views[i].shape[0]}")
            if rows[i].n and not -TIMES <= rows[i].start < TIMES or not 0 <= rows[i].step <= TIMES // (rows[i].n + 1):
                raise OverflowError("times beyond 64 bits")
            rows[i].values, rows[i].stride, rows[i].ints = <const char*>views[i].buf, views[i].strides[0], ints
            rows[i].head, rows[i].head_size = PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head)
            points += rows[i].n
            points += rows[i].head_size >> 5
        return _written(rows, n, cells, no_nulls, separator, 29 * points + 2 * ROOM)
    finally:
        for i in range(held):
            PyBuffer_Release(&views[i])
        free(cells)
        free(views)
        free(rows)


cdef object _written(Row* rows, Py_ssize_t n, char* cells, bint no_nulls, bytes separator, Py_ssize_t size):
    """Write into a bytes object that grows while it is too small."""
    cdef Place place
    cdef Py_ssize_t used, wanted
    cdef const char* between = PyBytes_AS_STRING(separator)
    cdef Py_ssize_t between_size = PyBytes_GET_SIZE(separator)
    cdef PyObject* answer = new_bytes(NULL, size)
    memset(&place, 0, sizeof(Place))
    if size >= HUGE:
        ingestd_huge(text_of(answer), size)
    place.at, place.end = text_of(answer), text_of(answer) + size
    place.at[0] = c"["
    place.at += 1
    try:
        while True:
            with nogil:
                wanted = _write(&place, rows, n, cells, no_nulls, between, between_size)
            used = place.at - text_of(answer)
            if not wanted:
                break
            size += size // 2 + wanted
            _PyBytes_Resize(&answer, size)
            place.at, place.end = text_of(answer) + used, text_of(answer) + size
        place.at[0] = c"]"
        _PyBytes_Resize(&answer, used + 1)
        return <object>answer
    finally:
        Py_XDECREF(answer)


cdef Py_ssize_t _write(
    Place* place, Row* rows, Py_ssize_t n, char* cells, bint no_nulls, const char* between, Py_ssize_t between_size
) except -1 nogil:
    """Write series until all are written. Return 0, or at least how many bytes more are wanted."""
    cdef Row* row
    cdef Py_ssize_t wanted
    cdef bint known, exact
    while place.series < n:
        row = &rows[place.series]
        if not place.begun:
            if no_nulls or row.ints:
                _look(row, &known, &exact)
                row.ints = row.ints and exact
                if no_nulls and not known:
                    place.series += 1
                    continue
            wanted = row.head_size + between_size + ROOM
            if place.end - place.at < wanted:
                return wanted
            if place.any:
                memcpy(place.at, between, between_size)
                place.at += between_size
            memcpy(place.at, row.head, row.head_size)
            place.at += row.head_size
            memcpy(place.at, b"[[", 2)
            place.at += 2
            place.begun = place.any = True
            place.point = 0
        if not _points(place, row, cells, no_nulls):
            return ROOM
        # Behind the last point stands ",[" of one that does not come; without points, the "[" of one.
        if (place.at - 2)[0] == c",":
            place.at -= 2
        else:
            place.at -= 1
        memcpy(place.at, b"]}", 2)
        place.at += 2
        place.begun = False
        place.series += 1
    return 0 if place.end - place.at >= 2 else ROOM


cdef inline double _value(Row* row, Py_ssize_t point) noexcept nogil:
    cdef double value
    memcpy(&value, row.values + point * row.stride, 8)
    return value


cdef void _look(Row* row, bint* known, bint* exact) noexcept nogil:
    """Whether a row has a value, and whether float64 tells all integers of their size apart."""
    cdef Py_ssize_t point
    cdef double value
    known[0], exact[0] = False, True
    for point in range(row.n):
        value = _value(row, point)
        if value == value:
            known[0] = True
            if not fabs(value) < EXACT:
                exact[0] = False


cdef bint _points(Place* place, Row* row, char* cells, bint no_nulls) except -1 nogil:
    """Write a row's points, from where it stopped. Return whether that was all."""
    cdef char* at = place.at
    cdef char* end = place.end - ROOM
    cdef const char* cell
    cdef Py_ssize_t point = place.point
    cdef double value
    if place.start != row.start or place.step != row.step:
        place.start, place.step, place.first, place.last = row.start, row.step, 0, 0
    while point < row.n:
        if at > end:
            break
        if not place.first <= point < place.last:
            _fill(place, row, point, cells)
        value = _value(row, point)
        if value != value:
            if no_nulls:
                point += 1
                continue
            memcpy(at, b"null", 4)
            at += 4
        elif row.ints:
            at = write_integer(<int64_t>value, at)
        else:
            at = write_number(value, at, &place.places)
        cell = cells + (point - place.first) * CELL
        memcpy(at, cell, CELL)
        at += cell[CELL - 1]
        point += 1
    place.at, place.point = at, point
    return point == row.n


cdef void _fill(Place* place, Row* row, Py_ssize_t point, char* cells) noexcept nogil:
    """Write the cells of ``point`` and those behind it."""
    cdef Py_ssize_t i, n = row.n - point
    cdef char* cell = cells
    cdef char* at
    n = n if n < CELLS else CELLS
    for i in range(n):
        cell[0] = c","
        at = write_integer(row.start + (point + i) * row.step, cell + 1)
        memcpy(at, b"],[", 3)
        cell[CELL - 1] = at + 3 - cell
        cell += CELL
    place.first, place.last = point, point + n


