# cython: language_level=3, boundscheck=False, wraparound=False
"""Many sockets read in one call: a call of recv() a socket and none of Python's."""

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport free, malloc

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int, void*, size_t, int)
    int MSG_DONTWAIT


def receive_all(list numbers not None, unsigned char[::1] buffer not None, Py_ssize_t each):
    """Read from each of the descriptors once, one behind the other into ``buffer``, at most ``each`` bytes.

    Gives the bytes of each: 0 at its end, -1 where there is nothing, -2 where it has failed. They are fewer than the
    descriptors where less than ``each`` bytes of room were left.
    """
    cdef Py_ssize_t i, done = 0, n = len(numbers), room = buffer.shape[0], end = 0
    cdef int* descriptors
    cdef ssize_t* sizes
    cdef ssize_t size
    if n == 0 or each < 1 or room < each:
        return []
    descriptors = <int*>malloc(n * sizeof(int))
    sizes = <ssize_t*>malloc(n * sizeof(ssize_t))
    try:
        if descriptors is NULL or sizes is NULL:
            raise MemoryError
        for i in range(n):
            descriptors[i] = numbers[i]
        with nogil:
            while done < n and room - end >= each:
                size = recv(descriptors[done], &buffer[end], each, MSG_DONTWAIT)
                if size < 0:
                    size = -1 if errno == EAGAIN or errno == EINTR else -2
                else:
                    end += size
                sizes[done] = size
                done += 1
        return [sizes[i] for i in range(done)]
    finally:
        free(descriptors)
        free(sizes)
