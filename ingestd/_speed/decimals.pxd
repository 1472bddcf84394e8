from libc.stdint cimport int64_t

cdef enum:
    WIDEST = 64  # bytes that must be free where a number is written, of which it takes up to 25

cdef char* write_integer(int64_t number, char* at) noexcept nogil
cdef char* write_number(double value, char* at, int* places) except NULL nogil  # no NaN; returns what follows
