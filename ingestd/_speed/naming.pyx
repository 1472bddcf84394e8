# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Names of value lists: the compiled twin of ``GraphiteNames.spellings`` in :mod:`ingestd.wire.graphite_names`.

Fields of plain ASCII, as nearly all are, are put together here; every other name is given by the reference.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy, memset

from ingestd._speed.network cimport fields_of

cdef enum:
    ROOM = 4096  # of self.text
    KINDS = 4096  # types with their kinds that are kept: more than a types.db has


@cython.final
cdef class Naming:
    """Gives what there is to know of an identity: its names, and what ``describe`` says of its type."""

    def __cinit__(self, scheme, describe, reference):
        """``scheme``: :class:`ingestd.wire.graphite_names.Scheme`, or None where the reference is to give all names.

        ``describe(type, kinds)`` gives sources, bounds and whether the kinds are others than known, or None;
        ``reference(fields, sources)`` the names.
        """
        self.describe, self.reference, self.described = describe, reference, {}
        self.simple = scheme is not None
        if scheme is not None:
            self.fields, self.sources, self.head, self.tail, self.dash, self.always, self.length, self.depth = scheme
            self.length = min(self.length, ROOM)
            if len(self.fields) != 256 or len(self.sources) != 256:
                raise ValueError("a table has 256 bytes")

    def clear(self):
        """Forget what was said of types."""
        self.described.clear()

    def spellings(self, tuple fields not None, list sources not None):
        """The names (bytes) of the values of an identity, five texts (bytes) without NUL; b"" for one without a path."""
        cdef State state
        cdef bytes field
        cdef int i
        if len(fields) != 5:
            raise ValueError("an identity has five fields")
        memset(&state, 0, sizeof(State))
        for i in range(5):
            field = <bytes?>fields[i]
            if PyBytes_GET_SIZE(field) > 255:
                return self.reference(fields, sources)
            state.text[i] = <const unsigned char*>PyBytes_AS_STRING(field)
            state.width[i] = <unsigned char>PyBytes_GET_SIZE(field)
        return self.spelt(&state, sources)

    cdef tuple learn(self, const State* state, bytes kinds):
        """Spellings, bounds and whether the kinds are others than known; None where the type is not."""
        cdef Py_ssize_t width = state.width[3], count = PyBytes_GET_SIZE(kinds)
        cdef bytes key = PyBytes_FromStringAndSize(NULL, width + 1 + count)
        cdef char* text = PyBytes_AS_STRING(key)
        cdef tuple found
        memcpy(text, state.text[3], width)
        text[width] = 0
        memcpy(text + width + 1, PyBytes_AS_STRING(kinds), count)
        found = self.described.get(key)
        if found is None:
            found = self.describe(key[:width], kinds)
            if found is None:
                return None
            if len(self.described) >= KINDS:
                self.described.clear()
            self.described[key] = found
        return self.spelt(state, found[0]), found[1], found[2]

    cdef list spelt(self, const State* state, list sources):
        cdef list made = []
        cdef Py_ssize_t common, dots
        cdef bytes source
        if not self.simple or not self.begin(state):
            return self.reference(fields_of(state), sources)
        common, dots = self.size, self.dots
        for source in sources:
            if len(sources) > 1 or self.always:
                self.size, self.dots, self.dotted = common, dots, False
                if PyBytes_GET_SIZE(source) and not (self.put(b".", 1, NULL) and self.put(
                    <const unsigned char*>PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source),
                    <const unsigned char*>PyBytes_AS_STRING(self.sources),
                )):
                    return self.reference(fields_of(state), sources)
            if self.dotted or self.dots >= self.depth:
                return self.reference(fields_of(state), sources)
            made.append(PyBytes_FromStringAndSize(<const char*>self.text, self.size))
        return made

    cdef bint begin(self, const State* state) noexcept:
        """Put together what all values of an identity have in common. Return whether that is a path's begin."""
        cdef const unsigned char* table = <const unsigned char*>PyBytes_AS_STRING(self.fields)
        cdef int i
        self.size = self.dots = 0
        self.dotted = True
        if not (
            self.put(<const unsigned char*>PyBytes_AS_STRING(self.head), PyBytes_GET_SIZE(self.head), NULL)
            and self.put(state.text[0], state.width[0], table)
            and self.put(<const unsigned char*>PyBytes_AS_STRING(self.tail), PyBytes_GET_SIZE(self.tail), NULL)
        ):
            return False
        for i in range(1, 5):
            if i == 1 or i == 3:
                if not self.put(b".", 1, NULL):
                    return False
            elif state.width[i] == 0:
                continue
            elif not self.put(<const unsigned char*>PyBytes_AS_STRING(self.dash), PyBytes_GET_SIZE(self.dash), NULL):
                return False
            if not self.put(state.text[i], state.width[i], table):
                return False
        return not self.dotted

    cdef bint put(self, const unsigned char* text, Py_ssize_t size, const unsigned char* table) noexcept:
        """Add a text, each byte as ``table`` has it, where there is one. Return whether all were plain."""
        cdef Py_ssize_t i
        cdef unsigned char byte
        if self.size + size > self.length:
            return False
        for i in range(size):
            byte = table[text[i]] if table is not NULL else text[i]
            if byte == c".":
                if self.dotted:
                    return False
                self.dots += 1
            elif byte == 0:
                return False
            self.dotted = byte == c"."
            self.text[self.size] = byte
            self.size += 1
        return True
