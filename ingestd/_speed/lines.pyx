# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Graphite's lines to columns: the compiled twin of :mod:`ingestd.wire.lines`, which is the reference.

One pass. A line of three fields with a plain number and a timestamp of ten digits is read here; every other one is
given to the reference, so that there is one grammar. Decimals of up to 2**53 and 22 places are the quotient of two
exact doubles and round as float() does (W. D. Clinger, How to read floating point numbers accurately, 1990); longer
ones go through Python's own conversion.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_SIZE
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy

from ingestd._speed.table cimport Entry, Table

import numpy as np

cdef extern from "Python.h":
    double PyOS_string_to_double(const char*, char**, void*) except? -1.0

cdef extern from "math.h" nogil:
    bint isfinite(double)

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030E0000
    #define ingestd_hash(p, n) ((uint64_t)Py_HashBuffer((p), (n)))
    #else
    #define ingestd_hash(p, n) ((uint64_t)_Py_HashBytes((p), (n)))
    #endif
    #ifdef __GNUC__
    #define ingestd_prefetch(p) __builtin_prefetch(p)
    #else
    #define ingestd_prefetch(p) ((void)(p))
    #endif
    """
    uint64_t ingestd_hash(const void* p, Py_ssize_t n) noexcept nogil
    void ingestd_prefetch(const void*) noexcept nogil

cdef enum:
    AHEAD = 16  # lines whose names are looked for at once where they come in no order
    LOST = 8  # guesses that fail before none is made any more

cdef uint32_t UNKNOWN = 0xFFFFFFFF
cdef Py_ssize_t LEAST_LINE = 6  # bytes of "a 1 1\n"
cdef Py_ssize_t LONGEST_NUMBER = 400  # bytes of a number that is read here
cdef uint64_t EXACT = 1 << 53
cdef double[23] POWERS
cdef int _place
for _place in range(23):
    POWERS[_place] = 10.0 ** _place

ctypedef const unsigned char* Text


cdef struct Columns:
    uint32_t* ids
    int64_t* times
    double* values
    Py_ssize_t* rows  # those without an id
    Py_ssize_t n
    Py_ssize_t length_max
    Py_ssize_t depth_max


cdef struct Scout:
    Text at
    Py_ssize_t width  # bytes of the name
    uint64_t hashed


cdef struct Scouts:
    Scout[AHEAD] lines  # the ring of those that are being looked for
    size_t taken, half, made  # of all lines: looked up, entry called for, slot called for
    Text next  # the line behind the last one made


cdef bint[256] PLAIN  # bytes of nodes that mean themselves
for _place in range(256):
    PLAIN[_place] = 0x21 <= _place < 0x7F and _place not in b"*?[]{};/."


def parse(
    bytes data not None, Table table not None, int64_t now, parse_line, Py_ssize_t length_max, Py_ssize_t depth_max
):
    """All lines of ``data``: (ids uint32[n], timestamps int64[n], values float64[n], rows, spellings, odd, rejected).

    ``rows`` intp[m] and m ``spellings`` are those that the table has no id of, and the row has 0xFFFFFFFF; ``odd``
    lists places in them whose path the reference has to tell, all others are their own paths. ``rejected``: lines by
    reason. ``parse_line`` is the reference's; a path has at most ``length_max`` bytes and ``depth_max`` nodes. A last
    line without LF is left out.
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t room = size // LEAST_LINE + 1
    cdef Columns columns
    cdef void* memory = malloc(room * 28)
    cdef list spellings = [], odd = []
    cdef dict rejected = {}
    if memory is NULL:
        raise MemoryError
    try:
        columns.times = <int64_t*>memory
        columns.values = <double*>(columns.times + room)
        columns.rows = <Py_ssize_t*>(columns.values + room)
        columns.ids = <uint32_t*>(columns.rows + room)
        columns.n = 0
        columns.length_max, columns.depth_max = length_max, depth_max
        _read(data, size, table, now, parse_line, &columns, spellings, odd, rejected)
        return (
            _array(columns.ids, columns.n * 4, np.uint32, columns.n),
            _array(columns.times, columns.n * 8, np.int64, columns.n),
            _array(columns.values, columns.n * 8, np.float64, columns.n),
            _array(columns.rows, len(spellings) * sizeof(Py_ssize_t), np.intp, len(spellings)),
            spellings,
            odd,
            rejected,
        )
    finally:
        free(memory)


cdef object _array(const void* column, Py_ssize_t size, dtype, Py_ssize_t n):
    made = np.empty(n, dtype)
    cdef unsigned char[::1] view
    if n:
        view = made.view(np.uint8)
        memcpy(&view[0], column, size)
    return made


cdef int _read(
    bytes data,
    Py_ssize_t size,
    Table table,
    int64_t now,
    parse_line,
    Columns* columns,
    list spellings,
    list odd,
    dict rejected,
) except -1:
    cdef Text at = <Text>PyBytes_AS_STRING(data)
    cdef Text end = at + size
    cdef Text name, field, stop
    cdef Text stamp = NULL  # the last timestamp, which is that of most lines
    cdef int64_t time = 0
    cdef double value = 0.0
    cdef uint32_t previous = 0, number
    cdef Entry* entry
    cdef Py_ssize_t n = 0, width
    cdef int lost = 0  # how much more often guesses have failed than not, of late
    cdef bint scouted
    cdef uint64_t hashed = 0
    cdef Scouts scouts
    scouts.taken = scouts.half = scouts.made = 0
    scouts.next = end
    while at < end:
        name = at
        # The name: the one that followed the last one lately, or else by the table.
        number = table.entries[previous].next if lost < LOST else 0
        if number:
            entry = &table.entries[number]
            if not (
                entry.size < end - at and at[entry.size] == c" " and memcmp(table.arena + entry.at, at, entry.size) == 0
            ):
                number = 0
        if number:
            width = table.entries[number].size
            lost -= lost > 0
        else:
            scouted = lost == LOST
            if scouted:
                width = _scout(&scouts, table, at, end, &hashed)
            else:
                lost += 1
                width = _field(at, end)
            if at[width] != c" " or width == 0:
                if at[0] == c"\n":
                    at += 1
                    continue
                at = _odd(at, end, table, now, parse_line, columns, spellings, odd, rejected, &n)
                if at == NULL:
                    break
                continue
            number = table.find_hashed(at, width, hashed) if scouted else table.find(at, width)
            if number and previous:
                lost -= scouted and table.entries[previous].next == number
                table.entries[previous].next = number
        field = at + width + 1
        stop = _number(field, end, &value)
        if stop == NULL or stop[0] != c" ":
            at = _odd(at, end, table, now, parse_line, columns, spellings, odd, rejected, &n)
            if at == NULL:
                break
            continue
        field = stop + 1
        if end - field < 11:
            stop = NULL
        elif stamp != NULL and memcmp(stamp, field, 10) == 0:
            stop = field + 10
        else:
            stop = _stamp(field, &time)
            stamp = field if stop != NULL else NULL
        if stop != NULL:
            if stop[0] == c".":
                stop += 1
                while c"0" <= stop[0] <= c"9":
                    stop += 1
            if stop[0] == c"\r":
                stop += 1
        if stop == NULL or stop[0] != c"\n":
            at = _odd(at, end, table, now, parse_line, columns, spellings, odd, rejected, &n)
            if at == NULL:
                break
            continue
        columns.times[n] = time
        columns.values[n] = value
        if number:
            columns.ids[n] = table.entries[number].id
        else:
            columns.ids[n] = UNKNOWN
            columns.rows[PyList_GET_SIZE(spellings)] = n
            if not _is_path(name, width, columns):
                odd.append(PyList_GET_SIZE(spellings))
            spellings.append(PyBytes_FromStringAndSize(<const char*>name, width))
        n += 1
        previous = number
        at = stop + 1
    columns.n = n
    return 0


cdef Py_ssize_t _scout(Scouts* scouts, Table table, Text at, Text end, uint64_t* hashed) noexcept:
    """Bytes of the name of the line at ``at``, and its hash.

    What it is looked for in lies anywhere in memory, so that it is called for some lines ahead: first its slot, then
    the entry that stands there, then that one's spelling. A guess would wait for an entry and a spelling more.
    """
    cdef Scout* one
    cdef Text stop
    cdef uint32_t entry
    while scouts.taken < scouts.made and scouts.lines[scouts.taken % AHEAD].at < at:
        scouts.taken += 1  # it was guessed, or the reference has read it
    if scouts.taken == scouts.made:
        scouts.next = at
    if scouts.half < scouts.taken:
        scouts.half = scouts.taken
    while scouts.made < scouts.taken + AHEAD and scouts.next < end:
        one = &scouts.lines[scouts.made % AHEAD]
        one.at = scouts.next
        one.width = _field(one.at, end)
        one.hashed = ingestd_hash(one.at, one.width)
        ingestd_prefetch(&table.slots[one.hashed & table.mask])
        stop = <Text>memchr(one.at + one.width, c"\n", end - one.at - one.width)
        scouts.next = stop + 1 if stop != NULL else end
        scouts.made += 1
    while scouts.half < scouts.made and scouts.half < scouts.taken + AHEAD // 2:
        entry = <uint32_t>table.slots[scouts.lines[scouts.half % AHEAD].hashed & table.mask]
        ingestd_prefetch(&table.entries[entry])
        scouts.half += 1
    if scouts.taken + AHEAD // 4 < scouts.half:
        entry = <uint32_t>table.slots[scouts.lines[(scouts.taken + AHEAD // 4) % AHEAD].hashed & table.mask]
        ingestd_prefetch(table.arena + table.entries[entry].at)
    one = &scouts.lines[scouts.taken % AHEAD]
    scouts.taken += 1
    hashed[0] = one.hashed
    return one.width


cdef Text _odd(
    Text at,
    Text end,
    Table table,
    int64_t now,
    parse_line,
    Columns* columns,
    list spellings,
    list odd,
    dict rejected,
    Py_ssize_t* n,
) except? NULL:
    """Let the reference read the line at ``at``. Return where the next one begins; NULL where this one has no LF."""
    cdef Text stop = <Text>memchr(at, c"\n", end - at)
    cdef uint32_t number
    cdef bytes spelling
    if stop == NULL:
        return NULL
    line = parse_line(PyBytes_FromStringAndSize(<const char*>at, stop - at), now)
    if line is not None:
        if isinstance(line, str):
            rejected[line] = rejected.get(line, 0) + 1
        else:
            spelling = line[0]
            columns.values[n[0]] = line[1]
            columns.times[n[0]] = line[2]
            number = table.find(<Text>PyBytes_AS_STRING(spelling), PyBytes_GET_SIZE(spelling))
            if number:
                columns.ids[n[0]] = table.entries[number].id
            else:
                columns.ids[n[0]] = UNKNOWN
                columns.rows[PyList_GET_SIZE(spellings)] = n[0]
                odd.append(PyList_GET_SIZE(spellings))
                spellings.append(spelling)
            n[0] += 1
    return stop + 1


cdef bint _is_path(Text name, Py_ssize_t size, Columns* limits) noexcept nogil:
    """Whether a name is its own canonical path for certain; else the reference has to tell."""
    cdef Py_ssize_t i, depth = 1
    cdef bint dot = True
    if size > limits.length_max:
        return False
    for i in range(size):
        if PLAIN[name[i]]:
            dot = False
        elif name[i] == c"." and not dot:
            dot = True
            depth += 1
        else:
            return False
    return not dot and depth <= limits.depth_max


cdef inline Py_ssize_t _field(Text at, Text end) noexcept nogil:
    """Bytes up to the first blank or LF; the end of the data is behind an LF."""
    cdef Text p = at
    cdef uint64_t word
    # Eight bytes at a time while none of them is below 0x21 (which a few others may seem to be: then one looks).
    while end - p >= 8:
        memcpy(&word, p, 8)
        if (word - <uint64_t>0x2121212121212121) & ~word & <uint64_t>0x8080808080808080:
            break
        p += 8
    while p < end and p[0] != c" " and p[0] != c"\t" and p[0] != c"\n":
        p += 1
    return p - at


cdef inline Text _number(Text at, Text end, double* value) except? NULL:
    """Read a plain number. Return what follows it; NULL where the reference has to look."""
    cdef Text p = at
    cdef Text whole
    cdef Py_ssize_t places = 0
    cdef uint64_t digits = 0
    cdef bint minus = p[0] == c"-"
    if minus:
        p += 1
    whole = p
    while c"0" <= p[0] <= c"9":
        digits = 10 * digits + (p[0] - c"0")
        p += 1
    places = p - whole
    if p[0] == c".":
        p += 1
        whole = p
        while c"0" <= p[0] <= c"9":
            digits = 10 * digits + (p[0] - c"0")
            p += 1
        if places + (p - whole) == 0:
            return NULL
        if p[0] == c" " and places + (p - whole) < 20 and digits <= EXACT:
            value[0] = <double>digits / POWERS[p - whole]
            if minus:
                value[0] = -value[0]
            return p
    elif places and p[0] == c" " and places < 20 and digits <= EXACT:
        value[0] = -<double>digits if minus else <double>digits
        return p
    return _long_number(at, end, value)


cdef Text _long_number(Text at, Text end, double* value) except? NULL:
    """As :func:`_number`, for exponents and more digits than a double holds."""
    cdef char[401] text
    cdef Text p = at
    cdef Text mark
    cdef bint digits
    if p[0] == c"-" or p[0] == c"+":
        p += 1
    mark = p
    while c"0" <= p[0] <= c"9":
        p += 1
    digits = p != mark
    if p[0] == c".":
        p += 1
        mark = p
        while c"0" <= p[0] <= c"9":
            p += 1
        digits = digits or p != mark
    if not digits:
        return NULL
    if p[0] == c"e" or p[0] == c"E":
        p += 1
        if p[0] == c"-" or p[0] == c"+":
            p += 1
        mark = p
        while c"0" <= p[0] <= c"9":
            p += 1
        if p == mark:
            return NULL
    if p[0] != c" " or p - at > LONGEST_NUMBER:
        return NULL
    memcpy(text, at, p - at)
    text[p - at] = 0
    value[0] = PyOS_string_to_double(text, NULL, NULL)
    return p if isfinite(value[0]) else NULL


cdef inline Text _stamp(Text at, int64_t* time) noexcept nogil:
    """Read ten digits, of which there are as many bytes. Return what follows; NULL where it is something else."""
    cdef int64_t read = 0
    cdef int i
    for i in range(10):
        if not (c"0" <= at[i] <= c"9"):
            return NULL
        read = 10 * read + (at[i] - c"0")
    time[0] = read
    return at + 10
