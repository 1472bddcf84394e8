# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What sealed parts of collectd's datagrams cost besides hashing and AES, which stay with their libraries."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

ctypedef const unsigned char* Text


def xor(bytes one not None, bytes other not None):
    """``one`` and as many bytes of ``other``, which has no fewer, bit by bit one or the other."""
    cdef Py_ssize_t i, size = PyBytes_GET_SIZE(one)
    if PyBytes_GET_SIZE(other) < size:
        raise ValueError("too few bytes")
    cdef bytes made = PyBytes_FromStringAndSize(NULL, size)
    cdef unsigned char* to = <unsigned char*>PyBytes_AS_STRING(made)
    cdef Text a = <Text>PyBytes_AS_STRING(one)
    cdef Text b = <Text>PyBytes_AS_STRING(other)
    for i in range(size):
        to[i] = a[i] ^ b[i]
    return made
