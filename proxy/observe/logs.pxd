cimport cython

@cython.final
cdef class Timestamps:
    cdef public Py_ssize_t _second
    cdef public str _prefix
    @cython.locals(second=Py_ssize_t)
    cpdef str format(self, double now)
