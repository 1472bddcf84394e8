# What the parts of collectd's datagrams are, and the numbers in them.

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport realloc

from ingestd._speed.identities cimport State, Text

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define ingestd_prefetch(p) __builtin_prefetch(p)
    #else
    #define ingestd_prefetch(p) ((void)(p))
    #endif
    """
    void ingestd_prefetch(const void* p) noexcept nogil

cdef enum:
    HOST, TIME, PLUGIN, PLUGIN_INSTANCE, TYPE, TYPE_INSTANCE, VALUES, INTERVAL, TIME_HR, INTERVAL_HR
    MESSAGE = 0x0100
    SEVERITY = 0x0101
    SIGN = 0x0200
    ENCRYPT = 0x0210


cdef inline void set_number(uint32_t part, uint64_t number, State* state, uint64_t own_interval) noexcept nogil:
    """Take a time or interval."""
    if part == TIME or part == INTERVAL:
        # What 64 bits of 2**-30 s do not hold is the last time that they hold.
        number = number << 30 if number >> 34 == 0 else <uint64_t>-1
    if part == TIME or part == TIME_HR:
        state.time = number
        state.stamp = <int64_t>((number >> 30) + (number >> 29 & 1))
    else:
        state.interval = number if number else own_interval


cdef inline uint64_t load(Text p) noexcept nogil:
    """Eight bytes in network order."""
    return (
        <uint64_t>p[0] << 56 | <uint64_t>p[1] << 48 | <uint64_t>p[2] << 40 | <uint64_t>p[3] << 32
        | <uint64_t>p[4] << 24 | <uint64_t>p[5] << 16 | <uint64_t>p[6] << 8 | <uint64_t>p[7]
    )


cdef inline uint64_t load_little(Text p) noexcept nogil:
    """Eight bytes, the lowest first."""
    return (
        <uint64_t>p[7] << 56 | <uint64_t>p[6] << 48 | <uint64_t>p[5] << 40 | <uint64_t>p[4] << 32
        | <uint64_t>p[3] << 24 | <uint64_t>p[2] << 16 | <uint64_t>p[1] << 8 | <uint64_t>p[0]
    )


cdef inline tuple fields_of(const State* state):
    """The five fields of an identity."""
    cdef int i
    return tuple([PyBytes_FromStringAndSize(<const char*>state.text[i], state.width[i]) for i in range(5)])


cdef inline void* resized(void* memory, size_t size) except NULL:
    """``memory`` with another size, or MemoryError and ``memory`` as it was."""
    cdef void* found = realloc(memory, size)
    if found is NULL:
        raise MemoryError
    return found
