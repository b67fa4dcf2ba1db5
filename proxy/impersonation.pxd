cimport cython

@cython.final
cdef class Impersonation:
    cdef readonly str username
    cdef readonly tuple groups
    cdef readonly bytes header
    cdef readonly Py_ssize_t dropped
    cdef readonly str uid
    cdef readonly tuple extra
    cdef readonly str original
