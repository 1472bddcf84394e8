from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from ingestd._speed.table cimport Table

ctypedef const unsigned char* Text


cdef struct Counter:
    uint64_t raw  # the last value
    double rate  # what it gave; NaN = none
    double minimum
    double maximum


cdef struct ValueList:  # 128 bytes; gauges need the first half only
    uint8_t* block  # see the functions below
    uint64_t born  # which of all lists ever remembered: what tells it from one that has its number later
    uint64_t next_born
    uint64_t names  # the state of the table of names at which the ids were right
    double seen
    uint32_t next  # the list that followed it on the wire last time; 0 = none
    uint16_t count  # values
    uint16_t[5] at  # where each field begins in the identity
    uint8_t[5] width  # bytes of each field
    uint8_t next_same  # fields that are equal in the next one, a bit each
    uint8_t rates  # whether there are counters whose rates are wanted
    uint8_t mismatched
    uint64_t interval
    uint64_t time  # of the last values of the counters; so are the next three
    uint64_t rated_interval
    double span
    double rated
    uint64_t hashed
    uint32_t after  # the one that has stood there for less time; 0 = none


# What stands in a block: a Counter for each value if there are rates, ids, where spellings end, identity (the five
# fields, each with a NUL), head (what a values part of this list begins with: all but the values), spellings.

cdef inline Counter* counters_of(const ValueList* known) noexcept nogil:
    return <Counter*>known.block


cdef inline uint32_t* ids_of(const ValueList* known) noexcept nogil:
    """0xFFFFFFFF = not known."""
    return <uint32_t*>(known.block + (known.count * sizeof(Counter) if known.rates else 0))


cdef inline uint32_t* ends_of(const ValueList* known) noexcept nogil:
    """Bytes from the begin of the first spelling to the end of each."""
    return ids_of(known) + known.count


cdef inline uint8_t* identity_of(const ValueList* known) noexcept nogil:
    return <uint8_t*>(ends_of(known) + known.count)


cdef inline Py_ssize_t identity_size(const ValueList* known) noexcept nogil:
    return known.at[4] + known.width[4] + 1


cdef inline uint8_t* head_of(const ValueList* known) noexcept nogil:
    return identity_of(known) + identity_size(known)


cdef inline uint8_t* spellings_of(const ValueList* known) noexcept nogil:
    return head_of(known) + 6 + known.count


cdef struct State:
    Text[5] text
    uint8_t[5] width
    uint64_t time  # 2**-30 s
    uint64_t interval
    uint64_t severity
    int64_t stamp
    uint32_t last  # the value list taken last; 0 = none
    uint32_t guess  # the one that is expected
    uint32_t same  # fields that are those of the guess, a bit each


cdef class Identities:
    cdef ValueList* lists  # 1 to used; number 0 stands for none
    cdef uint64_t* slots  # hash, upper half | number; 0 = free
    cdef uint64_t mask, born, changes
    cdef uint32_t used, room, living, spare, oldest, newest, limit
    cdef readonly uint64_t forgotten
    cdef bint rated
    cdef object known_to  # the table that the ids are of

    cdef uint32_t find(self, const State* state) noexcept
    cdef uint32_t find_hashed(self, const unsigned char* key, Py_ssize_t size, uint64_t hashed) noexcept
    cdef uint32_t add(self, const State* state, bytes kinds, tuple learned, double now) except 0
    cdef int expect(self, State* state, uint32_t number) noexcept
    cdef int follow(self, names) except -1
    cdef int make_room(self, double now) except -1
    cdef uint32_t number(self) except 0
    cdef int forget_oldest(self) noexcept
    cdef void place(self, uint32_t number) noexcept
    cdef int rebuild(self, uint64_t wanted) except -1
    cdef uint32_t pop(self) noexcept
    cdef void push(self, uint32_t number) noexcept
    cdef int fill(
        self, ValueList* made, const unsigned char* identity, Py_ssize_t width, const State* state, bytes kinds,
        tuple learned
    ) except -1


cdef int compare_times(ValueList* known, uint64_t time, double now, double* gap) noexcept nogil
cdef bint update_rate(
    Counter* counter, int kind, uint64_t raw, uint64_t interval, int age, double gap
) noexcept nogil
cdef void set_time(ValueList* known, uint64_t time, uint64_t interval, double now) noexcept nogil
