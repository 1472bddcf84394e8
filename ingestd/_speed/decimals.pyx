# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Numbers as Python's repr writes them, the infinite as 1e9999.

A decimal of up to 15 digits that reads back as the number is the only one of that length (a double tells all of them
apart), so it is the shortest; the number of places of the number before is tried, and the quotient of two exact
doubles is what reading gives. All others go through R. Giulietti's Schubfach (The Schubfach way to render doubles,
2020): of the decimals within the rounding interval one of the shortest, the nearest. An exact tie between two of them
is left to Python.
"""

from cpython.mem cimport PyMem_Free
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy, strlen

cdef extern from "Python.h":
    char* PyOS_double_to_string(double, char, int, int, int*) except NULL
    int Py_DTSF_ADD_DOT_0

cdef extern from "math.h" nogil:
    double fabs(double)

cdef extern from *:
    """
    static inline uint64_t ingestd_product(uint64_t a, uint64_t b, uint64_t *low) {
    #ifdef __SIZEOF_INT128__
        unsigned __int128 whole = (unsigned __int128)a * b;
        *low = (uint64_t)whole;
        return (uint64_t)(whole >> 64);
    #else
        uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
        uint64_t c = a1 * b0 + (a0 * b0 >> 32), d = a0 * b1 + (uint32_t)c;
        *low = a * b;
        return a1 * b1 + (c >> 32) + (d >> 32);
    #endif
    }
    #if defined(__GNUC__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    #define ingestd_words 1
    #define ingestd_first(word) (__builtin_ctzll(word) >> 3)
    #define ingestd_last(word) (7 - (__builtin_clzll(word) >> 3))
    #else
    #define ingestd_words 0
    #define ingestd_first(word) 0
    #define ingestd_last(word) 0
    #endif
    """
    uint64_t ingestd_product(uint64_t a, uint64_t b, uint64_t* low) noexcept nogil
    bint ingestd_words  # whether the first character of eight in a word is its lowest byte, and bits can be counted
    int ingestd_first(uint64_t) noexcept nogil  # the first and last byte that is not 0
    int ingestd_last(uint64_t) noexcept nogil

cdef enum:
    LEAST = -292  # powers of ten that Schubfach needs
    MOST = 324

cdef double SHORT = 1e15
cdef double[23] POWERS
cdef uint64_t[2 * (MOST - LEAST + 1)] TENS  # 10**k as 128 bits that begin with a 1, rounded up: high, low
cdef char[200] PAIRS
cdef int _at
for _at in range(23):
    POWERS[_at] = 10.0 ** _at
for _at in range(100):
    PAIRS[2 * _at], PAIRS[2 * _at + 1] = 48 + _at // 10, 48 + _at % 10


def _fill_tens():
    for k in range(LEAST, MOST + 1):
        top, bottom = 10 ** max(k, 0), 10 ** max(-k, 0)
        shift = 127 - (top.bit_length() - 1) if k >= 0 else 127 + bottom.bit_length()
        whole = -((-top << max(shift, 0)) // (bottom << max(-shift, 0)))
        TENS[2 * (k - LEAST)], TENS[2 * (k - LEAST) + 1] = whole >> 64, whole & 0xFFFFFFFFFFFFFFFF


_fill_tens()


cdef char* write_integer(int64_t number, char* at) noexcept nogil:
    cdef char[48] digits
    cdef uint64_t size = number
    cdef Py_ssize_t n
    if number < 0:
        at[0] = c"-"
        at += 1
        size = 0 - size
    n = _digits(size, digits)
    memcpy(at, digits + 24 - n, 24)
    return at + n


cdef inline Py_ssize_t _digits(uint64_t number, char* room) noexcept nogil:
    """Write the digits of a number, which are returned, at the end of 24 bytes."""
    cdef char* at = room + 24
    cdef uint64_t rest
    while number >= 100:
        rest = number // 100
        at -= 2
        memcpy(at, PAIRS + 2 * (number - 100 * rest), 2)
        number = rest
    if number >= 10:
        at -= 2
        memcpy(at, PAIRS + 2 * number, 2)
    else:
        at -= 1
        at[0] = <char>(48 + number)
    return room + 24 - at


cdef char* write_number(double value, char* at, int* places) except NULL nogil:
    """Write a float that is no NaN as repr does, an infinity as 1e9999."""
    cdef uint64_t bits, digits
    cdef int exponent
    cdef double size = fabs(value), scaled
    memcpy(&bits, &value, 8)
    if bits >> 63:
        at[0] = c"-"
        at += 1
        bits ^= <uint64_t>1 << 63
    if size == 0.0:
        memcpy(at, b"0.0", 3)
        return at + 3
    if size > 1.7976931348623157e308:
        memcpy(at, b"1e9999", 6)
        return at + 6
    # Smaller ones have an exponent, and seldom so few places.
    if 0 <= places[0] < 23 and size > 1e-5:
        scaled = size * POWERS[places[0]]
        if scaled < SHORT:
            digits = <uint64_t>(scaled + 0.5)
            if <double>digits / POWERS[places[0]] == size:
                if ingestd_words and digits < 100000000 and places[0] < 8 and size >= 1e-4:
                    return _eight(digits, places[0], at)
                return _decimal(digits, -places[0], at, places)
    digits = _shortest(bits, &exponent)
    if digits == 0:
        return _by_python(size, at)
    return _decimal(digits, exponent, at, places)


cdef inline char* _eight(uint64_t number, int places, char* at) noexcept nogil:
    """As :func:`_decimal` for a number of up to eight digits, which stay in one word, from 0.0001 to 10**8.

    Bytes that are stored and soon read again in another width make the processor wait.
    """
    cdef uint64_t word, part
    cdef int first, last, point
    # Two numbers of four digits, then four of two, then eight digits: quotients by multiplication, all at once.
    word = number // 10000 | (number % 10000) << 32
    part = ((word * 10486) >> 20) & <uint64_t>0x0000007F0000007F
    word = part | (word - 100 * part) << 16
    part = ((word * 103) >> 10) & <uint64_t>0x000F000F000F000F
    word = part | (word - 10 * part) << 8
    first, last, point = ingestd_first(word), ingestd_last(word), 8 - places
    word |= <uint64_t>0x3030303030303030
    if point <= first:
        word >>= 8 * first
        memcpy(at, b"0.000", 5)
        at += 2 + first - point
        memcpy(at, &word, 8)
        return at + last + 1 - first
    word >>= 8 * first
    memcpy(at, &word, 8)
    at += point - first
    at[0] = c"."
    if last < point:
        at[1] = c"0"
        return at + 2
    word >>= 8 * (point - first)
    memcpy(at + 1, &word, 8)
    return at + 2 + last - point


cdef inline char* _decimal(uint64_t number, int exponent, char* at, int* places) noexcept nogil:
    """Write ``number * 10**exponent`` in repr's form. ``places`` becomes how many decimals it has."""
    cdef char[48] room  # of which half is copied: a copy of a fixed size is no call
    cdef Py_ssize_t n = _digits(number, room), point
    cdef char* digits = room + 24 - n
    while n > 1 and digits[n - 1] == c"0":
        n -= 1
        exponent += 1
    point = n + exponent  # digits before the point
    if places[0] < -exponent or places[0] > 15 - point:
        places[0] = -exponent if exponent < 0 else 0
    if point <= -4 or point > 16:
        return _scientific(digits, n, point - 1, at)
    if point <= 0:
        memcpy(at, b"0.000", 5)
        at += 2 - point
        memcpy(at, digits, 24)
        return at + n
    memcpy(at, digits, 24)
    if exponent >= 0:
        memcpy(at + n, b"0000000000000000", 16)
        at += point
        memcpy(at, b".0", 2)
        return at + 2
    at[point] = c"."
    memcpy(at + point + 1, digits + point, 24)
    return at + n + 1


cdef char* _scientific(const char* digits, Py_ssize_t n, Py_ssize_t exponent, char* at) noexcept nogil:
    at[0] = digits[0]
    at += 1
    if n > 1:
        at[0] = c"."
        memcpy(at + 1, digits + 1, n - 1)
        at += n
    at[0] = c"e"
    at[1] = c"-" if exponent < 0 else c"+"
    exponent = -exponent if exponent < 0 else exponent
    at += 2
    if exponent < 10:
        at[0] = c"0"
        at += 1
    return write_integer(exponent, at)


cdef char* _by_python(double value, char* at) except NULL with gil:
    cdef char* text = PyOS_double_to_string(value, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
    cdef size_t size = strlen(text)
    memcpy(at, text, size)
    PyMem_Free(text)
    return at + size


cdef uint64_t _shortest(uint64_t bits, int* exponent) noexcept nogil:
    """Schubfach: the digits of a positive finite float64 and their power of ten; 0 where two are equally near.

    Names and numbers as in the paper: v = c * 2**q; its rounding interval is cb plus or minus 2, in quarters.
    """
    cdef uint64_t c = bits & ((<uint64_t>1 << 52) - 1)
    cdef int q = <int>(bits >> 52)
    cdef bint closer = c == 0 and q > 1  # the number below is only half as far as the one above
    cdef int k, h
    cdef uint64_t high, low, left, middle, right, s, tens
    cdef bint below, above
    if q:
        c |= <uint64_t>1 << 52
        q -= 1075
    else:
        q = -1074
    # floor(log10(2**q)), or that of 3/4 of it; and how far c moves so that products have their point at one place.
    k = (q * 1262611 - (524031 if closer else 0)) >> 22
    h = q + ((-k * 1741647) >> 19) + 1
    high, low = TENS[2 * (-k - LEAST)], TENS[2 * (-k - LEAST) + 1]
    left = _to_odd(high, low, (4 * c - 2 + closer) << h)
    middle = _to_odd(high, low, (4 * c) << h)
    right = _to_odd(high, low, (4 * c + 2) << h)
    if c & 1:  # the bounds themselves would be rounded to the neighbours, which are even
        left += 1
        right -= 1
    exponent[0] = k
    s = middle >> 2
    if s >= 10:
        tens = s // 10
        below = left <= 40 * tens
        above = 40 * tens + 40 <= right
        if below != above:
            exponent[0] = k + 1
            return tens + above
    below = left <= 4 * s
    above = 4 * s + 4 <= right
    if below != above:
        return s + above
    if middle == 4 * s + 2:
        return 0
    return s + (middle > 4 * s + 2)


cdef inline uint64_t _to_odd(uint64_t high, uint64_t low, uint64_t by) noexcept nogil:
    """The product's highest 64 bits, of which the last is set if others are lost, so that comparisons stay true."""
    cdef uint64_t middle, carried, rest
    cdef uint64_t top = ingestd_product(high, by, &middle)
    carried = ingestd_product(low, by, &rest)
    middle += carried
    if middle < carried:
        top += 1
    return top | (middle > 1)
