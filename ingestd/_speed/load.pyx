# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a load generator sends: the compiled twins of ``pure_lines`` and ``pure_datagrams`` in
:mod:`ingestd.load.material`, which say what the columns are and what is written.

Values are drawn by xorshift64 (G. Marsaglia, Xorshift RNGs, 2003), the high half scaled to hundredths.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define FETCH(address) __builtin_prefetch(address)
    #else
    #define FETCH(address) ((void)(address))
    #endif
    """
    void FETCH(const void* address) nogil

cdef Py_ssize_t WIDTH = 6  # bytes of "999.99"
cdef Py_ssize_t DATAGRAM = 1400
cdef int64_t LAST_TIME = 1 << 33
cdef Py_ssize_t FAR = 24, NEAR = 12  # lines that are looked ahead

ctypedef unsigned char* Text


def lines(
    const unsigned char[::1] names not None,
    const int64_t[::1] starts not None,
    const uint32_t[::1] rows not None,
    int64_t timestamp,
    uint64_t state,
    unsigned char[::1] out not None,
):
    """Lines of the series ``rows`` into ``out``: (bytes, rows taken, state)."""
    cdef bytes tail = b" %d\n" % timestamp
    cdef const unsigned char* end_of_line = tail
    cdef Py_ssize_t width = len(tail), i = 0, n = rows.shape[0], room = out.shape[0], known = starts.shape[0] - 1
    cdef int64_t begin, end, size
    cdef uint32_t cents
    cdef bint bad = False
    cdef Text at, first
    if state == 0:
        raise ValueError("a state of 0 has no successor")
    if n == 0 or room == 0:
        return 0, 0, state
    if names.shape[0] == 0:
        raise ValueError("names that do not lie in their arena")
    at = first = &out[0]
    with nogil:
        while i < n:
            # In random order each line misses the cache twice: for where its name is, and for the name.
            if i + FAR < n and <int64_t>rows[i + FAR] < known:
                FETCH(&starts[rows[i + FAR]])
            if i + NEAR < n and <int64_t>rows[i + NEAR] < known:
                begin = starts[rows[i + NEAR]]
                if 0 <= begin < names.shape[0] - 64:
                    FETCH(&names[0] + begin)
                    FETCH(&names[0] + begin + 64)
            if <int64_t>rows[i] >= known:
                bad = True
                break
            begin, end = starts[rows[i]], starts[rows[i] + 1]
            if not 0 <= begin <= end <= names.shape[0]:
                bad = True
                break
            size = end - begin
            if room - (at - first) < size + 1 + WIDTH + width:
                break
            memcpy(at, &names[0] + begin, size)
            at += size
            state = _next(state)
            cents = _cents(state)
            at[0] = c" "
            at = _value(at + 1, cents)
            memcpy(at, end_of_line, width)
            at += width
            i += 1
    if bad:
        raise ValueError("names that do not lie in their arena")
    return at - first, i, state


def datagrams(
    const unsigned char[::1] hosts not None,
    const int64_t[::1] host_starts not None,
    const unsigned char[::1] parts not None,
    const int64_t[::1] part_starts not None,
    const uint8_t[::1] counts not None,
    const uint32_t[::1] rows not None,
    int64_t timestamp,
    int64_t interval,
    uint64_t state,
    unsigned char[::1] out not None,
    uint32_t[::1] ends not None,
):
    """Value lists ``rows`` as datagrams into ``out``: (datagrams, rows taken, points, state)."""
    cdef Py_ssize_t i = 0, n = rows.shape[0], lists = counts.shape[0], known = host_starts.shape[0] - 1
    cdef Py_ssize_t found = 0, room = out.shape[0], most = ends.shape[0], size, k, last_list = -1, host, last_host = -1
    cdef int64_t head, whole, change
    cdef uint64_t points = 0
    cdef bint bad = False
    cdef Text at, first, begin
    if state == 0:
        raise ValueError("a state of 0 has no successor")
    if not (0 <= timestamp < LAST_TIME and 0 <= interval < LAST_TIME):
        raise ValueError("a time that collectd's protocol does not hold")
    if n == 0 or room == 0 or most == 0:
        return 0, 0, 0, state
    if lists == 0 or part_starts.shape[0] != 2 * lists + 1 or hosts.shape[0] == 0 or parts.shape[0] == 0:
        raise ValueError("parts that do not lie in their arena")
    at = first = begin = &out[0]
    with nogil:
        while i < n:
            host, k = rows[i] // lists, rows[i] % lists
            if host >= known:
                bad = True
                break
            head = _span(host_starts, host, hosts.shape[0])
            whole = _span(part_starts, 2 * k, parts.shape[0])
            change = _span(part_starts, 2 * k + 1, parts.shape[0])
            size = 6 + 9 * <Py_ssize_t>counts[k]
            if head < 0 or whole < 0 or change < 0 or head + 24 + whole + size > DATAGRAM:
                bad = True
                break
            if k != last_list + 1:
                change = -1
            if at != begin and host == last_host and (at - begin) + (whole if change < 0 else change) + size <= DATAGRAM:
                if change < 0:
                    at = _copy(at, &parts[0] + part_starts[2 * k], whole)
                else:
                    at = _copy(at, &parts[0] + part_starts[2 * k + 1], change)
            else:
                if at != begin:
                    ends[found] = <uint32_t>(at - first)
                    found += 1
                    begin = at
                if found == most or room - (at - first) < DATAGRAM:
                    break
                at = _copy(at, &hosts[0] + host_starts[host], head)
                at = _number(at, 8, <uint64_t>timestamp << 30)
                at = _number(at, 9, <uint64_t>interval << 30)
                at = _copy(at, &parts[0] + part_starts[2 * k], whole)
            state = _gauges(&at, counts[k], state)
            points += counts[k]
            last_host, last_list = host, k
            i += 1
    if bad:
        raise ValueError("parts that do not lie in their arena, or fill no datagram")
    if at != begin:
        ends[found] = <uint32_t>(at - first)
        found += 1
    return found, i, points, state


cdef inline uint64_t _next(uint64_t state) noexcept nogil:
    state ^= state << 13
    state ^= state >> 7
    return state ^ (state << 17)


cdef inline uint32_t _cents(uint64_t state) noexcept nogil:
    """0 to 99,999."""
    return <uint32_t>(((state >> 32) * 100_000) >> 32)


cdef inline Text _value(Text at, uint32_t cents) noexcept nogil:
    """Write hundredths as 0.00 to 999.99, 6 bytes at most."""
    cdef uint32_t whole = cents // 100, rest = cents % 100
    if whole >= 100:
        at[0] = <uint8_t>(c"0" + whole // 100)
        at += 1
    if whole >= 10:
        at[0] = <uint8_t>(c"0" + whole // 10 % 10)
        at += 1
    at[0] = <uint8_t>(c"0" + whole % 10)
    at[1] = c"."
    at[2] = <uint8_t>(c"0" + rest // 10)
    at[3] = <uint8_t>(c"0" + rest % 10)
    return at + 4


cdef inline int64_t _span(const int64_t[::1] starts, Py_ssize_t number, Py_ssize_t room) noexcept nogil:
    """Bytes of a part; -1 where it does not lie within ``room`` or is longer than a datagram."""
    cdef int64_t begin = starts[number], end = starts[number + 1]
    return end - begin if 0 <= begin <= end <= room and end - begin <= DATAGRAM else -1


cdef inline Text _copy(Text at, const unsigned char* part, int64_t size) noexcept nogil:
    memcpy(at, part, size)
    return at + size


cdef inline Text _number(Text at, uint16_t kind, uint64_t number) noexcept nogil:
    """Write a part of 12 bytes with a number."""
    cdef int i
    at[0], at[1], at[2], at[3] = 0, <uint8_t>kind, 0, 12
    for i in range(8):
        at[4 + i] = <uint8_t>(number >> (56 - 8 * i))
    return at + 12


cdef inline uint64_t _gauges(Text* out, uint8_t count, uint64_t state) noexcept nogil:
    """Write a part of ``count`` gauges, little-endian doubles; the next state."""
    cdef Text at = out[0]
    cdef Py_ssize_t size = 6 + 9 * <Py_ssize_t>count
    cdef int i, byte
    cdef double value
    cdef uint64_t bits
    at[0], at[1], at[2], at[3], at[4], at[5] = 0, 6, <uint8_t>(size >> 8), <uint8_t>size, 0, count
    at += 6
    for i in range(count):
        at[i] = 1
    at += count
    for i in range(count):
        state = _next(state)
        value = _cents(state) / 100.0
        memcpy(&bits, &value, 8)
        for byte in range(8):
            at[byte] = <uint8_t>(bits >> (8 * byte))
        at += 8
    out[0] = at
    return state
