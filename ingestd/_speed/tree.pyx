# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Walks through a segment of names: the compiled twin of ``_walk`` in :mod:`ingestd.index.globs`, the reference.

Nodes of one depth are rows ``(low, high, length)`` of uint32[n, 3], as :class:`ingestd.index.segment.Range` has them.
``rows`` is the segment's sorted list of bytes, which nobody changes.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.ref cimport PyObject
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memchr, memcmp

import numpy as np

cdef extern from "Python.h":
    object PyUnicode_DecodeUTF8(const char*, Py_ssize_t, const char*)
    char* text_of "PyBytes_AS_STRING"(PyObject*) nogil
    Py_ssize_t size_of "PyBytes_GET_SIZE"(PyObject*) nogil
    PyObject* item_of "PyList_GET_ITEM"(PyObject*, Py_ssize_t) nogil

cdef extern from *:
    """
    #ifdef __GNUC__
    #define ingestd_prefetch(p) __builtin_prefetch(p)
    #else
    #define ingestd_prefetch(p) ((void)0)
    #endif
    """
    void ingestd_prefetch(const void*) noexcept nogil

ctypedef const unsigned char* Text

cdef enum:
    AHEAD = 12  # nodes: rows lie anywhere in memory, and are called for while others are read
    LINE = 64  # bytes of the cache's lines


cdef struct Slice:
    Py_ssize_t low
    Py_ssize_t high


def count(const uint32_t[::1] starts, const uint32_t[:, ::1] nodes):
    """How many children the nodes have."""
    cdef Py_ssize_t i, found = 0
    cdef Slice children = Slice(0, 0)
    with nogil:
        for i in range(nodes.shape[0]):
            children = _children(starts, nodes[i, 0], nodes[i, 1], children.high)
            found += children.high - children.low
    return found


def below(list rows not None, const uint32_t[::1] starts, const uint32_t[:, ::1] nodes, bytes prefix not None):
    """The children of the nodes whose names begin with ``prefix``, in order: uint32[m, 3]."""
    cdef Py_ssize_t i, at, m = 0, size = PyBytes_GET_SIZE(prefix)
    cdef Text text = <Text>PyBytes_AS_STRING(prefix)
    cdef PyObject* names = <PyObject*>rows
    cdef Slice children = Slice(0, 0), chosen
    cdef Py_ssize_t length
    made = np.empty((count(starts, nodes), 3), np.uint32)
    cdef uint32_t[:, ::1] out = made
    with nogil:
        for i in range(nodes.shape[0]):
            children = _children(starts, nodes[i, 0], nodes[i, 1], children.high)
            chosen, length = children, nodes[i, 2]
            if size:
                chosen.low = _bound(names, starts, children, length, text, size, False, True)
                chosen.high = _bound(names, starts, children, length, text, size, True, True)
            for at in range(chosen.low, chosen.high):
                if at + AHEAD < chosen.high:
                    _call(names, starts[at + AHEAD])
                _put(out, m, names, starts, at, children.high, nodes[i, 1], length)
                m += 1
    return made[:m]


def named(list rows not None, const uint32_t[::1] starts, const uint32_t[:, ::1] nodes, bytes name not None):
    """The children of that very name, in order: uint32[m, 3]."""
    cdef Py_ssize_t i, at, m = 0, size = PyBytes_GET_SIZE(name)
    cdef Text text = <Text>PyBytes_AS_STRING(name)
    cdef PyObject* names = <PyObject*>rows
    cdef Slice children = Slice(0, 0)
    cdef Py_ssize_t place = 0, row = 0  # of the one found last, among its siblings and their rows: mostly that again
    made = np.empty((nodes.shape[0], 3), np.uint32)
    cdef uint32_t[:, ::1] out = made
    with nogil:
        for i in range(nodes.shape[0]):
            if i + AHEAD < nodes.shape[0] and nodes[i + AHEAD, 0] + row < nodes[i + AHEAD, 1]:
                _call(names, nodes[i + AHEAD, 0] + row)
            children = _children(starts, nodes[i, 0], nodes[i, 1], children.high)
            at = children.low + place
            if at >= children.high or _order(item_of(names, starts[at]), nodes[i, 2], text, size, False):
                at = _bound(names, starts, children, nodes[i, 2], text, size, False, False)
            if at < children.high and _order(item_of(names, starts[at]), nodes[i, 2], text, size, False) == 0:
                place, row = at - children.low, starts[at] - nodes[i, 0]
                _put(out, m, names, starts, at, children.high, nodes[i, 1], nodes[i, 2])
                m += 1
    return made[:m]


def taken(list rows not None, const uint32_t[:, ::1] nodes, match):
    """Which of the nodes ``match`` takes by their last name: uint8[n], 1 or 0."""
    cdef Py_ssize_t i, begin, end
    cdef bytes row
    made = np.empty(nodes.shape[0], np.uint8)
    cdef unsigned char[::1] out = made
    for i in range(nodes.shape[0]):
        row = <bytes>rows[nodes[i, 0]]
        end = nodes[i, 2] - 1
        begin = _last_dot(row, end) + 1
        out[i] = match(PyUnicode_DecodeUTF8(PyBytes_AS_STRING(row) + begin, end - begin, NULL)) is not None
    return made


def matches(
    list rows not None,
    const uint16_t[::1] depths,
    const uint32_t[:, ::1] nodes,
    uint16_t depth,
    bint leaves_only,
    bytes hidden not None,
):
    """The nodes of ``depth`` as (last name, path, whether it is a leaf): a branch, a leaf, or one after the other.

    Paths that begin with ``hidden``, if that is not empty, are left out. No row is dead.
    """
    cdef Py_ssize_t i, begin, end, at, size = 0, hidden_size = PyBytes_GET_SIZE(hidden)
    cdef bytes row
    cdef const char* text
    cdef const char* last = NULL
    cdef list found = []
    cdef object name = None, path
    cdef bint leaf
    for i in range(nodes.shape[0]):
        at = nodes[i, 0]
        leaf = depths[at] == depth
        if leaves_only and not leaf:
            continue
        row = <bytes>rows[at]
        text, end = PyBytes_AS_STRING(row), nodes[i, 2] - 1
        if hidden_size and end >= hidden_size and memcmp(text, PyBytes_AS_STRING(hidden), hidden_size) == 0:
            continue
        begin = _last_dot(row, end) + 1
        # Neighbours at the end of a pattern mostly share their last name: one text for all of them.
        if last == NULL or size != end - begin or memcmp(last, text + begin, size):
            last, size = text + begin, end - begin
            name = PyUnicode_DecodeUTF8(last, size, NULL)
        path = PyUnicode_DecodeUTF8(text, end, NULL)
        if not leaves_only and nodes[i, 1] - at > <Py_ssize_t>leaf:
            found.append((name, path, False))
        if leaf:
            found.append((name, path, True))
    return found


def leaves(
    list rows not None,
    const uint16_t[::1] depths,
    const uint32_t[::1] ids,
    const uint32_t[:, ::1] nodes,
    uint16_t depth,
    bytes hidden not None,
):
    """The series at the nodes of ``depth``: (path, id). ``hidden`` as for :func:`matches`. No row is dead."""
    cdef Py_ssize_t i, end, at, hidden_size = PyBytes_GET_SIZE(hidden)
    cdef bytes row
    cdef const char* text
    cdef list found = []
    for i in range(nodes.shape[0]):
        at = nodes[i, 0]
        if depths[at] != depth:
            continue
        row = <bytes>rows[at]
        text, end = PyBytes_AS_STRING(row), nodes[i, 2] - 1
        if hidden_size and end >= hidden_size and memcmp(text, PyBytes_AS_STRING(hidden), hidden_size) == 0:
            continue
        found.append((PyUnicode_DecodeUTF8(text, end, NULL), ids[at]))
    return found


def series(
    list rows not None,
    const uint16_t[::1] depths,
    const uint32_t[::1] ids,
    const uint32_t[:, ::1] nodes,
    uint16_t depth,
    bytes hidden not None,
):
    """The ids alone of what :func:`leaves` gives, uint32[m]; None if these paths do not ascend, or one has tags."""
    cdef Py_ssize_t i, end, at, m = 0, last = -1, last_end = 0, hidden_size = PyBytes_GET_SIZE(hidden)
    cdef const char* hidden_text = PyBytes_AS_STRING(hidden)
    cdef PyObject* names = <PyObject*>rows
    cdef const char* text
    cdef int order
    cdef bint plain = True
    made = np.empty(nodes.shape[0], np.uint32)
    cdef uint32_t[::1] out = made
    with nogil:
        for i in range(nodes.shape[0]):
            if i + AHEAD < nodes.shape[0]:
                _call(names, nodes[i + AHEAD, 0])
            at = nodes[i, 0]
            if depths[at] != depth:
                continue
            text, end = text_of(item_of(names, at)), nodes[i, 2] - 1
            if hidden_size and end >= hidden_size and memcmp(text, hidden_text, hidden_size) == 0:
                continue
            if text[0] == c"~" or memchr(text, c";", end) != NULL:
                plain = False
                break
            if last >= 0:
                order = memcmp(text_of(item_of(names, last)), text, last_end if last_end < end else end)
                if order > 0 or (order == 0 and last_end >= end):
                    plain = False
                    break
            last, last_end = at, end
            out[m] = ids[at]
            m += 1
    return made[:m] if plain else None


cdef inline void _call(PyObject* names, Py_ssize_t row) noexcept nogil:
    """Have a row brought from memory."""
    cdef const char* text = <const char*>item_of(names, row)
    ingestd_prefetch(text)
    ingestd_prefetch(text + LINE)


cdef inline Slice _children(const uint32_t[::1] starts, uint32_t low, uint32_t high, Py_ssize_t near) noexcept nogil:
    """Where the children of rows ``low`` to ``high`` stand in ``starts``; mostly at ``near``, after those before."""
    cdef Slice found
    cdef Py_ssize_t n = starts.shape[0]
    found.low = _search(starts, low, near if near < n and (near == 0 or starts[near - 1] < low) else 0)
    found.high = _search(starts, high, found.low)
    return found


cdef inline Py_ssize_t _search(const uint32_t[::1] starts, uint32_t wanted, Py_ssize_t low) noexcept nogil:
    """The first place from ``low`` on at which ``starts`` is not below ``wanted``, by steps that double."""
    cdef Py_ssize_t step = 1, middle, high = low, n = starts.shape[0]
    while high < n and starts[high] < wanted:
        low = high + 1
        high += step
        step *= 2
    if high > n:
        high = n
    while low < high:
        middle = (low + high) >> 1
        if starts[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


cdef Py_ssize_t _bound(
    PyObject* names,
    const uint32_t[::1] starts,
    Slice children,
    Py_ssize_t length,
    Text text,
    Py_ssize_t size,
    bint after,
    bint prefix,
) noexcept nogil:
    """The first child whose name is not below ``text``, or, ``after``, is above it (and does not begin with it)."""
    cdef Py_ssize_t low = children.low, high = children.high, middle
    cdef int order
    while low < high:
        middle = (low + high) >> 1
        order = _order(item_of(names, starts[middle]), length, text, size, prefix)
        if order < 0 or (after and order == 0):
            low = middle + 1
        else:
            high = middle
    return low


cdef inline int _order(PyObject* row, Py_ssize_t length, Text text, Py_ssize_t size, bint prefix) noexcept nogil:
    """How the name at ``length`` in a row stands to ``text``: below 0, 0, above; ``prefix``: 0 if it begins so."""
    cdef Text name = <Text>text_of(row) + length
    cdef Py_ssize_t i, left = size_of(row) - length
    cdef unsigned char one, other
    for i in range(size):
        if i >= left or name[i] == c".":
            return -1
        # In node order NUL stands where the dot stands among bytes.
        one, other = name[i] if name[i] else c".", text[i] if text[i] else c"."
        if one != other:
            return -1 if one < other else 1
    return 0 if prefix or size >= left or name[size] == c"." else 1


cdef inline void _put(
    uint32_t[:, ::1] out,
    Py_ssize_t m,
    PyObject* names,
    const uint32_t[::1] starts,
    Py_ssize_t at,
    Py_ssize_t last,
    uint32_t high,
    Py_ssize_t length,
) noexcept nogil:
    """Write child ``at`` of a node whose children end at ``last`` and whose rows end at ``high``."""
    cdef PyObject* row = item_of(names, starts[at])
    cdef Text text = <Text>text_of(row)
    cdef Py_ssize_t size = size_of(row)
    cdef Text dot = <Text>memchr(text + length, c".", size - length) if length < size else NULL
    out[m, 0] = starts[at]
    out[m, 1] = starts[at + 1] if at + 1 < last else high
    out[m, 2] = <uint32_t>((dot - text if dot != NULL else size) + 1)


cdef inline Py_ssize_t _last_dot(bytes row, Py_ssize_t end) noexcept:
    """Where the last dot before ``end`` stands; -1 if there is none."""
    cdef const char* text = PyBytes_AS_STRING(row)
    end -= 1
    while end >= 0 and text[end] != c".":
        end -= 1
    return end
