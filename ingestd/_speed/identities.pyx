# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The value lists that a reader of collectd's datagrams remembers: the compiled twin of value_lists.py and rates.py.

What the reference keeps in objects stands here in C: an open-addressing hash table from identities (five fields) to
value lists, each with the ids of its names and the last values of its counters. The hash is Python's own for bytes,
keyed by a secret of the process. Each list remembers which one followed it on the wire: a host sends its lists in the
same order every interval, so most are found by comparing bytes and nothing is hashed.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

cdef extern from *:
    """
    #if PY_VERSION_HEX >= 0x030E0000
    #define ingestd_hash(p, n) ((uint64_t)Py_HashBuffer((p), (n)))
    #else
    #define ingestd_hash(p, n) ((uint64_t)_Py_HashBytes((p), (n)))
    #endif
    """
    uint64_t ingestd_hash(const void* p, Py_ssize_t n) noexcept nogil

cdef extern from "<stdlib.h>" nogil:
    void* aligned_alloc(size_t, size_t)

cdef extern from "<math.h>" nogil:
    double NAN

cdef uint32_t UNKNOWN = 0xFFFFFFFF
cdef uint32_t FIRST_ROOM = 256
cdef uint32_t EXAMINED = 2
cdef size_t LINE = 64  # bytes of a line of the caches, where a list is to begin
cdef uint8_t GAUGE = 1, DERIVE = 2, ABSOLUTE = 3
cdef double HELD_BACK = 600.0
cdef double LONGEST = 86400.0
cdef double PER_UNIT = 1.0 / (1 << 30)


cdef class Identities:
    """The table: at most ``limit`` lists, of which the silent ones make room first."""

    def __cinit__(self, bint rated, uint32_t limit):
        self.mask = 2 * FIRST_ROOM - 1
        self.room = FIRST_ROOM
        self.slots = <uint64_t*>calloc(self.mask + 1, sizeof(uint64_t))
        self.lists = <ValueList*>aligned_alloc(LINE, self.room * sizeof(ValueList))
        if self.slots is NULL or self.lists is NULL:
            raise MemoryError
        memset(self.lists, 0, sizeof(ValueList))
        self.used = 1
        self.rated = rated
        self.limit = limit

    def __dealloc__(self):
        cdef uint32_t number
        if self.lists is not NULL:
            for number in range(1, self.used):
                free(self.lists[number].block)
        free(self.lists)
        free(self.slots)

    def __len__(self):
        return self.living

    def clear(self):
        """Forget all of them; nothing of this counts as forgotten."""
        while self.living:
            self.forget_oldest()

    cdef int follow(self, names) except -1:
        """From here on ids are those of ``names``: 1 if that is a compiled table, which says when it has changed."""
        cdef uint32_t number
        if names is not self.known_to:
            self.known_to = names
            for number in range(1, self.used):
                self.lists[number].names = 0
        if not isinstance(names, Table):
            return 0
        self.changes = (<Table>names).changes + 1
        return 1

    cdef uint32_t find(self, const State* state) noexcept:
        """The number of the list with the fields of ``state``; 0 if there is none."""
        cdef unsigned char[645] key
        cdef Py_ssize_t size = _identity(state, key)
        return self.find_hashed(key, size, ingestd_hash(key, size))

    cdef uint32_t find_hashed(self, const unsigned char* key, Py_ssize_t size, uint64_t hashed) noexcept:
        cdef uint64_t at = hashed & self.mask
        cdef uint64_t slot = self.slots[at]
        cdef ValueList* known
        while slot:
            if slot >> 32 == hashed >> 32:
                known = &self.lists[<uint32_t>slot]
                if identity_size(known) == size and memcmp(identity_of(known), key, size) == 0:
                    return <uint32_t>slot
            at = (at + 1) & self.mask
            slot = self.slots[at]
        return 0

    cdef int expect(self, State* state, uint32_t number) noexcept:
        """Note that ``number`` was taken after the last one, and who is to be expected after it."""
        cdef ValueList* known = &self.lists[number]
        cdef ValueList* before
        cdef uint32_t same = 0
        cdef int i
        if state.last:
            before = &self.lists[state.last]
            if before.next_born != known.born:
                for i in range(5):
                    if before.width[i] == known.width[i] and memcmp(
                        identity_of(before) + before.at[i], identity_of(known) + known.at[i], known.width[i]
                    ) == 0:
                        same |= 1 << i
                before.next, before.next_born, before.next_same = number, known.born, same
        state.last = number
        state.guess = known.next
        state.same = known.next_same
        if known.next and self.lists[known.next].born != known.next_born:
            state.guess = 0
        return 0

    cdef uint32_t add(self, const State* state, bytes kinds, tuple learned, double now) except 0:
        """Remember a value list with the fields of ``state``; replaces the one that has them. Return its number."""
        cdef unsigned char[645] key
        cdef Py_ssize_t size = _identity(state, key)
        cdef uint64_t hashed = ingestd_hash(key, size)
        cdef uint32_t number = self.find_hashed(key, size, hashed)
        cdef bint fresh = number == 0
        cdef ValueList made
        memset(&made, 0, sizeof(ValueList))
        self.fill(&made, key, size, state, kinds, learned)
        if fresh:
            try:
                self.make_room(now)
                number = self.number()
            except BaseException:
                free(made.block)
                raise
            self.born += 1
            made.born, made.hashed = self.born, hashed
        else:
            free(self.lists[number].block)
            made.born, made.hashed = self.lists[number].born, self.lists[number].hashed
            made.after = self.lists[number].after
        made.interval, made.seen, made.span = state.interval, now, -1.0
        self.lists[number] = made
        if fresh:
            self.place(number)
            self.push(number)
            self.living += 1
        return number

    cdef int fill(
        self, ValueList* made, const unsigned char* identity, Py_ssize_t width, const State* state, bytes kinds,
        tuple learned
    ) except -1:
        """Give ``made`` the memory for what is known of it, and that."""
        cdef list spellings = learned[0]
        cdef list bounds = learned[1]
        cdef Py_ssize_t count = PyBytes_GET_SIZE(kinds), i, end = 0, spelt = 0, size
        cdef size_t memory
        cdef bytes spelling
        cdef uint8_t* head
        if len(spellings) != count or len(bounds) != count or not 0 < count <= 7281:
            raise ValueError("as many spellings and bounds as kinds")
        for spelling in spellings:
            spelt += PyBytes_GET_SIZE(spelling)
        if spelt > UNKNOWN:
            raise OverflowError("spellings of 4 GiB")
        made.count, made.mismatched = <uint16_t>count, bool(learned[2])
        for i in range(count):
            if self.rated and PyBytes_AS_STRING(kinds)[i] != GAUGE:
                made.rates = True
        cdef list limits = [(<double>low, <double>high) for low, high in bounds] if made.rates else []
        memory = count * (8 + (sizeof(Counter) if made.rates else 0)) + width + 6 + count + spelt
        made.block = <uint8_t*>calloc(1, memory)
        if made.block is NULL:
            raise MemoryError
        for i in range(5):
            made.at[i], made.width[i] = <uint16_t>end, state.width[i]
            end += state.width[i] + 1
        memcpy(identity_of(made), identity, width)
        size = 6 + 9 * count
        head = head_of(made)
        head[1], head[2], head[3], head[4], head[5] = 6, size >> 8, size & 255, count >> 8, count & 255
        memcpy(head + 6, PyBytes_AS_STRING(kinds), count)
        end = 0
        for i in range(count):
            spelling = spellings[i]
            memcpy(spellings_of(made) + end, PyBytes_AS_STRING(spelling), PyBytes_GET_SIZE(spelling))
            end += PyBytes_GET_SIZE(spelling)
            ends_of(made)[i], ids_of(made)[i] = <uint32_t>end, UNKNOWN
            if made.rates:
                counters_of(made)[i].rate = NAN
                counters_of(made)[i].minimum, counters_of(made)[i].maximum = limits[i]
        return 0

    cdef int make_room(self, double now) except -1:
        """Drop the silent ones of the two that have stood longest, and one more where the table is full."""
        cdef uint32_t number, i
        for i in range(min(EXAMINED, self.living)):
            number = self.oldest
            if now - self.lists[number].seen <= _forget_after(self.lists[number].interval) + HELD_BACK:
                self.push(self.pop())
            else:
                self.forget_oldest()
        if self.living and self.living >= self.limit:
            self.forget_oldest()
            self.forgotten += 1
        return 0

    cdef uint32_t number(self) except 0:
        """A number that no list has."""
        cdef ValueList* lists
        cdef uint32_t found = self.spare
        if found:
            self.spare = self.lists[found].after
            return found
        if self.used == self.room:
            if self.room > UNKNOWN // 2:
                raise OverflowError("more value lists than 32 bits count")
            lists = <ValueList*>aligned_alloc(LINE, 2 * <size_t>self.room * sizeof(ValueList))
            if lists is NULL:
                raise MemoryError
            memcpy(lists, self.lists, self.used * sizeof(ValueList))
            free(self.lists)
            self.lists, self.room = lists, 2 * self.room
            self.rebuild(2 * (self.mask + 1))
        self.used += 1
        memset(&self.lists[self.used - 1], 0, sizeof(ValueList))
        return self.used - 1

    cdef int rebuild(self, uint64_t wanted) except -1:
        """Place all anew in ``wanted`` slots."""
        cdef uint64_t* slots = <uint64_t*>calloc(wanted, sizeof(uint64_t))
        cdef uint32_t number
        if slots is NULL:
            raise MemoryError
        free(self.slots)
        self.slots, self.mask = slots, wanted - 1
        for number in range(1, self.used):
            if self.lists[number].block is not NULL:
                self.place(number)
        return 0

    cdef void place(self, uint32_t number) noexcept:
        """Give a list its slot."""
        cdef uint64_t hashed = self.lists[number].hashed
        cdef uint64_t at = hashed & self.mask
        while self.slots[at]:
            at = (at + 1) & self.mask
        self.slots[at] = (hashed >> 32) << 32 | number

    cdef uint32_t pop(self) noexcept:
        """Take the one that has stood longest out of the queue."""
        cdef uint32_t number = self.oldest
        self.oldest = self.lists[number].after
        if not self.oldest:
            self.newest = 0
        self.lists[number].after = 0
        return number

    cdef void push(self, uint32_t number) noexcept:
        """Put a list at the end of the queue."""
        self.lists[number].after = 0
        if self.newest:
            self.lists[self.newest].after = number
        else:
            self.oldest = number
        self.newest = number

    cdef int forget_oldest(self) noexcept:
        """Forget the list that has stood longest; those behind it on its way through the slots move up."""
        cdef uint32_t number = self.pop()
        cdef uint64_t hole = self.lists[number].hashed & self.mask, at
        cdef uint64_t home
        while <uint32_t>self.slots[hole] != number:
            hole = (hole + 1) & self.mask
        at = hole
        while True:
            at = (at + 1) & self.mask
            if not self.slots[at]:
                break
            home = self.lists[<uint32_t>self.slots[at]].hashed & self.mask
            if ((at - home) & self.mask) >= ((at - hole) & self.mask):
                self.slots[hole] = self.slots[at]
                hole = at
        self.slots[hole] = 0
        free(self.lists[number].block)
        memset(&self.lists[number], 0, sizeof(ValueList))
        self.lists[number].after = self.spare
        self.spare = number
        self.living -= 1
        return 0


cdef Py_ssize_t _identity(const State* state, unsigned char* key) noexcept:
    """Write the fields of ``state``, each with a NUL; return their bytes."""
    cdef Py_ssize_t size = 0
    cdef int i
    for i in range(5):
        memcpy(key + size, state.text[i], state.width[i])
        size += state.width[i]
        key[size] = 0
        size += 1
    return size


cdef inline double _forget_after(uint64_t interval) noexcept nogil:
    cdef double seconds = <double>interval * PER_UNIT
    return 2.0 * (LONGEST if seconds > LONGEST else seconds)


cdef int compare_times(ValueList* known, uint64_t time, double now, double* gap) noexcept nogil:
    """What values of ``time`` are to the last ones, and the seconds between: 0 the first, 1 no newer, 2 the next."""
    if time >= known.time:
        gap[0] = <double>(time - known.time) * PER_UNIT
    else:
        gap[0] = -(<double>(known.time - time) * PER_UNIT)
    if gap[0] > known.span or (gap[0] <= 0 and now - known.rated > known.span):
        return 0
    return 1 if gap[0] <= 0 else 2


cdef bint update_rate(
    Counter* counter, int kind, uint64_t raw, uint64_t interval, int age, double gap
) noexcept nogil:
    """Take the next value of a counter. Return whether it gives a rate: see rates.py, which is the reference."""
    cdef double growth
    if age == 1:
        return counter.rate == counter.rate
    if age == 0:
        counter.rate = <double>raw / (<double>interval * PER_UNIT) if kind == ABSOLUTE else NAN
        counter.raw = raw
        return kind == ABSOLUTE
    if kind == DERIVE:
        growth = <double><int64_t>(raw - counter.raw)
    elif kind == ABSOLUTE:
        growth = <double>raw
    elif raw >= counter.raw or counter.raw >> 32:
        growth = <double>(raw - counter.raw)
    else:
        growth = <double>(raw - counter.raw + (<uint64_t>1 << 32))
    counter.rate = growth / gap
    counter.raw = raw
    if counter.minimum <= counter.rate <= counter.maximum:
        return True
    counter.rate = NAN
    return False


cdef void set_time(ValueList* known, uint64_t time, uint64_t interval, double now) noexcept nogil:
    """The counters of ``known`` were taken at ``time``."""
    known.time = time
    known.rated = now
    if interval != known.rated_interval:
        known.rated_interval, known.span = interval, _forget_after(interval)
