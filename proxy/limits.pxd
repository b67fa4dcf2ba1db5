cimport cython

@cython.final
cdef class Limits:
    cdef readonly Py_ssize_t head_bytes, head_fields
    cdef readonly double head_timeout, handshake_timeout, idle_timeout, stall_timeout
    cdef readonly Py_ssize_t connections, connections_per_address

@cython.final
cdef class Tally:
    cdef public Py_ssize_t limit
    cdef public dict _counts
    cpdef bint may_enter(self, str name)
    @cython.locals(count=Py_ssize_t)
    cpdef bint enter(self, str name)
    @cython.locals(count=Py_ssize_t)
    cpdef leave(self, str name)

@cython.final
cdef class Place:
    cdef readonly str address
    cdef readonly object over
