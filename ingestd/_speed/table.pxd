from libc.stdint cimport uint32_t, uint64_t


cdef struct Entry:
    uint64_t at  # where its spelling begins in the arena
    uint32_t size  # bytes of it; GONE once it was taken out
    uint32_t id
    uint32_t next  # the entry that followed it on the wire last time; 0 = none


cdef class Table:
    cdef Entry* entries  # 1 to used; number 0 stands for none
    cdef unsigned char* arena
    cdef uint64_t* slots  # the last 32 bits of the hash << 32 | entry; 0 = never used
    cdef uint32_t used, room, living
    cdef uint64_t mask, end, arena_room
    cdef uint64_t changes  # how often a spelling has lost its id: what was looked up before may be wrong since

    cdef uint32_t find(self, const unsigned char* key, Py_ssize_t size) noexcept
    cdef uint32_t find_hashed(self, const unsigned char* key, Py_ssize_t size, uint64_t hashed) noexcept
    cdef bint is_new(self, bytes key, uint64_t hashed, list keys, uint32_t* seen, size_t mask, uint32_t number)
    cdef int put(self, const unsigned char* key, Py_ssize_t size, uint32_t id, bint renew) except -1
    cdef void forget_from(self, uint32_t first) noexcept
    cdef int grow(self) except -1
    cdef int rebuild(self, uint64_t slots) except -1
    cdef void place(self, uint64_t* slots, uint64_t mask, uint64_t hashed, uint32_t number) noexcept
