from ingestd._speed.identities cimport State


cdef class Naming:
    cdef bytes fields, sources, head, tail, dash
    cdef bint simple, always
    cdef Py_ssize_t length, depth
    cdef object describe, reference
    cdef dict described
    # The name that is being put together.
    cdef unsigned char[4096] text
    cdef Py_ssize_t size, dots
    cdef bint dotted

    cdef tuple learn(self, const State* state, bytes kinds)
    cdef bint begin(self, const State* state) noexcept
    cdef bint put(self, const unsigned char* text, Py_ssize_t size, const unsigned char* table) noexcept
    cdef list spelt(self, const State* state, list sources)
