# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Many datagrams by one call of the kernel: recvmmsg(2), which Linux has and others lack.

The compiled twin of :func:`ingestd.ingest.datagrams.receive_one_by_one`.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr_storage:
        uint16_t ss_family
    cdef struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
    cdef struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    enum:
        AF_INET
        AF_INET6
        MSG_DONTWAIT
    int recvmmsg(int, mmsghdr*, unsigned int, int, void*)

cdef extern from "<sys/uio.h>" nogil:
    cdef struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<netinet/in.h>" nogil:
    cdef struct in_addr:
        pass
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        in_addr sin_addr
    cdef struct sockaddr_in6:
        in6_addr sin6_addr

cdef extern from "<arpa/inet.h>" nogil:
    const char* inet_ntop(int, const void*, char*, socklen_t)

cdef enum:
    AT_ONCE = 64  # datagrams that a call of the kernel gives
    FIRST = 8  # of the first call, when nobody knows yet how large they are
    LARGEST = 65_536  # bytes: more than any UDP datagram has
    STRIDE = LARGEST + 576  # else all would begin in the same lines of the caches
    HOSTS = 65_536  # addresses whose texts are kept


@cython.final
cdef class Receiver:
    """Reads datagrams into memory of its own: 4 MB, of which only what was ever written to is taken."""

    cdef unsigned char* memory
    cdef mmsghdr[AT_ONCE] messages
    cdef iovec[AT_ONCE] pieces
    cdef sockaddr_storage[AT_ONCE] senders
    cdef dict hosts

    def __cinit__(self):
        cdef int i
        self.hosts = {}
        self.memory = <unsigned char*>calloc(AT_ONCE, STRIDE)
        if self.memory is NULL:
            raise MemoryError
        memset(self.messages, 0, sizeof(self.messages))
        for i in range(AT_ONCE):
            self.pieces[i].iov_base = self.memory + i * STRIDE
            self.pieces[i].iov_len = LARGEST
            self.messages[i].msg_hdr.msg_name = &self.senders[i]
            self.messages[i].msg_hdr.msg_iov = &self.pieces[i]
            self.messages[i].msg_hdr.msg_iovlen = 1

    def __dealloc__(self):
        free(self.memory)

    def receive(self, int socket, Py_ssize_t most, Py_ssize_t size):
        """What ``socket`` (a file descriptor) holds: up to ``most`` datagrams, about ``size`` bytes of them.

        Each as its payload and the address of the host that it names as its sender. Waits for none.
        """
        cdef list found = []
        cdef Py_ssize_t bytes_ = 0, largest = 0, wanted = FIRST
        cdef int i, n
        while len(found) < most and bytes_ < size:
            wanted = min(wanted, AT_ONCE, most - len(found))
            for i in range(wanted):
                self.messages[i].msg_hdr.msg_namelen = sizeof(sockaddr_storage)
            with nogil:
                n = recvmmsg(socket, self.messages, <unsigned int>wanted, MSG_DONTWAIT, NULL)
            if n <= 0:  # none left, or an ICMP error that concerns nobody here
                break
            for i in range(n):
                found.append((PyBytes_FromStringAndSize(
                    <const char*>self.pieces[i].iov_base, self.messages[i].msg_len), self.host(i)))
                bytes_ += self.messages[i].msg_len
                if self.messages[i].msg_len > largest:
                    largest = self.messages[i].msg_len
            if n < wanted:
                break
            wanted = max(1, (size - bytes_) // max(largest, 1))
        return found

    cdef str host(self, int i):
        """The address of a sender, as recvfrom() shows it."""
        cdef char[64] text
        cdef int family = self.senders[i].ss_family
        cdef const void* address
        cdef Py_ssize_t size
        if family == AF_INET:
            address, size = &(<sockaddr_in*>&self.senders[i]).sin_addr, 4
        elif family == AF_INET6:
            address, size = &(<sockaddr_in6*>&self.senders[i]).sin6_addr, 16
        else:
            return ""
        key = PyBytes_FromStringAndSize(<const char*>address, size)
        found = self.hosts.get(key)
        if found is None:
            if inet_ntop(family, address, text, sizeof(text)) is NULL:
                return ""
            if len(self.hosts) >= HOSTS:
                self.hosts.clear()
            found = self.hosts[key] = text.decode("ascii")
        return found
