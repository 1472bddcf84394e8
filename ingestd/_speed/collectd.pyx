# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""collectd's datagrams to columns: the compiled twin of :mod:`ingestd.wire.parts`, which is the reference.

The grammar and its order are the reference's, step by step. What is rare goes through the functions that it uses as
well: names of an identity not seen before, notifications, signatures and decryption.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memchr, memcmp, memcpy, memset

from ingestd._speed.identities cimport (
    Identities, State, Text, ValueList, compare_times, counters_of, ends_of, head_of, identity_of, ids_of, set_time,
    spellings_of, update_rate,
)
from ingestd._speed.naming cimport Naming
from ingestd._speed.network cimport (
    ENCRYPT, INTERVAL_HR, MESSAGE, SEVERITY, SIGN, VALUES, fields_of, ingestd_prefetch, load, load_little, resized,
    set_number,
)
from ingestd._speed.table cimport Table

import numpy as np

cdef extern from "math.h" nogil:
    bint isfinite(double)
    bint isnan(double)

cdef enum:
    MALFORMED, UNKNOWN_TYPE, SECURITY, NAN, INFINITE, PATH, NO_RATE, REASONS

cdef tuple REASON = ("malformed", "unknown_type", "security", "nan", "infinite", "path", "no_rate")
cdef int[10] FIELD
FIELD[:] = [0, -1, 1, 2, 3, 4, -1, -1, -1, -1]
cdef uint32_t UNKNOWN = 0xFFFFFFFF
cdef Py_ssize_t NAME_LIMIT = 128, MESSAGE_LIMIT = 260, NUMBER_LENGTH = 12, SIGN_OVERHEAD = 36
cdef int NESTING_LIMIT = 2, LEVEL_SIGN = 1, LEVEL_ENCRYPT = 2
cdef uint8_t GAUGE = 1, DERIVE = 2
cdef uint32_t ALL_SAME = 31


@cython.final
cdef class Reader:
    """Reads datagrams; what it takes and gives is what :class:`ingestd.wire.parts.PureReader` does."""

    cdef Identities known
    cdef Naming naming
    cdef object tell, verified, decrypted
    cdef uint64_t own_interval
    cdef readonly uint64_t mismatched, padded, unverified
    # What a call has found so far.
    cdef int64_t* times
    cdef double* values
    cdef uint32_t* ids
    cdef Py_ssize_t* rows  # those without an id
    cdef Py_ssize_t n, room
    cdef uint64_t[7] refused
    cdef list unknown, runs, notifications
    cdef object names, users
    cdef bint compiled_names, below
    cdef int level
    cdef double now
    cdef Py_ssize_t datagram, begun
    cdef bytes user

    def __cinit__(self, Naming naming not None, tell, verified, decrypted, bint rated, uint64_t interval, uint32_t limit):
        self.known = Identities(rated, limit)
        self.naming, self.tell, self.verified, self.decrypted = naming, tell, verified, decrypted
        self.own_interval = interval

    def __dealloc__(self):
        free(self.times)
        free(self.values)
        free(self.ids)
        free(self.rows)

    def __len__(self):
        return len(self.known)

    @property
    def forgotten(self):
        return self.known.forgotten

    def clear(self):
        """Forget all identities, and what was known of types."""
        self.known.clear()
        self.naming.clear()

    def read(self, list datagrams not None, names not None, double now, security not None):
        """All that can be read of ``datagrams``, in their order. A datagram on which this fails gives nothing."""
        cdef list failed = [], refused = []
        cdef Py_ssize_t i, unknown, runs, notifications
        cdef bytes data
        self.unknown, self.runs, self.notifications = [], [], []
        self.n = self.begun = 0
        self.now, self.level, self.users, self.names = now, int(security.level), security.users, names
        self.compiled_names = self.known.follow(names)
        for i in range(len(datagrams)):
            unknown, runs, notifications = len(self.unknown), len(self.runs), len(self.notifications)
            memset(self.refused, 0, sizeof(self.refused))
            self.datagram, self.below, self.user, self.begun = i, False, b"", self.n
            begun = self.n
            try:
                data = <bytes?>datagrams[i]
                self.parts(data, 0, 0, 0)
                self.of_user(b"")
                if self.below:
                    self.refused[SECURITY] += 1
                self.tell_refused(refused, self.runs[runs][2] if len(self.runs) > runs else b"")
            except Exception as error:  # a bug, but the other datagrams are other clients'
                self.n = begun
                del self.unknown[unknown:], self.runs[runs:], self.notifications[notifications:]
                failed.append((i, error))
        try:
            return (
                _array(self.ids, 4, np.uint32, self.n),
                _array(self.times, 8, np.int64, self.n),
                _array(self.values, 8, np.float64, self.n),
                _array(self.rows, sizeof(Py_ssize_t), np.intp, len(self.unknown)),
                self.unknown, self.runs, refused, self.notifications, failed,
            )
        finally:
            self.unknown = self.runs = self.notifications = None
            self.users = self.names = None

    cdef int tell_refused(self, list refused, bytes user) except -1:
        cdef int i
        cdef dict found = None
        for i in range(REASONS):
            if self.refused[i]:
                if found is None:
                    found = {}
                found[REASON[i]] = self.refused[i]
        if found is not None:
            refused.append((self.datagram, user, found))
        return 0

    cdef int of_user(self, bytes user) except -1:
        """The rows from here on are of ``user``."""
        if self.n > self.begun:
            self.runs.append((self.n, self.datagram, self.user))
            self.begun = self.n
        self.user = user
        return 0

    cdef int parts(self, bytes data, Py_ssize_t position, int seal, int depth) except -1:
        """Read all parts of ``data`` from ``position`` on, which are protected by ``seal``."""
        cdef Text base = <Text>PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data), last = end - 4, length, stop
        cdef bint below = seal < self.level
        cdef uint32_t part
        cdef State state
        cdef Text p
        cdef int i
        memset(&state, 0, sizeof(State))
        for i in range(5):
            state.text[i] = base
        state.interval = self.own_interval
        while position < last:
            p = base + position
            part, length = p[0] << 8 | p[1], p[2] << 8 | p[3]
            stop = position + length
            if length < 4 or stop > end:
                break
            if below or part > INTERVAL_HR:
                stop = self.other(part, data, position, stop, seal, depth, &state)
                if stop < 0:
                    break
            elif part == VALUES:
                if not self.value_list(p, length, &state):
                    break
            elif FIELD[part] >= 0:
                if not self.text(p + 4, length - 4, FIELD[part], &state):
                    break
            elif length != NUMBER_LENGTH:
                break
            else:
                set_number(part, load(p + 4), &state, self.own_interval)
            position = stop
        if position < end:
            while position < end and base[position] == 0:
                position += 1
            if position == end:
                self.padded += 1
            else:
                self.refused[MALFORMED] += 1
        return 0

    cdef inline bint text(self, Text payload, Py_ssize_t size, int field, State* state) noexcept:
        """Take a name. Return whether it is one."""
        cdef ValueList* guess
        if size < 1 or size > NAME_LIMIT or payload[size - 1]:
            return False
        if state.guess:
            guess = &self.known.lists[state.guess]
            if guess.width[field] == size - 1 and memcmp(identity_of(guess) + guess.at[field], payload, size) == 0:
                state.same |= 1 << field
            else:
                state.same &= ~(<uint32_t>1 << field)
        state.text[field] = payload
        # What follows the first NUL is not part of the text.
        state.width[field] = <uint8_t>(<Text>memchr(payload, 0, size) - payload)
        return True

    cdef inline int value_list(self, Text p, Py_ssize_t length, State* state) except -1:
        """Take the values part at ``p``. Return whether it could be read."""
        cdef uint32_t number = state.guess
        cdef ValueList* known
        if not number or state.same != ALL_SAME:
            number = self.known.find(state)
        if number and state.time:
            known = &self.known.lists[number]
            if length == 6 + 9 * known.count and memcmp(head_of(known), p, 6 + known.count) == 0:
                self.take(known, p + 6 + known.count, state)
                self.known.expect(state, number)
                if state.guess:
                    known = &self.known.lists[state.guess]
                    ingestd_prefetch(known.block)
                    ingestd_prefetch(known.block + 64)
                    known = &self.known.lists[known.next]
                    ingestd_prefetch(known)
                    ingestd_prefetch(<char*>known + 64)
                return True
        return self.new_list(p, length, state)

    cdef bint new_list(self, Text p, Py_ssize_t length, State* state) except -1:
        """Take a value list that is new or has changed. Return whether it could be read, whatever became of it."""
        cdef Py_ssize_t count, i
        cdef uint64_t born
        cdef uint32_t number
        if length < 6 or (length - 6) % 9:
            return False
        count = (length - 6) // 9
        if (p[4] << 8 | p[5]) != count:
            return False
        for i in range(count):
            if p[6 + i] > 3:
                return False
        if count == 0:
            return True
        if not (state.time and state.width[0] and state.width[1] and state.width[3]):
            self.refused[MALFORMED] += count
            return True
        kinds = PyBytes_FromStringAndSize(<const char*>p + 6, count)
        learned = self.naming.learn(state, kinds)
        if learned is None:
            self.refused[UNKNOWN_TYPE] += count
            return True
        born = self.known.lists[state.last].born
        number = self.known.add(state, kinds, learned, self.now)
        if self.known.lists[state.last].born != born:
            state.last = 0  # it had to make room
        self.take(&self.known.lists[number], p + 6 + count, state)
        self.known.expect(state, number)
        return True

    cdef int take(self, ValueList* known, Text p, State* state) except -1:
        """Take the values at ``p``, of which there are as many as ``known`` has."""
        cdef int i, kind, age = 0, count = known.count
        cdef uint64_t raw
        cdef double value = 0.0, gap = 0.0
        cdef uint32_t* ids = ids_of(known)
        cdef Text kinds = head_of(known) + 6
        known.seen = self.now
        self.mismatched += known.mismatched
        if known.names != self.known.changes or not self.compiled_names:
            known.names = self.known.changes
            for i in range(count):
                ids[i] = UNKNOWN
        if self.n + count > self.room:
            self.grow(count)
        if known.rates:
            known.interval = state.interval
            age = compare_times(known, state.time, self.now, &gap)
        for i in range(count):
            kind = kinds[i]
            if kind == GAUGE:
                raw = load_little(p + 8 * i)
                memcpy(&value, &raw, 8)
                if not isfinite(value):
                    self.refused[NAN if isnan(value) else INFINITE] += 1
                    continue
            elif known.rates:
                if not update_rate(&counters_of(known)[i], kind, load(p + 8 * i), state.interval, age, gap):
                    self.refused[NO_RATE] += 1
                    continue
                value = counters_of(known)[i].rate
            else:
                raw = load(p + 8 * i)
                value = <double><int64_t>raw if kind == DERIVE else <double>raw
            if ids[i] == UNKNOWN and not self.name(known, i):
                self.refused[PATH] += 1
                continue
            self.ids[self.n], self.times[self.n], self.values[self.n] = ids[i], state.stamp, value
            self.n += 1
        if known.rates and age != 1:
            set_time(known, state.time, state.interval, self.now)
        return 0

    cdef bint name(self, ValueList* known, int i) except -1:
        """Look up the id of a value, or list its row among the unknown ones. Return whether it has a name."""
        cdef uint32_t begin = ends_of(known)[i - 1] if i else 0
        cdef Py_ssize_t size = ends_of(known)[i] - begin
        cdef Text spelt = spellings_of(known) + begin
        cdef uint32_t entry
        cdef bytes spelling
        if size == 0:
            return False
        if self.compiled_names:
            entry = (<Table>self.names).find(spelt, size)
            if entry:
                ids_of(known)[i] = (<Table>self.names).entries[entry].id
                return True
        spelling = PyBytes_FromStringAndSize(<const char*>spelt, size)
        if not self.compiled_names:
            series = self.names.get(spelling)
            if series is not None:
                ids_of(known)[i] = series
                return True
        self.rows[len(self.unknown)] = self.n
        self.unknown.append(spelling)
        return True

    cdef int grow(self, Py_ssize_t count) except -1:
        """Make room for ``count`` rows and as many as there are."""
        cdef Py_ssize_t room = 2 * self.n + count + 1024
        self.ids = <uint32_t*>resized(self.ids, room * 4)
        self.times = <int64_t*>resized(self.times, room * 8)
        self.values = <double*>resized(self.values, room * 8)
        self.rows = <Py_ssize_t*>resized(self.rows, room * sizeof(Py_ssize_t))
        self.room = room
        return 0

    cdef Py_ssize_t other(
        self, uint32_t part, bytes data, Py_ssize_t position, Py_ssize_t stop, int seal, int depth, State* state
    ) except -2:
        """Take a part that is sealed, below the level, or neither name nor number nor values.

        Return where to go on: -1 if the part could not be read, the end of ``data`` if it forbids to.
        """
        cdef Py_ssize_t after
        if part == ENCRYPT or (part == SIGN and (seal == LEVEL_ENCRYPT or self.level < LEVEL_ENCRYPT)):
            after = self.opened(part, data, position, stop, seal, depth)
            # What was read there may have taken the place of what is expected here.
            state.last = state.guess = 0
            if after < 0:
                self.refused[SECURITY] += 1
                return PyBytes_GET_SIZE(data)
            return after
        if seal < self.level:
            self.below = True
            return stop
        return stop if self.notice(part, <Text>PyBytes_AS_STRING(data) + position, stop - position, state) else -1

    cdef Py_ssize_t opened(
        self, uint32_t part, bytes data, Py_ssize_t position, Py_ssize_t stop, int seal, int depth
    ) except -2:
        """Read what a sealed part protects. Return where to go on, -1 if it is not what a user sent."""
        cdef bytes before = self.user, payload
        if part == SIGN and self.users is None and stop - position > SIGN_OVERHEAD:
            self.unverified += 1
            return stop
        if self.users is None or depth >= NESTING_LIMIT:
            return -1
        if part == SIGN:
            if not self.verified(data, position, stop, PyBytes_GET_SIZE(data), self.users):
                return -1
            self.of_user(data[position + SIGN_OVERHEAD : stop])
            self.parts(data, stop, seal if seal > LEVEL_SIGN else LEVEL_SIGN, depth + 1)
            stop = PyBytes_GET_SIZE(data)
        else:
            clear = self.decrypted(data, position, stop, self.users)
            if clear is None:
                return -1
            user, payload = clear
            self.of_user(user)
            self.parts(payload, 0, LEVEL_ENCRYPT, depth + 1)
        self.of_user(before)
        return stop

    cdef bint notice(self, uint32_t part, Text p, Py_ssize_t length, State* state) except -1:
        """Take a message or severity, pass over any other part. Return whether it could be read."""
        if part == SEVERITY:
            if length != NUMBER_LENGTH:
                return False
            state.severity = load(p + 4)
        elif part == MESSAGE:
            if not 4 < length <= MESSAGE_LIMIT or p[length - 1]:
                return False
            if p[4] and state.time and (state.severity == 1 or state.severity == 2 or state.severity == 4):
                message = PyBytes_FromStringAndSize(<const char*>p + 4, <Text>memchr(p + 4, 0, length - 4) - (p + 4))
                self.notifications.append(self.tell(state.stamp, state.severity, fields_of(state), message))
        return True


cdef object _array(const void* column, Py_ssize_t width, dtype, Py_ssize_t n):
    made = np.empty(n, dtype)
    cdef unsigned char[::1] view
    if n:
        view = made.view(np.uint8)
        memcpy(&view[0], column, n * width)
    return made
