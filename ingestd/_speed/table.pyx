# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""A map from spellings to series ids that the other kernels read without making objects.

An open-addressing hash table over one arena of bytes; the hash is Python's own for bytes, keyed by a secret of the
process, so that nobody can choose names that collide. Each entry remembers which entry followed it on the wire: clients
send their names in the same order every interval, so a parser compares the bytes of the expected name and hashes none.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

import numpy as np

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

cdef uint32_t GONE = 0xFFFFFFFF
cdef uint32_t FIRST_ROOM = 1024

cdef enum:
    AHEAD = 16  # keys whose slots are called for while others are looked at


@cython.final
cdef class Table:
    """Spellings (bytes) to ids (integers below 2**32 - 1); what a dict does for the name table, and no more."""

    def __cinit__(self):
        self.mask = 2 * FIRST_ROOM - 1
        self.room = FIRST_ROOM
        self.arena_room = 64 * FIRST_ROOM
        self.slots = <uint64_t*>calloc(self.mask + 1, sizeof(uint64_t))
        self.entries = <Entry*>malloc(self.room * sizeof(Entry))
        self.arena = <unsigned char*>malloc(self.arena_room)
        if self.slots is NULL or self.entries is NULL or self.arena is NULL:
            raise MemoryError
        memset(self.entries, 0, sizeof(Entry))
        self.used = 1

    def __dealloc__(self):
        free(self.slots)
        free(self.entries)
        free(self.arena)

    def __len__(self):
        return self.living

    def __contains__(self, bytes key not None):
        return self.find(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key)) != 0

    def __setitem__(self, bytes key not None, uint32_t id):
        self.put(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), id, True)

    def __delitem__(self, bytes key not None):
        cdef uint32_t entry = self.find(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        if entry == 0:
            raise KeyError(key)
        # Its slot and number stay taken until the next rebuild, so that whoever remembers it finds nothing there.
        self.entries[entry].size = GONE
        self.living -= 1
        self.changes += 1

    def get(self, bytes key not None):
        """The id of a spelling, or None."""
        cdef uint32_t entry = self.find(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        return self.entries[entry].id if entry else None

    def add(self, list keys not None, const uint32_t[::1] ids):
        """Enter ``keys`` (bytes) with their ``ids``. False, with nothing entered, if one is there already or there twice.

        Series are made in the order in which their names first came: that is who will follow whom.
        """
        cdef Py_ssize_t i, n = len(keys)
        cdef uint32_t first, number, last = 0
        cdef bytes key
        if ids.shape[0] != n:
            raise ValueError(f"{ids.shape[0]} ids for {n} names")
        for i in range(n):
            if not isinstance(keys[i], bytes):
                raise TypeError(f"a spelling is bytes, not {type(keys[i]).__name__}")
        if n >= GONE:
            raise OverflowError(f"{n} spellings")
        while <uint64_t>self.used + n > self.room:
            self.grow()
        first = self.used
        for i in range(n):
            key = <bytes>keys[i]
            number = self.used
            self.put(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), ids[i], False)
            if self.used == number:
                self.forget_from(first)
                return False
            if not _is_one_field(key):
                last = 0
                continue
            if last:
                self.entries[last].next = number
            last = number
        return True

    cdef void forget_from(self, uint32_t first) noexcept:
        """Take out the entries from ``first`` on, which nobody has seen."""
        cdef uint32_t number
        for number in range(first, self.used):
            self.entries[number].size = GONE
            self.entries[number].next = 0
            self.living -= 1

    def missing(self, list keys not None):
        """The place in ``keys`` (bytes) of the first of each spelling that is not there, intp ascending."""
        cdef Py_ssize_t i, n = len(keys), found = 0
        cdef Py_ssize_t ahead = 0
        cdef size_t room = 16
        cdef uint32_t* seen  # places + 1 of those found, by hash
        cdef uint64_t[AHEAD] hashes  # of the next keys, whose slots are on their way into the caches
        cdef bytes key
        if n >= GONE:
            raise OverflowError(f"{n} spellings")
        while room < 2 * <size_t>n:
            room *= 2
        places = np.empty(n, np.intp)
        cdef Py_ssize_t[::1] view = places
        seen = <uint32_t*>calloc(room, sizeof(uint32_t))
        if seen is NULL:
            raise MemoryError
        try:
            for i in range(n):
                while ahead < n and ahead < i + AHEAD:
                    key = <bytes?>keys[ahead]
                    hashes[ahead % AHEAD] = ingestd_hash(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                    ingestd_prefetch(&self.slots[hashes[ahead % AHEAD] & self.mask])
                    ahead += 1
                if self.is_new(<bytes>keys[i], hashes[i % AHEAD], keys, seen, room - 1, <uint32_t>i + 1):
                    view[found] = i
                    found += 1
        finally:
            free(seen)
        return places[:found]

    cdef bint is_new(self, bytes key, uint64_t hashed, list keys, uint32_t* seen, size_t mask, uint32_t number):
        """Whether ``key`` is neither here nor among the ``keys`` that were ``seen``; then it is as ``number``."""
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(key)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
        cdef size_t at = hashed & mask
        cdef bytes other
        if self.find_hashed(text, size, hashed):
            return False
        while seen[at]:
            other = <bytes>keys[seen[at] - 1]
            if PyBytes_GET_SIZE(other) == size and memcmp(PyBytes_AS_STRING(other), text, size) == 0:
                return False
            at = (at + 1) & mask
        seen[at] = number
        return True

    def look_up(self, list keys not None):
        """The ids of ``keys`` (bytes), uint32[n]; 2**32 - 1 for those that are not there."""
        cdef Py_ssize_t i, n = len(keys)
        cdef uint32_t entry
        cdef bytes key
        ids = np.empty(n, np.uint32)
        cdef uint32_t[::1] view = ids
        for i in range(n):
            key = <bytes?>keys[i]
            entry = self.find(<const unsigned char*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
            view[i] = self.entries[entry].id if entry else GONE
        return ids

    def look_up_spans(self, bytes blob not None, const uint32_t[::1] ends):
        """The ids of the spellings that stand one after the other in ``blob`` and end at ``ends``, as ``look_up``.

        What each of them is looked for in lies anywhere in memory: it is called for some spellings ahead.
        """
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(blob)
        cdef Py_ssize_t i, n = ends.shape[0], size = PyBytes_GET_SIZE(blob), ahead = 0, half = 0
        cdef Py_ssize_t start = 0, begin = 0
        cdef uint64_t[AHEAD] hashes
        cdef uint64_t hashed
        cdef uint32_t entry
        ids = np.empty(n, np.uint32)
        cdef uint32_t[::1] view = ids
        for i in range(n):
            while ahead < n and ahead < i + AHEAD:
                if ends[ahead] < begin or ends[ahead] > size:
                    raise ValueError("a spelling that is not within its bytes")
                hashed = ingestd_hash(text + begin, ends[ahead] - begin)
                hashes[ahead % AHEAD] = hashed
                ingestd_prefetch(&self.slots[hashed & self.mask])
                begin = ends[ahead]
                ahead += 1
            while half < ahead and half < i + AHEAD // 2:
                ingestd_prefetch(&self.entries[<uint32_t>self.slots[hashes[half % AHEAD] & self.mask]])
                half += 1
            if i + AHEAD // 4 < half:
                entry = <uint32_t>self.slots[hashes[(i + AHEAD // 4) % AHEAD] & self.mask]
                ingestd_prefetch(self.arena + self.entries[entry].at)
            entry = self.find_hashed(text + start, ends[i] - start, hashes[i % AHEAD])
            view[i] = self.entries[entry].id if entry else GONE
            start = ends[i]
        return ids

    @property
    def nbytes(self):
        """Bytes of memory that the table takes."""
        return (self.mask + 1) * sizeof(uint64_t) + self.room * sizeof(Entry) + self.arena_room

    cdef uint32_t find(self, const unsigned char* key, Py_ssize_t size) noexcept:
        """The number of the entry of a spelling; 0 if there is none."""
        return self.find_hashed(key, size, ingestd_hash(key, size))

    cdef uint32_t find_hashed(self, const unsigned char* key, Py_ssize_t size, uint64_t hashed) noexcept:
        cdef uint32_t tag = <uint32_t>hashed
        cdef uint64_t at = hashed & self.mask
        cdef uint64_t slot = self.slots[at]
        cdef Entry* entry
        while slot:
            if <uint32_t>(slot >> 32) == tag:
                entry = &self.entries[<uint32_t>slot]
                if entry.size == <uint64_t>size and memcmp(self.arena + entry.at, key, size) == 0:
                    return <uint32_t>slot
            at = (at + 1) & self.mask
            slot = self.slots[at]
        return 0

    cdef int put(self, const unsigned char* key, Py_ssize_t size, uint32_t id, bint renew) except -1:
        """Give a spelling an id; one that is there gets another only to ``renew`` it."""
        cdef uint64_t hashed = ingestd_hash(key, size)
        cdef uint32_t number = self.find_hashed(key, size, hashed)
        cdef unsigned char* arena
        cdef uint64_t room
        cdef Entry* entry
        if number:
            if renew:
                self.changes += self.entries[number].id != id
                self.entries[number].id = id
            return 0
        if <uint64_t>size >= GONE:
            raise OverflowError("a spelling of 4 GiB")
        if self.used == self.room:
            self.grow()
        if self.end + size > self.arena_room:
            room = 2 * self.arena_room if self.end + size <= 2 * self.arena_room else self.end + size
            arena = <unsigned char*>realloc(self.arena, room)
            if arena is NULL:
                raise MemoryError
            self.arena, self.arena_room = arena, room
        entry = &self.entries[self.used]
        entry.at, entry.size, entry.id, entry.next = self.end, <uint32_t>size, id, 0
        memcpy(self.arena + self.end, key, size)
        self.place(self.slots, self.mask, hashed, self.used)
        self.end += size
        self.used += 1
        self.living += 1
        return 0

    cdef int grow(self) except -1:
        """Make room for another entry: that of entries that are gone, or more."""
        cdef Entry* entries
        if self.living + 1 < self.used - self.used // 4:
            self.rebuild(self.mask + 1)
            return 0
        if self.room > GONE // 2:
            raise OverflowError("more spellings than 32 bits count")
        entries = <Entry*>realloc(self.entries, 2 * <size_t>self.room * sizeof(Entry))
        if entries is NULL:
            raise MemoryError
        self.entries, self.room = entries, 2 * self.room
        self.rebuild(2 * (self.mask + 1))
        return 0

    cdef int rebuild(self, uint64_t wanted) except -1:
        """Move the living entries together and place them anew. Numbers change: nobody is followed by anybody then."""
        cdef uint64_t* slots = <uint64_t*>calloc(wanted, sizeof(uint64_t))
        cdef uint32_t number, kept = 1
        cdef uint64_t at, end = 0
        cdef Entry* entry
        if slots is NULL:
            raise MemoryError
        if self.living + 1 == self.used:
            # The slots know all that is needed of the hashes.
            for at in range(self.mask + 1):
                if self.slots[at]:
                    self.place(slots, wanted - 1, self.slots[at] >> 32, <uint32_t>self.slots[at])
            kept, end = self.used, self.end
        else:
            for number in range(1, self.used):
                entry = &self.entries[number]
                if entry.size == GONE:
                    continue
                # To the left only, so what has yet to be moved is never overwritten.
                memmove(self.arena + end, self.arena + entry.at, entry.size)
                self.entries[kept] = entry[0]
                self.entries[kept].at, self.entries[kept].next = end, 0
                self.place(slots, wanted - 1, ingestd_hash(self.arena + end, self.entries[kept].size), kept)
                end += self.entries[kept].size
                kept += 1
        free(self.slots)
        self.slots, self.mask, self.used, self.end = slots, wanted - 1, kept, end
        return 0

    cdef void place(self, uint64_t* slots, uint64_t mask, uint64_t hashed, uint32_t number) noexcept:
        """Give an entry its place in ``slots``; 32 bits of its hash are all that count."""
        cdef uint64_t at = hashed & mask
        while slots[at]:
            at = (at + 1) & mask
        slots[at] = hashed << 32 | number


cdef inline bint _is_one_field(bytes key) noexcept:
    """Whether a parser of lines would take the spelling whole: it expects none that holds a blank or LF."""
    cdef const char* text = PyBytes_AS_STRING(key)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(key)
    return size and not (memchr(text, c" ", size) or memchr(text, c"\t", size) or memchr(text, c"\n", size))
